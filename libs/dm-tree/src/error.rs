//! Why a tree refuses, and the SyncML status that says so.

/// Why a text is no address of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// Nothing at all.
    #[error("expected an address, got nothing")]
    Empty,
    /// Past `MaxTotLen`.
    #[error("expected an address of at most {max} characters, got {chars}")]
    TooLong {
        /// The limit.
        max: u16,
        /// Characters there were.
        chars: usize,
    },
    /// Past `MaxDepth`.
    #[error("expected an address of at most {max} segments, got more")]
    TooDeep {
        /// The limit.
        max: u16,
    },
    /// Past `MaxSegLen`.
    #[error("expected a segment of at most {max} characters at byte {at}, got {chars}")]
    SegmentTooLong {
        /// The limit.
        max: u16,
        /// Characters there were.
        chars: usize,
        /// Where the segment begins.
        at: usize,
    },
    /// It ends in `/`.
    #[error("expected an address without a slash at its end")]
    TrailingSlash,
    /// `//`, or a `/` at the start.
    #[error("expected a segment at byte {at}, got none")]
    EmptySegment {
        /// Where it should be.
        at: usize,
    },
    /// `.` or `..` as a segment.
    #[error("expected a name at byte {at}, got a step by dots")]
    Dots {
        /// Where it is.
        at: usize,
    },
    /// A `%` without two hexadecimal digits.
    #[error("expected two hexadecimal digits after the % at byte {at}")]
    Escape {
        /// Where the `%` is.
        at: usize,
    },
    /// A character that must be percent-encoded.
    #[error("expected a character of RFC 2396 at byte {at}, got octet {octet:#04x}")]
    Character {
        /// The octet.
        octet: u8,
        /// Where it is.
        at: usize,
    },
    /// A property that is not one of the eight.
    #[error("expected a property that this device has, got {0:?}")]
    Property(Box<str>),
    /// A list that is not one of the three, or a selection that mixes `+` and `-`.
    #[error("expected Struct, StructData or TNDS, got list {0:?}")]
    List(Box<str>),
    /// A query that is neither `prop` nor `list`.
    #[error("expected the query prop or list, got {0:?}")]
    Query(Box<str>),
}

impl UriError {
    /// The SyncML status that answers it.
    pub fn status(&self) -> u16 {
        match self {
            Self::TooLong { .. } | Self::TooDeep { .. } | Self::SegmentTooLong { .. } => 414,
            Self::Property(_) | Self::List(_) => 406,
            _ => 500,
        }
    }
}

/// Why a text is no access control list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AclError {
    /// No `=`.
    #[error("expected command=servers, got {0:?}")]
    Entry(Box<str>),
    /// Not one of the five.
    #[error("expected Add, Delete, Exec, Get or Replace, got {0:?}")]
    Command(Box<str>),
    /// The same command a second time.
    #[error("expected each command once, got {0} again")]
    Repeated(&'static str),
    /// Empty, or with a character that separates.
    #[error("expected a server identifier or *, got {0:?}")]
    Server(Box<str>),
}

/// Why a text is no TNDS document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TndsError {
    /// Not well-formed.
    #[error("expected well-formed XML at byte {at}: {what}")]
    Xml {
        /// Where.
        at: u64,
        /// What is wrong.
        what: Box<str>,
    },
    /// An element where the document type has none.
    #[error("expected {expected} at byte {at}, got {got:?}")]
    Unexpected {
        /// Where.
        at: u64,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        got: Box<str>,
    },
    /// Deeper, or more nodes, than is taken.
    #[error("expected at most {max} {what}, got more at byte {at}")]
    TooMuch {
        /// Where.
        at: u64,
        /// The limit.
        max: usize,
        /// Levels or nodes.
        what: &'static str,
    },
    /// A value that does not fit its format.
    #[error("expected a value of format {format} in node {node:?}")]
    Value {
        /// The node's name.
        node: Box<str>,
        /// The format's token.
        format: &'static str,
    },
    /// A format that is none.
    #[error("expected a format, got {0:?}")]
    Format(Box<str>),
    /// A broken ACL.
    #[error(transparent)]
    Acl(#[from] AclError),
}

/// Why a tree did not do what a command asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The address is none.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// No such node.
    #[error("expected a node at {0:?}, got none")]
    NotFound(Box<str>),
    /// The node, or a sibling of that name, is there already.
    #[error("expected no node at {0:?}, got one")]
    Exists(Box<str>),
    /// An interior node that should have been made on the way to the target could not be.
    #[error("expected to make the parent {node:?}")]
    Parent {
        /// The parent that is at fault, normalised.
        node: Box<str>,
        /// Why.
        #[source]
        cause: Box<TreeError>,
    },
    /// The command is not possible on this node, whoever asks.
    #[error("expected {what} at {node:?}")]
    NotAllowed {
        /// The node.
        node: Box<str>,
        /// What it would have to be.
        what: &'static str,
    },
    /// Impossible for another reason than rights.
    #[error("expected {what} at {node:?}")]
    Forbidden {
        /// The node.
        node: Box<str>,
        /// What it would have to be.
        what: &'static str,
    },
    /// The access control lists do not let this server.
    #[error("expected the right to {command} at {node:?}")]
    Denied {
        /// The node.
        node: Box<str>,
        /// The right that is missing.
        command: &'static str,
    },
    /// This device does not have that optional feature.
    #[error("expected no {0}, which this device does not have")]
    Unsupported(&'static str),
    /// A media type or format that is not taken.
    #[error("expected a supported type and format, got {0:?}")]
    Media(Box<str>),
    /// The value is larger than the device takes.
    #[error("expected a value of at most {max} octets, got {octets}")]
    TooLarge {
        /// The limit.
        max: usize,
        /// What came.
        octets: usize,
    },
    /// The tree has as many nodes as it takes.
    #[error("expected at most {max} nodes")]
    Full {
        /// The limit.
        max: usize,
    },
    /// The value is not of its format.
    #[error("expected a value of format {0}")]
    Value(&'static str),
    /// An interior node without a value, or a value where there must be none.
    #[error("expected {0}")]
    Incomplete(&'static str),
    /// The text is no access control list.
    #[error(transparent)]
    Acl(#[from] AclError),
    /// The document is none.
    #[error(transparent)]
    Tnds(#[from] TndsError),
}

impl TreeError {
    /// The SyncML status that answers it: the one place where errors of a tree become codes.
    pub fn status(&self) -> u16 {
        match self {
            Self::Uri(error) => error.status(),
            Self::NotFound(_) => 404,
            Self::Exists(_) => 418,
            Self::Parent { cause, .. } => cause.status(),
            Self::NotAllowed { .. } => 405,
            Self::Forbidden { .. } => 403,
            Self::Denied { .. } => 425,
            Self::Unsupported(_) => 406,
            Self::Media(_) => 415,
            Self::TooLarge { .. } => 413,
            Self::Full { .. } => 420,
            Self::Incomplete(_) => 412,
            Self::Value(_) | Self::Acl(_) | Self::Tnds(_) => 500,
        }
    }

    /// The node the Status should name: a parent that could not be made.
    pub fn culprit(&self) -> Option<&str> {
        match self {
            Self::Parent { node, .. } => Some(node),
            _ => None,
        }
    }
}
