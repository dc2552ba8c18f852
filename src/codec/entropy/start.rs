//! What a mixer knows before its first bit.

use super::mixer::MixerShape;

/// A counter that has seen nothing: probability one half, no bits.
pub(super) const NEW_COUNTER: u32 = 1 << 15;

/// A trained state, which is shared and never changes: mixers start from it and go back to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    pub(super) shape: MixerShape,
    /// Probability of a one in 1/65536 in the low half, bits seen in the high half.
    pub(super) counters: Vec<u32>,
    /// `shape.lanes` for each set, in 1/65536.
    pub(super) weights: Vec<i32>,
}

/// Numbers that are no state of a mixer of this shape.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum StartError {
    /// Too few or too many of them.
    #[error("{found} {what} where the model has {expected}")]
    Count {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many belong there.
        expected: usize,
    },
}

impl Start {
    /// A state that has learnt nothing: all inputs count alike.
    pub fn new(shape: MixerShape) -> Self {
        let mut set = vec![0; shape.lanes];
        let inputs = shape.inputs.max(1);
        set.iter_mut().take(inputs).for_each(|weight| *weight = (65536 * 14 / 10 / inputs) as i32);
        Self { counters: vec![NEW_COUNTER; shape.counters], weights: set.repeat(shape.sets), shape }
    }

    /// A state of `shape` from its numbers: probability of a one in 1/65536 and confidence (bits seen) of each counter, and
    /// the weights of each set.
    ///
    /// # Errors
    /// Numbers that do not fit the shape.
    pub fn from_parts(
        shape: MixerShape,
        probabilities: &[u16],
        confidences: &[u8],
        weights: &[i32],
    ) -> Result<Self, StartError> {
        let check = |what, found, expected| match found == expected {
            true => Ok(()),
            false => Err(StartError::Count { what, found, expected }),
        };
        check("probabilities", probabilities.len(), shape.counters)?;
        check("confidences", confidences.len(), shape.counters)?;
        check("weights", weights.len(), shape.sets * shape.lanes)?;
        let counters = probabilities.iter().zip(confidences);
        Ok(Self {
            shape,
            counters: counters.map(|(p, n)| u32::from(*p) | u32::from(*n) << 16).collect(),
            weights: weights.iter().map(|weight| shape.clamped(*weight)).collect(),
        })
    }

    /// The shape.
    pub fn shape(&self) -> MixerShape {
        self.shape
    }

    /// Probability of a one in 1/65536 of each counter.
    pub fn probabilities(&self) -> Vec<u16> {
        self.counters.iter().map(|counter| *counter as u16).collect()
    }

    /// Bits that each counter has seen, or stands for.
    pub fn confidences(&self) -> Vec<u8> {
        self.counters.iter().map(|counter| (counter >> 16) as u8).collect()
    }

    /// The weights of each set, one set behind the other.
    pub fn weights(&self) -> &[i32] {
        &self.weights
    }

    /// The same, with no counter more certain than `confidence`, so that it still learns.
    #[must_use]
    pub fn with_confidence_at_most(mut self, confidence: u8) -> Self {
        for counter in &mut self.counters {
            let capped = (*counter >> 16).min(u32::from(confidence));
            *counter = (*counter & 0xffff) | capped << 16;
        }
        self
    }
}
