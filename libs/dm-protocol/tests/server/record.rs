//! The record of a session: small, bounded, and readable for ever.

use dm_protocol::{
    Scheme,
    server::{Draft, DraftItem, DraftValue, RecordError, ServerSession},
};

use crate::support::*;

/// A session in the middle of everything: a chunk is out, commands wait, the device owes and is owed proof.
fn busy() -> Bench {
    let meta = "<MaxMsgSize xmlns='syncml:metinf'>1500</MaxMsgSize><MaxObjSize xmlns='syncml:metinf'>90000</MaxObjSize>";
    let package = Draft::Replace(DraftItem {
        target: "./FwUpdate/Pkg1/Update/PkgData".into(),
        format: dm_tree::Format::Bin,
        type_: Some("application/octet-stream".into()),
        value: DraftValue::Artifact { digest: [7; 32], size: 60_000 },
    });
    let exec = Draft::Exec {
        target: "./FwUpdate/Pkg1/Update".into(),
        correlator: Some("fw-20417-a".into()),
        data: None,
    };
    let group = Draft::Atomic(vec![(4, Draft::Delete("./A".into()))]);
    let mut bench = Bench::new(with_server(Scheme::Md5)).meta(meta);
    bench.settings.resp_uri = Some(format!("{SERVER_URL}?s="));
    bench.artifact = vec![0x5A; 60_000];
    bench = bench.draft(1, package).draft(2, exec).draft(3, group).draft(5, get(&["./B"]));
    bench.send(1, &package_1(1));
    bench
}

#[test]
fn records_of_every_version_are_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let path = format!("{folder}/session-v1.bin");
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !std::fs::exists(&path).unwrap() {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(&path, busy().kept.unwrap().encode()).unwrap();
    }
    let stored = std::fs::read(&path).unwrap();
    let session = ServerSession::decode(&stored).unwrap();
    assert_eq!(session.device().as_str(), DEVICE);
    assert_eq!((session.session_id(), session.is_over()), ("2A", false));
    assert_eq!(session.encode(), stored, "a change of the record is a new version");

    // It goes on where it was: with the second chunk.
    let mut bench = Bench::new(with_server(Scheme::Md5));
    bench.artifact = vec![0x5A; 60_000];
    bench.restore(&stored);
    let body = status(1, 1, "0", "SyncHdr", 212) + &status(2, 1, "4", "Replace", 213);
    let answer = bench.send(2, &(body + "<Alert><CmdID>3</CmdID><Data>1222</Data></Alert>"));
    assert_eq!(answer.commands(), ["3 Replace ./FwUpdate/Pkg1/Update/PkgData more"]);
    assert!((1200..=1500).contains(&answer.bytes.len()), "{} octets", answer.bytes.len());
}

#[test]
fn a_record_that_cannot_be_read_says_why() {
    let record = busy().kept.unwrap().encode();
    assert_eq!(ServerSession::decode(&[]).unwrap_err(), RecordError::Empty);
    let mut later = record.clone();
    later[0] = 2;
    assert_eq!(ServerSession::decode(&later).unwrap_err(), RecordError::Version(2));
    for length in [1, 2, 10, record.len() / 2, record.len() - 1] {
        assert!(matches!(ServerSession::decode(&record[..length]), Err(RecordError::Damaged(_))), "{length}");
    }
}

#[test]
fn a_record_is_little_more_than_the_kept_answer() {
    let mut bench = Bench::new(with_client(Scheme::Md5));
    for (msg_id, body) in [(1, package_1(1)), (2, package_1(1))] {
        let answer = bench.send(msg_id, &body);
        let rest = bench.record_len() - answer.bytes.len();
        assert!(rest <= 120, "message {msg_id}: {rest} octets beside the answer");
    }
}

#[test]
fn a_device_cannot_make_the_record_grow_without_end() {
    let mut bench = Bench::new(nobody_asks()).meta("<MaxMsgSize xmlns='syncml:metinf'>512</MaxMsgSize>");
    bench.settings.max_obj_size = 4096;
    let long = "x".repeat(1000);
    let alerts: String = (0..100)
        .map(|id| {
            format!("<Alert><CmdID>c{id}</CmdID><Data>1222</Data></Alert><Add><CmdID>{long}</CmdID></Add>")
        })
        .collect();
    let chunk = format!(
        "<Alert><CmdID>1</CmdID><Data>1226</Data><Item><Meta><Type xmlns='syncml:metinf'>t</Type>\
         <Size xmlns='syncml:metinf'>4096</Size></Meta><Data>{long}</Data><MoreData/></Item></Alert>"
    );
    let mut largest = 0;
    for msg_id in 1..40 {
        bench.send(msg_id, &format!("{alerts}{chunk}"));
        largest = largest.max(bench.record_len());
    }
    assert!(largest < 150_000, "{largest} octets");
    assert!(bench.kept.unwrap().is_over());
}
