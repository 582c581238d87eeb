//! The cluster's ports in memory: for tests and simulations. They read no clock and draw no lots; what is late, lost or
//! refused is for who wraps them to say.

mod blocks;
mod faulty;
mod hot;
mod marks;
mod rows;
mod topics;

pub use blocks::MemoryBlocks;
pub use faulty::Faulty;
pub use hot::MemoryHotDevices;
pub use marks::MemoryMarks;
pub use rows::MemoryRows;
pub use topics::{MemoryConsumer, MemoryTopics};
