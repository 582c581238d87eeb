//! Who guesses at passwords, at two front-ends that share their limits.

use dm_protocol::Scheme;
use syncml::{Command, Encoding, Message};

use super::{
    Front,
    client::{Client, header_status},
};

/// Bounds small enough to be reached here. Clients say by a header where they come from.
pub const SETTINGS: [(&str, &str); 6] = [
    ("session.trusted_proxies", "['127.0.0.1']"),
    ("limits.login_failures", "3"),
    ("limits.login_failures_per_device", "8"),
    ("limits.login_failures_per_address", "12"),
    ("limits.login_lock", "3s"),
    ("limits.login_lock_max", "1m"),
];

/// A device, or somebody who says so, at an address.
pub fn at(address: &str, id: &str, scheme: Scheme, password: &str) -> Client {
    let mut client = Client::new(id, Some(scheme), Encoding::Wbxml);
    client.forwarded_for = Some(address.to_owned());
    password.clone_into(&mut client.password);
    client
}

/// What became of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// 212.
    In,
    /// 401, and a challenge to try again.
    Challenged,
    /// 401 and nothing else.
    Refused,
}

pub fn outcome(answer: &Message<'_>) -> Login {
    match header_status(answer) {
        212 => Login::In,
        401 => {
            let challenged = answer.body.commands.iter().any(|command| match command {
                Command::Status(status) => status.cmd_ref == "0" && status.chal.is_some(),
                _ => false,
            });
            if challenged { Login::Challenged } else { Login::Refused }
        }
        code => panic!("expected 212 or 401, got {code}"),
    }
}

/// A session: its first message, and with a nonce of the server's the second.
pub async fn log_in(client: &mut Client, front: &Front, session: u32) -> Login {
    client.begin(&session.to_string());
    let first = client.package_1(&[]);
    let first = client.post(front, first).await;
    let second = client.answer(&first.message, &[]);
    if outcome(&first.message) != Login::Challenged || client.auth != Some(Scheme::Md5) {
        return outcome(&first.message);
    }
    let second = client.post(front, second.expect("a challenge is answered")).await;
    // The nonce of the next session is in it.
    client.answer(&second.message, &[]);
    outcome(&second.message)
}

/// A guesser is refused by both front-ends, also with the right password; the device itself comes in from where it is.
pub async fn is_locked_out_and_the_device_is_not(fronts: [&Front; 2]) {
    const ID: &str = "IMEI:guessed-at";
    fronts[0].add_device(ID, Some(Scheme::Basic)).await;
    let mut turn = 0;
    let mut log_in_from = async |address: &str, password: &str| {
        turn += 1;
        let mut client = at(address, ID, Scheme::Basic, password);
        log_in(&mut client, fronts[turn % 2], u32::try_from(turn).unwrap()).await
    };
    for guess in ["one", "two", "three"] {
        assert_eq!(log_in_from("192.0.2.66", guess).await, Login::Challenged, "{guess}");
    }
    for _ in 0..2 {
        assert_eq!(log_in_from("192.0.2.66", "password").await, Login::Refused, "no more guesses are judged");
        assert_eq!(log_in_from("192.0.2.1", "password").await, Login::In, "the device is elsewhere");
    }
    // More guesses, from many addresses, lock the device where it never was.
    for address in 0..5 {
        log_in_from(&format!("198.51.100.{address}"), "four").await;
    }
    for _ in 0..2 {
        assert_eq!(log_in_from("203.0.113.7", "password").await, Login::Refused, "nobody knows this address");
        assert_eq!(log_in_from("192.0.2.1", "password").await, Login::In, "it came in from here before");
    }
    let locked: f64 = fronts
        .iter()
        .map(|front| front.metric("dm_auth_failures_total{reason=\"locked\",scheme=\"basic\"}"))
        .sum();
    assert_eq!(locked, 4.0);
    tokio::time::sleep(std::time::Duration::from_millis(3200)).await;
    for _ in 0..2 {
        assert_eq!(log_in_from("192.0.2.66", "password").await, Login::In, "a lock ends");
    }
}

/// The nonce of the last session is something that no guesser has.
pub async fn cannot_lock_out_a_device_that_has_its_nonce(fronts: [&Front; 2]) {
    const ID: &str = "IMEI:has-its-nonce";
    fronts[0].add_device(ID, Some(Scheme::Md5)).await;
    let mut device = at("192.0.2.1", ID, Scheme::Md5, "password");
    assert_eq!(log_in(&mut device, fronts[0], 1).await, Login::In);
    for guess in 0..10_u32 {
        let mut guesser = at(&format!("198.51.100.{}", guess / 2), ID, Scheme::Md5, "guess");
        log_in(&mut guesser, fronts[guess as usize % 2], 10 + guess).await;
    }
    let mut thief = at("203.0.113.7", ID, Scheme::Md5, "password");
    assert_eq!(
        log_in(&mut thief, fronts[0], 50).await,
        Login::Refused,
        "the password alone is not enough now"
    );
    for (turn, address) in ["192.0.2.1", "192.0.2.200", "203.0.113.8"].into_iter().enumerate() {
        device.forwarded_for = Some(address.to_owned());
        let session = 60 + u32::try_from(turn).unwrap();
        assert_eq!(
            log_in(&mut device, fronts[turn % 2], session).await,
            Login::In,
            "wherever it is: {address}"
        );
    }
}
