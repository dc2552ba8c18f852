//! The recordings of a run, in memory, with splits that do not leak into each other.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::description::{Description, FindError, Found, Split, find};
use super::recipe::Recipe;
use super::stream::Stream;
use crate::signal::StreamInfo;
use crate::source::file::{FileOptions, open};
use crate::source::{SourceError, SourceEvent};

/// How far the rate of a recording may be from the recipe's: descriptions round it.
const RATE_TOLERANCE: f64 = 1e-4;

/// One recording and its streams.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    /// Its name.
    pub(super) name: String,
    /// Whom it was measured on; its path where that is not known.
    pub(super) subject: String,
    /// What it is for.
    pub(super) split: Split,
    /// What is known of it.
    pub(super) description: Option<Description>,
    /// Its streams, each with as many channels as the model.
    pub(super) streams: Vec<Stream>,
    /// SHA-256 of its samples.
    digest: [u8; 32],
}

/// All recordings of a run.
#[derive(Clone, Debug)]
pub(super) struct Dataset {
    recordings: Vec<Recording>,
}

/// Why recordings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The recipe's recordings cannot be found.
    #[error(transparent)]
    Find(#[from] FindError),
    /// A recording cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A file is not the one that was described.
    #[error("{}: its SHA-256 is {found}, its description says {described}: the file was changed", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its hash.
        found: String,
        /// The hash it should have.
        described: String,
    },
    /// Recordings that the model does not fit.
    #[error("{}", problems.join("\n"))]
    Unfit {
        /// One line a recording.
        problems: Vec<String>,
    },
    /// The same subject or recording in two splits.
    #[error("splits leak into each other, which would make fidelity look better than it is:\n{}", leaks.join("\n"))]
    Leak {
        /// One line a subject or recording.
        leaks: Vec<String>,
    },
}

impl Dataset {
    /// Reads the recordings of a recipe.
    ///
    /// # Errors
    /// A recording that cannot be found or read, does not fit the model, or is in two splits.
    pub(super) fn read(recipe: &Recipe) -> Result<Self, DataError> {
        let mut problems = Vec::new();
        let mut recordings = Vec::new();
        for found in find(&recipe.data)? {
            if let Some(recording) = read_recording(recipe, found, &mut problems)? {
                recordings.push(recording);
            }
        }
        if !problems.is_empty() {
            return Err(DataError::Unfit { problems });
        }
        let leaks = leaks(&recordings);
        if !leaks.is_empty() {
            return Err(DataError::Leak { leaks });
        }
        Ok(Self { recordings })
    }

    /// All recordings: to train on, to validate with, to test.
    pub(super) fn recordings(&self) -> &[Recording] {
        &self.recordings
    }

    /// The recordings of a split.
    pub(super) fn of(&self, split: Split) -> impl Iterator<Item = &Recording> {
        self.recordings.iter().filter(move |recording| recording.split == split)
    }

    /// The streams of a split.
    pub(super) fn streams(&self, split: Split) -> impl Iterator<Item = &Stream> {
        self.of(split).flat_map(|recording| &recording.streams)
    }

    /// SHA-256 of what a run depends on: names, splits, subjects and samples.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for recording in &self.recordings {
            for text in [&recording.name, &recording.subject, &recording.split.to_string()] {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text);
            }
            hash.update(recording.digest);
        }
        hash.finalize().into()
    }
}

/// None for a recording that does not fit the model; `problems` says why.
fn read_recording(
    recipe: &Recipe,
    found: Found,
    problems: &mut Vec<String>,
) -> Result<Option<Recording>, DataError> {
    if let Some(description) = &found.description {
        check_described(&found, description)?;
    }
    let name = found.name();
    let options = FileOptions {
        sample_rate_hz: found.description.as_ref().map(|description| description.sample_rate_hz),
        channels: found.description.as_ref().map(|description| description.channels),
        ..FileOptions::default()
    };
    let mut source = open(&found.path, &options)?;
    let mut streams: Vec<(StreamInfo, Vec<Vec<f64>>)> = Vec::new();
    loop {
        match source.next_event()? {
            SourceEvent::Stream { info, .. } => streams.push((info, Vec::new())),
            SourceEvent::Chunk(chunk) => {
                let Some((_, runs)) = streams.get_mut(chunk.stream) else { continue };
                match runs.last_mut() {
                    Some(run) if !chunk.after_gap => run.extend_from_slice(&chunk.samples),
                    _ => runs.push(chunk.samples),
                }
            }
            SourceEvent::End => break,
            _ => {}
        }
    }

    let mut hash = Sha256::new();
    let mut kept = Vec::new();
    for (info, runs) in streams {
        for run in &runs {
            run.iter().for_each(|sample| hash.update(sample.to_le_bytes()));
        }
        if (info.sample_rate_hz / recipe.sample_rate_hz - 1.0).abs() > RATE_TOLERANCE {
            problems.push(format!(
                "{name} ({}) has {} samples per second, the recipe says sample_rate_hz = {}: leave it out or resample it",
                found.split, info.sample_rate_hz, recipe.sample_rate_hz
            ));
            return Ok(None);
        }
        let channels = info.channels.len();
        match recipe.architecture.in_ch {
            1 => kept.extend((0..channels).map(|channel| {
                let runs = runs
                    .iter()
                    .map(|run| run.iter().skip(channel).step_by(channels).copied().collect())
                    .collect();
                Stream::new(format!("{name}/{channel}"), info.sample_type, 1, runs)
            })),
            in_ch if in_ch == channels => {
                kept.push(Stream::new(name.clone(), info.sample_type, channels, runs));
            }
            in_ch => {
                problems.push(format!(
                    "{name} ({}) has {channels} channels, the model in_ch = {in_ch}: it takes recordings of that many, or, with in_ch = 1, every channel by itself",
                    found.split
                ));
                return Ok(None);
            }
        }
    }
    let subject = match &found.description {
        Some(description) => description.subject.clone(),
        None => found.path.display().to_string(),
    };
    Ok(Some(Recording {
        name,
        subject,
        split: found.split,
        description: found.description,
        streams: kept,
        digest: hash.finalize().into(),
    }))
}

fn check_described(found: &Found, description: &Description) -> Result<(), DataError> {
    let Some(described) = &description.sha256 else { return Ok(()) };
    let path = found.path.with_file_name(&description.file);
    let bytes = std::fs::read(&path).map_err(|source| SourceError::Io { path: path.clone(), source })?;
    let hash = hexadecimal(&Sha256::digest(&bytes));
    if hash.eq_ignore_ascii_case(described) {
        Ok(())
    } else {
        Err(DataError::Changed { path, found: hash, described: described.clone() })
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A line for each subject, and each content, that is in more than one split.
fn leaks(recordings: &[Recording]) -> Vec<String> {
    let mut subjects: BTreeMap<&str, Vec<&Recording>> = BTreeMap::new();
    let mut contents: BTreeMap<[u8; 32], Vec<&Recording>> = BTreeMap::new();
    for recording in recordings {
        subjects.entry(&recording.subject).or_default().push(recording);
        contents.entry(recording.digest).or_default().push(recording);
    }
    let leaks = |group: &Vec<&Recording>| group.iter().any(|recording| recording.split != group[0].split);
    let places = |group: &Vec<&Recording>| {
        let places: Vec<_> = group.iter().map(|r| format!("{} ({})", r.name, r.split)).collect();
        places.join(", ")
    };
    let mut lines: Vec<String> = subjects
        .iter()
        .filter(|(_, group)| leaks(group))
        .map(|(subject, group)| format!("subject {subject}: {}", places(group)))
        .collect();
    for group in contents.values().filter(|group| leaks(group)) {
        // What the subject's line says already is not said twice.
        if group.iter().any(|recording| recording.subject != group[0].subject) {
            lines.push(format!("the same samples: {}", places(group)));
        }
    }
    lines
}

#[cfg(test)]
impl Recording {
    pub(super) fn synthetic(subject: &str, split: Split, streams: Vec<Stream>) -> Self {
        Self {
            name: subject.to_owned(),
            subject: subject.to_owned(),
            split,
            description: None,
            streams,
            digest: [0; 32],
        }
    }
}

#[cfg(test)]
impl Dataset {
    pub(super) fn synthetic(recordings: Vec<Recording>) -> Self {
        Self { recordings }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::testing::{recipe, write_recording as write};
    use std::path::Path;

    fn three(folder: &Path) {
        write(folder, "a", "anna", "train", &[1, 10, 2, 20, 3, 30]);
        write(folder, "b", "bert", "valid", &[4, 40, 5, 50, 6, 60]);
        write(folder, "c", "cleo", "test", &[7, 70, 8, 80, 9, 90]);
    }

    #[test]
    fn channels_are_streams_of_their_own_where_the_model_has_one() {
        let folder = tempfile::tempdir().unwrap();
        three(folder.path());
        let mut recipe = recipe(folder.path());
        let dataset = Dataset::read(&recipe).unwrap();
        let streams: Vec<_> = dataset.streams(Split::Valid).collect();
        assert_eq!(streams.len(), 2);
        assert_eq!(streams[1].key, "b/1");
        streams[1].frames(3, |frame, _| assert_eq!(frame, [40.0, 50.0, 60.0]));

        (recipe.architecture.in_ch, recipe.architecture.out_ch) = (2, 2);
        let dataset = Dataset::read(&recipe).unwrap();
        let streams: Vec<_> = dataset.streams(Split::Train).collect();
        streams[0].frames(3, |frame, _| assert_eq!(frame, [1.0, 10.0, 2.0, 20.0, 3.0, 30.0]));

        (recipe.architecture.in_ch, recipe.architecture.out_ch) = (3, 3);
        let text = Dataset::read(&recipe).unwrap_err().to_string();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("b (valid) has 2 channels"), "{text}");
    }

    #[test]
    fn another_sample_rate_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        three(folder.path());
        let text = Dataset::read(&Recipe { sample_rate_hz: 250.0, ..recipe(folder.path()) }).unwrap_err();
        assert!(text.to_string().contains("a (train) has 100 samples per second"), "{text}");
    }

    #[test]
    fn a_subject_in_two_splits_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        three(folder.path());
        write(folder.path(), "d", "anna", "test", &[9, 9, 1, 2]);
        let text = Dataset::read(&recipe(folder.path())).unwrap_err().to_string();
        assert!(text.contains("subject anna: a (train), d (test)"), "{text}");
        assert!(!text.contains("bert"), "{text}");
    }

    #[test]
    fn the_same_samples_in_two_splits_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        three(folder.path());
        write(folder.path(), "d", "dora", "train", &[4, 40, 5, 50, 6, 60]);
        let text = Dataset::read(&recipe(folder.path())).unwrap_err().to_string();
        assert!(text.contains("the same samples: d (train), b (valid)"), "{text}");
    }

    #[test]
    fn two_recordings_of_a_subject_in_one_split_are_fine() {
        let folder = tempfile::tempdir().unwrap();
        three(folder.path());
        let before = Dataset::read(&recipe(folder.path())).unwrap().digest();
        write(folder.path(), "d", "anna", "train", &[9, 9, 1, 2]);
        assert_ne!(Dataset::read(&recipe(folder.path())).unwrap().digest(), before);
    }

    #[test]
    fn a_file_that_is_not_the_one_described_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        three(folder.path());
        std::fs::write(folder.path().join("b.i16"), [0; 12]).unwrap();
        let error = Dataset::read(&recipe(folder.path())).unwrap_err();
        assert!(matches!(error, DataError::Changed { .. }) && error.to_string().contains("b.i16"), "{error}");
        std::fs::remove_file(folder.path().join("b.i16")).unwrap();
        assert!(matches!(Dataset::read(&recipe(folder.path())), Err(DataError::Source(_))));
    }
}
