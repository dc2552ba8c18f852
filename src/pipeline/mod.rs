//! Puts the stages together and runs them.
//!
//! A pipeline is linear: one source, the window, one encoder, any number of sinks. The source, the codec and
//! each sink have a thread of their own; bounded queues between them push back when a later stage is slower.
//! A [`Supervisor`] runs several side by side and starts those again that an external fault has ended.

mod build;
mod control;
mod decode;
mod decoders;
mod encode;
mod encoding;
mod fault;
mod measure;
mod origin;
mod reading;
mod replay;
mod run;
mod stage;
mod summary;
mod supervise;
#[cfg(test)]
mod tests;
mod writing;

pub use crate::back_off::{BackOff, BackOffPolicy};
pub use build::{BuildError, Pipeline, load_model};
pub use control::Progress;
pub(crate) use decoders::Decoders;
pub use decoders::DecodersError;
pub use encode::{EncodeError, EncodeOptions, EncodeStage, StateKept};
pub use fault::{Fault, PipelineError, Verdict};
pub use measure::{Excerpt, MeasureError, MeasureOptions, Measured, MeasuredStream, measure};
pub use replay::{
    FeedError, Feeding, LatencyBound, Produced, ReplayError, ReplayOptions, ReplayReport, Via, replay,
};
pub use run::{RunError, run};
pub use summary::{Summary, fidelity_rows};
pub use supervise::{Attempt, Ended, Restart, Supervisor};
