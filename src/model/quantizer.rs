//! Residual vector quantisation: codebooks, search and lookup.

use ndarray::Array2;

/// Why codebooks cannot form a quantiser.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QuantizerError {
    /// No level at all.
    #[error("a residual quantiser needs at least one codebook")]
    NoLevels,
    /// A codebook whose shape differs from that of level 0.
    #[error("codebook of level {level} is {rows} x {columns}, level 0 is {first_rows} x {first_columns}")]
    Shape {
        /// The level.
        level: usize,
        /// Its vectors.
        rows: usize,
        /// Its dimensions.
        columns: usize,
        /// Vectors of level 0.
        first_rows: usize,
        /// Dimensions of level 0.
        first_columns: usize,
    },
    /// A codebook with no vectors, no dimensions, or more vectors than a code can name.
    #[error("codebooks are {rows} x {columns}: they need from 1 to 65536 vectors of at least 1 dimension")]
    Size {
        /// Vectors.
        rows: usize,
        /// Dimensions.
        columns: usize,
    },
    /// A value that is not a number.
    #[error("codebook of level {level}, vector {vector} holds a value that is not finite")]
    NotFinite {
        /// The level.
        level: usize,
        /// The vector.
        vector: usize,
    },
    /// A code beyond the codebook.
    #[error("code {code} at index {index} is beyond the codebook's {vectors} vectors")]
    UnknownCode {
        /// The code.
        code: u16,
        /// Where it stands.
        index: usize,
        /// Vectors in the codebook.
        vectors: usize,
    },
}

/// A stack of codebooks, each quantising what the levels before left over.
///
/// Codes are laid out position-major: the codes of all levels of position 0, then of position 1.
#[derive(Clone, Debug)]
pub struct ResidualVectorQuantizer {
    levels: Vec<Level>,
    vectors: usize,
    dim: usize,
}

#[derive(Clone, Debug)]
struct Level {
    codebook: Array2<f32>,
    /// `-2 *` the codebook transposed to `[dim][vectors]`, so that the search runs over consecutive vectors.
    minus_twice: Vec<f32>,
    /// Squared length of each vector.
    norms: Vec<f32>,
    /// The largest of `norms`.
    largest_norm: f32,
}

impl Level {
    fn new(codebook: Array2<f32>) -> Self {
        let minus_twice = codebook.t().iter().map(|value| -2.0 * value).collect();
        let norms: Vec<f32> =
            codebook.rows().into_iter().map(|row| row.iter().map(|v| v * v).sum()).collect();
        let largest_norm = norms.iter().copied().fold(0.0, f32::max);
        Self { codebook, minus_twice, norms, largest_norm }
    }

    /// The nearest vector, the lowest index where several are equally near.
    ///
    /// Single precision finds the candidates. Where several are as near as its rounding can tell, double
    /// precision decides, so that the code is a property of the residual and not of the order of a sum.
    fn nearest(&self, residual: &[f32], scratch: &mut Scratch) -> u16 {
        kernel::distances(residual, &self.minus_twice, &self.norms, &mut scratch.distances);
        let least = scratch.find_minima();
        let length = residual.iter().map(|v| v * v).sum::<f32>().sqrt();
        let terms = self.largest_norm + 2.0 * length * self.largest_norm.sqrt();
        let limit = least + 2.0 * f32::EPSILON * residual.len() as f32 * terms;
        let mut candidates = scratch.up_to(limit);
        let first = candidates.next().unwrap_or(0);
        let Some(second) = candidates.next() else { return first };
        let exact = |code: u16| -> f64 {
            let vector = self.vector(code).unwrap_or_default();
            residual.iter().zip(vector).map(|(&r, &e)| (f64::from(r) - f64::from(e)).powi(2)).sum()
        };
        let nearer = |best: (f64, u16), code| {
            let distance = exact(code);
            if distance < best.0 { (distance, code) } else { best }
        };
        std::iter::once(second).chain(candidates).fold((exact(first), first), nearer).1
    }

    fn vector(&self, code: u16) -> Option<&[f32]> {
        let dim = self.codebook.ncols();
        self.codebook.as_slice()?.get(usize::from(code) * dim..)?.get(..dim)
    }
}

impl ResidualVectorQuantizer {
    /// A quantiser from one `[vectors, dim]` codebook a level.
    pub fn new(codebooks: Vec<Array2<f32>>) -> Result<Self, QuantizerError> {
        let (vectors, dim) = codebooks.first().ok_or(QuantizerError::NoLevels)?.dim();
        if dim == 0 || vectors == 0 || vectors > 1 << 16 {
            return Err(QuantizerError::Size { rows: vectors, columns: dim });
        }
        for (level, codebook) in codebooks.iter().enumerate() {
            if codebook.dim() != (vectors, dim) {
                let (rows, columns) = codebook.dim();
                return Err(QuantizerError::Shape {
                    level,
                    rows,
                    columns,
                    first_rows: vectors,
                    first_columns: dim,
                });
            }
            if let Some(vector) =
                codebook.rows().into_iter().position(|row| row.iter().any(|v| !v.is_finite()))
            {
                return Err(QuantizerError::NotFinite { level, vector });
            }
        }
        let levels =
            codebooks.into_iter().map(|book| Level::new(book.as_standard_layout().into_owned())).collect();
        Ok(Self { levels, vectors, dim })
    }

    /// Number of levels.
    pub fn num_levels(&self) -> usize {
        self.levels.len()
    }

    /// Vectors in each codebook.
    pub fn latent_width(&self) -> usize {
        self.vectors
    }

    /// Length of a vector.
    pub fn embedding_dim(&self) -> usize {
        self.dim
    }

    /// The codebooks, `[vectors, dim]` each.
    pub fn codebooks(&self) -> impl ExactSizeIterator<Item = &Array2<f32>> {
        self.levels.iter().map(|level| &level.codebook)
    }

    /// Appends the codes of `latents` (`[positions, dim]`, row-major) to `codes`.
    ///
    /// Each level takes the nearest vector, the lowest index where several are equally near.
    pub fn codes(&self, latents: &[f32], codes: &mut Vec<u16>) {
        let mut scratch = Scratch::new(self.vectors);
        let mut residual = vec![0.0; self.dim];
        for latent in latents.chunks_exact(self.dim) {
            residual.copy_from_slice(latent);
            for level in &self.levels {
                let code = level.nearest(&residual, &mut scratch);
                codes.push(code);
                if let Some(vector) = level.vector(code) {
                    for (r, v) in residual.iter_mut().zip(vector) {
                        *r -= v;
                    }
                }
            }
        }
    }

    /// Appends the latents that `codes` stand for to `latents`: the sum of the levels' vectors, in order.
    pub fn lookup(&self, codes: &[u16], latents: &mut Vec<f32>) -> Result<(), QuantizerError> {
        let num_levels = self.levels.len();
        for (position, codes) in codes.chunks_exact(num_levels).enumerate() {
            let start = latents.len();
            latents.resize(start + self.dim, 0.0);
            let sum = &mut latents[start..];
            for (index, (level, &code)) in self.levels.iter().zip(codes).enumerate() {
                let vector = level.vector(code).ok_or(QuantizerError::UnknownCode {
                    code,
                    index: position * num_levels + index,
                    vectors: self.vectors,
                })?;
                for (s, v) in sum.iter_mut().zip(vector) {
                    *s += v;
                }
            }
        }
        Ok(())
    }
}

/// Distances of one residual to all vectors of a level, and the smallest of each block of them.
struct Scratch {
    distances: Vec<f32>,
    minima: Vec<f32>,
}

impl Scratch {
    /// Distances whose minimum is found at once: it vectorises, and few blocks hold a candidate.
    const BLOCK: usize = 32;

    fn new(vectors: usize) -> Self {
        Self { distances: vec![0.0; vectors], minima: vec![0.0; vectors.div_ceil(Self::BLOCK)] }
    }

    /// Finds the smallest distance of each block, and of all.
    fn find_minima(&mut self) -> f32 {
        let smaller = |a: f32, b: f32| if b < a { b } else { a };
        for (minimum, block) in self.minima.iter_mut().zip(self.distances.chunks(Self::BLOCK)) {
            *minimum = block.iter().copied().fold(f32::INFINITY, smaller);
        }
        self.minima.iter().copied().fold(f32::INFINITY, smaller)
    }

    /// Indices of the distances that are not above `limit`, in order.
    fn up_to(&self, limit: f32) -> impl Iterator<Item = u16> {
        let blocks = self.distances.chunks(Self::BLOCK).zip(&self.minima).enumerate();
        blocks.filter(move |(_, (_, minimum))| **minimum <= limit).flat_map(move |(index, (block, _))| {
            let near = block.iter().enumerate().filter(move |(_, distance)| **distance <= limit);
            near.map(move |(place, _)| (Self::BLOCK * index + place) as u16)
        })
    }
}

/// The search's inner loop for each instruction set. All give the same bits: the same products and sums in
/// the same order, without fused multiply-adds.
mod kernel {
    #![allow(unsafe_code)]

    /// `|e|^2 - 2 r.e` for every vector `e` of a codebook; `minus_twice` is `[dim][vectors]`.
    #[inline(always)]
    pub(super) fn scalar(residual: &[f32], minus_twice: &[f32], norms: &[f32], distances: &mut [f32]) {
        let vectors = norms.len();
        for start in (0..vectors).step_by(BLOCK) {
            let end = vectors.min(start + BLOCK);
            let mut sums = [0.0_f32; BLOCK];
            let width = end - start;
            if width == BLOCK {
                sums.copy_from_slice(&norms[start..end]);
                for (d, &r) in residual.iter().enumerate() {
                    let row = &minus_twice[d * vectors + start..d * vectors + end];
                    for (sum, value) in sums.iter_mut().zip(row) {
                        *sum += r * value;
                    }
                }
            } else {
                sums[..width].copy_from_slice(&norms[start..end]);
                for (d, &r) in residual.iter().enumerate() {
                    let row = &minus_twice[d * vectors + start..d * vectors + end];
                    for (sum, value) in sums[..width].iter_mut().zip(row) {
                        *sum += r * value;
                    }
                }
            }
            distances[start..end].copy_from_slice(&sums[..width]);
        }
    }

    /// Vectors whose sums stay in registers: eight of 512 bits.
    const BLOCK: usize = 128;

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn avx512(residual: &[f32], minus_twice: &[f32], norms: &[f32], distances: &mut [f32]) {
        scalar(residual, minus_twice, norms, distances);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn avx2(residual: &[f32], minus_twice: &[f32], norms: &[f32], distances: &mut [f32]) {
        scalar(residual, minus_twice, norms, distances);
    }

    pub(super) fn distances(residual: &[f32], minus_twice: &[f32], norms: &[f32], distances: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                // SAFETY: the instruction set was just detected; the function has no other requirement.
                return unsafe { avx512(residual, minus_twice, norms, distances) };
            }
            if std::arch::is_x86_feature_detected!("avx2") {
                // SAFETY: as above.
                return unsafe { avx2(residual, minus_twice, norms, distances) };
            }
        }
        scalar(residual, minus_twice, norms, distances);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quantizer(levels: usize, vectors: usize, dim: usize, seed: f32) -> ResidualVectorQuantizer {
        let codebook = |level: usize| {
            Array2::from_shape_fn((vectors, dim), |(k, d)| {
                (0.731 * (k * dim + d) as f32 + 2.1 * level as f32 + seed).sin() * 0.5_f32.powi(level as i32)
            })
        };
        ResidualVectorQuantizer::new((0..levels).map(codebook).collect()).unwrap()
    }

    #[test]
    fn ties_take_the_lowest_index() {
        let book = Array2::from_shape_vec((4, 1), vec![5.0, 1.0, 1.0, 1.0]).unwrap();
        let quantizer = ResidualVectorQuantizer::new(vec![book]).unwrap();
        let mut codes = Vec::new();
        quantizer.codes(&[1.0, 0.9, 7.0], &mut codes);
        assert_eq!(codes, [1, 1, 0]);
    }

    #[test]
    fn what_rounding_cannot_tell_apart_is_decided_exactly() {
        // Around 1e4 single precision has steps of 1e-3: all four vectors look equally near.
        let book = Array2::from_shape_vec((4, 1), vec![100.003, 100.002, 100.001, 100.004]).unwrap();
        let quantizer = ResidualVectorQuantizer::new(vec![book]).unwrap();
        let mut codes = Vec::new();
        quantizer.codes(&[100.0, 100.0041, 100.0019], &mut codes);
        assert_eq!(codes, [2, 3, 1]);
    }

    #[test]
    fn codebooks_that_do_not_fit_are_refused() {
        let error = |books| ResidualVectorQuantizer::new(books).unwrap_err();
        assert_eq!(error(vec![]), QuantizerError::NoLevels);
        assert!(matches!(
            error(vec![Array2::zeros((4, 2)), Array2::zeros((4, 3))]),
            QuantizerError::Shape { level: 1, .. }
        ));
        assert!(matches!(
            error(vec![Array2::from_elem((2, 2), f32::NAN)]),
            QuantizerError::NotFinite { level: 0, vector: 0 }
        ));
        let quantizer = quantizer(2, 4, 3, 0.0);
        assert!(matches!(
            quantizer.lookup(&[0, 4], &mut Vec::new()),
            Err(QuantizerError::UnknownCode { code: 4, index: 1, vectors: 4 })
        ));
    }

    proptest! {
        #[test]
        fn every_level_takes_the_nearest_vector(
            latent in prop::collection::vec(-3.0_f32..3.0, 5), vectors in 1_usize..300, seed in 0.0_f32..9.0,
        ) {
            let quantizer = quantizer(2, vectors, 5, seed);
            let mut codes = Vec::new();
            quantizer.codes(&latent, &mut codes);
            let mut residual: Vec<f64> = latent.iter().copied().map(f64::from).collect();
            for (book, &code) in quantizer.codebooks().zip(&codes) {
                let distance = |row: usize| -> f64 {
                    book.row(row).iter().zip(&residual).map(|(&e, r)| (r - f64::from(e)).powi(2)).sum()
                };
                let best = (0..vectors).map(distance).fold(f64::INFINITY, f64::min);
                prop_assert!(distance(usize::from(code)) <= best + 1e-4);
                for (r, &e) in residual.iter_mut().zip(book.row(usize::from(code))) {
                    *r -= f64::from(e);
                }
            }
            let mut sum = Vec::new();
            quantizer.lookup(&codes, &mut sum).unwrap();
            for ((s, l), r) in sum.iter().zip(&latent).zip(&residual) {
                prop_assert!((f64::from(*s) - (f64::from(*l) - r)).abs() < 1e-5);
            }
        }

        #[test]
        fn kernels_give_the_scalar_twins_bits(
            residual in prop::collection::vec(-3.0_f32..3.0, 1..20), vectors in 1_usize..400, seed in 0.0_f32..9.0,
        ) {
            let quantizer = quantizer(1, vectors, residual.len(), seed);
            let level = &quantizer.levels[0];
            let mut expected = vec![0.0; vectors];
            let mut found = vec![1.0; vectors];
            kernel::scalar(&residual, &level.minus_twice, &level.norms, &mut expected);
            kernel::distances(&residual, &level.minus_twice, &level.norms, &mut found);
            prop_assert!(expected.iter().zip(&found).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }
}
