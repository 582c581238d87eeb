//! What a result code means for a campaign.

use serde::{Deserialize, Serialize};

/// The class of an operation's result: what a campaign does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResultClass {
    /// Done.
    Success,
    /// The network, a server, a time-out or free memory: may pass by itself.
    Transient,
    /// The user said no.
    NeedsUser,
    /// The package is wrong for this device, or broken: no device should get it again before someone looked.
    PackageFault,
    /// The device could not.
    DeviceFault,
}
