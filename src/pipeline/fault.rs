//! Whose fault an error is, and whether trying again can help.

use super::build::BuildError;
use super::decoders::DecodersError;
use super::encode::EncodeError;
use super::run::RunError;
use crate::kafka::model_topic::ModelTopicError;
use crate::kafka::topic_reader::TopicError;
use crate::sink::SinkError;
use crate::source::SourceError;

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Who wrote the configuration or gave the input: nothing changes until they do.
    User,
    /// What Rivulet depends on: a disk, a network, a broker.
    External,
    /// Rivulet itself.
    Internal,
}

/// What to make of an error. That a retry can help does not say that one is wanted: a pipeline that starts over
/// writes its files anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whose fault it is.
    pub fault: Fault,
    /// True if the same may go well another time.
    pub can_retry: bool,
}

impl Verdict {
    const USER: Self = Self { fault: Fault::User, can_retry: false };
    const INTERNAL: Self = Self { fault: Fault::Internal, can_retry: false };
    const EXTERNAL: Self = Self { fault: Fault::External, can_retry: true };
    const REPLACED: Self = Self { fault: Fault::External, can_retry: false };
}

/// Why a pipeline ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// It cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// It cannot go on.
    #[error(transparent)]
    Run(#[from] RunError),
    /// It panicked.
    #[error("the pipeline broke off; this is a fault of rivulet itself: {0}")]
    Panicked(String),
}

impl PipelineError {
    /// Whose fault it is.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Build(error) => error.verdict(),
            Self::Run(error) => error.verdict(),
            Self::Panicked(_) => Verdict::INTERNAL,
        }
    }
}

impl BuildError {
    /// Whose fault it is.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Config(_)
            | Self::Model(_)
            | Self::Codec { .. }
            | Self::Window(_)
            | Self::Encode(_)
            | Self::Instance(_)
            | Self::NoEncoder => Verdict::USER,
            Self::Models(error) => of_models(error),
            Self::Source(error) => of_source(error),
            Self::Sink(error) => of_sink(error),
        }
    }
}

impl RunError {
    /// Whose fault it is.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Source(error) => of_source(error),
            Self::Encode(EncodeError::Window(_) | EncodeError::Resume { .. }) => Verdict::USER,
            Self::Encode(EncodeError::Codec(_) | EncodeError::Packet(_) | EncodeError::UnknownOrigin(_))
            | Self::Broken(_) => Verdict::INTERNAL,
            Self::Decode(DecodersError::Topic(error)) => of_models(error),
            Self::Decode(_) => Verdict::USER,
            Self::Sink(error) => of_sink(error),
        }
    }
}

fn of_models(error: &ModelTopicError) -> Verdict {
    match error {
        ModelTopicError::TooLarge { .. } | ModelTopicError::Topic(TopicError::Options(_)) => Verdict::USER,
        ModelTopicError::Topic(_) | ModelTopicError::Refused { .. } | ModelTopicError::Unpublished { .. } => {
            Verdict::EXTERNAL
        }
    }
}

fn of_source(error: &SourceError) -> Verdict {
    match error {
        SourceError::Io { .. } | SourceError::Format { .. } | SourceError::Refused(_) => Verdict::USER,
        // Who was replaced does not come back by itself.
        SourceError::Fenced(_) => Verdict::REPLACED,
        SourceError::Unavailable(_) => Verdict::EXTERNAL,
        SourceError::Internal(_) => Verdict::INTERNAL,
    }
}

fn of_sink(error: &SinkError) -> Verdict {
    match error {
        SinkError::Create { .. }
        | SinkError::Write { .. }
        | SinkError::Packets { .. }
        | SinkError::Aborted(_)
        | SinkError::Unavailable(_) => Verdict::EXTERNAL,
        SinkError::Fenced(_) => Verdict::REPLACED,
        SinkError::Refused(_) => Verdict::USER,
        SinkError::ReadBack { .. }
        | SinkError::Decode { .. }
        | SinkError::Length { .. }
        | SinkError::UnknownStream(_) => Verdict::INTERNAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Stage;

    fn io() -> std::io::Error {
        std::io::Error::other("no")
    }

    #[test]
    fn each_error_is_laid_at_the_right_door() {
        let read = || SourceError::Io { path: "a".into(), source: io() };
        let write = || SinkError::Write { path: "a".into(), source: io() };
        let cases: [(PipelineError, Fault); 6] = [
            (BuildError::Source(read()).into(), Fault::User),
            (RunError::Source(read()).into(), Fault::User),
            (RunError::Sink(write()).into(), Fault::External),
            (RunError::Sink(SinkError::UnknownStream(1)).into(), Fault::Internal),
            (RunError::Broken(Stage::Encode).into(), Fault::Internal),
            (PipelineError::Panicked("x".to_owned()), Fault::Internal),
        ];
        for (error, fault) in cases {
            let can_retry = fault == Fault::External;
            assert_eq!(error.verdict(), Verdict { fault, can_retry }, "{error}");
        }
    }
}
