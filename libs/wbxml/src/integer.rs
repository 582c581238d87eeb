//! Multi-byte integers (WBXML 1.3, section 5.1): seven bits an octet, the most significant first.

use crate::Error;

/// Reads the integer that begins at `at`; gives it and the position after it.
///
/// # Errors
///
/// [`Error::UnexpectedEnd`] when the last octet is missing, [`Error::IntegerOverflow`] past 32 bits.
pub fn mb_u_int32(bytes: &[u8], at: usize) -> Result<(u32, usize), Error> {
    let mut value = 0_u32;
    for (index, &octet) in bytes.get(at..).unwrap_or_default().iter().enumerate() {
        // Leading zero groups (0x80) carry nothing, but five octets is the most that the format allows.
        if index == 5 || value >> 25 != 0 {
            return Err(Error::IntegerOverflow { at });
        }
        value = value << 7 | u32::from(octet & 0x7F);
        if octet & 0x80 == 0 {
            return Ok((value, at + index + 1));
        }
    }
    Err(Error::UnexpectedEnd { at: bytes.len(), expected: "an octet of a multi-byte integer" })
}

/// Appends `value` in its shortest form.
pub fn push_mb_u_int32(out: &mut Vec<u8>, value: u32) {
    for shift in [28, 21, 14, 7] {
        if value >> shift != 0 {
            out.push((value >> shift) as u8 & 0x7F | 0x80);
        }
    }
    out.push(value as u8 & 0x7F);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_format_allows_and_nothing_longer() {
        for (bytes, want) in [
            (&[0x00][..], Some(0)),
            (&[0x7C], Some(124)),
            (&[0x81, 0x20], Some(160)),
            (&[0x82, 0x7C], Some(380)),
            (&[0xA4, 0x01], Some(0x1201)),
            (&[0x9F, 0x53], Some(0x0FD3)),
            (&[0x8F, 0xFF, 0xFF, 0xFF, 0x7F], Some(u32::MAX)),
            (&[0x80, 0x80, 0x80, 0x80, 0x01], Some(1)),
            (&[0x90, 0x80, 0x80, 0x80, 0x00], None), // one past u32::MAX
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x01], None), // six octets
            (&[0x81], None),                         // ends mid-value
            (&[], None),
        ] {
            assert_eq!(mb_u_int32(bytes, 0).ok().map(|(value, _)| value), want, "input {bytes:02x?}");
        }
    }

    #[test]
    fn reads_back_what_it_writes() {
        for value in (0..32).flat_map(|bit| [1_u32 << bit, (1 << bit) - 1, u32::MAX >> bit]) {
            let mut out = vec![0xFF];
            push_mb_u_int32(&mut out, value);
            assert_eq!(mb_u_int32(&out, 1), Ok((value, out.len())));
        }
    }
}
