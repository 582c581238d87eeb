#![doc = include_str!("../README.md")]

pub mod agenda;
pub mod dev_detail;
pub mod dev_info;
pub mod dm_acc;
pub mod fumo;
pub mod outcome;

use dm_tree::{Change, Leaf};

/// The leaves among changes, by normalised address.
fn leaves<'a>(changes: impl IntoIterator<Item = &'a Change>) -> impl Iterator<Item = (&'a str, &'a Leaf)> {
    changes.into_iter().filter_map(|change| match change {
        Change::Leaf { uri, leaf } => Some((uri.as_str(), leaf)),
        _ => None,
    })
}

/// A leaf's value as text; `None` where it is not UTF-8.
fn text(leaf: &Leaf) -> Option<String> {
    std::str::from_utf8(&leaf.value).ok().map(str::to_owned)
}

/// Reads a boolean as clients write it: `true`, `True`, `1`.
fn parse_bool(text: &str) -> Option<bool> {
    match text.trim() {
        "1" => Some(true),
        "0" => Some(false),
        word if word.eq_ignore_ascii_case("true") => Some(true),
        word if word.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}
