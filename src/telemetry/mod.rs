//! What the program says of itself while it runs.

mod logging;

pub use logging::{LogFormat, init_logging};
