//! What the session store keeps between two messages: the session, what it is for, and the job it works on.

use campaign::Job;
use dm_objects::agenda::{Agenda, AgendaError};
use dm_protocol::server::{RecordError, ServerSession};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use storage::{
    Revision,
    trace::{self, Traceparent},
};

/// First octet of a record.
const VERSION: u8 = 1;

/// The job that a session works on, as it was last written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldJob {
    pub(crate) job: Job,
    pub(crate) revision: Revision,
}

/// How a session began. It stands behind the session within its part of the record, where a release that knows
/// nothing of it passes over it: front-ends of both releases go on with each other's sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Opened {
    /// Milliseconds since 1970.
    begun_ms: i64,
    /// The root of its trace; `None`: nobody keeps one.
    trace: Option<Traceparent>,
}

/// First octet of an [`Opened`].
const OPENED: u8 = 1;

impl Opened {
    /// A session that begins. Whether it is traced is decided here, for all of its messages.
    pub(crate) fn begin(now: Timestamp) -> Self {
        Self { begun_ms: now.as_millisecond(), trace: trace::begin() }
    }

    pub(crate) fn begun(&self) -> Timestamp {
        Timestamp::from_millisecond(self.begun_ms).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    pub(crate) fn trace(&self) -> Option<Traceparent> {
        self.trace
    }

    /// `None` behind a session that an earlier release wrote, and of what a later one may add.
    fn decode(bytes: &[u8]) -> Result<Option<Self>, postcard::Error> {
        match bytes.split_first() {
            Some((&OPENED, rest)) => postcard::from_bytes(rest).map(Some),
            _ => Ok(None),
        }
    }
}

/// What a session is for; there is none before the device has proved itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) agenda: Agenda,
    pub(crate) job: Option<HeldJob>,
}

/// Why octets are no record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadRecord {
    #[error("expected a session record of version {VERSION}, got {0:?}")]
    Version(Option<u8>),
    #[error("expected {expected} more octets of a session record, got {got}")]
    Short { expected: usize, got: usize },
    #[error("session in the record cannot be read")]
    Session(#[from] RecordError),
    #[error("agenda in the record cannot be read")]
    Agenda(#[from] AgendaError),
    #[error("job or beginning in the record cannot be read")]
    Postcard(#[from] postcard::Error),
}

/// Version; session (with how it began) and agenda, each behind its length in four octets, the least significant first; the job. What
/// is absent at the end is left out.
pub(crate) fn encode(
    session: &ServerSession,
    opened: &Opened,
    plan: Option<&Plan>,
) -> Result<Vec<u8>, BadRecord> {
    let octets_expected = session.kept_reply().len() + 512;
    encode_parts(|bytes| session.encode_behind(bytes), Some(opened), octets_expected, plan)
}

fn encode_parts(
    session: impl FnOnce(Vec<u8>) -> Vec<u8>,
    opened: Option<&Opened>,
    octets_expected: usize,
    plan: Option<&Plan>,
) -> Result<Vec<u8>, BadRecord> {
    let mut bytes = Vec::with_capacity(octets_expected);
    bytes.push(VERSION);
    bytes = append(bytes, |bytes| {
        let mut bytes = session(bytes);
        let Some(opened) = opened else { return Ok(bytes) };
        bytes.push(OPENED);
        Ok(postcard::to_extend(opened, bytes)?)
    })?;
    if let Some(plan) = plan {
        bytes = append(bytes, |bytes| Ok(plan.agenda.encode_behind(bytes)?))?;
        if let Some(job) = &plan.job {
            bytes = postcard::to_extend(job, bytes)?;
        }
    }
    Ok(bytes)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<(ServerSession, Option<Opened>, Option<Plan>), BadRecord> {
    let (session, plan) = split(bytes)?;
    let (session, opened) = ServerSession::decode_before(session)?;
    Ok((session, Opened::decode(opened)?, plan))
}

fn split(bytes: &[u8]) -> Result<(&[u8], Option<Plan>), BadRecord> {
    let Some((&VERSION, rest)) = bytes.split_first() else {
        return Err(BadRecord::Version(bytes.first().copied()));
    };
    let (session, rest) = part(rest)?;
    if rest.is_empty() {
        return Ok((session, None));
    }
    let (agenda, rest) = part(rest)?;
    let agenda = Agenda::decode(agenda)?;
    let job = if rest.is_empty() { None } else { Some(postcard::from_bytes(rest)?) };
    Ok((session, Some(Plan { agenda, job })))
}

/// Appends a part behind its length, which is known when it is written.
fn append(
    mut bytes: Vec<u8>,
    write: impl FnOnce(Vec<u8>) -> Result<Vec<u8>, BadRecord>,
) -> Result<Vec<u8>, BadRecord> {
    let length_at = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    let begins_at = bytes.len();
    let mut bytes = write(bytes)?;
    // A part beyond 4 GiB cannot be: messages, agendas and the store's records are bounded far below.
    let length = u32::try_from(bytes.len().saturating_sub(begins_at)).unwrap_or(u32::MAX);
    if let Some(place) = bytes.get_mut(length_at..begins_at) {
        place.copy_from_slice(&length.to_le_bytes());
    }
    Ok(bytes)
}

fn part(bytes: &[u8]) -> Result<(&[u8], &[u8]), BadRecord> {
    let short = |expected| BadRecord::Short { expected, got: bytes.len() };
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| short(4))?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    rest.split_at_checked(length).ok_or_else(|| short(length))
}

#[cfg(test)]
mod tests {
    use campaign::{CampaignId, Phase};
    use dm_objects::agenda::{FirmwareMethod, FirmwareStage, FirmwareTask, Known};

    use super::*;

    fn sample() -> Plan {
        let task = FirmwareTask {
            correlator: "c3-7-1".into(),
            method: FirmwareMethod::Url("http://127.0.0.1/a".into()),
            package_name: "fw".into(),
            package_version: "2.0".into(),
            target_version: "2.0".into(),
            stage: FirmwareStage::ExecSent,
        };
        let job = Job {
            campaign: CampaignId(3),
            ordinal: 7,
            attempt: 1,
            phase: Phase::Session(FirmwareStage::ExecSent),
            since: "2026-03-01T10:00:00Z".parse().unwrap(),
        };
        let job = Some(HeldJob { job, revision: Revision(12) });
        Plan { agenda: Agenda::new(Known::default(), Some(task)), job }
    }

    fn encode_sample(plan: Option<&Plan>) -> Result<Vec<u8>, BadRecord> {
        encode_parts(|bytes| [&bytes[..], b"session"].concat(), None, 0, plan)
    }

    #[test]
    fn a_record_comes_back_with_and_without_what_it_may_lack() {
        let whole = sample();
        let jobless = Plan { job: None, ..sample() };
        for plan in [None, Some(jobless), Some(whole)] {
            let bytes = encode_sample(plan.as_ref()).unwrap();
            let (session, back) = split(&bytes).unwrap();
            assert_eq!((session, back), (&b"session"[..], plan));
        }
    }

    #[test]
    fn a_record_of_every_version_can_be_read() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/session-record-1.bin");
        let bytes = storage::laws::golden::sample(path, &encode_sample(Some(&sample())).unwrap());
        assert_eq!(split(&bytes).unwrap(), (&b"session"[..], Some(sample())));
    }

    #[test]
    fn how_a_session_began_stands_behind_it() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/session-record-1-opened.bin");
        let trace = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap());
        let opened = Opened { begun_ms: 1_772_359_200_123, trace };
        let session = |bytes: Vec<u8>| [&bytes[..], b"session"].concat();
        let encoded = encode_parts(session, Some(&opened), 0, Some(&sample())).unwrap();
        let bytes = storage::laws::golden::sample(path, &encoded);
        let (part, plan) = split(&bytes).unwrap();
        assert_eq!((&part[..7], plan), (&b"session"[..], Some(sample())));
        assert_eq!(Opened::decode(&part[7..]).unwrap(), Some(opened));
        assert_eq!(Opened::decode(b"").unwrap(), None, "as the release before wrote it");
        assert_eq!(Opened::decode(&[9, 9]).unwrap(), None, "as a later one may");
        assert!(Opened::decode(&[OPENED]).is_err());
    }

    #[test]
    fn a_cut_or_foreign_record_is_an_error() {
        let bytes = encode_sample(Some(&sample())).unwrap();
        // Where the agenda or the job is left out as a whole, the record is a shorter one.
        let session_end = 1 + 4 + 7;
        let agenda_end = session_end + 4 + sample().agenda.encode().unwrap().len();
        for end in (0..bytes.len()).filter(|end| ![session_end, agenda_end].contains(end)) {
            assert!(split(&bytes[..end]).is_err(), "cut at {end}");
        }
        assert!(matches!(split(&[2, 0, 0]), Err(BadRecord::Version(Some(2)))));
        assert!(matches!(split(&[1, 255, 255, 255, 255]), Err(BadRecord::Short { .. })));
    }
}
