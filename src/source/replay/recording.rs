//! Recordings in memory.

use std::path::{Path, PathBuf};

use crate::signal::{ChannelInfo, StreamInfo, StreamKey};
use crate::source::file::{self, FileOptions};
use crate::source::{SourceError, SourceEvent};

/// Samples that recordings may have in all: a gibibyte of them.
const MAX_SAMPLES: usize = (1 << 30) / size_of::<f64>();

/// One stream of a recording, whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// What is known of it.
    pub info: StreamInfo,
    /// Its samples, channels interleaved: at least one row.
    pub samples: Vec<f64>,
}

impl Recording {
    /// Samples of each channel.
    pub fn rows(&self) -> usize {
        self.samples.len() / self.info.channels.len().max(1)
    }

    /// Each channel as a recording of its own, `{key}/{channel}`.
    pub(crate) fn split(&self) -> impl Iterator<Item = Self> + '_ {
        let channels = self.info.channels.len();
        self.info.channels.iter().enumerate().map(move |(place, channel)| {
            let key = match channel.name.as_str() {
                "" => format!("{}/ch{place}", self.info.key),
                name => format!("{}/{name}", self.info.key),
            };
            let channels_of_one = vec![ChannelInfo::clone(channel)];
            Self {
                info: StreamInfo { key: StreamKey::new(key), channels: channels_of_one, ..self.info.clone() },
                samples: self.samples.iter().copied().skip(place).step_by(channels).collect(),
            }
        })
    }
}

/// Reads recordings whole. Samples that cannot be used are left out, with a warning, and what stands around them is
/// joined.
///
/// # Errors
/// A recording cannot be read, has no samples, or they are more than a gibibyte in all.
pub fn load(paths: &[PathBuf], options: &FileOptions) -> Result<Vec<Recording>, SourceError> {
    load_up_to(paths, options, MAX_SAMPLES)
}

fn load_up_to(
    paths: &[PathBuf],
    options: &FileOptions,
    max_samples: usize,
) -> Result<Vec<Recording>, SourceError> {
    let mut recordings = Vec::new();
    let mut room = max_samples;
    for path in paths {
        let first = recordings.len();
        read(path, options, &mut recordings, &mut room, max_samples)?;
        let read = recordings.get(first..).unwrap_or_default();
        if read.iter().any(|recording| recording.rows() == 0) || read.is_empty() {
            return Err(refusal(path, "has no samples: there is nothing to play"));
        }
    }
    Ok(recordings)
}

fn read(
    path: &Path,
    options: &FileOptions,
    recordings: &mut Vec<Recording>,
    room: &mut usize,
    max_samples: usize,
) -> Result<(), SourceError> {
    let first = recordings.len();
    let mut source = file::open(path, options)?;
    let (mut unusable, mut lost_samples) = (0_u64, 0);
    loop {
        match source.next_event()? {
            SourceEvent::Stream { info, .. } => recordings.push(Recording { info, samples: Vec::new() }),
            SourceEvent::Chunk(chunk) => {
                *room = room.checked_sub(chunk.samples.len()).ok_or_else(|| {
                    let reason = format!(
                        "recordings of more than {max_samples} samples in all do not fit into memory: play a part"
                    );
                    refusal(path, &reason)
                })?;
                if let Some(recording) = recordings.get_mut(first + chunk.stream) {
                    recording.samples.extend_from_slice(&chunk.samples);
                }
            }
            SourceEvent::DeadLetter { letter, .. } => {
                unusable += 1;
                lost_samples += letter.samples;
            }
            SourceEvent::End => break,
            // A recording has neither origins that come and go nor a live end.
            _ => {}
        }
    }
    if unusable > 0 {
        tracing::warn!(
            recording = %path.display(),
            places = unusable,
            samples = lost_samples,
            "samples that cannot be used are left out, and what stands around them is joined"
        );
    }
    Ok(())
}

fn refusal(path: &Path, reason: &str) -> SourceError {
    SourceError::Format { path: path.to_owned(), place: "recording".to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn options() -> FileOptions {
        FileOptions { sample_rate_hz: Some(100.0), ..FileOptions::default() }
    }

    #[test]
    fn recordings_are_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [write(&folder, "a.csv", "x,y\n1,2\n3,4\n"), write(&folder, "b.csv", "x\n5\n,\n7\n")];
        let read = load(&paths[..1], &options()).unwrap();
        assert_eq!(
            (read[0].info.key.as_str(), read[0].rows(), &read[0].samples),
            ("a", 2, &vec![1.0, 2.0, 3.0, 4.0])
        );
        let channels: Vec<_> = read[0].split().collect();
        assert_eq!((channels[0].info.key.as_str(), &channels[0].samples), ("a/x", &vec![1.0, 3.0]));
        assert_eq!((channels[1].info.key.as_str(), &channels[1].samples), ("a/y", &vec![2.0, 4.0]));
    }

    #[test]
    fn what_cannot_be_played_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let empty = write(&folder, "empty.csv", "x\n");
        let error = load(&[empty], &options()).unwrap_err().to_string();
        assert!(error.contains("empty.csv") && error.contains("sample"), "{error}");
        let paths = [write(&folder, "a.csv", "x\n1\n2\n3\n"), write(&folder, "b.csv", "x\n1\n2\n")];
        assert_eq!(load_up_to(&paths, &options(), 5).unwrap().len(), 2);
        let error = load_up_to(&paths, &options(), 4).unwrap_err().to_string();
        assert!(error.contains("b.csv") && error.contains("more than 4 samples"), "{error}");
    }
}
