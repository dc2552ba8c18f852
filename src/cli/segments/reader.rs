//! Reads one file, or only what is wanted of it.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{STDIN, Window, open_error, read_error};
use crate::cli::CliError;
use crate::packet::rvl::{Event, Part, Reader};

/// A file under way.
pub(in crate::cli) enum SegmentReader {
    /// From front to back.
    Whole(Box<Reader<Box<dyn Read>>>),
    /// By its index.
    Part {
        part: Box<Part<File>>,
        /// What is wanted of each stream, and its sample rate; nothing of those that are not there.
        windows: HashMap<u32, (Window, f64)>,
    },
}

impl SegmentReader {
    /// Reads everything.
    pub(in crate::cli) fn whole(path: &Path) -> Result<Self, CliError> {
        let input: Box<dyn Read> = match path.as_os_str() == STDIN {
            true => Box::new(std::io::stdin()),
            false => Box::new(File::open(path).map_err(|error| open_error(path, &error))?),
        };
        Ok(Self::Whole(Box::new(Reader::new(input))))
    }

    /// Reads what `windows` may want; everything where the file does not say where that is.
    pub(in crate::cli) fn part(path: &Path, windows: HashMap<u32, Window>) -> Result<Self, CliError> {
        let file = File::open(path).map_err(|error| open_error(path, &error))?;
        let Some(mut part) = Part::open(file).map_err(|error| read_error(path, &error))? else {
            return Self::whole(path);
        };
        if windows.values().all(|window| window.timed) {
            let from_ns = windows.values().map(|window| window.from_ns).min().unwrap_or(i64::MIN);
            let to_ns = windows.values().map(|window| window.to_ns).max().unwrap_or(i64::MAX);
            part.within(from_ns.div_euclid(1_000_000), to_ns.div_euclid(1_000_000).saturating_add(1));
        }
        let rated = windows.into_iter().filter_map(|(number, window)| {
            Some((number, (window, part.streams().get(&number)?.sample_rate_hz)))
        });
        let windows = rated.collect();
        Ok(Self::Part { part: Box::new(part), windows })
    }

    pub(in crate::cli) fn next_event(&mut self, path: &Path) -> Result<Event, CliError> {
        let event = match self {
            Self::Whole(reader) => reader.next_event(),
            Self::Part { part, windows } => part.next_event(&mut |placed| {
                let window = windows.get(&placed.entry.stream);
                window.is_some_and(|(window, rate)| window.may_meet(placed, *rate))
            }),
        };
        event.map_err(|error| read_error(path, &error))
    }

    /// The packet of the last event, as it stands in the file.
    pub(in crate::cli) fn packet_bytes(&self) -> &[u8] {
        match self {
            Self::Whole(reader) => reader.packet_bytes(),
            Self::Part { part, .. } => part.packet_bytes(),
        }
    }
}
