//! What pipelines that are over have done, printed as they end, and the exit code that follows.

use std::io::Write;

use super::super::{CliError, exit, print};
use crate::config::{OnViolation, PipelineConfig, SinkConfig};
use crate::pipeline::{BuildError, DecodersError, EncodeError, Ended, PipelineError, RunError, Summary};
use crate::sink::SinkError;
use crate::source::SourceError;

/// Gathers the ends of a run's pipelines.
pub(super) struct Outcome<'a> {
    configs: &'a [PipelineConfig],
    json: bool,
    /// Standard output carries packets: tables go elsewhere.
    stdout_taken: bool,
    tables: usize,
    failed: Vec<String>,
    first_failure: Option<CliError>,
}

impl<'a> Outcome<'a> {
    /// Of pipelines that were started in the order of `configs`; summaries are printed as JSON or as tables.
    pub(super) fn of(configs: &'a [PipelineConfig], json: bool) -> Self {
        let mut sinks = configs.iter().flat_map(|config| &config.sinks);
        let stdout_taken = sinks.any(|sink| matches!(sink, SinkConfig::Stdout(_)));
        Self { configs, json, stdout_taken, tables: 0, failed: Vec::new(), first_failure: None }
    }

    /// A pipeline is over. Prints what it has done; of several, logs why one failed.
    pub(super) fn take(&mut self, ended: Ended) {
        let checked = match ended.result {
            Ok(summary) => self.report(&summary).and_then(|()| self.check(ended.index, &summary)),
            Err(error) => Err(pipeline_error(&error)),
        };
        let Err(error) = checked else { return };
        if self.configs.len() > 1 {
            tracing::error!(pipeline = ended.name, "failed: {}", error.message);
        }
        self.failed.push(ended.name);
        self.first_failure.get_or_insert(error);
    }

    /// The run's own end: that of the first pipeline that failed.
    pub(super) fn end(self) -> Result<(), CliError> {
        match self.first_failure {
            None => Ok(()),
            Some(error) if self.configs.len() == 1 => Err(error),
            Some(CliError { code, .. }) => {
                let (failed, all) = (self.failed.len(), self.configs.len());
                let names = self.failed.join(", ");
                Err(CliError::new(code, format_args!("{failed} of {all} pipelines failed: {names}")))
            }
        }
    }

    fn report(&mut self, summary: &Summary) -> Result<(), CliError> {
        if self.json {
            let line =
                serde_json::to_string(summary).map_err(|error| CliError::new(exit::INTERNAL, error))?;
            return print(&(line + "\n"));
        }
        let between = if self.tables == 0 { "" } else { "\n" };
        self.tables += 1;
        let table = format!("{between}{}", summary.table());
        if self.stdout_taken {
            let _ = std::io::stderr().write_all(table.as_bytes());
            return Ok(());
        }
        print(&table)
    }

    fn check(&self, index: usize, summary: &Summary) -> Result<(), CliError> {
        self.configs.get(index).map_or(Ok(()), |config| check_mirror(config, summary))
    }
}

/// Holds a run to what its mirror promises.
pub(in crate::cli) fn check_mirror(config: &PipelineConfig, summary: &Summary) -> Result<(), CliError> {
    let fails = config
        .sinks
        .iter()
        .any(|sink| matches!(sink, SinkConfig::Mirror(mirror) if mirror.on_violation == OnViolation::Fail));
    match (summary.violations, summary.max_prd_percent) {
        (Some(violations @ 1..), Some(limit)) if fails => Err(CliError::new(
            exit::CHECK_FAILED,
            format_args!("{violations} frames have a PRD above {limit} %, the mirror's max_prd_percent"),
        )),
        _ => Ok(()),
    }
}

/// What to say of a pipeline's error, and the code to leave with.
pub(in crate::cli) fn pipeline_error(error: &PipelineError) -> CliError {
    let code = match error {
        PipelineError::Build(BuildError::Config(error)) => return CliError::problems(error),
        PipelineError::Build(error) => build_code(error),
        PipelineError::Run(error) => run_code(error),
        PipelineError::Panicked(_) => exit::INTERNAL,
    };
    CliError::new(code, error)
}

fn build_code(error: &BuildError) -> u8 {
    match error {
        BuildError::Config(_)
        | BuildError::Model(_)
        | BuildError::Window(_)
        | BuildError::Encode(_)
        | BuildError::NoEncoder
        | BuildError::Codec { .. } => exit::CONFIG,
        BuildError::Models(_) => exit::UNAVAILABLE,
        BuildError::Source(error) => source_code(error),
        BuildError::Sink(error) => sink_code(error),
        BuildError::Instance(_) => exit::CANNOT_CREATE,
    }
}

fn run_code(error: &RunError) -> u8 {
    match error {
        RunError::Source(error) => source_code(error),
        RunError::Encode(EncodeError::Window(_) | EncodeError::Resume { .. }) => exit::CONFIG,
        RunError::Decode(DecodersError::Topic(_)) => exit::UNAVAILABLE,
        RunError::Decode(_) => exit::CONFIG,
        RunError::Encode(_) | RunError::Broken(_) => exit::INTERNAL,
        RunError::Sink(error) => sink_code(error),
    }
}

/// The exit code of a source's error.
pub(in crate::cli) fn source_code(error: &SourceError) -> u8 {
    match error {
        SourceError::Io { .. } => exit::NO_INPUT,
        SourceError::Format { .. } => exit::DATA,
        SourceError::Unavailable(_) | SourceError::Fenced(_) => exit::UNAVAILABLE,
        SourceError::Refused(_) => exit::CONFIG,
        SourceError::Internal(_) => exit::INTERNAL,
    }
}

fn sink_code(error: &SinkError) -> u8 {
    match error {
        SinkError::Create { .. } => exit::CANNOT_CREATE,
        SinkError::Write { .. } | SinkError::Packets { .. } => exit::IO,
        SinkError::Aborted(_) | SinkError::Unavailable(_) | SinkError::Fenced(_) => exit::UNAVAILABLE,
        SinkError::Refused(_) => exit::CONFIG,
        SinkError::ReadBack { .. }
        | SinkError::Decode { .. }
        | SinkError::Length { .. }
        | SinkError::UnknownStream(_) => exit::INTERNAL,
    }
}
