//! What has to come out, by the library.

use std::path::PathBuf;

use crate::codec::{self, chunk, framer, stream_info};
use crate::{read_wfdb_212, root};

/// The first channel of the shipped excerpt.
pub fn excerpt() -> Vec<i16> {
    let [lead, _] = read_wfdb_212(&root().join("pipelines/data/mitdb_100_60s.dat"));
    lead.into_iter().map(|sample| sample as i16).collect()
}

/// A folder of recordings, if there is one: `$RIVULET_RECORDINGS`, or `shared/data` beside the project.
pub fn recording_folder() -> Option<PathBuf> {
    let named = std::env::var_os("RIVULET_RECORDINGS").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| root().join("../shared/data"));
    folder.is_dir().then_some(folder)
}

/// Runs of samples with gaps between them, cut, encoded and decoded again.
pub fn decoded(runs: &[&[i16]]) -> Vec<f64> {
    let info = stream_info("expected");
    let mut framer = framer(&info);
    let frames = runs.iter().map(|run| {
        let mut frames = Vec::new();
        framer.push(&chunk(run, true), &mut frames).expect("whole rows");
        framer.close(&mut frames);
        frames
    });
    let frames: Vec<_> = frames.collect();
    codec::decoded(&info, frames.iter().flat_map(|frames| frames.chunks(16)))
}
