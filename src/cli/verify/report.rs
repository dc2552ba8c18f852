//! What was found.

use std::path::Path;

use serde::Serialize;

use crate::cli::{CliError, exit, print};

/// Troubles that are kept for a JSON object; all are counted.
const KEPT_TROUBLES: usize = 1000;

/// What was found in all files.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) files: u64,
    pub(super) streams: usize,
    pub(super) packets: u64,
    pub(super) frames: u64,
    /// Bytes of packets and of what is damaged.
    pub(super) bytes: u64,
    /// Files that their writer did not finish, or has not yet.
    pub(super) not_closed: u64,
    /// Packets before which the source had lost samples.
    pub(super) gaps: u64,
    pub(super) missing_frames: u64,
    pub(super) repeated_frames: u64,
    /// Places where the frames of a stream are counted anew.
    pub(super) new_counts: u64,
    pub(super) trouble_count: u64,
    /// The first of them.
    pub(super) troubles: Vec<Trouble>,
    #[serde(skip)]
    json: bool,
}

/// Something that is wrong.
#[derive(Debug, Serialize)]
pub(super) struct Trouble {
    pub(super) file: String,
    pub(super) offset: Option<u64>,
    pub(super) problem: String,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        Self { json, ..Self::default() }
    }

    /// Tells of something wrong at a place of a file, or with the file as a whole.
    pub(super) fn trouble(
        &mut self,
        file: &Path,
        offset: Option<u64>,
        problem: &str,
    ) -> Result<(), CliError> {
        self.trouble_count += 1;
        let file = file.display().to_string();
        if self.json {
            if self.troubles.len() < KEPT_TROUBLES {
                self.troubles.push(Trouble { file, offset, problem: problem.to_owned() });
            }
            return Ok(());
        }
        print(&match offset {
            Some(offset) => format!("{file}: byte {offset}: {problem}\n"),
            None => format!("{file}: {problem}\n"),
        })
    }

    /// Says what was found in all.
    pub(super) fn finish(mut self, streams: usize) -> Result<(), CliError> {
        self.streams = streams;
        if self.json {
            let json = serde_json::to_string_pretty(&self);
            print(&(json.map_err(|error| CliError::new(exit::INTERNAL, error))? + "\n"))?;
        } else {
            print(&self.line())?;
        }
        match self.trouble_count {
            0 => Ok(()),
            count => Err(CliError::new(exit::DATA, format_args!("{count} troubles"))),
        }
    }

    fn line(&self) -> String {
        let Self { files, streams, packets, frames, .. } = self;
        let mut line = format!("{files} files, {streams} streams, {packets} packets, {frames} frames");
        for (count, what) in [
            (self.gaps, "gaps of the source"),
            (self.missing_frames, "frames missing"),
            (self.repeated_frames, "frames repeated"),
            (self.new_counts, "new counts"),
            (self.not_closed, "files not closed"),
        ] {
            if count > 0 {
                line += &format!(", {count} {what}");
            }
        }
        line + if self.trouble_count == 0 { ": all is well\n" } else { "\n" }
    }
}
