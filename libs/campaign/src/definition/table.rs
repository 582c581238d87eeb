//! A table of a definition's file, read key by key, so that all mistakes are found in one reading.

use std::{cell::RefCell, collections::BTreeSet, ops::RangeInclusive};

use serde_json::{Map, Value};

use super::read::Mistake;
use crate::{Period, Share};

/// The mistakes found so far, shared by all tables of a file.
pub(super) type Mistakes = RefCell<Vec<Mistake>>;

/// One table and the keys that were asked for.
pub(super) struct Table<'a> {
    path: String,
    values: &'a Map<String, Value>,
    known: BTreeSet<&'static str>,
    mistakes: &'a Mistakes,
}

impl<'a> Table<'a> {
    pub(super) fn new(path: String, values: &'a Map<String, Value>, mistakes: &'a Mistakes) -> Self {
        Self { path, values, known: BTreeSet::new(), mistakes }
    }

    /// The key's full name.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn wrong(&self, key: &str, message: impl Into<String>) {
        self.mistakes.borrow_mut().push(Mistake { key: self.key(key), message: message.into() });
    }

    fn expected(&self, key: &str, what: &str, got: &Value) {
        self.wrong(key, format!("expected {what}, got {got}"));
    }

    /// The value; a JSON null counts as left out.
    fn value(&mut self, key: &'static str) -> Option<&'a Value> {
        self.known.insert(key);
        self.values.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn has(&mut self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    pub(super) fn text(&mut self, key: &'static str, length_max: usize) -> Option<String> {
        let value = self.value(key)?;
        match value.as_str() {
            Some(text) if (1..=length_max).contains(&text.chars().count()) => Some(text.into()),
            _ => {
                self.expected(key, &format!("a text of 1 to {length_max} characters"), value);
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let value = self.value(key)?;
        let found = words.iter().find(|(word, _)| value.as_str() == Some(word));
        if found.is_none() {
            let list: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            self.expected(key, &list.join(" or "), value);
        }
        found.map(|(_, meaning)| *meaning)
    }

    pub(super) fn number(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(key)?;
        let number = value.as_u64().filter(|number| range.contains(number));
        if number.is_none() {
            self.expected(key, &format!("a whole number from {} to {}", range.start(), range.end()), value);
        }
        number
    }

    /// A number that fits 32 bits, from `min` on.
    pub(super) fn count(&mut self, key: &'static str, min: u32) -> Option<u32> {
        let number = self.number(key, u64::from(min)..=u64::from(u32::MAX))?;
        u32::try_from(number).ok()
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        if value.as_bool().is_none() {
            self.expected(key, "true or false", value);
        }
        value.as_bool()
    }

    pub(super) fn percent(&mut self, key: &'static str) -> Option<Share> {
        let value = self.value(key)?;
        let share = value.as_f64().and_then(Share::try_from_percent);
        if share.is_none() {
            self.expected(key, "a percentage from 0 to 100", value);
        }
        share
    }

    pub(super) fn period(&mut self, key: &'static str, range: RangeInclusive<Period>) -> Option<Period> {
        let value = self.value(key)?;
        let period = value.as_str().and_then(|text| Period::parse(text).ok());
        let period = period.filter(|period| range.contains(period));
        if period.is_none() {
            let what = format!("a duration such as \"30m\", from {} to {}", range.start(), range.end());
            self.expected(key, &what, value);
        }
        period
    }

    /// A list of texts, or one text.
    pub(super) fn texts<C: FromIterator<String>>(&mut self, key: &'static str) -> Option<C> {
        let value = self.value(key)?;
        let texts = list_of_texts(value);
        if texts.is_none() {
            self.expected(key, "a list of texts, or one text", value);
        }
        texts.map(|texts| texts.into_iter().collect())
    }

    /// Lists of texts under keys of the writer's choice.
    pub(super) fn texts_by_key(&mut self, key: &'static str) -> Vec<(String, Vec<String>)> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(values) = value.as_object() else {
            self.expected(key, "a table", value);
            return Vec::new();
        };
        let mut all = Vec::new();
        for (name, value) in values {
            match list_of_texts(value) {
                Some(texts) => all.push((name.clone(), texts)),
                None => {
                    self.expected(&format!("{key}.{name:?}"), "a list of texts, or one text", value);
                }
            }
        }
        all
    }

    pub(super) fn table(&mut self, key: &'static str) -> Option<Table<'a>> {
        let value = self.value(key)?;
        let Some(values) = value.as_object() else {
            self.expected(key, "a table", value);
            return None;
        };
        Some(Table::new(self.key(key), values, self.mistakes))
    }

    pub(super) fn tables(&mut self, key: &'static str) -> Option<Vec<Table<'a>>> {
        let value = self.value(key)?;
        let tables = value.as_array().and_then(|list| {
            list.iter()
                .enumerate()
                .map(|(at, value)| {
                    let path = format!("{}[{at}]", self.key(key));
                    Some(Table::new(path, value.as_object()?, self.mistakes))
                })
                .collect()
        });
        if tables.is_none() {
            self.expected(key, "a list of tables", value);
        }
        tables
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        for key in self.values.keys().filter(|key| !self.known.contains(key.as_str())) {
            let known: Vec<_> = self.known.iter().copied().collect();
            self.wrong(key, format!("unknown key; known here: {}", known.join(", ")));
        }
    }
}

fn list_of_texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(list) => list.iter().map(|value| value.as_str().map(Into::into)).collect(),
        _ => None,
    }
}
