//! When a certificate ends and whom it names, out of its octets: all that we need of it beside what rustls checks.
//!
//! A certificate is nested tag, length, value (DER, X.690), and each part stands at a fixed place of it (RFC 5280, 4.1):
//! `SEQUENCE { tbs SEQUENCE { [0] version?, serial, algorithm, issuer, validity SEQUENCE { begin, end }, subject, key,
//! [1] id?, [2] id?, [3] extensions? ...`.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// `uniformResourceIdentifier` of a `GeneralName`.
const URI: u8 = 0x86;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of a certificate's validity, out of its DER; `None` for what is no certificate.
pub fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (tag, validity, _) = element(validity_on(certificate)?)?;
    let (_, _, end) = element(validity).filter(|_| tag == SEQUENCE)?;
    let (tag, end, _) = element(end)?;
    time(tag, std::str::from_utf8(end).ok()?)
}

/// The ids that it may be used with: its URIs (subjectAltName, RFC 5280, 4.2.1.6), or, where it has none, its common
/// name, if it has just one. An authority that writes URIs has checked these; what the subject says beside them it may
/// have copied from a request.
pub(super) fn names(certificate: &[u8]) -> Vec<String> {
    let uris = uris(certificate).unwrap_or_default();
    if !uris.is_empty() {
        return uris;
    }
    match &common_names(certificate).unwrap_or_default()[..] {
        [Some(name)] => vec![name.clone()],
        _ => Vec::new(),
    }
}

/// The rest of the certificate's inner part from its validity on.
fn validity_on(certificate: &[u8]) -> Option<&[u8]> {
    let (tag, outer, _) = element(certificate)?;
    let (_, mut tbs, _) = element(outer).filter(|_| tag == SEQUENCE)?;
    if let Some((VERSION, _, rest)) = element(tbs) {
        tbs = rest;
    }
    for _serial_algorithm_issuer in 0..3 {
        tbs = element(tbs)?.2;
    }
    Some(tbs)
}

/// Each common name of the subject; `None` for one in an encoding that is not read here.
fn common_names(certificate: &[u8]) -> Option<Vec<Option<String>>> {
    let (_, mut subject, _) = element(element(validity_on(certificate)?)?.2)?;
    let mut names = Vec::new();
    while let Some((SET, mut attributes, rest)) = element(subject) {
        subject = rest;
        while let Some((SEQUENCE, attribute, rest)) = element(attributes) {
            attributes = rest;
            let (tag, oid, value) = element(attribute)?;
            if (tag, oid) == (OBJECT_ID, COMMON_NAME) {
                let (tag, value, _) = element(value)?;
                let is_text = matches!(tag, UTF8_STRING | PRINTABLE_STRING | IA5_STRING);
                names.push(std::str::from_utf8(value).ok().filter(|_| is_text).map(str::to_owned));
            }
        }
    }
    Some(names)
}

/// The URIs of the subjectAltName.
fn uris(certificate: &[u8]) -> Option<Vec<String>> {
    let mut rest = validity_on(certificate)?;
    for _validity_subject_key in 0..3 {
        rest = element(rest)?.2;
    }
    let extensions = loop {
        match element(rest)? {
            (EXTENSIONS, extensions, _) => break extensions,
            (.., after) => rest = after,
        }
    };
    let (_, mut extensions, _) = element(extensions)?;
    let mut uris = Vec::new();
    while let Some((SEQUENCE, extension, rest)) = element(extensions) {
        extensions = rest;
        let (tag, oid, mut value) = element(extension)?;
        if (tag, oid) != (OBJECT_ID, SUBJECT_ALT_NAME) {
            continue;
        }
        if let Some((BOOLEAN, _is_critical, after)) = element(value) {
            value = after;
        }
        let (_, names, _) = element(value).filter(|(tag, ..)| *tag == OCTET_STRING)?;
        let (_, mut names, _) = element(names).filter(|(tag, ..)| *tag == SEQUENCE)?;
        while let Some((tag, name, rest)) = element(names) {
            names = rest;
            if tag == URI {
                uris.push(std::str::from_utf8(name).ok()?.to_owned());
            }
        }
    }
    Some(uris)
}

/// The first element: its tag, its content, and what comes after it.
fn element(octets: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = octets.split_first_chunk::<2>()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // The number of octets of the length, of which three are more than any certificate has.
        0x81..=0x83 => {
            let (len, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (len.iter().fold(0, |len, &octet| len << 8 | usize::from(octet)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

/// `YYMMDDHHMMSSZ`, in which 50 to 99 are of the last century, or `YYYYMMDDHHMMSSZ` (RFC 5280, 4.1.2.5).
fn time(tag: u8, text: &str) -> Option<Timestamp> {
    let whole = match tag {
        UTC_TIME => format!("{}{text}", if text.get(..2)? < "50" { "20" } else { "19" }),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let at = DateTime::strptime("%Y%m%d%H%M%SZ", &whole).ok()?;
    Some(at.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType, date_time_ymd};

    use super::*;

    #[test]
    fn the_end_is_read_in_both_forms_of_time() {
        for (year, want) in
            [(2031, "2031-04-05T00:00:00Z"), (2049, "2049-04-05T00:00:00Z"), (2050, "2050-04-05T00:00:00Z")]
        {
            let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
            params.not_after = date_time_ymd(year, 4, 5);
            let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert_eq!(not_after(made.der()).unwrap().to_string(), want);
        }
    }

    #[test]
    fn names_are_the_uris_or_else_the_only_common_name() {
        for (common, sans, want) in [
            (&["IMEI:1"][..], &[][..], &["IMEI:1"][..]),
            (&["IMEI:1"], &["dns:a.example.org"], &["IMEI:1"]),
            (&["IMEI:1"], &["IMEI:2"], &["IMEI:2"]),
            (&["IMEI:1"], &["dns:a.example.org", "IMEI:2", "urn:x:3"], &["IMEI:2", "urn:x:3"]),
            (&[], &["IMEI:2"], &["IMEI:2"]),
            (&[], &[], &[]),
        ] {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::OrganizationName, "IMEI:9");
            for name in common {
                params.distinguished_name.push(DnType::CommonName, *name);
            }
            params.subject_alt_names = sans
                .iter()
                .map(|name| match name.strip_prefix("dns:") {
                    Some(name) => SanType::DnsName(name.try_into().unwrap()),
                    None => SanType::URI((*name).try_into().unwrap()),
                })
                .collect();
            let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert_eq!(names(made.der()), want, "{common:?} {sans:?}");
            assert!(not_after(made.der()).is_some());
            for end in 0..made.der().len() {
                let _ = names(&made.der()[..end]);
                let mut broken = made.der().to_vec();
                broken[end] ^= 0x5a;
                let _ = names(&broken);
            }
        }
    }

    #[test]
    fn of_two_common_names_neither_counts() {
        // `SEQUENCE { SET { SEQUENCE { 2.5.4.3, "a" } }, SET { SEQUENCE { 2.5.4.3, "b" } } }` as the subject of the
        // least that looks like a certificate.
        let name = |c: u8| [0x31, 10, 0x30, 8, 0x06, 3, 0x55, 0x04, 0x03, 0x0c, 1, c];
        let with = |subject: &[u8]| {
            let mut tbs =
                vec![0x02, 1, 1, 0x30, 0, 0x30, 0, 0x30, 0, 0x30, u8::try_from(subject.len()).unwrap()];
            tbs.extend_from_slice(subject);
            let mut outer = vec![0x30, u8::try_from(tbs.len()).unwrap()];
            outer.extend(tbs);
            let mut whole = vec![0x30, u8::try_from(outer.len()).unwrap()];
            whole.extend(outer);
            names(&whole)
        };
        assert_eq!(with(&name(b'a')), ["a"]);
        assert_eq!(with(&[name(b'a'), name(b'b')].concat()), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_certificate_has_no_end_and_does_no_harm() {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(2031, 4, 5);
        let whole = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
        for end in 0..whole.len() {
            assert_eq!(not_after(&whole[..end]), None, "cut at {end}");
        }
        for at in 0..whole.len().min(200) {
            let mut broken = whole.clone();
            broken[at] ^= 0xff;
            let _ = not_after(&broken);
        }
        assert_eq!(time(UTC_TIME, "990101000000Z").unwrap().to_string(), "1999-01-01T00:00:00Z");
        assert_eq!(time(UTC_TIME, "9"), None);
        assert_eq!(time(GENERALIZED_TIME, "20310405"), None);
    }
}
