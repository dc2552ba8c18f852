//! The log of a run: JSON lines.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde::Serialize;

/// A line of the log: means over the steps since the line before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Line {
    /// Steps done.
    pub(super) step: u64,
    /// The whole loss.
    pub(super) loss: f64,
    /// Mean squared error of normalised samples.
    pub(super) mse: f64,
    /// The commitment loss.
    pub(super) commitment: f64,
    /// Learning rate of the last step.
    pub(super) learning_rate: f32,
    /// PRD on the validation recordings, where it was measured after this step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) valid_prd_percent: Option<f64>,
    /// Codes of each level that the last batch used.
    pub(super) codes_used: Vec<usize>,
    /// Time since the start, without the time between a stop and going on.
    pub(super) elapsed_seconds: f64,
}

/// The open log.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
}

impl Log {
    /// Opens the log of a run that has done `step` steps: lines beyond them are dropped, since they will be
    /// written again.
    pub(super) fn open(path: &Path, step: u64) -> std::io::Result<Self> {
        let mut kept = String::new();
        if step > 0 && path.exists() {
            for line in std::fs::read_to_string(path)?.lines() {
                let value: Option<serde_json::Value> = serde_json::from_str(line).ok();
                if value.is_some_and(|value| value["step"].as_u64().is_some_and(|at| at <= step)) {
                    kept.push_str(line);
                    kept.push('\n');
                }
            }
        }
        let mut file = File::create(path)?;
        file.write_all(kept.as_bytes())?;
        Ok(Self { file })
    }

    /// Appends a line.
    pub(super) fn write(&mut self, line: &Line) -> std::io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.file.write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_on_drops_what_comes_again_and_torn_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.jsonl");
        let line = |step| Line {
            step,
            loss: 0.5,
            mse: 0.4,
            commitment: 0.1,
            learning_rate: 1e-3,
            valid_prd_percent: None,
            codes_used: vec![3, 4],
            elapsed_seconds: 1.0,
        };
        let steps = || -> Vec<u64> {
            let text = std::fs::read_to_string(&path).unwrap();
            let step =
                |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap();
            text.lines().map(step).collect()
        };
        let mut log = Log::open(&path, 0).unwrap();
        [10, 20, 30].iter().for_each(|&step| log.write(&line(step)).unwrap());
        assert_eq!(steps(), [10, 20, 30]);
        log.file.write_all(b"{\"step\": 1").unwrap();
        Log::open(&path, 20).unwrap().write(&line(25)).unwrap();
        assert_eq!(steps(), [10, 20, 25]);
        Log::open(&path, 0).unwrap();
        assert_eq!(steps(), [0_u64; 0]);
    }
}
