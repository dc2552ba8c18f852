//! Several `.rvl` files as one recording: which they are, in which order, and which part of them is wanted.

mod contents;
mod range;
mod reader;

pub(super) use contents::{Contents, Segment, Stream};
pub(super) use range::{Bound, Range, Window, parse_bound};
pub(super) use reader::SegmentReader;

use std::path::{Path, PathBuf};

use super::{CliError, exit};
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
        collect(path, &mut files)
            .map_err(|error| CliError::new(exit::NO_INPUT, format_args!("{}: {error}", path.display())))?;
        if files.len() == before {
            let reason = format_args!("{}: holds no *.rvl file", path.display());
            return Err(CliError::new(exit::NO_INPUT, reason));
        }
    }
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let entries: Result<Vec<_>, _> = std::fs::read_dir(folder)?.collect();
    let mut paths: Vec<_> = entries?.iter().map(std::fs::DirEntry::path).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rvl") {
            files.push(path);
        }
    }
    Ok(())
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
