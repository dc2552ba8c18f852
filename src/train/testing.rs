//! Recordings and recipes small enough for tests.

use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::recipe::{Augmentation, Codebooks, Data, Loss, Recipe, Training};
use crate::model::Architecture;

/// A model of a few thousand parameters over the described recordings of a folder.
pub(super) fn recipe(folder: &Path) -> Recipe {
    Recipe {
        name: "tiny".to_owned(),
        summary: "A model for tests.".to_owned(),
        modality: String::new(),
        sample_rate_hz: 100.0,
        seed: 7,
        architecture: Architecture {
            base_filters: 8,
            num_stages: 2,
            latent_width: 16,
            embedding_dim: 4,
            ..Architecture::new(16)
        },
        normalisation: Default::default(),
        data: Data { folder: Some(folder.to_owned()), ..Data::default() },
        training: Training {
            batch_size: 8,
            warmup_steps: 2,
            learning_rate: 2e-3,
            validate_every: 5,
            checkpoint_every: 7,
            log_every: 3,
            ..Training::new(20)
        },
        loss: Loss::default(),
        codebooks: Codebooks { initial_frames: 32, ..Codebooks::default() },
        augmentation: Augmentation::default(),
    }
}

/// Writes a recording of two channels and its description.
pub(super) fn write_recording(folder: &Path, name: &str, subject: &str, split: &str, samples: &[i16]) {
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(folder.join(format!("{name}.i16")), bytes).unwrap();
    let description = json!({
        "name": name, "modality": "test", "subject": subject, "split": split, "sample_rate_hz": 100,
        "channels": 2, "dtype": "int16le", "file": format!("{name}.i16"), "dataset": "made",
        "licence": "MIT", "licence_class": "open", "source_repo": "here", "sha256": sha256,
        "lsb": 1.0, "offset": 0, "unit": "counts", "adc_bits": 16, "n_samples": samples.len() / 2,
        "channel_names": ["a", "b"],
    });
    std::fs::write(folder.join(format!("{name}.json")), description.to_string()).unwrap();
}

/// Two channels of a tone and its overtone; `kind` sets the pitch.
pub(super) fn tones(kind: u16, length: usize) -> Vec<i16> {
    let pitch = 0.2 + 0.05 * f64::from(kind);
    (0..length)
        .flat_map(|i| {
            let phase = pitch * i as f64;
            [phase.sin() + 0.3 * (2.0 * phase).sin(), phase.cos()].map(|x| (1000.0 * x + 300.0) as i16)
        })
        .collect()
}

/// Recordings of four subjects: two to train on, one to validate with, one to test.
pub(super) fn write_four(folder: &Path) {
    for (kind, (name, split)) in
        [("a", "train"), ("b", "train"), ("c", "valid"), ("d", "test")].into_iter().enumerate()
    {
        write_recording(folder, name, name, split, &tones(kind as u16, 500 + 10 * kind));
    }
}
