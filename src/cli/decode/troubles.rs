//! What could not be decoded, and what had come before.

use super::super::{CliError, exit, warn};

/// Damaged places beyond this many are counted but not told one by one.
const TOLD_DAMAGE: u64 = 10;

/// What could not be decoded, and what had come before.
#[derive(Default)]
pub(super) struct Troubles {
    pub(super) places: u64,
    pub(super) lost_samples: u64,
    pub(super) repeated_frames: u64,
    pub(super) torn_bytes: u64,
}

impl Troubles {
    /// Tells of a damaged place.
    pub(super) fn tell(&mut self, what: &str) {
        self.places += 1;
        if self.places <= TOLD_DAMAGE {
            warn(what);
        }
        if self.places == TOLD_DAMAGE {
            warn("further damage is counted, not told");
        }
    }

    /// Adds those of another pass over the same input.
    pub(super) fn add(&mut self, other: &Self) {
        self.places = self.places.max(other.places);
        self.lost_samples = self.lost_samples.saturating_add(other.lost_samples);
        self.repeated_frames = self.repeated_frames.saturating_add(other.repeated_frames);
        self.torn_bytes = self.torn_bytes.max(other.torn_bytes);
    }

    /// The end of decoding `input`: well, unless something is missing. Repeats are not.
    pub(super) fn into_result(self, input: &str) -> Result<(), CliError> {
        if self.places == 0 && self.torn_bytes == 0 && self.lost_samples == 0 {
            return Ok(());
        }
        let torn = match self.torn_bytes {
            0 => String::new(),
            bytes => format!(", a torn end of {bytes} bytes left out"),
        };
        Err(CliError::new(
            exit::DATA,
            format_args!(
                "{input}: {} damaged places, {} samples lost{torn}; everything else was decoded",
                self.places, self.lost_samples
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_no_failure_and_losses_are() {
        let repeats = Troubles { repeated_frames: 7, ..Troubles::default() };
        repeats.into_result("a").unwrap();
        for troubles in [
            Troubles { places: 1, ..Troubles::default() },
            Troubles { lost_samples: 1, ..Troubles::default() },
            Troubles { torn_bytes: 1, ..Troubles::default() },
        ] {
            assert_eq!(troubles.into_result("a").unwrap_err().code, exit::DATA);
        }
    }
}
