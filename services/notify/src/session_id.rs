//! The session that a trigger asks for.

use storage::Trigger;

/// The session id of a trigger, never 0: it follows from whom and what the trigger is for, so that a repeat has the same one,
/// whichever process sends it, and the next attempt another.
pub fn session_id(trigger: &Trigger) -> u16 {
    let parts: [&[u8]; 6] = [
        trigger.tenant.0.as_bytes(),
        &[0],
        trigger.device.as_str().as_bytes(),
        &[0],
        &trigger.campaign.0.to_be_bytes(),
        &trigger.attempt.to_be_bytes(),
    ];
    // FNV-1a: written out, because what repeats a trigger may be another version of the program.
    let hash = parts.concat().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash % u64::from(u16::MAX)) as u16 + 1
}

#[cfg(test)]
mod tests {
    use campaign::CampaignId;
    use dm_protocol::DevId;
    use jiff::Timestamp;
    use storage::TenantId;

    use super::*;

    #[test]
    fn repeats_have_the_same_id_and_attempts_have_others() {
        let at = Timestamp::UNIX_EPOCH;
        let first = Trigger {
            tenant: TenantId::default(),
            device: DevId::parse("IMEI:1").unwrap(),
            campaign: CampaignId(1),
            attempt: 1,
            asked: at,
            deadline: at,
            due: at,
            sent: 0,
        };
        let id = session_id(&first);
        assert_eq!(session_id(&Trigger { sent: 3, due: Timestamp::MAX, ..first.clone() }), id);
        assert_ne!(session_id(&Trigger { attempt: 2, ..first.clone() }), id);
        let ids: std::collections::BTreeSet<u16> =
            (0..2000).map(|attempt| session_id(&Trigger { attempt, ..first.clone() })).collect();
        assert!(ids.len() > 1900 && !ids.contains(&0), "{} ids of 2000", ids.len());
    }
}
