//! Formats and leaf values (DM TND 1.2, section 7.7.3).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The `Format` property of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Format {
    /// Base64 text that is the value itself.
    B64,
    /// Octets.
    Bin,
    /// `true` or `false`.
    Bool,
    /// Text; what a node has where nothing is said.
    #[default]
    Chr,
    /// A decimal integer.
    Int,
    /// An interior node.
    Node,
    /// No value.
    Null,
    /// XML text.
    Xml,
    /// An ISO 8601 date.
    Date,
    /// An ISO 8601 time.
    Time,
    /// An XML Schema single-precision float.
    Float,
}

impl Format {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 11] = [
        Self::B64,
        Self::Bin,
        Self::Bool,
        Self::Chr,
        Self::Int,
        Self::Node,
        Self::Null,
        Self::Xml,
        Self::Date,
        Self::Time,
        Self::Float,
    ];

    /// The token of `Meta/Format` and of TNDS.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::B64 => "b64",
            Self::Bin => "bin",
            Self::Bool => "bool",
            Self::Chr => "chr",
            Self::Int => "int",
            Self::Node => "node",
            Self::Null => "null",
            Self::Xml => "xml",
            Self::Date => "date",
            Self::Time => "time",
            Self::Float => "float",
        }
    }

    /// The format of a token in any case. `None` for what is none; some devices write a media type there.
    pub fn parse(token: &str) -> Option<Self> {
        let token = token.trim();
        Self::ALL.into_iter().find(|format| format.as_str().eq_ignore_ascii_case(token))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a leaf holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Leaf {
    /// Never [`Format::Node`].
    pub format: Format,
    /// The media type; `None` is the default, `text/plain`.
    pub mime: Option<Box<str>>,
    /// The value, decoded: for [`Format::Bin`] the octets, never their base64.
    pub value: Box<[u8]>,
}

impl Leaf {
    /// Text, of the default format and type.
    pub fn text(value: &str) -> Self {
        Self { value: value.as_bytes().into(), ..Self::default() }
    }

    /// A value of a format, of the default type.
    pub fn new(format: Format, value: &[u8]) -> Self {
        Self { format, mime: None, value: value.into() }
    }

    /// The value as text; `None` where it is no UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.value).ok()
    }
}
