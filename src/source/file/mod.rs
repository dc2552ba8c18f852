//! Recordings in files: `docs/formats.md` says what is read of each format.
//!
//! [`open`] gives one stream for each recording, with all channels of the recording; its key is the name of
//! the file without extension. A recording with several sample rates, or with keys of its own, gives several.
//! Files are read with a constant amount of memory, and compressed ones (`.gz`, `.zst`) as what is in them.
//!
//! A sample that is not there (NaN, infinite, marked as missing by the format) takes the samples of all other
//! channels at its instant with it: they become a [`DeadLetter`], and the next
//! chunk says that it stands after a gap.

mod csv;
mod description;
mod edf;
mod input;
mod jsonl;
mod lines;
mod raw;
mod rows;
mod rvl;
mod sequence;
mod wav;
mod wfdb;
pub(crate) mod write;

use std::fmt;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::input::Input;
pub use self::sequence::{expand, open_all};
use super::decoding::DecodingOptions;
pub use super::sample_bytes::Endian;
use super::{Source, SourceError};
use crate::signal::{DeadLetter, Position, SampleType, Stage};

/// How to read a file. What is `None` is read off the file.
#[derive(Clone, Debug, PartialEq)]
pub struct FileOptions {
    /// The format; where `None`, the extension says it ([`Format::of`]).
    pub format: Option<Format>,
    /// Samples per second and channel. Goes before what the file says.
    pub sample_rate_hz: Option<f64>,
    /// Channels in the file. A raw file without description has one where this is `None`; a file that
    /// says otherwise is refused.
    pub channels: Option<usize>,
    /// How samples are stored. A raw file's extension (`.i16`) or description says it where this is `None`;
    /// a CSV file is read through once to find the smallest type of counts that holds all its samples, or
    /// `f64` where some are not whole. A WFDB file that says otherwise is refused.
    pub sample_type: Option<SampleType>,
    /// Byte order of a raw file; little-endian where neither this nor a description says otherwise.
    pub endian: Option<Endian>,
    /// What only CSV files need.
    pub csv: CsvOptions,
    /// How lines of JSON become samples; of no other format.
    pub decoding: Option<Box<DecodingOptions>>,
    /// Of packet files: directories of models, or directories of such, in which those are that the packets name.
    pub models: Vec<PathBuf>,
    /// Samples per channel in a chunk.
    pub chunk_samples: usize,
}

/// How to read a CSV file. What is `None` is read off its first line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsvOptions {
    /// The column that holds time: its name, or its place counted from 0. Where `None`, the first column named
    /// `time` or `timestamp`, alone or followed by something that is no letter (`time_ms`), if there is one.
    pub time_column: Option<String>,
    /// What stands between cells. Where `None`, a tab or else a semicolon if the first line has one, else a
    /// comma.
    pub delimiter: Option<char>,
    /// Whether the first line names the columns. Where `None`, it does if a cell in it is neither empty, a
    /// number nor a time stamp.
    pub header: Option<bool>,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            format: None,
            sample_rate_hz: None,
            channels: None,
            sample_type: None,
            endian: None,
            csv: CsvOptions::default(),
            decoding: None,
            models: rvl::default_models(),
            chunk_samples: 4096,
        }
    }
}

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// PhysioNet's waveform database: a header `NAME.hea` and signal files, in formats 212 and 16.
    Wfdb,
    /// Text with a column for each channel.
    Csv,
    /// Nothing but samples, channels interleaved.
    Raw,
    /// European Data Format: EDF, EDF+, and BDF and BDF+ with 24 bits.
    Edf,
    /// Waveform audio: PCM and floats.
    Wav,
    /// A JSON object, or an array of them, on each line.
    Jsonl,
    /// Packets, which are decoded.
    Rvl,
}

/// What the format is known by where nobody says it.
const KNOWN_EXTENSIONS: &str = "known are .hea, .dat, .csv, .tsv, .edf, .bdf, .wav, .jsonl, .rvl, .raw, .bin, .i16, .i24, .i32, .f32 and .f64, each also with .gz or \
     .zst behind it";

impl Format {
    /// Every format with its name in a pipeline file.
    pub const ALL: [(&str, Self); 7] = [
        ("wfdb", Self::Wfdb),
        ("csv", Self::Csv),
        ("raw", Self::Raw),
        ("edf", Self::Edf),
        ("wav", Self::Wav),
        ("jsonl", Self::Jsonl),
        ("rvl", Self::Rvl),
    ];

    /// The format that a file's extension stands for: `hea` and `dat` are WFDB, `csv` and `tsv` CSV, `edf` and `bdf`
    /// EDF, `wav` WAVE, `jsonl` and `ndjson` lines of JSON, `rvl` packets, `raw`, `bin`, `i16`, `i24`, `i32`, `f32` and `f64` raw; with `gz` or `zst` behind it, the one before that.
    pub fn of(path: &Path) -> Option<Self> {
        match extension(path).as_str() {
            "hea" | "dat" => Some(Self::Wfdb),
            "csv" | "tsv" => Some(Self::Csv),
            "edf" | "bdf" => Some(Self::Edf),
            "wav" | "wave" => Some(Self::Wav),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "rvl" => Some(Self::Rvl),
            "raw" | "bin" | "i16" | "i24" | "i32" | "f32" | "f64" => Some(Self::Raw),
            _ => None,
        }
    }

    /// The formats' names.
    fn names() -> String {
        Self::ALL.map(|(name, _)| name).join(", ")
    }
}

/// A recording that is to be opened.
struct Recording<'a> {
    path: &'a Path,
    /// What its streams are called, or what their keys begin with.
    name: &'a str,
    /// How far packet files came that were read before.
    progress: &'a rvl::Progress,
}

impl Recording<'_> {
    fn error(&self, place: impl fmt::Display, reason: impl fmt::Display) -> SourceError {
        format_error(self.path, place, reason)
    }

    /// How dead letters name it.
    fn origin(&self) -> String {
        shown(self.path).display().to_string()
    }
}

/// The most channels that a file may have.
const MAX_CHANNELS: usize = 4096;

const IS_DIRECTORY: &str = "is a directory: name a recording in it";

/// Opens a recording; `-` is standard input.
///
/// # Errors
/// The file cannot be read, is not what it says it is, or leaves open what `options` do not say.
pub fn open(path: &Path, options: &FileOptions) -> Result<Box<dyn Source>, SourceError> {
    open_named(path, &stem(path), &rvl::Progress::default(), options)
}

/// Opens a recording whose streams are called `name`, or have keys that begin with it; of packet files it goes on where `progress`
/// stands.
fn open_named(
    path: &Path,
    name: &str,
    progress: &rvl::Progress,
    options: &FileOptions,
) -> Result<Box<dyn Source>, SourceError> {
    if path.is_dir() {
        return Err(format_error(path, "file", IS_DIRECTORY));
    }
    let format = options.format.or_else(|| Format::of(path)).ok_or_else(|| {
        if input::is_stdin(path) {
            let reason = format!("standard input has no extension: give the format ({})", Format::names());
            return format_error(path, "format", reason);
        }
        let reason = format!("does not say the format: give it ({}); {KNOWN_EXTENSIONS}", Format::names());
        format_error(path, "extension", reason)
    })?;
    if let Some(rate) = options.sample_rate_hz {
        check_rate(path, "sample_rate_hz", rate)?;
    }
    if options.chunk_samples == 0 {
        return Err(format_error(path, "chunk_samples", "is 0: give at least 1"));
    }
    let recording = Recording { path, name, progress };
    match format {
        Format::Wfdb => wfdb::open(&recording, options),
        Format::Csv => csv::open(&recording, options),
        Format::Raw => raw::open(&recording, options),
        Format::Edf => edf::open(&recording, options),
        Format::Wav => wav::open(&recording, options),
        Format::Jsonl => jsonl::open(&recording, options),
        Format::Rvl => rvl::open(&recording, options),
    }
}

/// The extension in lower case; of a compressed file that of what is in it.
/// What cannot be used of the recording `origin`, at a byte of it.
fn dead_letter(origin: &str, byte: u64, reason: String, samples: u64) -> DeadLetter {
    DeadLetter {
        stage: Stage::Source,
        origin: origin.to_owned(),
        position: Position::Byte(byte),
        reason,
        samples,
        message: None,
    }
}

fn extension(path: &Path) -> String {
    let path = input::uncompressed(path);
    path.extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// The recording's name: that of the file, without extension.
fn stem(path: &Path) -> String {
    if input::is_stdin(path) {
        return "stdin".to_owned();
    }
    let path = input::uncompressed(path);
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

fn format_error(path: &Path, place: impl fmt::Display, reason: impl fmt::Display) -> SourceError {
    SourceError::Format { path: shown(path), place: place.to_string(), reason: reason.to_string() }
}

fn io_error(path: &Path, source: std::io::Error) -> SourceError {
    SourceError::Io { path: shown(path), source }
}

/// The path as messages have it.
fn shown(path: &Path) -> PathBuf {
    if input::is_stdin(path) { PathBuf::from("standard input") } else { path.to_owned() }
}

/// The text of a small file that describes a recording.
fn read_text(path: &Path) -> Result<String, SourceError> {
    const MAX_BYTES: u64 = 1 << 20;
    let input = Input::open(path)?;
    let mut bytes = Vec::new();
    input.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| io_error(path, error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format_error(path, "file", "is longer than 1 MiB: not the description of a recording"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let place = format!("byte {}", error.utf8_error().valid_up_to());
        format_error(path, place, "is not UTF-8 text")
    })
}

/// Fills `buffer` as far as the input goes and returns how far that is.
fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn check_rate(path: &Path, place: impl fmt::Display, rate_hz: f64) -> Result<(), SourceError> {
    if (1e-6..=1e9).contains(&rate_hz) {
        return Ok(());
    }
    let reason = format!("a sample rate of {rate_hz} Hz is not between 0.000001 and 1000000000");
    Err(format_error(path, place, reason))
}

fn check_channels(path: &Path, place: impl fmt::Display, channels: usize) -> Result<(), SourceError> {
    if (1..=MAX_CHANNELS).contains(&channels) {
        return Ok(());
    }
    Err(format_error(path, place, format_args!("{channels} channels are not between 1 and {MAX_CHANNELS}")))
}

/// Refuses an option that contradicts the file.
fn check_option<T: PartialEq + fmt::Display>(
    path: &Path,
    name: &str,
    option: Option<T>,
    file: T,
) -> Result<(), SourceError> {
    match option {
        Some(option) if option != file => {
            Err(format_error(path, name, format_args!("is given as {option}, but the file has {file}")))
        }
        _ => Ok(()),
    }
}

/// Names for channels: a name that is missing or not unique becomes `ch0`, `ch1`, ... by its place; all do
/// where that clashes with another channel's name.
fn channel_names(given: &[String]) -> Vec<String> {
    let unique = |names: &[String], name: &String| names.iter().filter(|other| *other == name).count() == 1;
    let by_place = |place: usize| format!("ch{place}");
    let names: Vec<String> = given
        .iter()
        .enumerate()
        .map(|(i, name)| if name.is_empty() || !unique(given, name) { by_place(i) } else { name.clone() })
        .collect();
    if names.iter().all(|name| unique(&names, name)) {
        names
    } else {
        (0..given.len()).map(by_place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::{Chunk, DeadLetter, StreamInfo};
    use crate::source::SourceEvent;

    /// Everything that a recording has to say.
    pub(super) struct Read {
        pub(super) info: StreamInfo,
        pub(super) chunks: Vec<Chunk>,
        pub(super) dead_letters: Vec<DeadLetter>,
        pub(super) total: Option<u64>,
    }

    impl Read {
        pub(super) fn samples(&self) -> Vec<f64> {
            self.chunks.iter().flat_map(|chunk| chunk.samples.iter().copied()).collect()
        }
    }

    /// Reads a recording to its end.
    pub(super) fn read(path: &Path, options: &FileOptions) -> Result<Read, SourceError> {
        let mut source = open(path, options)?;
        let total = source.total_samples();
        let SourceEvent::Stream { info, .. } = source.next_event()? else { panic!("the stream comes first") };
        let mut read = Read { info, chunks: Vec::new(), dead_letters: Vec::new(), total };
        loop {
            match source.next_event()? {
                SourceEvent::Stream { info, .. } => panic!("a second stream {info:?}"),
                SourceEvent::Chunk(chunk) => {
                    assert_eq!(chunk.stream, 0);
                    assert!(!chunk.samples.is_empty());
                    assert!(chunk.samples.iter().all(|sample| read.info.sample_type.holds(*sample)));
                    read.chunks.push(chunk);
                }
                SourceEvent::DeadLetter { letter, .. } => read.dead_letters.push(letter),
                SourceEvent::End => break,
                other => panic!("{other:?} is nothing that a recording says"),
            }
        }
        assert!(matches!(source.next_event()?, SourceEvent::End));
        Ok(read)
    }

    /// The one line that says why a recording cannot be opened.
    pub(super) fn refusal(path: &Path, options: &FileOptions) -> String {
        let message = match read(path, options) {
            Ok(_) => panic!("{} can be read", path.display()),
            Err(error) => error.to_string(),
        };
        assert!(!message.contains('\n'), "{message}");
        message
    }

    #[test]
    fn the_extension_says_the_format() {
        assert_eq!(Format::of(Path::new("a/b.HEA")), Some(Format::Wfdb));
        assert_eq!(Format::of(Path::new("b.tsv")), Some(Format::Csv));
        assert_eq!(Format::of(Path::new("b.i16")), Some(Format::Raw));
        assert_eq!(Format::of(Path::new("b.csv.GZ")), Some(Format::Csv));
        assert_eq!(Format::of(Path::new("b.gz")), None);
        let refusal = refusal(Path::new("recording.mp3"), &FileOptions::default());
        assert!(refusal.contains("wfdb, csv, raw") && refusal.contains(".zst"), "{refusal}");
    }

    #[test]
    fn a_directory_is_no_recording() {
        let folder = tempfile::tempdir().unwrap();
        assert!(refusal(folder.path(), &FileOptions::default()).contains("is a directory"));
    }

    #[test]
    fn options_that_no_file_can_have_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.i16");
        std::fs::write(&path, [0; 8]).unwrap();
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e12] {
            let options = FileOptions { sample_rate_hz: Some(rate), ..FileOptions::default() };
            assert!(refusal(&path, &options).contains("sample_rate_hz"));
        }
        let options = FileOptions { chunk_samples: 0, ..FileOptions::default() };
        assert!(refusal(&path, &options).contains("chunk_samples"));
    }

    #[test]
    fn channels_get_unique_names() {
        let names =
            |given: &[&str]| channel_names(&given.iter().map(|name| name.to_string()).collect::<Vec<_>>());
        assert_eq!(names(&["I", "II"]), ["I", "II"]);
        assert_eq!(names(&["I", "", "I"]), ["ch0", "ch1", "ch2"]);
        assert_eq!(names(&["", "ch0", "V1"]), ["ch0", "ch1", "ch2"]);
        assert_eq!(names(&["V1", ""]), ["V1", "ch1"]);
    }
}
