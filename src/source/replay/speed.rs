//! How fast recordings are played.

use std::fmt;
use std::str::FromStr;

/// How fast recordings are played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as they were recorded; positive and finite.
    Times(f64),
    /// As fast as they are taken.
    Max,
}

/// A text that is no speed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected \"max\" or how many times real time, from {} to {}, such as 1, 10 or 0.5",
    Speed::LEAST,
    Speed::MOST
)]
pub struct SpeedError;

impl Speed {
    const LEAST: f64 = 0.001;
    const MOST: f64 = 1_000_000.0;

    /// Signal time over wall time; none where nothing but the pipeline sets the pace.
    pub fn times(self) -> Option<f64> {
        match self {
            Self::Times(times) => Some(times),
            Self::Max => None,
        }
    }
}

impl FromStr for Speed {
    type Err = SpeedError;

    fn from_str(text: &str) -> Result<Self, SpeedError> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let times = text.parse().ok().filter(|times| (Self::LEAST..=Self::MOST).contains(times));
        times.map(Self::Times).ok_or(SpeedError)
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(times) => write!(f, "{times}"),
            Self::Max => f.write_str("max"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_positive_numbers_or_max() {
        for (text, speed) in [("1", Speed::Times(1.0)), ("0.5", Speed::Times(0.5)), ("max", Speed::Max)] {
            assert_eq!(text.parse(), Ok(speed));
            assert_eq!(speed.to_string(), text);
        }
        for text in ["", "0", "-1", "inf", "NaN", "MAX", "1x", "1e9"] {
            assert_eq!(text.parse::<Speed>(), Err(SpeedError), "{text}");
        }
    }
}
