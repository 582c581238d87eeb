//! Reading typed sections out of layered sources, so that every mistake is found in one go.
//!
//! serde stops at the first error, and a user with three mistakes should not need three starts. So the sources are
//! flattened to dotted keys first, each field is read on its own, and what nobody asked for is unknown.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;

use super::SettingsError;

/// All values by dotted key, the strongest source already chosen.
pub(super) struct Source {
    values: BTreeMap<String, Raw>,
    /// Tables of the file, to find misspelt empty ones.
    tables: BTreeSet<String>,
    known: BTreeSet<&'static str>,
    pub(super) errors: Vec<SettingsError>,
}

/// One value and where it stands.
struct Raw {
    value: Value,
    origin: Origin,
}

enum Value {
    Toml(toml::Value),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    File,
    Environment(String),
    Flag,
}

impl Source {
    pub(super) fn new() -> Self {
        Self { values: BTreeMap::new(), tables: BTreeSet::new(), known: BTreeSet::new(), errors: Vec::new() }
    }

    pub(super) fn add_table(&mut self, prefix: &str, table: toml::Table) {
        for (name, value) in table {
            let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            match value {
                toml::Value::Table(inner) => {
                    self.add_table(&key, inner);
                    self.tables.insert(key);
                }
                value => {
                    self.values.insert(key, Raw { value: Value::Toml(value), origin: Origin::File });
                }
            }
        }
    }

    pub(super) fn add_text(&mut self, key: String, text: String, origin: Origin) {
        self.values.insert(key, Raw { value: Value::Text(text), origin });
    }

    /// The value of `key` where one stands and can be read.
    pub(super) fn take<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        self.known.insert(key);
        let Raw { value, origin } = self.values.remove(key)?;
        let read = match value {
            Value::Toml(value) => T::deserialize(value).map_err(|error| error.to_string()),
            Value::Text(text) => read_text(text),
        };
        read.map_err(|problem| self.errors.push(SettingsError { key: key.to_owned(), origin, problem })).ok()
    }

    /// Turns what nobody asked for into errors and answers all of them, in the order of keys.
    pub(super) fn finish(mut self) -> Vec<SettingsError> {
        for (key, raw) in std::mem::take(&mut self.values) {
            self.errors.push(SettingsError { problem: self.unknown(&key), key, origin: raw.origin });
        }
        for table in &self.tables {
            let prefix = format!("{table}.");
            let is_known = self.known.iter().any(|key| key.starts_with(&prefix));
            if !is_known && !self.errors.iter().any(|error| error.key.starts_with(&prefix)) {
                let problem = "unknown section".to_owned();
                self.errors.push(SettingsError { key: table.clone(), origin: Origin::File, problem });
            }
        }
        self.errors.sort_by(|a, b| a.key.cmp(&b.key));
        self.errors
    }

    fn unknown(&self, key: &str) -> String {
        let section = key.rsplit_once('.').map_or("", |(section, _)| section);
        let siblings: Vec<&str> = self
            .known
            .iter()
            .filter_map(|known| known.rsplit_once('.'))
            .filter(|(of, _)| *of == section)
            .map(|(_, name)| name)
            .collect();
        if siblings.is_empty() {
            "unknown section".to_owned()
        } else {
            format!("unknown key, expected one of {}", siblings.join(", "))
        }
    }
}

/// Text of the environment or the command line has no type: it is text where that fits, else a TOML value.
fn read_text<T: DeserializeOwned>(text: String) -> Result<T, String> {
    let as_toml = toml::from_str::<toml::Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .filter(|value| !value.is_str());
    let as_text = T::deserialize(toml::Value::String(text)).map_err(|error| error.to_string());
    match (as_text, as_toml) {
        (Ok(value), _) => Ok(value),
        (Err(_), Some(value)) => T::deserialize(value).map_err(|error| error.to_string()),
        (Err(problem), None) => Err(problem),
    }
}

/// One setting as the reference shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDoc {
    /// Dotted: `session.listen`.
    pub key: &'static str,
    /// The default as TOML; `None` where it is unset.
    pub default: Option<String>,
    /// What it does.
    pub doc: &'static str,
}

/// Declares sections: their struct, defaults, reading and reference from one list.
macro_rules! sections {
    ($(
        $(#[doc = $section_doc:literal])+
        $name:ident in $prefix:literal {
            $( $(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr, )+
        }
    )+) => {$(
        $(#[doc = $section_doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl $name {
            pub(super) fn read(source: &mut $crate::settings::section::Source) -> Self {
                let default = Self::default();
                Self {
                    $( $field: source
                        .take(concat!($prefix, ".", stringify!($field)))
                        .unwrap_or(default.$field), )+
                }
            }

            /// Each key with its value, `None` where it is unset.
            pub(super) fn values(&self, into: &mut Vec<(&'static str, Option<toml::Value>)>) {
                $( into.push((
                    concat!($prefix, ".", stringify!($field)),
                    toml::Value::try_from(&self.$field).ok(),
                )); )+
            }

            pub(super) fn describe(into: &mut Vec<$crate::settings::KeyDoc>) {
                let default = Self::default();
                $( into.push($crate::settings::KeyDoc {
                    key: concat!($prefix, ".", stringify!($field)),
                    default: toml::Value::try_from(&default.$field).ok().map(|value| value.to_string()),
                    doc: concat!($($doc, "\n"),+),
                }); )+
            }
        }
    )+};
}

pub(super) use sections;
