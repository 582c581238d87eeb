//! Changes of a tree as JSON: values as text where they are text, as base64 where not.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use dm_tree::{Change, Format, Leaf};
use serde::{Deserialize, Serialize};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum ChangeLine {
    Leaf {
        uri: String,
        format: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mime: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base64: Option<String>,
    },
    Interior {
        uri: String,
        #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
        type_: Option<String>,
    },
    Children {
        uri: String,
        names: Vec<String>,
    },
    Remove {
        uri: String,
    },
}

impl From<Change> for ChangeLine {
    fn from(change: Change) -> Self {
        match change {
            Change::Leaf { uri, leaf } => {
                let (value, base64) = match String::from_utf8(leaf.value.into_vec()) {
                    Ok(text) => (Some(text), None),
                    Err(error) => (None, Some(BASE64_STANDARD.encode(error.as_bytes()))),
                };
                let format = leaf.format.as_str().to_owned();
                Self::Leaf { uri, format, mime: leaf.mime.map(Into::into), value, base64 }
            }
            Change::Interior { uri, type_ } => Self::Interior { uri, type_: type_.map(Into::into) },
            Change::Children { uri, names } => {
                Self::Children { uri, names: names.into_iter().map(Into::into).collect() }
            }
            Change::Remove { uri } => Self::Remove { uri },
        }
    }
}

impl TryFrom<ChangeLine> for Change {
    type Error = String;

    fn try_from(line: ChangeLine) -> Result<Self, String> {
        Ok(match line {
            ChangeLine::Leaf { uri, format, mime, value, base64 } => {
                let format = Format::parse(&format)
                    .ok_or_else(|| format!("{uri}: expected a format, got {format:?}"))?;
                let value = match (value, base64) {
                    (Some(text), None) => text.into_bytes(),
                    (None, Some(text)) => {
                        BASE64_STANDARD.decode(text).map_err(|error| format!("{uri}: {error}"))?
                    }
                    _ => return Err(format!("{uri}: expected either value or base64")),
                };
                Self::Leaf { uri, leaf: Leaf { format, mime: mime.map(Into::into), value: value.into() } }
            }
            ChangeLine::Interior { uri, type_ } => Self::Interior { uri, type_: type_.map(Into::into) },
            ChangeLine::Children { uri, names } => {
                Self::Children { uri, names: names.into_iter().map(Into::into).collect() }
            }
            ChangeLine::Remove { uri } => Self::Remove { uri },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_comes_back() {
        let leaf = |value: &[u8]| Leaf { mime: Some("text/x".into()), ..Leaf::new(Format::Bin, value) };
        for change in [
            Change::Leaf { uri: "A/B".into(), leaf: leaf(b"text \"\n") },
            Change::Leaf { uri: "A/B".into(), leaf: leaf(&[0, 255]) },
            Change::Leaf { uri: "A/B".into(), leaf: Leaf::default() },
            Change::Interior { uri: "A".into(), type_: Some("org.example".into()) },
            Change::Children { uri: ".".into(), names: vec!["A".into()] },
            Change::Remove { uri: "A".into() },
        ] {
            let text = serde_json::to_string(&ChangeLine::from(change.clone())).unwrap();
            let line: ChangeLine = serde_json::from_str(&text).unwrap();
            assert_eq!(Change::try_from(line).unwrap(), change, "{text}");
        }
    }
}
