//! What the program says of itself while it runs: logs, metrics and health.
//!
//! ```text
//! stages of a pipeline -> PipelineTelemetry -> Telemetry -> http: /metrics, /health/live, /health/ready
//! ```
//!
//! One [`Telemetry`] serves the process; each pipeline reports to a [`PipelineTelemetry`] of its own, whether
//! or not anything is served. `docs/operations.md` describes every metric.

mod clock;
mod health;
mod http;
mod latency;
mod limit;
mod logging;
mod metrics;
mod pipeline;
pub mod process;
mod registry;
mod serial;

pub(crate) use clock::{seconds_since, unix_ns};
pub use health::{Health, PipelineReadiness, Readiness};
pub use http::{HttpError, HttpServer};
pub use latency::LatencySnapshot;
pub use limit::Repeats;
pub use logging::{LogFormat, init_logging};
pub use metrics::{SegmentEvent, TransactionResult};
pub use pipeline::PipelineTelemetry;
pub use registry::Telemetry;
pub(crate) use serial::SerialTelemetry;
