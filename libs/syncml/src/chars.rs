//! The characters that XML 1.0 can carry (section 2.2).

/// Whether XML 1.0 can carry all of `text`.
pub(crate) fn all_legal(text: &str) -> bool {
    text.as_bytes()
        .iter()
        .all(|&octet| octet >= 0x20 && octet != 0xEF || matches!(octet, b'\t' | b'\n' | b'\r'))
        || text.chars().all(is_legal)
}

/// Whether XML 1.0 can carry the character.
pub(crate) const fn is_legal(char: char) -> bool {
    matches!(char, '\t' | '\n' | '\r' | '\u{20}'..='\u{FFFD}' | '\u{10000}'..)
}

/// The white space of XML, which is trimmed off names, numbers and addresses.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_xml_can_carry() {
        for (text, want) in [
            ("", true),
            ("plain\ttext\r\n", true),
            ("\u{7F}\u{85}é\u{EFFF}\u{FFFD}\u{10000}", true),
            ("a\0", false),
            ("\u{1}", false),
            ("\u{1F}", false),
            ("\u{FFFE}", false),
            ("\u{FFFF}", false),
        ] {
            assert_eq!(all_legal(text), want, "{text:?}");
        }
    }
}
