//! A description beside a raw file.

use std::path::Path;

use serde::Deserialize;

use super::input::{is_stdin, uncompressed};
use super::{Endian, SourceError, format_error, read_text};
use crate::signal::{ChannelInfo, SampleType};

/// What `NAME.json` says of the raw file `NAME.*` beside it, in JSON. Every field may be left out, fields that
/// are not listed are ignored, and options go before it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Description {
    /// Samples per second and channel.
    pub(super) sample_rate_hz: Option<f64>,
    /// Channels.
    pub(super) channels: Option<usize>,
    /// A name for each channel.
    #[serde(default)]
    channel_names: Vec<String>,
    /// Samples per channel in the file.
    pub(super) n_samples: Option<u64>,
    /// `int16le`, `int24le`, `int32le`, `float32le`, `float64le`, or the same with `be`.
    dtype: Option<String>,
    /// Physical unit.
    #[serde(default)]
    unit: String,
    /// Physical units of one count: physical value = (count + offset) * lsb.
    lsb: Option<f64>,
    /// Counts to add before scaling.
    #[serde(default)]
    offset: f64,
}

impl Description {
    /// The description of `recording`, empty where there is none.
    pub(super) fn beside(recording: &Path) -> Result<Self, SourceError> {
        let path = uncompressed(recording).with_extension("json");
        if is_stdin(recording) || path == recording || !path.exists() {
            return Ok(Self::default());
        }
        let text = read_text(&path)?;
        let description: Self = serde_json::from_str(&text).map_err(|error| {
            let place = format!("line {}", error.line());
            format_error(&path, place, format_args!("does not describe {}: {error}", recording.display()))
        })?;
        if description.lsb.is_some_and(|lsb| lsb == 0.0 || !lsb.is_finite())
            || !description.offset.is_finite()
        {
            return Err(format_error(&path, "lsb", "is not a finite number other than 0"));
        }
        description.stored(&path)?;
        Ok(description)
    }

    /// How samples are stored, where `dtype` says it.
    pub(super) fn stored(&self, path: &Path) -> Result<Option<(SampleType, Endian)>, SourceError> {
        let Some(dtype) = self.dtype.as_deref() else { return Ok(None) };
        let parts = dtype
            .strip_suffix("le")
            .map(|kind| (kind, Endian::Little))
            .or_else(|| dtype.strip_suffix("be").map(|kind| (kind, Endian::Big)));
        let stored = parts.and_then(|(kind, endian)| {
            let sample_type = match kind {
                "int16" => SampleType::I16,
                "int24" => SampleType::I24,
                "int32" => SampleType::I32,
                "float32" => SampleType::F32,
                "float64" => SampleType::F64,
                _ => return None,
            };
            Some((sample_type, endian))
        });
        stored.map(Some).ok_or_else(|| {
            let reason = format!(
                "{dtype:?} is not read as raw samples: known are int16, int24, int32, float32 and float64, followed \
                 by le or be"
            );
            format_error(path, "dtype", reason)
        })
    }

    /// The channels of a recording that has `channels` of them.
    pub(super) fn channel_infos(
        &self,
        path: &Path,
        channels: usize,
    ) -> Result<Vec<ChannelInfo>, SourceError> {
        let mut names = self.channel_names.clone();
        if !names.is_empty() && names.len() != channels {
            let reason = format!("{} names are given for {channels} channels", names.len());
            return Err(format_error(path, "channel_names", reason));
        }
        names.resize(channels, String::new());
        let gain = self.lsb.map_or(1.0, |lsb| 1.0 / lsb);
        let info = |name| ChannelInfo { name, unit: self.unit.clone(), gain, baseline: 0.0 - self.offset };
        Ok(super::channel_names(&names).into_iter().map(info).collect())
    }
}
