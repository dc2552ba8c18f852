//! Several `.rvl` files as one recording: which they are, in which order, and which part of them is wanted.

mod contents;
mod range;
mod reader;

pub(super) use contents::{Contents, Segment, Stream};
pub(super) use range::{Bound, ROUNDING, Range, Window, parse_bound};
pub(super) use reader::SegmentReader;

use std::path::{Path, PathBuf};

use super::{CliError, exit, warn};
use crate::packet::{ErrorKind, PacketError};

/// Standard input, as an argument.
pub(super) const STDIN: &str = "-";

/// The files that `paths` name; a folder stands for the `*.rvl` files in it and below, in the order of their names.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let before = files.len();
        let partial = collect(path, &mut files)
            .map_err(|error| CliError::new(exit::NO_INPUT, format_args!("{}: {error}", path.display())))?;
        if partial > 0 {
            warn(&format!(
                "{}: {partial} *.rvl.partial left out, which still grow or have to wait until their packets are \
                 committed; name them to read them",
                path.display()
            ));
        }
        if files.len() == before {
            let reason = format_args!("{}: holds no *.rvl file", path.display());
            return Err(CliError::new(exit::NO_INPUT, reason));
        }
    }
    Ok(files)
}

/// Refuses an output that is one of the inputs.
pub(super) fn refuse_output<'a>(
    inputs: impl IntoIterator<Item = &'a Path>,
    output: &Path,
) -> Result<(), CliError> {
    let Ok(place) = std::fs::canonicalize(output) else { return Ok(()) };
    let same = |input: &&Path| std::fs::canonicalize(input).is_ok_and(|input| input == place);
    match inputs.into_iter().find(same) {
        None => Ok(()),
        Some(input) => {
            let message =
                format_args!("{} would be written over, which is read: write another file", input.display());
            Err(CliError::new(exit::USAGE, message))
        }
    }
}

/// Returns the number of files that were left out because they still grow, or have to wait for a commit.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<usize> {
    let mut partial = 0;
    let entries: Result<Vec<_>, _> = std::fs::read_dir(folder)?.collect();
    let mut paths: Vec<_> = entries?.iter().map(std::fs::DirEntry::path).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            partial += collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rvl") {
            files.push(path);
        } else if path.to_string_lossy().ends_with(".rvl.partial") {
            partial += 1;
        }
    }
    Ok(partial)
}

pub(super) fn open_error(path: &Path, error: &std::io::Error) -> CliError {
    CliError::new(exit::NO_INPUT, format_args!("{}: {error}", path.display()))
}

pub(super) fn read_error(path: &Path, error: &PacketError) -> CliError {
    let code = match error.kind() {
        ErrorKind::Io => exit::IO,
        _ => exit::DATA,
    };
    CliError::new(code, format_args!("{}: {error}", path.display()))
}
