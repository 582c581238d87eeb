//! What goes wrong, how often.

use serde::{Deserialize, Serialize};

/// Faults by probability, each from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultPlan {
    /// Of a message: its answer never arrives, so the device sends the message again.
    pub reply_lost: f64,
    /// Of a message: it is sent twice although it was answered.
    pub repeated: f64,
    /// Of a message or a part of a download: the connection breaks in the middle.
    pub cut: f64,
    /// Of a message: the device thinks for long before it sends it.
    pub slow: f64,
    /// Of an attempt: it ends with one of [`FaultPlan::failing_codes`].
    pub failing: f64,
    /// Result codes of failing attempts, with weights.
    pub failing_codes: Vec<(u16, f64)>,
    /// Of a device: it goes silent for ever once it accepted an update.
    pub silent: f64,
    /// Of an attempt: it reports success and still has the version of before.
    pub wrong_version: f64,
    /// Of a trigger: the device never gets it.
    pub trigger_lost: f64,
}

impl Default for FaultPlan {
    /// Nothing goes wrong.
    fn default() -> Self {
        Self {
            reply_lost: 0.0,
            repeated: 0.0,
            cut: 0.0,
            slow: 0.0,
            failing: 0.0,
            failing_codes: vec![(410, 0.4), (503, 0.3), (402, 0.1), (401, 0.1), (502, 0.1)],
            silent: 0.0,
            wrong_version: 0.0,
            trigger_lost: 0.0,
        }
    }
}

impl FaultPlan {
    /// The mix of a bad night: 5 % lost replies, 2 % repeated, 1 % cut, 1 % slow, 3 % failing, 1 % silent, 0.5 % wrong
    /// version, 10 % of triggers lost.
    pub fn rough() -> Self {
        Self {
            reply_lost: 0.05,
            repeated: 0.02,
            cut: 0.01,
            slow: 0.01,
            failing: 0.03,
            silent: 0.01,
            wrong_version: 0.005,
            trigger_lost: 0.1,
            ..Self::default()
        }
    }

    /// Whether anything can go wrong.
    pub fn is_none(&self) -> bool {
        let sum = self.reply_lost + self.repeated + self.cut + self.slow + self.failing + self.silent;
        sum + self.wrong_version + self.trigger_lost == 0.0
    }
}
