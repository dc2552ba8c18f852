//! Checks one file after the other.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::path::Path;

use super::report::Report;
use crate::cli::CliError;
use crate::cli::segments::{SegmentReader, open_error, read_error};
use crate::codec::Decoder;
use crate::packet::rvl::{Event, Index, IndexEntry};
use crate::packet::{Continuity, ErrorKind, Packet};
use crate::pipeline::{Decoders, DecodersError};
use crate::signal::StreamKey;

/// What is known of the recording so far.
pub(super) struct Check {
    streams: HashMap<StreamKey, Continuity>,
    /// None where packets need not decode.
    decoders: Option<Decoders>,
}

/// The packets that the index of a file has, in step with those that are there.
struct Expected {
    file: File,
    index: Index,
    next_block: usize,
    entries: VecDeque<IndexEntry>,
}

impl Check {
    pub(super) fn new(decoders: Option<Decoders>) -> Self {
        Self { streams: HashMap::new(), decoders }
    }

    pub(super) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Reads a file to its end.
    pub(super) fn file(&mut self, path: &Path, report: &mut Report) -> Result<(), CliError> {
        report.files += 1;
        let mut expected = match Expected::open(path)? {
            Ok(expected) => expected,
            Err(problem) => {
                report.trouble(path, None, &problem)?;
                None
            }
        };
        let mut reader = SegmentReader::whole(path)?;
        let mut keys: HashMap<u32, StreamKey> = HashMap::new();
        // The last damaged place: packets that were there are told with it.
        let mut damaged = 0..0;
        loop {
            match reader.next_event(path)? {
                Event::Stream { number, info, .. } => {
                    self.streams.entry(info.key.clone()).or_default().go_on_with_other();
                    keys.insert(number, info.key);
                }
                Event::Damage { offset, bytes, error } => {
                    report.bytes += bytes;
                    report.trouble(path, Some(offset), &format!("{bytes} bytes damaged: {error}"))?;
                    Self::catch_up(&mut expected, offset, &damaged, path, report)?;
                    damaged = offset..offset.saturating_add(bytes);
                }
                Event::Packet { stream, packet, offset, parts } => {
                    report.packets += 1;
                    report.frames += u64::from(packet.header.frames);
                    report.bytes += parts.total();
                    Self::catch_up(&mut expected, offset, &damaged, path, report)?;
                    let header = &packet.header;
                    let is_same = |entry: &IndexEntry| {
                        (entry.stream, entry.first_frame, entry.frames)
                            == (stream, header.first_frame, header.frames)
                    };
                    if !expected
                        .as_mut()
                        .is_none_or(|expected| expected.take(offset).is_some_and(|e| is_same(&e)))
                    {
                        report.trouble(
                            path,
                            Some(offset),
                            "the index does not have this packet, or another one here",
                        )?;
                    }
                    if let Some(key) = keys.get(&stream) {
                        self.follow(key, &packet, path, offset, report)?;
                    }
                    self.decode(&packet, path, offset, report)?;
                }
                Event::End { torn_bytes, closed } => {
                    Self::catch_up(&mut expected, u64::MAX, &damaged, path, report)?;
                    if torn_bytes > 0 {
                        report.bytes += torn_bytes;
                        let problem = format!("the last record is cut after {torn_bytes} bytes");
                        report.trouble(path, None, &problem)?;
                    }
                    report.not_closed += u64::from(!closed && torn_bytes == 0);
                    return Ok(());
                }
            }
        }
    }

    fn follow(
        &mut self,
        key: &StreamKey,
        packet: &Packet,
        path: &Path,
        offset: u64,
        report: &mut Report,
    ) -> Result<(), CliError> {
        let Some(continuity) = self.streams.get_mut(key) else { return Ok(()) };
        let header = &packet.header;
        let step = continuity.step(header);
        continuity.advance(header);
        report.repeated_frames += u64::from(step.repeated_frames);
        report.new_counts += u64::from(step.new_count);
        report.gaps += u64::from(header.after_gap);
        if step.missing_frames == 0 {
            return Ok(());
        }
        report.missing_frames = report.missing_frames.saturating_add(step.missing_frames);
        let problem = format!(
            "stream '{key}': {} frames are missing before frame {}",
            step.missing_frames, header.first_frame
        );
        report.trouble(path, Some(offset), &problem)
    }

    fn decode(
        &mut self,
        packet: &Packet,
        path: &Path,
        offset: u64,
        report: &mut Report,
    ) -> Result<(), CliError> {
        let Some(decoders) = &mut self.decoders else { return Ok(()) };
        let problem = match decoders.get(packet.header.model) {
            Ok(decoder) => match decoder.decode(packet) {
                Ok(_) => return Ok(()),
                Err(error) => error.to_string(),
            },
            Err(error @ DecodersError::Unknown(_)) => error.to_string(),
            Err(error) => return Err(CliError::new(crate::cli::exit::CONFIG, error)),
        };
        report.trouble(path, Some(offset), &format!("does not decode: {problem}"))
    }

    /// Tells of packets that the index has before `offset` and that were not there, unless damage hit them.
    fn catch_up(
        expected: &mut Option<Expected>,
        offset: u64,
        damaged: &std::ops::Range<u64>,
        path: &Path,
        report: &mut Report,
    ) -> Result<(), CliError> {
        let Some(index) = expected else { return Ok(()) };
        loop {
            match index.before(offset) {
                Ok(None) => return Ok(()),
                Ok(Some(entry)) if damaged.contains(&entry.offset) => {}
                Ok(Some(entry)) => {
                    report.trouble(path, Some(entry.offset), "the index has a packet here, where none is")?;
                }
                Err(problem) => {
                    report.trouble(path, None, &problem)?;
                    *expected = None;
                    return Ok(());
                }
            }
        }
    }
}

impl Expected {
    /// The index of a file; none where the file was not closed, or what is wrong with it.
    fn open(path: &Path) -> Result<Result<Option<Self>, String>, CliError> {
        let mut file = File::open(path).map_err(|error| open_error(path, &error))?;
        Ok(match Index::open(&mut file) {
            Ok(index) => Ok(Some(Self { file, index, next_block: 0, entries: VecDeque::new() })),
            Err(error) if error.kind() == ErrorKind::Io => return Err(read_error(path, &error)),
            Err(error) if error.kind() == ErrorKind::InsufficientData => Ok(None),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Has the next entry at hand, if there is one.
    fn fill(&mut self) -> Result<(), String> {
        while self.entries.is_empty() && self.next_block < self.index.blocks() {
            let block = self.next_block;
            self.next_block += 1;
            let entries = self.index.read(&mut self.file, block).map_err(|error| error.to_string())?;
            self.index.timings(&mut self.file, block, &entries).map_err(|error| error.to_string())?;
            self.entries.extend(entries);
        }
        Ok(())
    }

    /// Takes the next entry if it is before `offset`.
    fn before(&mut self, offset: u64) -> Result<Option<IndexEntry>, String> {
        self.fill()?;
        let is_before = self.entries.front().is_some_and(|entry| entry.offset < offset);
        Ok(if is_before { self.entries.pop_front() } else { None })
    }

    /// Takes the next entry if it is at `offset`.
    fn take(&mut self, offset: u64) -> Option<IndexEntry> {
        let is_here = self.entries.front().is_some_and(|entry| entry.offset == offset);
        if is_here { self.entries.pop_front() } else { None }
    }
}
