//! The device proves itself (DM Security 1.2, section 5).

use dm_protocol::{
    Nonces, Scheme, auth,
    server::{Ending, Event},
};

use crate::support::*;

fn basic(password: &str) -> String {
    cred(auth::BASIC, &auth::basic_credential("dev-0042", password))
}

#[test]
fn missing_credentials_are_asked_for_and_nothing_is_acted_on() {
    for (scheme, type_, has_nonce) in
        [(Scheme::Md5, "syncml:auth-md5", true), (Scheme::Basic, "syncml:auth-basic", false)]
    {
        let mut bench = Bench::new(with_client(scheme)).draft(1, get(&["./DevDetail/FwV"]));
        let answer = bench.send(1, &package_1(1));
        assert_eq!(answer.statuses(), ["0 SyncHdr 407", "1 Alert 407", "2 Replace 407"], "{scheme:?}");
        assert_eq!(answer.commands(), [""; 0]);
        assert_eq!(answer.events, []);
        assert!(answer.is_final());
        let (got, nonce) = answer.chal().unwrap();
        assert_eq!((got.as_str(), nonce.is_some()), (type_, has_nonce));
    }
}

#[test]
fn good_credentials_are_accepted_for_the_session() {
    let nonce = b"sixteen octets..";
    let nonces = Nonces { client: Some(nonce.to_vec()), ..Nonces::default() };
    let of_text = auth::format_base64(nonce);
    for (name, scheme, cred, chal) in [
        ("basic", Scheme::Basic, basic("k9-Lantern"), false),
        ("md5 where basic would do", Scheme::Basic, md5(nonce), true),
        ("md5", Scheme::Md5, md5(nonce), true),
        ("md5 of the nonce's base64", Scheme::Md5, md5(of_text.as_bytes()), true),
    ] {
        let mut account = with_client(scheme);
        account.nonces = nonces.clone();
        let mut bench = Bench::new(account);
        let answer = bench.send_with(1, &cred, &package_1(1));
        assert_eq!(answer.statuses(), ["0 SyncHdr 212", "1 Alert 200", "2 Replace 200"], "{name}");
        assert_eq!(answer.events[0], Event::Authenticated, "{name}");
        assert_eq!(answer.chal().is_some(), chal, "{name}");
        assert!(bench.kept.unwrap().is_over());
        if chal {
            let after = bench.account.unwrap().nonces;
            assert_eq!(after.client, answer.chal().unwrap().1, "{name}");
            assert_ne!(after.client, nonces.client, "{name}");
        }
    }
}

#[test]
fn wrong_credentials_are_challenged_and_then_cut_off() {
    let mut bench = Bench::new(with_client(Scheme::Md5));
    let mut nonces = Vec::new();
    for msg_id in 1..=2 {
        let answer = bench.send_with(msg_id, &md5(b"stale"), &package_1(1));
        assert_eq!(answer.statuses(), ["0 SyncHdr 401", "1 Alert 401", "2 Replace 401"]);
        nonces.push(answer.chal().unwrap().1.unwrap());
        assert!(!bench.kept.as_ref().unwrap().is_over());
    }
    assert_ne!(nonces[0], nonces[1], "each challenge has its own nonce");
    let answer = bench.send_with(3, &md5(b"stale"), &package_1(1));
    assert_eq!(answer.statuses()[0], "0 SyncHdr 401");
    assert_eq!(answer.chal(), None);
    assert!(answer.is_final());
    assert_eq!(answer.events, [Event::Ended(Ending::Unauthenticated)]);
    // It may go on asking, and gets no further.
    let answer = bench.send_with(4, &md5(&nonces[1]), &package_1(1));
    assert_eq!((answer.statuses()[0].as_str(), answer.chal()), ("0 SyncHdr 401", None));
    assert_eq!(answer.events, []);
}

#[test]
fn a_stale_nonce_costs_one_challenge() {
    let mut account = with_client(Scheme::Md5);
    account.nonces.client = Some(b"the good one".to_vec());
    let mut bench = Bench::new(account);
    let answer = bench.send_with(1, &md5(b"stale"), &package_1(1));
    let nonce = answer.chal().unwrap().1.unwrap();
    // What was handed out to somebody unknown does not replace what the device holds.
    assert_eq!(bench.account.as_ref().unwrap().nonces.client.as_deref(), Some(&b"the good one"[..]));
    let answer = bench.send_with(2, &md5(&nonce), &package_1(2));
    assert_eq!(answer.statuses()[0], "0 SyncHdr 212");
    let next = answer.chal().unwrap().1.unwrap();
    assert_ne!(next, nonce);
    assert_eq!(bench.account.unwrap().nonces.client, Some(next));
}

#[test]
fn a_digest_that_was_accepted_is_accepted_in_no_other_session() {
    let mut account = with_client(Scheme::Md5);
    account.nonces.client = Some(b"first".to_vec());
    let mut bench = Bench::new(account);
    let answer = bench.send_with(1, &md5(b"first"), &package_1(1));
    assert_eq!(answer.statuses()[0], "0 SyncHdr 212");
    // Nobody hears of the next nonce: the device, or somebody who kept its message, comes again with the same digest.
    for session_id in ["2", "3"] {
        let mut again = Bench::new(bench.account.unwrap());
        again.session_id = session_id;
        let answer = again.send_with(1, &md5(b"first"), &package_1(1));
        assert_eq!(answer.statuses()[0], "0 SyncHdr 401", "session {session_id}");
        assert_eq!(answer.events, []);
        // Who knows the password gets in by the challenge.
        let challenge = answer.chal().unwrap().1.unwrap();
        let answer = again.send_with(2, &md5(&challenge), &package_1(2));
        assert_eq!(answer.statuses()[0], "0 SyncHdr 212", "session {session_id}");
        bench = again;
        let mut copy = Bench::new(bench.account.clone().unwrap());
        copy.session_id = "copy";
        let answer = copy.send_with(1, &md5(&challenge), &package_1(2));
        assert_eq!(answer.statuses()[0], "0 SyncHdr 401", "a challenge is good for its session only");
    }
}

#[test]
fn the_empty_nonce_is_for_first_contact_only() {
    for (nonces, want) in [
        (Nonces::default(), 212),
        (Nonces { client: Some(b"given".to_vec()), ..Nonces::default() }, 401),
        (Nonces { client_previous: Some(b"given".to_vec()), ..Nonces::default() }, 401),
    ] {
        let mut account = with_client(Scheme::Md5);
        account.nonces = nonces;
        let answer = Bench::new(account).send_with(1, &md5(b""), &package_1(1));
        assert_eq!(answer.statuses()[0], format!("0 SyncHdr {want}"));
    }
}

#[test]
fn special_nonces_are_taken_only_where_resynchronisation_is_on() {
    for nonce in [&[0_u8; 4][..], b"AAAAAA==", b"0x00000000"] {
        for (on, want) in [(true, 212), (false, 401)] {
            let mut account = with_client(Scheme::Md5);
            account.nonces.client = Some(b"given".to_vec());
            let mut bench = Bench::new(account);
            bench.settings.nonce_resync = on;
            let answer = bench.send_with(1, &md5(nonce), &package_1(1));
            assert_eq!(answer.statuses()[0], format!("0 SyncHdr {want}"), "{nonce:?}");
        }
    }
}

#[test]
fn a_scheme_below_the_policy_is_challenged_for_a_better_one() {
    let mut bench = Bench::new(with_client(Scheme::Md5));
    let answer = bench.send_with(1, &basic("k9-Lantern"), &package_1(1));
    assert_eq!(answer.statuses()[0], "0 SyncHdr 401");
    let (type_, nonce) = answer.chal().unwrap();
    assert_eq!(type_, auth::MD5);
    let answer = bench.send_with(2, &md5(&nonce.unwrap()), &package_1(2));
    assert_eq!(answer.statuses()[0], "0 SyncHdr 212");
}

#[test]
fn a_client_that_speaks_md5_is_challenged_for_md5() {
    let answer = Bench::new(with_client(Scheme::Basic)).send_with(1, &md5(b"stale"), &package_1(1));
    assert_eq!(answer.chal().unwrap().0, auth::MD5);
}

#[test]
fn an_unknown_device_is_refused_without_a_challenge() {
    let mut bench = Bench::new(nobody_asks());
    bench.account = None;
    let answer = bench.send_with(1, &md5(b""), &package_1(1));
    assert_eq!(answer.statuses(), ["0 SyncHdr 401", "1 Alert 401", "2 Replace 401"]);
    assert_eq!(answer.chal(), None);
    assert_eq!(answer.events, [Event::Ended(Ending::Unauthenticated)]);
}

#[test]
fn a_device_that_need_not_prove_itself_is_told_so() {
    for (cred, want) in [(String::new(), 200), (basic("whatever"), 212)] {
        let answer = Bench::new(nobody_asks()).send_with(1, &cred, &package_1(1));
        assert_eq!(answer.statuses()[0], format!("0 SyncHdr {want}"));
        assert_eq!(answer.events[0], Event::Authenticated);
    }
}

#[test]
fn credentials_in_every_message_are_lived_with_and_spend_their_nonce() {
    let mut account = with_client(Scheme::Md5);
    account.nonces.client = Some(b"first".to_vec());
    let mut bench = Bench::new(account).draft(1, get(&["./A"]));
    let answer = bench.send_with(1, &md5(b"first"), &package_1(1));
    let second = answer.chal().unwrap().1.unwrap();
    bench.drafts.push_back((2, get(&["./B"])));
    let body = status(1, 1, "4", "Get", 404) + "<Final/>";
    let answer = bench.send_with(2, &md5(&second), &body);
    assert_eq!(answer.statuses()[0], "0 SyncHdr 212");
    assert_ne!(answer.chal().unwrap().1.unwrap(), second);
    // A digest of a nonce that is gone is no reason to throw out a device that is in.
    let answer = bench.send_with(3, &md5(b"first"), &(status(1, 2, "2", "Get", 404) + "<Final/>"));
    assert_eq!((answer.statuses()[0].as_str(), answer.chal()), ("0 SyncHdr 212", None));
}
