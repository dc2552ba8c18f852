//! The streams of a topic and their files, of which only some are open at a time.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use super::super::append::Columns;
use super::super::format::Format;
use super::super::names::FileNames;
use super::super::output::{Column, Output};
use super::super::usage;
use crate::cli::{CliError, warn};
use crate::packet::{Continuity, Header};
use crate::signal::{ChannelInfo, SampleType};

/// Files that are open at a time; their buffers take 16 MiB.
const MAX_OPEN: usize = 256;

/// Where the streams go.
pub(super) enum Target {
    /// A file for each, in this folder.
    Folder(PathBuf),
    /// The only one, to this file.
    File(PathBuf),
}

/// The streams so far.
pub(super) struct Streams {
    target: Target,
    format: Format,
    names: FileNames,
    numbers: HashMap<String, usize>,
    streams: Vec<(Stream, Output)>,
    /// Streams whose files are open, with the turn in which each was used last.
    open: Vec<(usize, u64)>,
    turn: u64,
}

/// One stream.
pub(super) struct Stream {
    key: String,
    channels: u16,
    sample_type: SampleType,
    sample_rate_hz: f64,
    /// By source: each numbers its frames by itself.
    sources: HashMap<Box<[u8]>, Continuity>,
}

impl Stream {
    fn new(key: &str, header: &Header) -> Self {
        Self {
            key: key.to_owned(),
            channels: header.channels,
            sample_type: header.sample_type,
            sample_rate_hz: header.sample_rate_hz,
            sources: HashMap::new(),
        }
    }

    /// Why a packet cannot go on what came before in the stream.
    pub(super) fn misfit(&self, header: &Header) -> Option<String> {
        let before = (self.channels, self.sample_type, self.sample_rate_hz);
        let now = (header.channels, header.sample_type, header.sample_rate_hz);
        let told = |(channels, sample_type, rate): (u16, SampleType, f64)| {
            format!("{channels} channels of {sample_type} at {rate} Hz")
        };
        (before != now).then(|| {
            format!("a packet of {}, but stream '{}' began with {}", told(now), self.key, told(before))
        })
    }

    pub(super) fn columns(&self) -> Columns {
        Columns { first: 0, channels: usize::from(self.channels) }
    }

    /// How far the frames of a source have come. What a topic holds begins where it was not yet deleted.
    pub(super) fn continuity(&mut self, source: &[u8]) -> &mut Continuity {
        if self.sources.len() == 1 && !self.sources.contains_key(source) {
            warn(&format!(
                "stream '{}' comes from several sources: their samples follow each other as in the topic",
                self.key
            ));
        }
        self.sources.entry(source.into()).or_default()
    }
}

impl Streams {
    pub(super) fn new(target: Target, format: Format) -> Self {
        Self {
            target,
            format,
            names: FileNames::default(),
            numbers: HashMap::new(),
            streams: Vec::new(),
            open: Vec::new(),
            turn: 0,
        }
    }

    /// True if standard output carries samples.
    pub(super) fn to_stdout(&self) -> bool {
        matches!(&self.target, Target::File(path) if path.as_os_str() == "-")
    }

    /// The stream with this key and its output; its first packet has the header given.
    ///
    /// # Errors
    /// The output cannot be created, or is full with another stream.
    pub(super) fn get(&mut self, key: &str, header: &Header) -> Result<(&mut Stream, &mut Output), CliError> {
        let number = match self.numbers.get(key) {
            Some(number) => *number,
            None => self.add(key, header)?,
        };
        self.use_file(number)?;
        match self.streams.get_mut(number) {
            Some((stream, output)) => Ok((stream, output)),
            None => Err(CliError::new(crate::cli::exit::INTERNAL, "a stream went missing")),
        }
    }

    fn add(&mut self, key: &str, header: &Header) -> Result<usize, CliError> {
        let path = match (&self.target, self.streams.first()) {
            (Target::Folder(folder), _) => folder.join(self.names.name(key, self.format)),
            (Target::File(path), None) => path.clone(),
            (Target::File(_), Some((first, _))) => {
                return Err(usage(format_args!(
                    "the topic has more than one stream, '{}' and '{key}', and one file holds one; choose one with \
                     --stream, or give a folder: -o DIR/",
                    first.key
                )));
            }
        };
        let several = header.channels > 1;
        let columns = (0..header.channels)
            .map(|channel| Column {
                name: if several { format!("{key}/{channel}") } else { key.to_owned() },
                sample_type: header.sample_type,
                sample_rate_hz: header.sample_rate_hz,
                channel: ChannelInfo::unscaled(""),
                physical: false,
            })
            .collect();
        // Room first: the new file is one more that is open.
        self.close_oldest()?;
        let output = Output::create(&path, self.format, columns)?;
        let number = self.streams.len();
        self.open.push((number, self.turn));
        self.streams.push((Stream::new(key, header), output));
        self.numbers.insert(key.to_owned(), number);
        Ok(number)
    }

    /// Makes a stream's file one of those that may be open.
    fn use_file(&mut self, number: usize) -> Result<(), CliError> {
        self.turn += 1;
        if let Some((_, used)) = self.open.iter_mut().find(|(open, _)| *open == number) {
            *used = self.turn;
            return Ok(());
        }
        self.close_oldest()?;
        self.open.push((number, self.turn));
        Ok(())
    }

    fn close_oldest(&mut self) -> Result<(), CliError> {
        if self.open.len() < MAX_OPEN {
            return Ok(());
        }
        let oldest = self.open.iter().enumerate().min_by_key(|(_, (_, used))| *used);
        let Some((place, (number, _))) = oldest.map(|(place, open)| (place, *open)) else { return Ok(()) };
        self.open.swap_remove(place);
        match self.streams.get_mut(number) {
            Some((_, output)) => output.close(),
            None => Ok(()),
        }
    }

    /// Completes the files; returns the keys of their streams.
    pub(super) fn finish(self) -> Result<BTreeSet<String>, CliError> {
        let mut keys = BTreeSet::new();
        for (stream, output) in self.streams {
            output.finish()?;
            keys.insert(stream.key);
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelId;

    fn header() -> Header {
        Header {
            model: ModelId([0; 8]),
            key_packet: true,
            after_gap: false,
            sample_type: SampleType::I16,
            channels: 1,
            sample_rate_hz: 100.0,
            frame_size: 2,
            first_frame: 0,
            time_ns: None,
            frames: 1,
            last_valid: 2,
        }
    }

    #[test]
    fn more_streams_than_files_may_be_open_are_all_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut streams = Streams::new(Target::Folder(folder.path().to_owned()), Format::Csv);
        let count = MAX_OPEN + 40;
        for round in 0..3 {
            for number in 0..count {
                let key = format!("device/{number}");
                let (_, output) = streams.get(&key, &header()).unwrap();
                output.push(0, 1, &[f64::from(round), number as f64]).unwrap();
                let open = streams.streams.iter().filter(|(_, output)| output.is_open()).count();
                assert!(open <= MAX_OPEN, "{open}");
            }
        }
        assert_eq!(streams.finish().unwrap().len(), count);
        for number in 0..count {
            let text = std::fs::read_to_string(folder.path().join(format!("device_{number}.csv"))).unwrap();
            assert_eq!(text, format!("device/{number}\n0\n{number}\n1\n{number}\n2\n{number}\n"));
        }
    }

    #[test]
    fn a_file_takes_one_stream() {
        let folder = tempfile::tempdir().unwrap();
        let mut streams = Streams::new(Target::File(folder.path().join("a.csv")), Format::Csv);
        streams.get("a", &header()).unwrap();
        streams.get("a", &header()).unwrap();
        let error = streams.get("b", &header()).err().unwrap();
        assert!(error.message.contains("'a' and 'b'"), "{}", error.message);
    }

    #[test]
    fn what_does_not_go_on_a_stream_is_said() {
        let stream = Stream::new("a", &header());
        assert_eq!(stream.misfit(&header()), None);
        let other = Header { channels: 2, sample_rate_hz: 50.0, ..header() };
        let misfit = stream.misfit(&other).unwrap();
        assert!(misfit.contains("2 channels of i16 at 50 Hz") && misfit.contains("1 channels"), "{misfit}");
    }
}
