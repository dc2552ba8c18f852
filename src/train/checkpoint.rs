//! Checkpoints: all that a run needs to go on as if it had not been stopped.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};
use sha2::{Digest, Sha256};
use toml::{Table, Value};

use super::recipe::{Data, Recipe};
use super::step::Snapshot;

const MAGIC: [u8; 8] = *b"RVLTRAIN";
const VERSION: u32 = 1;
/// Magic, version and SHA-256 of what follows.
const HEADER_BYTES: usize = MAGIC.len() + 4 + 32;
/// Far above the optimiser state of the largest model of the family that is worth training.
const MAX_BYTES: usize = 1 << 30;

/// The state of a run after a step.
#[derive(Debug, PartialEq, Encode, Decode)]
pub(super) struct Checkpoint {
    /// Steps done.
    pub(super) step: u64,
    /// What of the recipe decides the weights, as TOML: its floats come back exactly.
    recipe: String,
    /// What the recordings hash to.
    data_digest: [u8; 32],
    /// Time spent so far.
    pub(super) elapsed_seconds: f64,
    /// Weights, moments, codebooks.
    pub(super) state: Snapshot,
    /// The best model so far.
    pub(super) best: Option<Best>,
    /// Every measurement on the validation recordings.
    pub(super) curve: Vec<Point>,
}

/// The model with the lowest PRD on the validation recordings.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(super) struct Best {
    /// Where it stands in the curve.
    pub(super) point: Point,
    /// Its weights and codebooks.
    pub(super) state: Snapshot,
}

/// A measurement on the validation recordings.
#[derive(Clone, Copy, Debug, PartialEq, Encode, Decode)]
pub(super) struct Point {
    /// Steps done.
    pub(super) step: u64,
    /// PRD over whole streams.
    pub(super) prd_percent: f64,
}

/// Why a checkpoint cannot be written or gone on from.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The checkpoint.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// Another kind of file, or one that was cut or changed.
    #[error("{}: {reason}; start over with --overwrite", path.display())]
    Damaged {
        /// The checkpoint.
        path: PathBuf,
        /// What gives it away.
        reason: String,
    },
    /// A format that this program does not know.
    #[error("{}: checkpoint of format {found}, this program knows format {VERSION}", path.display())]
    Version {
        /// The checkpoint.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A checkpoint of another run.
    #[error("{}: another recipe was trained here, so going on would not give what this one says: {}", path.display(), differences.join("; "))]
    OtherRecipe {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        differences: Vec<String>,
    },
    /// The recordings changed.
    #[error("{}: the recordings are not those that the run began with", path.display())]
    OtherData {
        /// The checkpoint.
        path: PathBuf,
    },
}

type Format = Configuration<LittleEndian, Varint, Limit<MAX_BYTES>>;

fn format() -> Format {
    bincode::config::standard().with_limit::<MAX_BYTES>()
}

impl Checkpoint {
    /// The state of a run.
    pub(super) fn new(
        step: u64,
        recipe: &Recipe,
        data_digest: [u8; 32],
        elapsed_seconds: f64,
        state: Snapshot,
        best: Option<Best>,
        curve: Vec<Point>,
    ) -> Self {
        let recipe = decisive(recipe);
        Self { step, recipe, data_digest, elapsed_seconds, state, best, curve }
    }

    /// Writes the checkpoint; the one that stood there before stays whole until this one is.
    pub(super) fn write(&self, path: &Path) -> Result<(), CheckpointError> {
        let io = |source| CheckpointError::Io { path: path.to_owned(), source };
        let payload = bincode::encode_to_vec(self, format())
            .map_err(|error| io(std::io::Error::other(error.to_string())))?;
        let next = path.with_extension("next");
        let mut file = File::create(&next).map_err(io)?;
        let mut write = |bytes: &[u8]| file.write_all(bytes).map_err(io);
        write(&MAGIC)?;
        write(&VERSION.to_le_bytes())?;
        write(&Sha256::digest(&payload))?;
        write(&payload)?;
        file.sync_all().map_err(io)?;
        std::fs::rename(&next, path).map_err(io)
    }

    /// Reads the checkpoint of a run of `recipe` over recordings that hash to `data_digest`.
    pub(super) fn read(path: &Path, recipe: &Recipe, data_digest: [u8; 32]) -> Result<Self, CheckpointError> {
        let bytes =
            std::fs::read(path).map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?;
        let damaged =
            |reason: &str| CheckpointError::Damaged { path: path.to_owned(), reason: reason.to_owned() };
        let Some((header, payload)) = bytes.split_at_checked(HEADER_BYTES) else {
            return Err(damaged("too short for a checkpoint"));
        };
        let (magic, rest) = header.split_at(MAGIC.len());
        let (version, hash) = rest.split_at(4);
        if magic != MAGIC {
            return Err(damaged("not a checkpoint"));
        }
        let version = version.try_into().map(u32::from_le_bytes).unwrap_or_default();
        if version != VERSION {
            return Err(CheckpointError::Version { path: path.to_owned(), found: version });
        }
        if hash != Sha256::digest(payload).as_slice() {
            return Err(damaged("its content does not have the hash it should have: it was cut or changed"));
        }
        let (checkpoint, _): (Self, usize) = bincode::decode_from_slice(payload, format())
            .map_err(|error| damaged(&format!("its content cannot be read: {error}")))?;

        let parse = |text: &str| {
            toml::from_str(text).map_err(|error| damaged(&format!("its recipe cannot be read: {error}")))
        };
        let mut differences = Vec::new();
        compare("", &parse(&checkpoint.recipe)?, &parse(&decisive(recipe))?, &mut differences);
        if !differences.is_empty() {
            return Err(CheckpointError::OtherRecipe { path: path.to_owned(), differences });
        }
        if checkpoint.data_digest != data_digest {
            return Err(CheckpointError::OtherData { path: path.to_owned() });
        }
        Ok(checkpoint)
    }
}

/// What of a recipe decides the weights. Where the recordings lie does not: their hash does.
fn decisive(recipe: &Recipe) -> String {
    let mut recipe = recipe.clone();
    recipe.data = Data::default();
    recipe.summary.clear();
    (recipe.training.checkpoint_every, recipe.training.log_every) = (1, 1);
    toml::to_string(&recipe).unwrap_or_default()
}

/// Appends a line for each key whose value differs.
fn compare(prefix: &str, was: &Table, is: &Table, differences: &mut Vec<String>) {
    let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let show = |value: Option<&Value>| value.map_or_else(|| "absent".to_owned(), Value::to_string);
    for name in keys {
        match (was.get(name), is.get(name)) {
            (Some(Value::Table(was)), Some(Value::Table(is))) => {
                compare(&format!("{prefix}{name}."), was, is, differences);
            }
            (was, is) if was == is => {}
            (was, is) => differences.push(format!("{prefix}{name} was {} and is {}", show(was), show(is))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::build_rvq_autoencoder;
    use crate::train::step::{StepSettings, Trainer};
    use crate::train::testing::recipe;
    use proptest::prelude::*;

    const DATA: [u8; 32] = [9; 32];

    fn checkpoint() -> (Recipe, Checkpoint) {
        let recipe = recipe(Path::new("recordings"));
        let settings = StepSettings {
            difference_weight: 0.1,
            lowpass_weight: 0.0,
            lowpass_cutoff: 0.25,
            ema_decay: 0.99,
            revive_below: 0.03,
            threads: 1,
        };
        let model = build_rvq_autoencoder(&recipe.architecture, 1).unwrap();
        let state = Trainer::new(&model, settings).unwrap().snapshot();
        let point = Point { step: 5, prd_percent: 12.5 };
        let best = Some(Best { point, state: state.clone() });
        let checkpoint = Checkpoint::new(7, &recipe, DATA, 1.5, state, best, vec![point]);
        (recipe, checkpoint)
    }

    #[test]
    fn a_checkpoint_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.bin");
        let (recipe, checkpoint) = checkpoint();
        checkpoint.write(&path).unwrap();
        checkpoint.write(&path).unwrap();
        assert_eq!(Checkpoint::read(&path, &recipe, DATA).unwrap(), checkpoint);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing half-written stays");
    }

    #[test]
    fn another_recipe_or_other_recordings_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.bin");
        let (mut recipe, checkpoint) = checkpoint();
        checkpoint.write(&path).unwrap();
        let error = Checkpoint::read(&path, &recipe, [8; 32]).unwrap_err();
        assert!(matches!(error, CheckpointError::OtherData { .. }));

        recipe.data.folder = Some("moved".into());
        recipe.training.log_every = 1;
        Checkpoint::read(&path, &recipe, DATA).unwrap();

        recipe.training.steps = 99;
        recipe.augmentation.noise_std = Some([0.0, 0.5]);
        let text = Checkpoint::read(&path, &recipe, DATA).unwrap_err().to_string();
        assert!(text.contains("training.steps was 20 and is 99"), "{text}");
        assert!(text.contains("augmentation.noise_std was absent and is [0.0, 0.5]"), "{text}");
    }

    #[test]
    fn other_files_and_versions_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.bin");
        let (recipe, checkpoint) = checkpoint();
        let error = Checkpoint::read(&path, &recipe, DATA).unwrap_err();
        assert!(matches!(error, CheckpointError::Io { .. }));
        std::fs::write(&path, [0; 100]).unwrap();
        let error = Checkpoint::read(&path, &recipe, DATA).unwrap_err();
        assert!(error.to_string().contains("not a checkpoint"));
        checkpoint.write(&path).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[MAGIC.len()] = 2;
        std::fs::write(&path, bytes).unwrap();
        let error = Checkpoint::read(&path, &recipe, DATA).unwrap_err();
        assert!(matches!(error, CheckpointError::Version { found: 2, .. }));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn damage_is_found(place in any::<prop::sample::Index>(), flip in 1_u8.., cut in any::<bool>()) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("checkpoint.bin");
            let (recipe, checkpoint) = checkpoint();
            checkpoint.write(&path).unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            let place = place.index(bytes.len());
            if cut {
                bytes.truncate(place);
            } else {
                bytes[place] ^= flip;
            }
            std::fs::write(&path, bytes).unwrap();
            prop_assert!(Checkpoint::read(&path, &recipe, DATA).is_err());
        }
    }
}
