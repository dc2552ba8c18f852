//! The lines of a text file.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::input::Input;
use super::{SourceError, format_error, io_error};
use crate::source::cells::without_byte_order_mark;

/// The lines of a text file that are not blank.
pub(super) struct Lines {
    pub(super) path: PathBuf,
    reader: BufReader<Input>,
    /// What the file should be, for its errors.
    kind: &'static str,
    /// The last line, without its line break.
    pub(super) text: Vec<u8>,
    /// Its number, counted from 1.
    pub(super) number: u64,
    pub(super) start_byte: u64,
    pub(super) end_byte: u64,
}

impl Lines {
    pub(super) fn open(path: &Path, kind: &'static str) -> Result<Self, SourceError> {
        let reader = BufReader::with_capacity(1 << 16, Input::open(path)?);
        Ok(Self {
            path: path.to_owned(),
            reader,
            kind,
            text: Vec::new(),
            number: 0,
            start_byte: 0,
            end_byte: 0,
        })
    }

    /// Why the input ended before its time, where it did.
    pub(super) fn damage(&self) -> Option<String> {
        self.reader.get_ref().damage()
    }

    /// Reads the next line; false at the end of the file.
    pub(super) fn next(&mut self) -> Result<bool, SourceError> {
        const MAX_BYTES: u64 = 1 << 20;
        loop {
            self.text.clear();
            let mut bounded = self.reader.by_ref().take(MAX_BYTES + 1);
            let bytes =
                bounded.read_until(b'\n', &mut self.text).map_err(|error| io_error(&self.path, error))?;
            if bytes == 0 {
                return Ok(false);
            }
            self.number += 1;
            self.start_byte = self.end_byte;
            self.end_byte += bytes as u64;
            let refuse =
                |reason: String| Err(format_error(&self.path, format_args!("line {}", self.number), reason));
            if bytes as u64 > MAX_BYTES {
                return refuse(format!("is longer than 1 MiB: not {}", self.kind));
            }
            if self.number == 1 {
                if self.text.starts_with(b"\xff\xfe") || self.text.starts_with(b"\xfe\xff") {
                    return refuse("is UTF-16 text: convert the file to UTF-8".into());
                }
                if self.text.contains(&0) {
                    return refuse(format!("has bytes of 0: a binary file, not {}", self.kind));
                }
                let mark = self.text.len() - without_byte_order_mark(&self.text).len();
                self.text.drain(..mark);
            }
            if !self.text.trim_ascii().is_empty() {
                // Not all space: a tab at the end may stand before an empty cell.
                let breaks = self.text.iter().rev().take_while(|byte| b"\r\n".contains(byte)).count();
                self.text.truncate(self.text.len() - breaks);
                return Ok(true);
            }
        }
    }
}
