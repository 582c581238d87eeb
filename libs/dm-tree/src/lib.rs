#![doc = include_str!("../README.md")]

mod acl;
mod change;
mod command;
mod document;
mod error;
mod format;
mod node;
mod query;
mod tnds;
mod tree;
mod uri;

pub use acl::{Acl, AclCommand};
pub use change::{Change, TreeDelta};
pub use command::{Input, Reading, TNDS_WBXML, TNDS_XML};
pub use error::{AclError, TndsError, TreeError, UriError};
pub use format::{Format, Leaf};
pub use node::{Access, Node, Scope};
pub use query::{GetTarget, PropSelect, Property};
pub use tnds::{DocNode, Document};
pub use tree::{Actor, Rules, Tree};
pub use uri::{LocUri, Uri, UriLimits, escape_segment, full, normalise, unescape_segment};
