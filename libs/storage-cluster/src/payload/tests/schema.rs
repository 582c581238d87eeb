//! The description, the structs that encode, and the list of what was ever published say the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// `message.number` to label, type and name, and `enum=number` to the value's name, of a description in proto3.
fn described(text: &str) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let (mut scope, mut depth) = (String::new(), 0);
    for line in text.lines().map(|line| line.split("//").next().unwrap_or_default().trim()) {
        let words: Vec<&str> = line.trim_end_matches(';').split_whitespace().collect();
        match words.as_slice() {
            ["message" | "enum", name, "{" | "{}"] => {
                (name, &mut scope).1.clone_from(&(*name).to_owned());
                depth = usize::from(line.ends_with('{'));
            }
            ["oneof", _, "{"] => depth += 1,
            ["}"] => depth -= 1,
            [rest @ .., name, "=", number] if depth > 0 => {
                let (mark, what) = if rest.is_empty() {
                    ('=', (*name).to_owned())
                } else {
                    ('.', format!("{} {name}", rest.join(" ")))
                };
                let number: u32 = number.parse().unwrap();
                assert_eq!(
                    fields.insert(format!("{scope}{mark}{number}"), what),
                    None,
                    "{scope} {number} twice"
                );
            }
            _ => {}
        }
    }
    fields
}

#[test]
fn what_was_published_keeps_its_numbers_names_and_types() {
    let described = described(&fs::read_to_string(here("proto/topics.proto")).unwrap());
    let lock = here("proto/topics.lock");
    let locked = fs::read_to_string(&lock).unwrap_or_default();
    let locked: BTreeMap<String, String> = locked
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (at, what) = line.split_once(' ').unwrap();
            (at.to_owned(), what.to_owned())
        })
        .collect();
    for (at, what) in &locked {
        assert_eq!(described.get(at), Some(what), "{at} was published as {what:?} and may not change");
    }
    let new: Vec<_> = described.iter().filter(|(at, _)| !locked.contains_key(*at)).collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !new.is_empty() {
        let mut text = String::from(
            "# What was ever published in topics. Lines are only added: UPDATE_GOLDEN=1 cargo test.\n",
        );
        for (at, what) in &described {
            text.push_str(&format!("{at} {what}\n"));
        }
        fs::write(&lock, text).unwrap();
        return;
    }
    assert!(new.is_empty(), "not in proto/topics.lock yet: {new:?}");
}

/// The same of the structs, read from their source: prost keeps no description at run time.
fn encoded(text: &str) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    let (mut scope, mut attribute) = (String::new(), String::new());
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("pub(super) struct ").or(line.strip_prefix("pub(super) enum "))
        {
            rest.split([' ', '{']).next().unwrap().clone_into(&mut scope);
        } else if line.starts_with("#[prost(") {
            line.clone_into(&mut attribute);
        } else if let Some((value, number)) = line.trim_end_matches(',').split_once(" = ")
            && let Ok(number) = number.parse::<u32>()
        {
            fields.insert(format!("{scope}={number} {}", snake(value)));
        } else if let Some(tag) = attribute.split("tag = \"").nth(1)
            && line.ends_with(',')
        {
            let tag = tag.split('"').next().unwrap();
            let name = line.trim_start_matches("pub(super) ").split([':', '(']).next().unwrap();
            fields.insert(format!(
                "{scope}.{tag} {}{} {}",
                label(&attribute),
                kind(&attribute, line),
                snake(name)
            ));
            attribute.clear();
        }
    }
    fields
}

fn label(attribute: &str) -> &'static str {
    if attribute.contains("repeated") { "repeated " } else { "" }
}

fn kind<'a>(attribute: &'a str, line: &'a str) -> &'a str {
    let inner = &attribute["#[prost(".len()..];
    if let Some(name) = inner.strip_prefix("enumeration = \"") {
        return name.split('"').next().unwrap();
    }
    match inner.split(',').next().unwrap() {
        "message" => line.rsplit(['<', '(']).next().unwrap().trim_end_matches([')', '>', ',']),
        scalar => scalar,
    }
}

fn snake(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

#[test]
fn the_structs_encode_what_the_description_says() {
    let described = described(&fs::read_to_string(here("proto/topics.proto")).unwrap());
    // A choice is a type of its own in Rust, named by its message and its field; values lose their type's name.
    let owners =
        [("JobEventKind", "JobEvent"), ("TriggerReason", "TriggerMessage"), ("PausedCause", "Paused")];
    let encoded: BTreeSet<String> = encoded(include_str!("../wire.rs"))
        .into_iter()
        .map(|line| {
            let owner = owners.iter().find(|(rust, _)| line.starts_with(&format!("{rust}.")));
            owner.map_or(line.clone(), |(rust, proto)| line.replacen(rust, proto, 1))
        })
        .collect();
    let described: BTreeSet<String> = described
        .iter()
        .map(|(at, what)| match at.split_once('=') {
            Some((name, _)) => {
                let prefix = format!("{}_", snake(name));
                format!("{at} {}", what.to_lowercase().trim_start_matches(&prefix))
            }
            None => format!("{at} {}", what.trim_start_matches("optional ")),
        })
        .collect();
    assert_eq!(encoded, described);
}
