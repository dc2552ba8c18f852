//! `model.toml`: what a model says of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{DirectoryErrorKind, FORMAT_VERSION, MODEL_TOML};
use crate::model::{Architecture, ModelId, Normalisation};

/// What a model's author says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelMetadata {
    /// A name for people, `ecg-16x`.
    pub name: String,
    /// What was measured: `ecg`, `ppg`, ...
    pub modality: String,
    /// Samples per second and channel that it is meant for, where it is meant for one rate.
    pub sample_rate_hz: Option<f64>,
    /// Physical unit of the samples that it was trained on.
    pub unit: Option<String>,
}

/// The contents of `model.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    pub(super) format_version: u32,
    pub(super) name: String,
    /// Not in the text that it is made of.
    #[serde(skip_serializing)]
    pub(super) id: ModelId,
    pub(super) encoder_type: EncoderType,
    pub(super) modality: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sample_rate_hz: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unit: Option<String>,
    pub(super) architecture: Architecture,
    pub(super) normalisation: Normalisation,
    /// SHA-256 of each file in hexadecimal.
    pub(super) files: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EncoderType {
    Rvq,
}

impl Description {
    /// The text of `model.toml`, with the id that follows from the rest of it.
    pub(super) fn to_text(&self) -> Result<(String, ModelId), String> {
        let text = toml::to_string(self).map_err(|error| error.to_string())?;
        let id = id_of(&text);
        let (version, rest) = text.split_once('\n').unwrap_or((&text, ""));
        Ok((format!("{version}\n{}{rest}", id_line(id)), id))
    }

    /// Checks version, keys, values and id, in this order.
    pub(super) fn parse(text: &str) -> Result<Self, DirectoryErrorKind> {
        let malformed =
            |reason: String| DirectoryErrorKind::Malformed { file: MODEL_TOML.to_owned(), reason };
        let table: toml::Table =
            text.parse().map_err(|error: toml::de::Error| malformed(error.message().to_owned()))?;
        match table.get("format_version").and_then(toml::Value::as_integer) {
            Some(version) if version == i64::from(FORMAT_VERSION) => {}
            Some(version) if version > i64::from(FORMAT_VERSION) => {
                return Err(DirectoryErrorKind::NewerFormat { version });
            }
            _ => return Err(malformed("it needs format_version = 1".to_owned())),
        }
        if let Some(key) = unknown_key(&table) {
            return Err(DirectoryErrorKind::UnknownKey { key });
        }
        let description: Self = toml::from_str(text).map_err(|error| malformed(error.to_string()))?;
        description.architecture.validate().map_err(|error| malformed(error.to_string()))?;
        let epsilon = description.normalisation.epsilon;
        if !(epsilon.is_finite() && epsilon > 0.0) {
            return Err(malformed(format!("normalisation.epsilon ({epsilon}) must be above 0")));
        }
        if let Some(rate) = description.sample_rate_hz
            && !(rate.is_finite() && rate > 0.0)
        {
            return Err(malformed(format!("sample_rate_hz ({rate}) must be above 0")));
        }
        let line = id_line(description.id);
        match text.split_once(&line) {
            Some((before, after)) if id_of(&format!("{before}{after}")) == description.id => Ok(description),
            _ => Err(DirectoryErrorKind::Changed { file: MODEL_TOML.to_owned() }),
        }
    }

    pub(super) fn metadata(&self) -> ModelMetadata {
        ModelMetadata {
            name: self.name.clone(),
            modality: self.modality.clone(),
            sample_rate_hz: self.sample_rate_hz,
            unit: self.unit.clone(),
        }
    }
}

fn id_line(id: ModelId) -> String {
    format!("id = \"{id}\"\n")
}

/// The first 8 bytes of the SHA-256 of `model.toml` without its id line.
fn id_of(text: &str) -> ModelId {
    let hash = Sha256::digest(text.as_bytes());
    let mut id = [0; 8];
    id.copy_from_slice(&hash[..8]);
    ModelId(id)
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first key that format version 1 does not have.
fn unknown_key(table: &toml::Table) -> Option<String> {
    let top = [
        "format_version",
        "name",
        "id",
        "encoder_type",
        "modality",
        "sample_rate_hz",
        "unit",
        "architecture",
        "normalisation",
        "files",
    ];
    if let Some(key) = table.keys().find(|key| !top.contains(&key.as_str())) {
        return Some(key.clone());
    }
    let known = |section| match section {
        "architecture" => toml::Table::try_from(Architecture::new(512)).ok(),
        _ => toml::Table::try_from(Normalisation::default()).ok(),
    };
    ["architecture", "normalisation"].into_iter().find_map(|section| {
        let known = known(section)?;
        let found = table.get(section)?.as_table()?;
        found.keys().find(|key| !known.contains_key(*key)).map(|key| format!("{section}.{key}"))
    })
}
