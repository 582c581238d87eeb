//! Digests and credentials of DM Security 1.2, section 5.3, and their base64 forms.

use base64::{
    Engine as _, alphabet,
    engine::{
        DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig,
        general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    },
};
use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq as _;

/// `Type` of a basic credential or challenge.
pub const BASIC: &str = "syncml:auth-basic";
/// `Type` of an MD5 credential or challenge.
pub const MD5: &str = "syncml:auth-md5";

// Peers leave the padding out, and some set the unused bits of the last character.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// `MD5(user ":" password)`: enough to make and check MD5 credentials, and to check basic ones.
pub fn user_digest(user: &str, password: &str) -> [u8; 16] {
    md5(&[user.as_bytes(), b":", password.as_bytes()])
}

/// `MD5(B64(user digest) ":" nonce)`. The nonce is its raw octets, not their base64.
///
/// ```
/// use dm_protocol::auth;
///
/// let digest = auth::user_digest("Bruce2", "OhBehave");
/// let credential = auth::md5_credential(&digest, b"Nonce");
/// assert_eq!(auth::format_base64(&credential), "Zz6EivR3yeaaENcRN6lpAQ==");
/// ```
pub fn md5_credential(user_digest: &[u8; 16], nonce: &[u8]) -> [u8; 16] {
    let mut text = [0; 24];
    let written = STANDARD.encode_slice(user_digest, &mut text);
    debug_assert_eq!(written, Ok(24));
    md5(&[&text, b":", nonce])
}

/// The text of an MD5 `Cred/Data`.
pub fn md5_credential_base64(user_digest: &[u8; 16], nonce: &[u8]) -> String {
    format_base64(&md5_credential(user_digest, nonce))
}

/// The text of a basic `Cred/Data`: `B64(user ":" password)`.
pub fn basic_credential(user: &str, password: &str) -> String {
    STANDARD.encode([user.as_bytes(), b":", password.as_bytes()].concat())
}

/// User name and password of a basic `Cred/Data`. The first colon ends the user name. `None` if it is not one.
pub fn parse_basic_credential(data: &str) -> Option<(String, String)> {
    let text = String::from_utf8(parse_base64(data)?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Whether two secrets are equal, in a time that does not tell where they differ.
pub fn equal(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// Whether a basic `Cred/Data` is that of the user with this digest.
pub fn verify_basic(data: &str, user_digest: &[u8; 16]) -> bool {
    parse_base64(data).is_some_and(|given| equal(&md5(&[&given]), user_digest))
}

/// Whether an MD5 `Cred/Data` was made with this nonce.
///
/// Some clients hash the base64 text of the nonce instead of what it stands for, so that is tried too.
pub fn verify_md5(data: &str, user_digest: &[u8; 16], nonce: &[u8]) -> bool {
    let Some(given) = parse_digest(data) else { return false };
    let mut buffer = [0; 88];
    let undecoded = match STANDARD.encode_slice(nonce, &mut buffer) {
        Ok(length) => md5_credential(user_digest, &buffer[..length]),
        // Only a nonce of more than 64 octets is so long.
        Err(_) => md5_credential(user_digest, format_base64(nonce).as_bytes()),
    };
    equal(&given, &md5_credential(user_digest, nonce)) | equal(&given, &undecoded)
}

/// The sixteen octets of an MD5 credential.
fn parse_digest(data: &str) -> Option<[u8; 16]> {
    let mut octets = [0; 18];
    if data.len() <= 24
        && let Ok(length) = LENIENT.decode_slice(data, &mut octets)
    {
        return octets.get(..length)?.try_into().ok();
    }
    parse_base64(data)?.try_into().ok()
}

/// Makes a nonce from twelve random octets: sixteen characters of URL-safe base64.
///
/// A nonce may be any octets, but clients have been seen that stop at a NUL or a colon, so ours is plain text.
pub fn make_nonce(entropy: &[u8; 12]) -> [u8; 16] {
    let mut nonce = [0; 16];
    let written = URL_SAFE_NO_PAD.encode_slice(entropy, &mut nonce);
    debug_assert_eq!(written, Ok(16));
    nonce
}

/// Octets as base64, padded, without line breaks.
pub fn format_base64(octets: &[u8]) -> String {
    STANDARD.encode(octets)
}

/// Base64 as peers write it: with white space in it, or without its padding. `None` where it is none.
pub fn parse_base64(text: &str) -> Option<Vec<u8>> {
    if text.bytes().any(|b| b.is_ascii_whitespace()) {
        let packed: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        return LENIENT.decode(packed).ok();
    }
    LENIENT.decode(text).ok()
}

fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_credentials_match_published_and_captured_vectors() {
        for (user, password, nonce, want) in [
            // OMA DM Protocol 1.2.1, section 9.4.2
            ("Bruce2", "OhBehave", &b"Nonce"[..], "Zz6EivR3yeaaENcRN6lpAQ=="),
            // tests of go-microsoft-dm (MIT): a nonce of any octets
            (
                "user@example.test",
                "s3cret",
                &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
                "5cvSZnmJL4pMBKyOWYaRaA==",
            ),
            // computed by two independent clients
            ("device", "secret", b"Nonce", "agjWtCEAeTNhZsV0NZQpRw=="),
            // a colon in the password, and no nonce at all
            ("IMEI:490154203237518", "p4ss:word", b"", "lBkYP86n52JUGuzEiN0dtg=="),
        ] {
            assert_eq!(md5_credential_base64(&user_digest(user, password), nonce), want, "user {user}");
        }
    }

    #[test]
    fn an_md5_credential_is_taken_with_the_nonce_or_its_base64_and_no_other() {
        let digest = user_digest("device", "secret");
        let good = md5_credential_base64(&digest, b"Nonce");
        for (data, want) in [
            (good.as_str(), true),
            (good.trim_end_matches('='), true),
            (&md5_credential_base64(&digest, format_base64(b"Nonce").as_bytes()), true),
            (&md5_credential_base64(&digest, b"nonce"), false),
            ("", false),
            ("not base64!", false),
        ] {
            assert_eq!(verify_md5(data, &digest, b"Nonce"), want, "data {data}");
        }
    }

    #[test]
    fn a_basic_credential_is_checked_by_its_digest() {
        let digest = user_digest("Bruce2", "OhBehave");
        for (data, want) in [
            ("QnJ1Y2UyOk9oQmVoYXZl", true),
            ("QnJ1Y2Uy\r\nOk9oQmVoYXZl", true),
            ("QnJ1Y2UyOk9oQmVoYXZm", false),
            ("", false),
        ] {
            assert_eq!(verify_basic(data, &digest), want, "data {data:?}");
        }
    }

    #[test]
    fn a_nonce_is_text_without_nul_or_colon() {
        let nonce = make_nonce(&[0xff; 12]);
        assert_eq!(nonce.len(), 16);
        assert!(nonce.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)));
    }

    #[test]
    fn basic_credential_matches_the_specification() {
        assert_eq!(basic_credential("Bruce2", "OhBehave"), "QnJ1Y2UyOk9oQmVoYXZl");
    }

    #[test]
    fn basic_credential_splits_at_the_first_colon() {
        for (data, want) in [
            ("QnJ1Y2UyOk9oQmVoYXZl", Some(("Bruce2", "OhBehave"))),
            ("QnJ1Y2Uy\r\n Ok9oQmVoYXZl", Some(("Bruce2", "OhBehave"))),
            (&basic_credential("u", "p:q"), Some(("u", "p:q"))),
            ("QnJ1Y2Uy", None), // no colon
            ("/////w==", None), // no UTF-8
            ("?", None),
        ] {
            let got = parse_basic_credential(data);
            assert_eq!(got.as_ref().map(|(u, p)| (u.as_str(), p.as_str())), want, "data {data}");
        }
    }

    #[test]
    fn base64_is_read_as_peers_write_it() {
        for (text, want) in [
            ("AAEC", Some(&[0, 1, 2][..])),
            ("AA==", Some(&[0])),
            ("AA", Some(&[0])),
            ("A A\r\n==", Some(&[0])),
            ("", Some(&[])),
            ("A", None),
            ("A-B_", None),
        ] {
            assert_eq!(parse_base64(text).as_deref(), want, "text {text:?}");
        }
    }

    #[test]
    fn equality_of_secrets_needs_equal_length() {
        assert!(equal(b"abc", b"abc"));
        assert!(!equal(b"abc", b"abd"));
        assert!(!equal(b"abc", b"ab"));
    }
}
