#![doc = include_str!("../README.md")]

pub mod admission;
pub mod client;
pub mod files;
pub mod health;
pub mod http;
pub mod loopback;
pub mod metrics;
pub mod refusal;
pub mod settings;
pub mod shutdown;
pub mod supervisor;
pub mod telemetry;
pub mod tls;

pub use health::Health;
pub use metrics::Metrics;
pub use settings::{Settings, SettingsErrors};
pub use shutdown::Shutdown;
pub use supervisor::Supervisor;
