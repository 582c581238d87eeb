//! What a `LocURI` asks for: a node's value, one of its properties, or a list (DM TND 1.2, section 6.5).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Uri, UriLimits, error::UriError};

/// A run-time property (DM TND 1.2, section 7.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Property {
    /// Access control list.
    Acl,
    /// Format of the value.
    Format,
    /// Last segment of the address.
    Name,
    /// Octets of the value.
    Size,
    /// For people.
    Title,
    /// When the value last changed.
    TStamp,
    /// Media type, or a management object's id.
    Type,
    /// How often the node changed.
    VerNo,
}

impl Property {
    /// All of them, in the order of TNDS.
    pub const ALL: [Self; 8] =
        [Self::Acl, Self::Format, Self::Name, Self::Size, Self::Title, Self::TStamp, Self::Type, Self::VerNo];

    /// The specification's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Acl => "ACL",
            Self::Format => "Format",
            Self::Name => "Name",
            Self::Size => "Size",
            Self::Title => "Title",
            Self::TStamp => "TStamp",
            Self::Type => "Type",
            Self::VerNo => "VerNo",
        }
    }

    /// The property of that name, as the specification spells it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.as_str() == text)
    }
}

/// Which parts of a node a TNDS document has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PropSelect {
    // One bit a property, in the order of `Property::ALL`; then one for the value.
    bits: u16,
}

impl PropSelect {
    /// Everything.
    pub const ALL: Self = Self { bits: 0x1ff };

    const VALUE: u16 = 1 << 8;

    /// Whether a property is wanted.
    pub fn has(self, property: Property) -> bool {
        self.bits & (1 << property as u16) != 0
    }

    /// Whether values are wanted.
    pub fn has_value(self) -> bool {
        self.bits & Self::VALUE != 0
    }

    /// Reads what follows `TNDS`: nothing, `+P1+P2…` or `-P1-P2…`.
    fn parse(text: &str) -> Result<Self, UriError> {
        let Some(sign) = text.chars().next() else { return Ok(Self::ALL) };
        if !matches!(sign, '+' | '-') {
            return Err(UriError::List(text.into()));
        }
        let mut bits = 0;
        for name in text.split(sign).skip(1) {
            bits |= match name {
                "Value" => Self::VALUE,
                _ => match Property::parse(name) {
                    Some(property) => 1 << property as u16,
                    None => return Err(UriError::Property(name.into())),
                },
            };
        }
        Ok(Self { bits: if sign == '+' { bits } else { Self::ALL.bits & !bits } })
    }
}

impl fmt::Display for PropSelect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return Ok(());
        }
        for property in Property::ALL.into_iter().filter(|p| self.has(*p)) {
            write!(f, "+{}", property.as_str())?;
        }
        if self.has_value() { f.write_str("+Value") } else { Ok(()) }
    }
}

/// What a `LocURI` with its query asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GetTarget {
    /// The value of a leaf, or the names of an interior node's children.
    Value(Uri),
    /// One property.
    Prop(Uri, Property),
    /// Names, formats and types of a subtree.
    Struct(Uri),
    /// The same with values.
    StructData(Uri),
    /// A serialized subtree.
    Tnds {
        /// Its top.
        uri: Uri,
        /// What it has of each node.
        select: PropSelect,
    },
}

impl GetTarget {
    /// Reads an address with its query.
    ///
    /// # Errors
    ///
    /// [`UriError`]: 406 for a property or list that does not exist, 414 past a limit, else 500.
    ///
    /// ```
    /// use dm_tree::{GetTarget, Property, UriLimits};
    ///
    /// let target = GetTarget::parse("./DevInfo?prop=ACL", &UriLimits::default())?;
    /// assert!(matches!(target, GetTarget::Prop(uri, Property::Acl) if uri.as_str() == "DevInfo"));
    /// # Ok::<(), dm_tree::UriError>(())
    /// ```
    pub fn parse(text: &str, limits: &UriLimits) -> Result<Self, UriError> {
        let Some((path, query)) = text.split_once('?') else {
            return Uri::parse(text, limits).map(Self::Value);
        };
        let chars = text.chars().count();
        if limits.total_chars_max != 0 && chars > usize::from(limits.total_chars_max) {
            return Err(UriError::TooLong { max: limits.total_chars_max, chars });
        }
        // Some servers write the root with its slash when a query follows.
        let uri = Uri::parse(if path == "./" { "." } else { path }, limits)?;
        if let Some(name) = query.strip_prefix("prop=") {
            let property = Property::parse(name).ok_or_else(|| UriError::Property(name.into()))?;
            return Ok(Self::Prop(uri, property));
        }
        let Some(list) = query.strip_prefix("list=") else { return Err(UriError::Query(query.into())) };
        match list {
            "Struct" => Ok(Self::Struct(uri)),
            "StructData" => Ok(Self::StructData(uri)),
            _ => match list.strip_prefix("TNDS") {
                Some(select) => Ok(Self::Tnds { uri, select: PropSelect::parse(select)? }),
                None => Err(UriError::List(list.into())),
            },
        }
    }

    /// The node, without what is asked of it.
    pub fn uri(&self) -> &Uri {
        match self {
            Self::Value(uri)
            | Self::Prop(uri, _)
            | Self::Struct(uri)
            | Self::StructData(uri)
            | Self::Tnds { uri, .. } => uri,
        }
    }
}

impl fmt::Display for GetTarget {
    /// As it is written in messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.uri())?;
        match self {
            Self::Value(_) => Ok(()),
            Self::Prop(_, property) => write!(f, "?prop={}", property.as_str()),
            Self::Struct(_) => f.write_str("?list=Struct"),
            Self::StructData(_) => f.write_str("?list=StructData"),
            Self::Tnds { select, .. } => write!(f, "?list=TNDS{select}"),
        }
    }
}
