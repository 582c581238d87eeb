//! Takes out of a text what must not leave the site.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Context as _;
use service_kit::Settings;
use sha2::{Digest as _, Sha256};

use crate::{commands::doctor::secret_files, exit::Failure};

/// What stands where a secret was.
const REDACTED: &str = "[redacted]";
/// What is shorter is a word that stands in many places, and nobody's secret.
const SECRET_CHARS_MIN: usize = 4;
/// What names of devices begin with: the schemes of DevId that objects of the standard name, and those in use.
const DEVICE_SCHEMES: [&str; 8] =
    ["IMEI:", "MEID:", "ESN:", "MAC:", "SN:", "UUID:", "urn:imei:", "urn:uuid:"];
/// Fields of logs and of answers whose values are names of devices, or addresses of them.
const DEVICE_FIELDS: [&str; 6] = ["device", "device_id", "devices", "samples", "dev_id", "notify_address"];

/// Knows the site's secrets, and a salt by which names are hashed.
pub(super) struct Scrub {
    /// The longest first, as one may stand in another.
    secrets: Vec<String>,
    salt: [u8; 16],
}

impl Scrub {
    /// Of every file of secrets that the settings name, and the token that was given.
    pub(super) fn new(settings: Option<&Settings>, token: Option<&str>) -> Result<Self, Failure> {
        let mut salt = [0; 16];
        let mut random = fs::File::open("/dev/urandom").context("could not get random octets")?;
        std::io::Read::read_exact(&mut random, &mut salt).context("could not get random octets")?;
        let mut secrets: Vec<String> = token.map(str::to_owned).into_iter().collect();
        if let Some(settings) = settings {
            for (_, file) in secret_files(settings) {
                secrets.extend(words(&file));
            }
            if let Some(file) = &settings.secrets.key_file {
                // `id:key`: the key alone is the secret.
                let keys = words(file)
                    .into_iter()
                    .filter_map(|line| Some(line.split_once(':')?.1.trim().to_owned()));
                secrets.extend(keys);
            }
        }
        Ok(Self::of(secrets, salt))
    }

    fn of(mut secrets: Vec<String>, salt: [u8; 16]) -> Self {
        secrets.retain(|secret| secret.chars().count() >= SECRET_CHARS_MIN);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets, salt }
    }

    /// Without secrets, and without names of devices.
    pub(super) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            if text.contains(secret) {
                text = text.replace(secret, REDACTED);
            }
            // As it stands within JSON.
            let quoted = serde_json::to_string(secret).unwrap_or_default();
            let quoted = quoted.trim_matches('"');
            if quoted != secret && text.contains(quoted) {
                text = text.replace(quoted, REDACTED);
            }
        }
        // Line by line, as what is looked for never goes over one.
        text.split_inclusive('\n').map(|line| self.without_names(&self.without_fields(&urls(line)))).collect()
    }

    fn name(&self, of: &str) -> String {
        let digest = Sha256::new().chain_update(self.salt).chain_update(of.as_bytes()).finalize();
        let mut name = String::from("device-");
        for octet in digest.iter().take(6) {
            // writing to a String cannot fail
            let _ = write!(name, "{octet:02x}");
        }
        name
    }

    /// Hashes the values of fields that name devices, in JSON (`"device_id":"..."`) and in logs for eyes (`device_id=...`).
    fn without_fields(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((at, end)) = next_value(rest) {
            out.push_str(&rest[..at]);
            let value = &rest[at..end];
            out.push_str(&if value.is_empty() { String::new() } else { self.name(value) });
            rest = &rest[end..];
        }
        out.push_str(rest);
        out
    }

    /// Hashes what looks like the name of a device wherever it stands.
    fn without_names(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = DEVICE_SCHEMES.iter().filter_map(|scheme| find_scheme(rest, scheme)).min() {
            let is_part = |c: char| c.is_ascii_alphanumeric() || ":.-_".contains(c);
            let len = rest[at..].find(|c: char| !is_part(c)).unwrap_or(rest.len() - at);
            out.push_str(&rest[..at]);
            out.push_str(&self.name(&rest[at..at + len]));
            rest = &rest[at + len..];
        }
        out.push_str(rest);
        out
    }
}

/// Lines and whole text of a file of secrets, and what stands behind a scheme such as `Bearer`.
fn words(file: &Path) -> Vec<String> {
    let text = String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned();
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("-----"));
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let after_scheme = lines.iter().filter_map(|line| line.split_once(' ')).map(|(_, rest)| rest.trim());
    // `Authorization: Bearer x` has two words before it.
    let last = lines.iter().filter_map(|line| line.rsplit_once(' ')).map(|(_, rest)| rest);
    lines.iter().copied().chain(after_scheme).chain(last).map(str::to_owned).collect()
}

/// The name of a device begins where no word goes on.
fn find_scheme(text: &str, scheme: &str) -> Option<usize> {
    text.match_indices(scheme).map(|(at, _)| at).find(|&at| {
        let before = text[..at].chars().next_back();
        let after = text[at + scheme.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && after.is_some_and(|c| c.is_ascii_alphanumeric())
    })
}

/// Where the next value of a field that names a device begins and ends.
fn next_value(text: &str) -> Option<(usize, usize)> {
    let found = DEVICE_FIELDS.iter().flat_map(|field| {
        let json = text.match_indices(field).filter_map(move |(at, _)| {
            let (before, after) = (&text[..at], &text[at + field.len()..]);
            let behind = at + field.len();
            if before.ends_with('"') && after.starts_with('"') {
                let value = after[1..].trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
                let begin = text.len() - value.len();
                let len = value.find('"')?;
                return (begin > behind).then_some((begin, begin + len));
            }
            let is_word = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let value = after.strip_prefix('=').filter(|_| is_word)?;
            let value = value.strip_prefix('"').unwrap_or(value);
            let begin = text.len() - value.len();
            let len = value.find(|c: char| c.is_whitespace() || "\"},".contains(c)).unwrap_or(value.len());
            Some((begin, begin + len))
        });
        json.take(1)
    });
    found.min()
}

/// Takes users and passwords out of addresses, and the values of their queries.
fn urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "\"'<>\\".contains(c)).unwrap_or(after.len());
        let (url, behind) = after.split_at(end);
        let (place, query) = url.split_once('?').map_or((url, None), |(place, query)| (place, Some(query)));
        let host = place.find('/').unwrap_or(place.len());
        let user = place[..host].rfind('@');
        if user.is_some() {
            out.push_str(REDACTED);
        }
        out.push_str(&place[user.unwrap_or(0)..]);
        for (index, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
            out.push(if index == 0 { '?' } else { '&' });
            out.push_str(pair.split('=').next().unwrap_or_default());
            // What is filled in is no secret.
            if let Some((_, value)) = pair.split_once('=') {
                out.push('=');
                out.push_str(if value.starts_with('{') && value.ends_with('}') { value } else { REDACTED });
            }
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrub() -> Scrub {
        Scrub::of(vec!["hunter2-hunter2".into(), "a\"quoted\"one".into(), "x".into()], [7; 16])
    }

    #[test]
    fn secrets_go_wherever_they_stand() {
        let text = scrub().text("password hunter2-hunter2, {\"p\":\"a\\\"quoted\\\"one\"} x");
        assert_eq!(text, "password [redacted], {\"p\":\"[redacted]\"} x");
        let url = scrub().text("url = \"https://me:pass@h.example:1/p?to={address}&apikey=abc\" end");
        assert_eq!(url, "url = \"https://[redacted]@h.example:1/p?to={address}&apikey=[redacted]\" end");
    }

    #[test]
    fn a_device_has_the_same_hash_in_every_form() {
        let scrub = scrub();
        let name = scrub.name("IMEI:490154203237518");
        for (text, want) in [
            ("IMEI:490154203237518 came", format!("{name} came")),
            (
                "{\"device_id\":\"IMEI:490154203237518\",\"n\":1}",
                format!("{{\"device_id\":\"{name}\",\"n\":1}}"),
            ),
            (
                "WARN refused device_id=IMEI:490154203237518 code=1",
                format!("WARN refused device_id={name} code=1"),
            ),
            ("at https://h/devices/IMEI:490154203237518/tree", format!("at https://h/devices/{name}/tree")),
        ] {
            assert_eq!(scrub.text(text), want);
        }
        let other = scrub.text("{\"device\": \"meter 7\"}");
        assert!(other.starts_with("{\"device\": \"device-") && !other.contains("meter"), "{other}");
        assert_ne!(scrub.name("IMEI:1"), Scrub::of(Vec::new(), [8; 16]).name("IMEI:1"), "another salt");
    }

    #[test]
    fn what_names_nothing_stays() {
        for text in
            ["devices: 12", "\"devices\": 12", "a device came", "12:30:00Z", "{\"device\":\"\"}", "CLAIMEI:1"]
        {
            assert_eq!(scrub().text(text), text);
        }
    }
}
