//! The characters that XML 1.0 can carry (section 2.2).

use std::borrow::Cow;

/// Whether XML 1.0 can carry all of `text`.
#[inline]
pub(crate) fn all_legal(text: &str) -> bool {
    is_plain(text.as_bytes()) || text.chars().all(is_legal)
}

/// Whether all octets are printable ASCII. Without an early way out, so that the compiler takes many at once.
#[inline]
fn is_plain(octets: &[u8]) -> bool {
    let is_odd = |octet: &u8| octet.wrapping_sub(b' ') >= 0x60;
    !octets.iter().fold(false, |found, octet| found | is_odd(octet))
}

/// Whether XML 1.0 can carry the character.
pub(crate) const fn is_legal(char: char) -> bool {
    matches!(char, '\t' | '\n' | '\r' | '\u{20}'..='\u{FFFD}' | '\u{10000}'..)
}

/// Without the white space of XML around it.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r'])
}

/// What a name, a number or an address comes to: without white space around it, which was put there for looks,
/// and without the NUL that some clients end it with. Other characters that XML cannot carry become U+FFFD.
pub(crate) fn clean(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => clean_borrowed(text),
        Cow::Owned(text) => match clean_borrowed(&text) {
            Cow::Borrowed(clean) if clean.len() == text.len() => Cow::Owned(text),
            clean => Cow::Owned(clean.into_owned()),
        },
    }
}

/// The same, of what is borrowed.
#[inline]
pub(crate) fn clean_borrowed(text: &str) -> Cow<'_, str> {
    let octets = text.as_bytes();
    let is_trimmed = |octet: Option<&u8>| octet.is_none_or(|&octet| octet > b' ');
    if is_trimmed(octets.first()) && is_trimmed(octets.last()) && is_plain(octets) {
        return Cow::Borrowed(text);
    }
    clean_odd(text)
}

#[cold]
fn clean_odd(text: &str) -> Cow<'_, str> {
    let text = text.trim_matches([' ', '\t', '\n', '\r', '\0']);
    if all_legal(text) { Cow::Borrowed(text) } else { Cow::Owned(replace_illegal(text)) }
}

/// With U+FFFD in place of what XML cannot carry.
pub(crate) fn replace_illegal(text: &str) -> String {
    text.chars().map(|char| if is_legal(char) { char } else { char::REPLACEMENT_CHARACTER }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_texts_and_leaves_clean_ones_alone() {
        for (text, want) in [
            ("", ""),
            (" \t\r\n", ""),
            (" ./A B\n", "./A B"),
            ("x\0\0", "x"),
            ("a\0\u{1b}b", "a\u{FFFD}\u{FFFD}b"),
        ] {
            assert_eq!(clean(Cow::Borrowed(text)), want, "{text:?}");
            assert_eq!(clean(Cow::Owned(text.to_owned())), want, "{text:?}");
        }
        assert!(matches!(clean(Cow::Borrowed(" ./A ")), Cow::Borrowed("./A")));
    }

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
