//! What a server says of itself, for whoever looks for what is wrong.

use std::time::{SystemTime, UNIX_EPOCH};

use redis::Value;
use storage::StoreError;

use crate::{Redis, connection::Effect};

/// What servers say of themselves: of a cluster, each of its masters.
#[derive(Clone, Debug, Default)]
pub struct Examined {
    /// What each says by `INFO`.
    pub servers: Vec<Info>,
    /// By how many milliseconds a server's clock is ahead of ours, at least; what the answer took is not counted against it.
    pub clock_ahead_ms: i64,
}

/// What one server says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info(Vec<(String, String)>);

impl Info {
    fn parse(text: &str) -> Self {
        let pairs =
            text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':'));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    /// A field, such as `redis_version`.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A field that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.parse().ok()
    }
}

impl Redis {
    /// Asks for it. Nothing is changed.
    ///
    /// # Errors
    ///
    /// [`storage::ErrorKind::Unavailable`] or [`storage::ErrorKind::TimedOut`], also where the user may not ask.
    pub async fn examine(&self) -> Result<Examined, StoreError> {
        let said: Value = self.call("ask for INFO", Effect::Reads, &redis::cmd("INFO")).await?;
        let servers = texts(&said).iter().map(|text| Info::parse(text)).collect();
        let before = now_ms();
        let time: Value = self.call("ask for TIME", Effect::Reads, &redis::cmd("TIME")).await?;
        let after = now_ms();
        let clock_ahead_ms = match texts(&time).as_slice() {
            [seconds, micros, ..] => {
                let number = |text: &String| text.parse::<i64>().unwrap_or_default();
                let theirs = number(seconds) * 1000 + number(micros) / 1000;
                // Somewhere between question and answer.
                if theirs > after { theirs - after } else { (theirs - before).min(0) }
            }
            _ => 0,
        };
        Ok(Examined { servers, clock_ahead_ms })
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The texts of an answer. A cluster answers with one for each node, by its address.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::BulkString(octets) => vec![String::from_utf8_lossy(octets).into_owned()],
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => vec![text.clone()],
        Value::Int(number) => vec![number.to_string()],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Map(pairs) => pairs.iter().flat_map(|(_, value)| texts(value)).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name() {
        let info = Info::parse("# Server\r\nredis_version:7.0.15\r\nmaxmemory:0\r\n\r\nexecutable:/a:b\r\n");
        assert_eq!(info.field("redis_version"), Some("7.0.15"));
        assert_eq!(info.number("maxmemory"), Some(0));
        assert_eq!(info.field("executable"), Some("/a:b"));
        assert_eq!(info.field("none"), None);
    }
}
