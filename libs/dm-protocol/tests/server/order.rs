//! Messages that come again, come late, or open another session of the same number.

use dm_protocol::{
    Scheme,
    server::{Ending, Event, Handled},
};
use jiff::ToSpan;

use crate::support::*;

/// A session that waits for the Status of the Exec it sent in its second answer.
fn in_progress() -> Bench {
    let mut bench = Bench::new(nobody_asks()).draft(1, get(&["./A"]));
    bench.send(1, &package_1(1));
    bench.drafts.push_back((2, get(&["./B"])));
    bench.send(2, &second());
    bench
}

fn second() -> String {
    status(1, 1, "4", "Get", 404) + "<Final/>"
}

#[test]
fn a_repeated_message_gets_the_kept_answer() {
    let mut bench = in_progress();
    let kept = bench.kept.as_ref().unwrap().kept_reply().to_vec();
    for body in [second(), status(9, 1, "4", "Get", 500) + "<Final/>"] {
        // Also when it was built anew, as long as it has the number of the last.
        let answer = bench.send(2, &body);
        assert_eq!(answer.handled, Handled::Repeated);
        assert_eq!(answer.events, []);
        assert_eq!(answer.bytes, kept);
    }
    let answer = bench.send(3, &(status(1, 2, "2", "Get", 200) + "<Final/>"));
    assert_eq!(answer.handled, Handled::New);
    assert_eq!(bench.kept.unwrap().ending(), Some(Ending::Done));
}

#[test]
fn the_last_message_of_a_session_may_be_repeated_too() {
    let mut bench = in_progress();
    let body = status(1, 2, "2", "Get", 200) + "<Final/>";
    let last = bench.send(3, &body);
    bench.now += 1.hour();
    let again = bench.send(3, &body);
    assert_eq!((again.handled, again.bytes), (Handled::Repeated, last.bytes));
}

#[test]
fn a_late_message_gets_a_status_and_does_nothing() {
    let mut bench = in_progress();
    for (msg_id, body) in [(1, package_1(1)), (1, second())] {
        let answer = bench.send(msg_id, &body);
        assert_eq!(answer.handled, Handled::Repeated);
        assert_eq!(answer.events, []);
        assert_eq!(answer.statuses()[0], "0 SyncHdr 400");
        assert_eq!(answer.commands(), [""; 0]);
    }
    // The session goes on where it was.
    let answer = bench.send(3, &(status(1, 2, "2", "Get", 200) + "<Final/>"));
    assert!(matches!(answer.events[0], Event::Status { tag: 2, .. }));
}

#[test]
fn a_jump_of_the_message_number_is_tolerated() {
    let mut bench = in_progress();
    let answer = bench.send(17, &(status(1, 2, "2", "Get", 200) + "<Final/>"));
    assert_eq!(answer.handled, Handled::New);
    assert_eq!(answer.message().hdr.msg_id, 17, "a device takes no answer below the last it heard");
}

#[test]
fn a_message_after_the_end_is_heard_and_not_acted_on() {
    let mut bench = Bench::new(nobody_asks());
    bench.send(1, &package_1(1));
    let alert =
        "<Alert><CmdID>2</CmdID><Data>1226</Data><Item><Source><LocURI>./A</LocURI></Source></Item></Alert>";
    let answer = bench.send(2, &(status(1, 1, "0", "SyncHdr", 200) + alert + "<Final/>"));
    assert_eq!((answer.handled, answer.events.len()), (Handled::Repeated, 0));
    assert_eq!(answer.statuses(), ["0 SyncHdr 200", "2 Alert 405"]);
    assert!(answer.is_final());
}

#[test]
fn a_message_of_another_session_is_refused() {
    let mut bench = in_progress();
    bench.session_id = "2B";
    let answer = bench.send(3, &package_1(1));
    assert_eq!(answer.handled, Handled::Repeated);
    assert_eq!(answer.statuses(), ["0 SyncHdr 400", "1 Alert 400", "2 Replace 400"]);
}

#[test]
fn a_message_to_the_address_of_another_session_is_refused() {
    let mut bench = Bench::new(nobody_asks()).draft(1, get(&["./A"]));
    bench.settings.resp_uri = Some(format!("{SERVER_URL}?s="));
    let own = bench.send(1, &package_1(1)).message().hdr.resp_uri.unwrap().into_owned();
    let to = |address: &str| {
        format!(
            "<SyncML xmlns=\"SYNCML:SYNCML1.2\"><SyncHdr><VerDTD>1.2</VerDTD><VerProto>DM/1.2</VerProto>\
             <SessionID>2A</SessionID><MsgID>2</MsgID><Target><LocURI>{address}</LocURI></Target>\
             <Source><LocURI>{DEVICE}</LocURI></Source></SyncHdr><SyncBody>{}</SyncBody></SyncML>",
            second()
        )
    };
    let answer = bench.send_text(&to(&format!("{SERVER_URL}?s=0202020202020202")));
    assert_eq!((answer.handled, answer.statuses()[0].as_str()), (Handled::Repeated, "0 SyncHdr 400"));
    let answer = bench.send_text(&to(&own));
    assert_eq!((answer.handled, answer.statuses()[0].as_str()), (Handled::New, "0 SyncHdr 200"));
}

#[test]
fn the_number_of_a_session_may_be_used_again() {
    // A device that counts its sessions from 1 starts again after a restart.
    let restart = package_1(1).replace("Example Works", "Example Works again");
    let mut over = Bench::new(nobody_asks());
    over.send(1, &package_1(1));
    for (name, mut bench, body, later_s, want) in [
        ("over, the same octets at once", over_bench(), package_1(1), 1, Handled::Repeated),
        ("over, the same octets later", over_bench(), package_1(1), 11, Handled::Restarted),
        ("over, other octets", over_bench(), restart.clone(), 1, Handled::Restarted),
        ("in progress, other octets", in_progress(), restart, 1, Handled::Restarted),
        ("in progress, the same octets at once", in_progress(), package_1(1), 1, Handled::Repeated),
        ("in progress, the same octets later", in_progress(), package_1(1), 11, Handled::Restarted),
        ("no package 1", over_bench(), second(), 11, Handled::Repeated),
    ] {
        bench.now += later_s.seconds();
        let answer = bench.send(1, &body);
        assert_eq!(answer.handled, want, "{name}");
        if want == Handled::Restarted {
            assert_eq!(answer.events[0], Event::Authenticated, "{name}");
            assert_eq!(answer.message().hdr.msg_id, 1, "{name}");
        }
    }
}

fn over_bench() -> Bench {
    let mut bench = Bench::new(nobody_asks());
    bench.send(1, &package_1(1));
    bench
}

#[test]
fn a_session_begun_anew_has_to_be_authenticated_anew() {
    let mut account = with_client(Scheme::Md5);
    account.nonces.client = Some(b"first".to_vec());
    let mut bench = Bench::new(account).draft(1, get(&["./A"]));
    let nonce = bench.send_with(1, &md5(b"first"), &package_1(1)).chal().unwrap().1.unwrap();
    let answer = bench.send(1, &package_1(1));
    assert_eq!((answer.handled, answer.statuses()[0].as_str()), (Handled::Restarted, "0 SyncHdr 407"));
    let answer = bench.send_with(2, &md5(&nonce), &package_1(1));
    assert_eq!(answer.statuses()[0], "0 SyncHdr 212");
}

#[test]
fn a_session_whose_record_was_lost_goes_on() {
    let mut bench = Bench::new(nobody_asks()).draft(1, get(&["./A"]));
    let answer = bench.send(4, &(status(1, 3, "2", "Get", 200) + "<Final/>"));
    assert_eq!(answer.events, [Event::Authenticated, Event::WantsCommands]);
    assert_eq!(answer.commands(), ["2 Get ./A"]);
    assert_eq!(answer.message().hdr.msg_id, 4);
}

#[test]
fn a_message_to_the_address_of_a_lost_session_is_answered_alike_when_it_is_repeated() {
    let mut bench = Bench::new(nobody_asks());
    bench.settings.resp_uri = Some(format!("{SERVER_URL}?s="));
    let message = format!(
        "<SyncML xmlns=\"SYNCML:SYNCML1.2\"><SyncHdr><VerDTD>1.2</VerDTD><VerProto>DM/1.2</VerProto>\
         <SessionID>2A</SessionID><MsgID>2</MsgID><Target><LocURI>{SERVER_URL}?s=0909090909090909</LocURI></Target>\
         <Source><LocURI>{DEVICE}</LocURI></Source></SyncHdr><SyncBody>{}</SyncBody></SyncML>",
        second()
    );
    let first = bench.send_text(&message);
    assert_eq!((first.handled, first.statuses()[0].as_str()), (Handled::New, "0 SyncHdr 200"));
    let again = bench.send_text(&message);
    assert_eq!((again.handled, again.statuses()), (Handled::Repeated, first.statuses()));
}
