//! Many recordings as one source: read one after another, in the order of their names.
//!
//! - A recording that cannot be read, or not to its end, costs itself: it becomes a dead letter, and the next one is
//!   read. Only where none can be read the source fails.
//! - The streams of a recording are named after its file; where two files have the same name, as much of their paths
//!   goes before it as tells them apart.
//! - Where recordings have keys of their own (JSON lines, packet files), a key that comes again is the same stream,
//!   which goes on.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::{Path, PathBuf};

use super::input::{is_stdin, uncompressed};
use super::rvl::Progress;
use super::{
    FileOptions, Format, Source, SourceError, dead_letter, extension, format_error, open, open_named, stem,
};
use crate::signal::{DeadLetter, Position, StreamIndex, StreamInfo, StreamKey};
use crate::source::SourceEvent;

/// Opens every recording that one of `paths` names, each a path or a pattern (`recordings/*.edf`, `**/*.wav`).
///
/// # Errors
/// A path is not there, a pattern matches no file, or the only recording cannot be opened.
pub fn open_all(paths: &[PathBuf], options: &FileOptions) -> Result<Box<dyn Source>, SourceError> {
    let recordings = expand(paths)?;
    match recordings.as_slice() {
        [recording] => open(recording, options),
        _ => Ok(Box::new(Sequence::new(recordings, options))),
    }
}

/// The recordings that `paths` name: patterns in the order of the names that they match, none twice.
///
/// # Errors
/// A path is not there, or a pattern is none or matches no file.
pub fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, SourceError> {
    let mut found = Vec::new();
    for path in paths {
        if is_stdin(path) {
            found.push(path.clone());
        } else if path.exists() || !is_pattern(path) {
            // Told here, and not as one of many that cannot be read.
            if paths.len() > 1 {
                std::fs::metadata(path).map_err(|error| super::io_error(path, error))?;
            }
            found.push(path.clone());
        } else {
            found.extend(matches(path)?);
        }
    }
    let mut seen = BTreeSet::new();
    found.retain(|path| seen.insert(path.clone()));
    if found.len() > 1 && found.iter().any(|path| is_stdin(path)) {
        return Err(format_error(Path::new("-"), "path", "stands beside others: read it alone"));
    }
    Ok(found)
}

/// True for a path that stands for what it matches, where no file has that name.
fn is_pattern(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.contains(['*', '?', '[']))
}

fn matches(pattern: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let refuse = |reason: String| format_error(pattern, "path", reason);
    let text = pattern.to_str().ok_or_else(|| refuse("is no pattern of Unicode characters".into()))?;
    let found = glob::glob(text).map_err(|error| refuse(format!("is no pattern: {}", error.msg)))?;
    let mut files = Vec::new();
    for path in found {
        let path =
            path.map_err(|error| super::io_error(error.path(), std::io::Error::from(error.error().kind())))?;
        if !path.is_dir() {
            files.push(path);
        }
    }
    // A WFDB record is its header and its signal files: it is read once.
    let headers: BTreeSet<PathBuf> = files.iter().filter(|path| extension(path) == "hea").cloned().collect();
    files.retain(|path| {
        extension(path) != "dat" || !headers.contains(&uncompressed(path).with_extension("hea"))
    });
    match files.is_empty() {
        true => Err(refuse("no file matches this pattern".into())),
        false => Ok(files),
    }
}

/// A name for each recording: its file's, with as many of the folders before it as tell it apart, and its extension
/// where that does.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let parts: Vec<Vec<String>> = paths.iter().map(|path| parts(path)).collect();
    let most = parts.iter().map(Vec::len).max().unwrap_or(0);
    let tail = |parts: &Vec<String>, folders: usize| -> String {
        parts.get(parts.len().saturating_sub(folders + 1)..).unwrap_or_default().join("/")
    };
    let mut names: Vec<String> = paths.iter().map(|path| stem(path)).collect();
    for folders in 1..most {
        let repeated = repeated(&names);
        for (name, parts) in names.iter_mut().zip(&parts).filter(|(name, _)| repeated.contains(*name)) {
            *name = tail(parts, folders);
        }
    }
    let repeated = repeated(&names);
    for (name, path) in names.iter_mut().zip(paths).filter(|(name, _)| repeated.contains(*name)) {
        let file = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let own = stem(path);
        let folder = name.strip_suffix(&own).unwrap_or_default();
        *name = format!("{folder}{file}");
    }
    names
}

/// The folders of a path and, last, its name without extension.
fn parts(path: &Path) -> Vec<String> {
    let mut parts: Vec<String> =
        path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    if let Some(last) = parts.last_mut() {
        *last = stem(path);
    }
    parts
}

fn repeated(names: &[String]) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    names.iter().filter(|name| !seen.insert(*name)).cloned().collect()
}

struct Sequence {
    options: FileOptions,
    /// What is still to be read, with its name.
    waiting: VecDeque<(PathBuf, String)>,
    current: Option<Current>,
    /// Every stream so far.
    streams: HashMap<StreamKey, (StreamIndex, StreamInfo)>,
    progress: Progress,
    /// Why the first recording that failed did.
    failure: Option<SourceError>,
}

/// The recording that is read.
struct Current {
    path: PathBuf,
    name: String,
    source: Box<dyn Source>,
    /// The source's streams by the index that the recording gives.
    indices: Vec<StreamIndex>,
}

impl Sequence {
    fn new(recordings: Vec<PathBuf>, options: &FileOptions) -> Self {
        let names = names(&recordings);
        Self {
            options: options.clone(),
            waiting: recordings.into_iter().zip(names).collect(),
            current: None,
            streams: HashMap::new(),
            progress: Progress::default(),
            failure: None,
        }
    }

    /// Gives a recording up.
    fn fail(&mut self, path: &Path, error: SourceError) -> SourceEvent {
        self.current = None;
        let reason = match &error {
            SourceError::Io { source, .. } => source.to_string(),
            SourceError::Format { place, reason, .. } => format!("{place}: {reason}"),
            other => other.to_string(),
        };
        self.failure.get_or_insert(error);
        let letter =
            DeadLetter { position: Position::None, ..dead_letter(&path.display().to_string(), 0, reason, 0) };
        SourceEvent::DeadLetter { origin: 0, letter }
    }

    /// The next event of the current recording in the sequence's terms; none for one that nobody need hear of.
    fn translate(&mut self, event: SourceEvent) -> Option<SourceEvent> {
        let current = self.current.as_mut()?;
        match event {
            SourceEvent::Stream { origin, mut info } => {
                if self.streams.get(&info.key).is_some_and(|(_, known)| *known != info) {
                    info.key = StreamKey::new(format!("{}/{}", current.name, info.key));
                }
                let next = self.streams.len();
                if let Some((index, _)) = self.streams.get(&info.key) {
                    current.indices.push(*index);
                    return None;
                }
                current.indices.push(next);
                self.streams.insert(info.key.clone(), (next, info.clone()));
                Some(SourceEvent::Stream { origin, info })
            }
            SourceEvent::Chunk(mut chunk) => {
                chunk.stream = *current.indices.get(chunk.stream)?;
                Some(SourceEvent::Chunk(chunk))
            }
            SourceEvent::End => {
                self.current = None;
                None
            }
            other => Some(other),
        }
    }
}

impl Source for Sequence {
    fn next_event(&mut self) -> Result<SourceEvent, SourceError> {
        loop {
            if let Some(current) = &mut self.current {
                let event = match current.source.next_event() {
                    Ok(event) => self.translate(event),
                    Err(error) => {
                        let path = current.path.clone();
                        Some(self.fail(&path, error))
                    }
                };
                if let Some(event) = event {
                    return Ok(event);
                }
                continue;
            }
            let Some((path, name)) = self.waiting.pop_front() else {
                return match self.failure.take().filter(|_| self.streams.is_empty()) {
                    Some(failure) => Err(failure),
                    None => Ok(SourceEvent::End),
                };
            };
            match open_named(&path, &name, &self.progress, &self.options) {
                Ok(source) => {
                    self.current = Some(Current { path, name, source, indices: Vec::new() });
                }
                Err(error) => return Ok(self.fail(&path, error)),
            }
        }
    }

    fn total_samples(&self) -> Option<u64> {
        let format = |path: &Path| self.options.format.or_else(|| Format::of(path));
        // A CSV file has to be read to be counted.
        if self.waiting.iter().any(|(path, _)| format(path) == Some(Format::Csv)) {
            return None;
        }
        // What cannot be opened adds nothing.
        let opened = self.waiting.iter().filter_map(|(path, _)| open(path, &self.options).ok());
        opened.map(|source| source.total_samples()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(folder: &Path, paths: &[&str], options: &FileOptions) -> Result<Vec<String>, SourceError> {
        let paths: Vec<PathBuf> = paths.iter().map(|path| folder.join(path)).collect();
        let mut source = open_all(&paths, options)?;
        let mut told = Vec::new();
        loop {
            told.push(match source.next_event()? {
                SourceEvent::Stream { info, .. } => format!("+{}", info.key),
                SourceEvent::Chunk(chunk) => format!("{} {:?}", chunk.stream, chunk.samples),
                SourceEvent::DeadLetter { letter, .. } => {
                    let file = Path::new(&letter.origin).file_name().unwrap().to_string_lossy().into_owned();
                    format!("!{file}: {}", letter.reason)
                }
                SourceEvent::End => return Ok(told),
                other => panic!("{other:?}"),
            });
        }
    }

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        folder
    }

    fn options() -> FileOptions {
        FileOptions { sample_rate_hz: Some(10.0), ..FileOptions::default() }
    }

    #[test]
    fn files_that_match_are_read_in_the_order_of_their_names() {
        let folder = folder(&[
            ("b.csv", b"x\n3\n"),
            ("a.csv", b"x\n1\n2\n"),
            ("c.i16", &[7, 0]),
            ("d.csv/e.csv", b"x\n9\n"),
            ("notes.txt", b"none"),
        ]);
        let read = told(folder.path(), &["*.csv", "c.i16", "a.csv"], &options()).unwrap();
        assert_eq!(read, ["+a", "0 [1.0, 2.0]", "+b", "1 [3.0]", "+c", "2 [7.0]"]);
        let deep = told(folder.path(), &["**/e.csv"], &options()).unwrap();
        assert_eq!(deep, ["+e", "0 [9.0]"]);
    }

    #[test]
    fn a_file_that_cannot_be_read_costs_itself() {
        let folder =
            folder(&[("a.csv", b"x\n1\n"), ("b.csv", b"x\ny\n"), ("c.csv", b""), ("d.csv", b"x\n4\n")]);
        let read = told(folder.path(), &["*.csv"], &options()).unwrap();
        assert_eq!(read.len(), 6);
        assert_eq!((read[0].as_str(), read[1].as_str()), ("+a", "0 [1.0]"));
        assert!(read[2].starts_with("!b.csv: line 2: column 1: \"y\" is not a finite number"), "{read:?}");
        assert_eq!(read[3..], ["!c.csv: file: is empty", "+d", "1 [4.0]"]);
        std::fs::remove_file(folder.path().join("a.csv")).unwrap();
        std::fs::remove_file(folder.path().join("d.csv")).unwrap();
        let error = told(folder.path(), &["*.csv"], &options()).unwrap_err().to_string();
        assert!(error.contains("b.csv: line 2"), "none could be read: {error}");
    }

    #[test]
    fn what_is_not_there_is_told_at_once() {
        let folder = folder(&[("a.csv", b"x\n1\n")]);
        let refusal = |paths: &[&str]| told(folder.path(), paths, &options()).unwrap_err().to_string();
        assert!(refusal(&["*.edf"]).contains("*.edf: path: no file matches this pattern"));
        assert!(refusal(&["a.csv", "b.csv"]).contains("b.csv"));
        assert!(refusal(&["[.csv"]).contains("is no pattern"));
        let both = [PathBuf::from("-"), folder.path().join("a.csv")];
        assert!(
            expand(&both).unwrap_err().to_string().contains("standard input: path: stands beside others")
        );
        // A file whose name looks like a pattern is itself.
        std::fs::write(folder.path().join("x[1].csv"), "x\n5\n").unwrap();
        assert_eq!(told(folder.path(), &["x[1].csv"], &options()).unwrap(), ["+x[1]", "0 [5.0]"]);
    }

    #[test]
    fn names_tell_files_apart() {
        let names = |paths: &[&str]| super::names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(names(&["d/a.wav", "d/b.wav"]), ["a", "b"]);
        assert_eq!(names(&["1/ecg.wav", "2/ecg.wav", "2/ppg.wav"]), ["1/ecg", "2/ecg", "ppg"]);
        assert_eq!(names(&["x/1/ecg.wav", "y/1/ecg.wav"]), ["x/1/ecg", "y/1/ecg"]);
        assert_eq!(names(&["d/a.wav", "d/a.csv"]), ["d/a.wav", "d/a.csv"]);
        assert_eq!(names(&["a.csv.gz", "a.csv.zst"]), ["a.csv.gz", "a.csv.zst"]);
    }

    #[test]
    fn a_record_of_several_files_is_read_once() {
        let folder =
            folder(&[("r.hea", b"r 1 10 2\nr.dat 16\n"), ("r.dat", &[1, 0, 2, 0]), ("s.i16", &[3, 0])]);
        assert_eq!(told(folder.path(), &["*"], &options()).unwrap(), ["+r", "0 [1.0, 2.0]", "+s", "1 [3.0]"]);
    }
}
