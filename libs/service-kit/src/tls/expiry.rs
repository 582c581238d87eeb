//! When a certificate ends, out of its octets: the one thing of it that metrics need.
//!
//! A certificate is nested tag, length, value (DER, X.690), and the end stands at a fixed place of it (RFC 5280, 4.1):
//! `SEQUENCE { tbs SEQUENCE { [0] version?, serial, algorithm, issuer, validity SEQUENCE { begin, end } ...`.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of its validity; `None` for what is no certificate.
pub(super) fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (tag, mut outer, _) = element(certificate)?;
    let (_, mut tbs, _) = element(outer).filter(|_| tag == SEQUENCE)?;
    outer = tbs;
    if let Some((VERSION, _, rest)) = element(outer) {
        tbs = rest;
    }
    for _serial_algorithm_issuer in 0..3 {
        tbs = element(tbs)?.2;
    }
    let (_, validity, _) = element(tbs).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (tag, end, _) = element(element(validity)?.2)?;
    time(tag, std::str::from_utf8(end).ok()?)
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
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

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
