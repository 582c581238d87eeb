//! Every stored form reads what was written when it was new: `tests/golden/` has a sample of each version.

use campaign::{EventKind, Outcome};
use dm_protocol::DevId;
use storage::laws::golden;

use super::*;

const AT: &str = "2026-03-01T10:00:00.123456789Z";

fn at() -> Timestamp {
    AT.parse().unwrap()
}

fn job() -> Job {
    Job { campaign: CampaignId(7), ordinal: 70_000, attempt: 2, phase: Phase::Waiting, since: at() }
}

fn event(kind: EventKind) -> JobEvent {
    JobEvent {
        device: DevId::parse("IMEI:490154203237518").ok(),
        ordinal: 70_000,
        attempt: 2,
        at: at(),
        kind,
    }
}

fn entries() -> Vec<Entry> {
    let after = Some(Outcome::ExecLost);
    let released = Source::Released {
        phase: Phase::Waiting,
        since: Some(StoredInstant(at())),
        trigger_until: Some(StoredInstant(at())),
    };
    let ended = EventKind::Ended { outcome: Outcome::Succeeded, version: None, detail: None, retry_at: None };
    vec![
        Entry { event: event(EventKind::Finished), source: Source::Owner },
        Entry { event: event(EventKind::Released { wave: 1, after }), source: released },
        Entry {
            event: event(EventKind::Moved { phase: Phase::Waiting }),
            source: Source::Session { revision: 3 },
        },
        Entry { event: event(ended), source: Source::Missing },
    ]
}

fn check<T: PartialEq + std::fmt::Debug>(
    name: &str,
    value: &T,
    octets: &[u8],
    read: impl Fn(&[u8]) -> Result<T, StoreError>,
) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/stored");
    golden::check_form(format!("{path}/{name}"), value, octets, read);
}

#[test]
fn stored_forms_are_as_they_were() {
    let released = Released { job: job(), at: at() };
    let read = |octets: &[u8]| Released::decode("read", octets).map(|(released, _)| released);
    check("released-v1.bin", &released, &released.encode(None), read);
    // What stands behind it is nothing to an earlier release.
    let cause = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().ok();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/stored/released-v1-caused.bin");
    let caused = golden::sample(path, &released.encode(cause));
    assert_eq!(caused, released.encode(cause));
    assert_eq!(Released::decode("read", &caused).unwrap(), (released.clone(), cause));
    assert_eq!(records::decode::<Released>("read", &caused).unwrap(), released);
    assert!(Released::decode("read", &caused[..caused.len() - 1]).is_err());
    let unkept = cause.map(|cause| storage::trace::Traceparent { is_sampled: false, ..cause });
    assert_eq!(released.encode(unkept), released.encode(None), "nobody could follow it");
    for (name, state) in [
        ("state-open-v1.bin", State::Open(job())),
        ("state-ended-v1.bin", State::Ended),
        ("state-missing-v1.bin", State::Missing),
        ("state-superseded-v1.bin", State::Superseded),
    ] {
        check(name, &state, &records::encode(&state), |octets| records::decode("read", octets));
    }
    let notes = Notes { released: vec![(2, vec![1, 2, 3])], heard: vec![(70_000, 2, 3)] };
    check("notes-v1.bin", &notes, &records::encode(&notes), |octets| records::decode("read", octets));
    let events = vec![event(EventKind::Finished)];
    check("events-v1.bin", &events, &records::encode(&events), |octets| records::decode("read", octets));
    check("body-v1.bin", &entries(), &encode_body(&entries()), |octets| decode_body("read", octets));
}

#[test]
fn a_body_that_claims_to_be_huge_is_refused() {
    let mut body = encode_body(&entries());
    body[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(decode_body("read", &body).unwrap_err().kind, storage::ErrorKind::Corrupt);
}
