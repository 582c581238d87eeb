//! How the server's picture of a tree changes from what a device says.

use serde::{Deserialize, Serialize};

use crate::Leaf;

/// Changes in the order they were learned.
pub type TreeDelta = Vec<Change>;

/// One thing learned about a device's tree. Addresses are normalised: no leading `./`, the root is `.`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A leaf has this value. Interior nodes above it are implied.
    Leaf {
        /// The leaf's address.
        uri: String,
        /// Its value.
        leaf: Leaf,
    },
    /// An interior node exists.
    Interior {
        /// The node's address.
        uri: String,
        /// Its `Type` property (a management object's id), where known.
        type_: Option<Box<str>>,
    },
    /// These are all the children of an interior node; others that were known are gone.
    Children {
        /// The node's address.
        uri: String,
        /// Names of the children, in no particular order.
        names: Vec<Box<str>>,
    },
    /// The node and all below it are gone.
    Remove {
        /// The node's address.
        uri: String,
    },
}
