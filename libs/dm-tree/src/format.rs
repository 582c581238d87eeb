//! Formats and leaf values (DM TND 1.2, section 7.7.3).

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
