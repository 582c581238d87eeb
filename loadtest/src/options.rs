//! What a fleet is to be.

use std::time::Duration;

use dm_sim::{FaultPlan, Mix, Timing};

use crate::client::ClientOptions;

/// A fleet to run.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// Where sessions begin, such as `http://127.0.0.1:8080/dm`.
    pub url: String,
    /// How many devices.
    pub devices: u32,
    /// All that devices are and choose follows from it.
    pub seed: u64,
    /// Credentials and encodings. Those of [`crate::roster`] by default.
    pub mix: Mix,
    /// What goes wrong.
    pub faults: FaultPlan,
    /// How long things take.
    pub timing: Timing,
    /// Devices that speak at the same time, at most: a session or a download each.
    pub active_max: usize,
    /// Connections.
    pub client: ClientOptions,
    /// The port on which all devices can be asked to come, each at an address of its own in 127.0.0.0/8 (on Linux only);
    /// `None`: they come by themselves.
    pub trigger_port: Option<u16>,
    /// When to end by itself.
    pub until: Until,
}

/// When a run ends by itself. Being told to end always counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Until {
    /// After this time.
    pub duration: Option<Duration>,
    /// When every device has this version, has failed an update, or is silent.
    pub version: Option<String>,
}

impl Fleet {
    /// A fleet without faults, in a hurry.
    pub fn new(url: &str, devices: u32, seed: u64) -> Self {
        Self {
            url: url.to_owned(),
            devices,
            seed,
            mix: Mix::default(),
            faults: FaultPlan::default(),
            timing: Timing::default(),
            active_max: 256,
            client: ClientOptions::default(),
            trigger_port: None,
            until: Until::default(),
        }
    }

    /// The devices, as the server must know them.
    pub fn roster(&self) -> impl Iterator<Item = dm_sim::DeviceIdentity> + use<> {
        crate::roster_of(self.seed, self.devices, self.mix.clone())
    }
}
