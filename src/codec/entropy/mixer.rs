//! Adaptive probabilities and the mixers that join them.

use std::sync::Arc;

use super::range::BitCoder;
use super::start::Start;
use super::tables::{RATE, SQUASH, STRETCH};

/// Counters, or weights, that are undone together.
const PAGE: usize = 16;
/// Largest logistic value, in 1/256.
const MOST: i32 = 2047;

/// How many counters and weights a [`Mixer`] has, and how it learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MixerShape {
    /// Adaptive probabilities.
    pub counters: usize,
    /// Sets of weights.
    pub sets: usize,
    /// Inputs: the counters of a bit, then what else is known of it. One more lane is the bias.
    pub inputs: usize,
    /// Weights of a set: inputs and bias, and zeros up to a multiple of 8.
    pub lanes: usize,
    /// Bits after which a counter does not slow down any more, at most 255.
    pub limit: u8,
    /// How fast the weights learn, 1 to 15.
    pub rate: i32,
}

impl MixerShape {
    /// Weights stay within this, so that a sum of `lanes` products stays within 32 bits.
    const fn most_weight(&self) -> i32 {
        match self.lanes {
            0..=8 => 1 << 18,
            9..=16 => 1 << 17,
            _ => 1 << 16,
        }
    }

    pub(super) fn clamped(&self, weight: i32) -> i32 {
        weight.clamp(-self.most_weight(), self.most_weight())
    }
}

/// What a mixer has learnt since its start: the pages that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Numbers of the pages.
    pages: Vec<u32>,
    /// Their content: counters as they are, weights as their bits.
    values: Vec<u32>,
}

impl Changes {
    /// Memory that they take, in bytes.
    pub fn bytes(&self) -> usize {
        (self.pages.len() + self.values.len()) * size_of::<u32>()
    }
}

/// Counters and weights under change.
#[derive(Clone, Debug)]
pub struct Mixer {
    start: Arc<Start>,
    counters: Vec<u32>,
    weights: Vec<i32>,
    /// For each page of counters, then of weights: whether it may differ from the start.
    touched: Vec<bool>,
}

impl Mixer {
    /// A mixer that knows what `start` knows.
    pub fn new(start: Arc<Start>) -> Self {
        let mut counters = start.counters.clone();
        let mut weights = start.weights.clone();
        counters.resize(counters.len().next_multiple_of(PAGE), 0);
        weights.resize(weights.len().next_multiple_of(PAGE), 0);
        let touched = vec![false; (counters.len() + weights.len()) / PAGE];
        Self { start, counters, weights, touched }
    }

    /// Forgets what was learnt since the start.
    pub fn reset(&mut self) {
        let counter_pages = self.counters.len() / PAGE;
        for page in 0..self.touched.len() {
            if !std::mem::take(&mut self.touched[page]) {
                continue;
            }
            match page.checked_sub(counter_pages) {
                None => restore(&mut self.counters, &self.start.counters, page),
                Some(page) => restore(&mut self.weights, &self.start.weights, page),
            }
        }
    }

    /// What was learnt since the start.
    pub fn changes(&self) -> Changes {
        let counter_pages = self.counters.len() / PAGE;
        let mut changes = Changes::default();
        for page in (0..self.touched.len()).filter(|page| self.touched[*page]) {
            changes.pages.push(page as u32);
            match page.checked_sub(counter_pages) {
                None => changes.values.extend_from_slice(&self.counters[page * PAGE..][..PAGE]),
                Some(page) => {
                    let weights = &self.weights[page * PAGE..][..PAGE];
                    changes.values.extend(weights.iter().map(|weight| *weight as u32));
                }
            }
        }
        changes
    }

    /// Goes to where a mixer of the same start was when it gave `changes`.
    pub fn restore(&mut self, changes: &Changes) {
        self.reset();
        let counter_pages = self.counters.len() / PAGE;
        for (page, values) in changes.pages.iter().zip(changes.values.chunks_exact(PAGE)) {
            let page = *page as usize;
            let Some(touched) = self.touched.get_mut(page) else { continue };
            *touched = true;
            match page.checked_sub(counter_pages) {
                None => self.counters[page * PAGE..][..PAGE].copy_from_slice(values),
                Some(page) => {
                    let weights = &mut self.weights[page * PAGE..][..PAGE];
                    weights.iter_mut().zip(values).for_each(|(weight, value)| *weight = *value as i32);
                }
            }
        }
    }

    /// What it knows now, as a start for others.
    pub fn to_start(&self) -> Start {
        let shape = self.start.shape;
        let mut start = Start::new(shape);
        start.counters.copy_from_slice(&self.counters[..shape.counters]);
        start.weights.copy_from_slice(&self.weights[..shape.sets * shape.lanes]);
        start
    }

    /// Codes a bit and learns from it.
    ///
    /// `contexts` are the counters that speak of it, `known` further inputs (logistic values in 1/256), `sets` the sets of
    /// weights whose opinions are averaged. `LANES` is that of the shape, and at least contexts + known + 1.
    ///
    /// # Panics
    /// Indices beyond the shape.
    #[inline(always)]
    pub fn code<const LANES: usize, const CONTEXTS: usize, const SETS: usize>(
        &mut self,
        coder: &mut impl BitCoder,
        contexts: &[usize; CONTEXTS],
        known: &[i32],
        sets: &[usize; SETS],
        bit: bool,
    ) -> bool {
        let mut inputs = [0_i32; LANES];
        let mut seen = [0_u32; CONTEXTS];
        for lane in 0..CONTEXTS {
            seen[lane] = self.counters[contexts[lane]];
            inputs[lane] = STRETCH[(seen[lane] & 0xffff) as usize >> 4];
        }
        for (input, value) in inputs[CONTEXTS..].iter_mut().zip(known) {
            *input = (*value).clamp(-MOST, MOST);
        }
        inputs[CONTEXTS + known.len()] = 256;

        let mut opinions = [0_i32; SETS];
        let mut sum = 0;
        for (opinion, set) in opinions.iter_mut().zip(sets) {
            let weights = weights_of::<LANES>(&self.weights, *set);
            let mut products = 0_i32;
            for lane in 0..LANES {
                products += (weights[lane] >> 3) * inputs[lane];
            }
            *opinion = (products >> 13).clamp(-MOST, MOST);
            sum += *opinion;
        }
        let p1 = SQUASH[(sum / SETS as i32 + 2048) as usize & 4095];
        let bit = coder.code(bit, p1 as u32);

        let target = i32::from(bit) << 16;
        let shape = &self.start.shape;
        let (most, rate) = (shape.most_weight(), shape.rate);
        let counter_pages = self.counters.len() / PAGE;
        for (opinion, set) in opinions.iter().zip(sets) {
            let error = (target - SQUASH[(opinion + 2048) as usize & 4095]) * rate;
            let weights = weights_of_mut::<LANES>(&mut self.weights, *set);
            for lane in 0..LANES {
                let step = (inputs[lane] * error + 0x8000) >> 16;
                weights[lane] = (weights[lane] + step).clamp(-most, most);
            }
            let first = set * LANES / PAGE;
            self.touched[counter_pages + first] = true;
            if !PAGE.is_multiple_of(LANES) {
                let last = (set * LANES + LANES - 1) / PAGE;
                self.touched[counter_pages + first + 1..=counter_pages + last].fill(true);
            }
        }
        let (goal, limit) = (if bit { 0xffff } else { 0 }, u32::from(shape.limit));
        for lane in 0..CONTEXTS {
            let (p, bits) = ((seen[lane] & 0xffff) as i32, seen[lane] >> 16);
            let p = p + (((goal - p) * (RATE[bits as usize & 255] >> 1)) >> 15);
            self.counters[contexts[lane]] = (p as u32 & 0xffff) | (bits + 1).min(limit) << 16;
            self.touched[contexts[lane] / PAGE] = true;
        }
        bit
    }
}

#[inline(always)]
fn weights_of<const LANES: usize>(weights: &[i32], set: usize) -> &[i32; LANES] {
    weights[set * LANES..].first_chunk().unwrap_or(&[0; LANES])
}

#[inline(always)]
fn weights_of_mut<const LANES: usize>(weights: &mut [i32], set: usize) -> &mut [i32] {
    &mut weights[set * LANES..][..LANES]
}

fn restore<T: Copy>(now: &mut [T], start: &[T], page: usize) {
    let range = page * PAGE..((page + 1) * PAGE).min(start.len());
    now[range.clone()].copy_from_slice(&start[range]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{BitCost, Kernel, RangeDecoder, RangeEncoder, Work};
    use super::*;

    const SHAPE: MixerShape = MixerShape { counters: 90, sets: 7, inputs: 7, lanes: 8, limit: 250, rate: 6 };

    /// Codes bits of which the first 4 contexts, one known input and the two sets come from what was coded before.
    struct Coding<'a, C> {
        mixer: &'a mut Mixer,
        coder: &'a mut C,
        bits: &'a [bool],
    }

    impl<C: BitCoder> Work for Coding<'_, C> {
        type Output = Vec<bool>;

        #[inline(always)]
        fn run(self) -> Vec<bool> {
            let mut history = 0_usize;
            let mut coded = Vec::new();
            for bit in self.bits {
                let contexts = [history % 7, 10 + history % 20, 30 + history % 29, 60 + history % 30];
                let known = [(history % 4096) as i32 - 2048];
                let sets = [history % 3, 3 + history % 4];
                let bit = self.mixer.code::<8, 4, 2>(self.coder, &contexts, &known, &sets, *bit);
                history = (history << 1 | usize::from(bit)) & 0xffff;
                coded.push(bit);
            }
            coded
        }
    }

    fn code(mixer: &mut Mixer, coder: &mut impl BitCoder, bits: &[bool], kernel: Kernel) -> Vec<bool> {
        kernel.run(Coding { mixer, coder, bits })
    }

    fn mixer() -> Mixer {
        Mixer::new(Arc::new(Start::new(SHAPE)))
    }

    proptest! {
        #[test]
        fn every_kernel_writes_the_same_and_reads_it(bits in prop::collection::vec(prop::bool::weighted(0.2), 0..3000)) {
            let written = |kernel| {
                let (mut mixer, mut encoder) = (mixer(), RangeEncoder::new());
                code(&mut mixer, &mut encoder, &bits, kernel);
                (encoder.finish(), mixer.to_start())
            };
            let expected = written(Kernel::Portable);
            for kernel in Kernel::available() {
                let found = written(kernel);
                prop_assert!(found == expected);
                let mut decoder = RangeDecoder::new(&expected.0);
                prop_assert_eq!(&code(&mut mixer(), &mut decoder, &vec![false; bits.len()], kernel), &bits);
            }
        }

        #[test]
        fn what_was_learnt_is_undone_and_redone(
            first in prop::collection::vec(any::<bool>(), 0..600),
            second in prop::collection::vec(any::<bool>(), 0..600),
        ) {
            let mut mixer = mixer();
            let fresh = mixer.to_start();
            code(&mut mixer, &mut BitCost::default(), &first, Kernel::Portable);
            let (changes, learnt) = (mixer.changes(), mixer.to_start());
            code(&mut mixer, &mut BitCost::default(), &second, Kernel::Portable);
            let further = mixer.to_start();
            mixer.restore(&changes);
            prop_assert!(mixer.to_start() == learnt);
            code(&mut mixer, &mut BitCost::default(), &second, Kernel::Portable);
            prop_assert!(mixer.to_start() == further);
            mixer.reset();
            prop_assert!(mixer.to_start() == fresh);
            prop_assert_eq!(mixer.changes().bytes(), 0);
        }

        #[test]
        fn a_mixer_of_anything_stays_within_its_numbers(
            probabilities in prop::collection::vec(any::<u16>(), 90),
            confidences in prop::collection::vec(any::<u8>(), 90),
            weights in prop::collection::vec(any::<i32>(), 56),
            bits in prop::collection::vec(any::<bool>(), 0..300),
            rate in 1..16_i32,
        ) {
            let shape = MixerShape { rate, ..SHAPE };
            let start = Start::from_parts(shape, &probabilities, &confidences, &weights).unwrap();
            let mut mixer = Mixer::new(Arc::new(start.clone()));
            let mut encoder = RangeEncoder::new();
            code(&mut mixer, &mut encoder, &bits, Kernel::detect());
            let bytes = encoder.finish();
            let mut mixer = Mixer::new(Arc::new(start));
            let read = code(&mut mixer, &mut RangeDecoder::new(&bytes), &vec![false; bits.len()], Kernel::Portable);
            prop_assert_eq!(read, bits);
        }
    }

    #[test]
    fn bits_that_repeat_cost_next_to_nothing() {
        let bits: Vec<bool> = (0..4000).map(|at| at % 5 == 0).collect();
        let mut cost = BitCost::default();
        code(&mut mixer(), &mut cost, &bits, Kernel::detect());
        assert!(cost.bits() < 200.0, "{}", cost.bits());
    }
}
