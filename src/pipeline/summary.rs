//! What a run has done.

use std::fmt::Write;

use serde::Serialize;

use crate::fidelity::Fidelity;

/// What a run has done: the object that `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The pipeline's name.
    pub pipeline: String,
    /// Streams that packets belong to.
    pub streams: usize,
    /// Samples of all channels that left in packets.
    pub samples: u64,
    /// Frames that left in packets.
    pub frames: u64,
    /// Packets.
    pub packets: u64,
    /// Samples times the bits that they are stored with, in bytes.
    pub bytes_in: u64,
    /// Bytes of the packet file, everything in it included; without a file sink, of the packets.
    pub bytes_out: u64,
    /// `bytes_in / bytes_out`.
    pub ratio: f64,
    /// What the model's formula says: indices alone, over 16-bit samples. Absent where packets become samples again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nominal_ratio: Option<f64>,
    /// What the mirror measured; absent without one.
    #[serde(flatten)]
    pub fidelity: Option<Fidelity>,
    /// The mirror's limit on a frame's PRD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_prd_percent: Option<f64>,
    /// Frames (of a channel) above that limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub violations: Option<u64>,
    /// Wall time of the run.
    pub seconds: f64,
    /// Samples over wall time.
    pub samples_per_second: f64,
    /// Inputs that could not be used.
    pub dead_letters: u64,
    /// Samples lost with them, where that is known.
    pub dead_letter_samples: u64,
    /// True if the run was stopped before the source's end.
    pub interrupted: bool,
}

impl Summary {
    /// The summary as an aligned table.
    pub fn table(&self) -> String {
        let mut rows: Vec<(&str, String)> = vec![
            ("pipeline", self.pipeline.clone()),
            ("streams", self.streams.to_string()),
            ("samples", grouped(self.samples)),
            ("frames", format!("{} in {} packets", grouped(self.frames), grouped(self.packets))),
            ("bytes in", grouped(self.bytes_in)),
            ("bytes out", grouped(self.bytes_out)),
        ];
        if let Some(nominal_ratio) = self.nominal_ratio {
            let bits = 8.0 * self.bytes_out as f64 / (self.samples.max(1) as f64);
            rows.push(("ratio", format!("{:.2} (nominal {nominal_ratio:.2})", self.ratio)));
            rows.push(("bits a sample", format!("{bits:.3}")));
        }
        match &self.fidelity {
            None if self.nominal_ratio.is_none() => {}
            None => rows.push(("fidelity", "not measured: the pipeline has no mirror".to_owned())),
            Some(fidelity) => rows.extend(fidelity_rows(fidelity)),
        }
        if let (Some(limit), Some(violations)) = (self.max_prd_percent, self.violations) {
            rows.push(("frames above limit", format!("{} above {limit} %", grouped(violations))));
        }
        rows.push(("samples per second", grouped(self.samples_per_second as u64)));
        let lost = match self.dead_letter_samples {
            0 => String::new(),
            samples => format!(" ({} samples)", grouped(samples)),
        };
        rows.push(("dead letters", grouped(self.dead_letters) + &lost));
        if self.interrupted {
            rows.push(("interrupted", "before the source's end".to_owned()));
        }
        rows.iter().fold(String::new(), |mut table, (name, value)| {
            let _ = writeln!(table, "{name:<20} {value}");
            table
        })
    }
}

/// The rows of a table that tell a fidelity.
pub fn fidelity_rows(fidelity: &Fidelity) -> Vec<(&'static str, String)> {
    let percent = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2} %"));
    let mut rows = vec![("prd", percent(fidelity.prd_percent))];
    if let Some(frames) = &fidelity.frame_prd_percent {
        rows.push((
            "frame prd",
            format!(
                "mean {:.2}, median {:.2}, p90 {:.2}, max {:.2} %",
                frames.mean, frames.median, frames.p90, frames.max
            ),
        ));
    }
    if fidelity.constant_frames > 0 {
        rows.push(("constant frames", grouped(fidelity.constant_frames)));
    }
    rows.push(("snr", fidelity.snr_db.map_or("-".to_owned(), |snr| format!("{snr:.2} dB"))));
    rows.push(("max error", format!("{}", fidelity.max_error)));
    rows
}

/// Digits in groups of three: 12,345.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
