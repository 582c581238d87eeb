//! Any octets are a notification or an error, bare and in a push; what was read is built again as it came.
#![no_main]

use dm_notification::{Received, ServerKey, push};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let bare = push::parse(octets).map_or(octets, |push| push.notification);
    let Ok(received) = Received::parse(bare) else { return };
    let key = ServerKey::derive(received.notification.server_id, "password");
    let built = received.notification.encode(&key, b"nonce");
    let again = Received::parse(&built).expect("what was built is read");
    assert_eq!(again.notification, received.notification);
    assert!(again.verify(&key, b"nonce"));
});
