//! The source that follows files.

use std::sync::Arc;

use super::BuildError;
use crate::config::{FollowSourceConfig, PipelineConfig, StateStore};
use crate::source::SourceError;
use crate::source::follow::{FollowOptions, FollowSource, StateCommitter, Store};
use crate::telemetry::PipelineTelemetry;

/// The source, and what keeps its positions.
pub(super) fn open(
    config: &PipelineConfig,
    source: &FollowSourceConfig,
    telemetry: &Arc<PipelineTelemetry>,
) -> Result<(FollowSource, StateCommitter), BuildError> {
    let StateStore::File { path } = &config.delivery.state else {
        return Err(SourceError::Internal("a source that follows files has no state file".into()).into());
    };
    let store = Store::open(path)?;
    let options = FollowOptions {
        path: source.path.clone(),
        decoding: source.decoding.clone(),
        start: source.start,
        max_streams: config.window.max_streams.get(),
    };
    let source = FollowSource::new(options, Arc::clone(&store), Arc::clone(telemetry));
    Ok((source, StateCommitter(store)))
}
