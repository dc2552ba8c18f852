//! Codebooks that follow the latents as moving averages.

use ndarray::Array2;

use crate::model::random::SplitMix;
use crate::model::{QuantizerError, ResidualVectorQuantizer};

/// Keeps the smoothed counts of codes that are never used away from zero.
const EPSILON: f32 = 1e-5;
/// Rounds of k-means for the initial codebooks.
const KMEANS_ROUNDS: usize = 12;

/// Codebooks with the moving averages that they are made of.
#[derive(Clone, Debug, PartialEq, bincode::Encode, bincode::Decode)]
pub(super) struct Codebooks {
    /// Dimensions of a vector.
    dim: usize,
    /// Vectors in each codebook.
    vectors: usize,
    levels: Vec<Averages>,
}

#[derive(Clone, Debug, PartialEq, bincode::Encode, bincode::Decode)]
struct Averages {
    codebook: Vec<f32>,
    counts: Vec<f32>,
    sums: Vec<f32>,
}

/// What quantising a batch of latents gave.
pub(super) struct Quantised {
    /// Sum of the chosen vectors.
    pub(super) output: Vec<f32>,
    /// Gradient of the commitment loss by the latents.
    pub(super) gradient: Vec<f32>,
    /// The commitment loss, summed over levels, `beta` included.
    pub(super) commitment: f32,
    /// Distinct codes of each level.
    pub(super) used: Vec<usize>,
    /// Codes, position-major.
    codes: Vec<u16>,
    /// What each level was given, level by level.
    residuals: Vec<Vec<f32>>,
}

impl Codebooks {
    pub(super) fn new(quantizer: &ResidualVectorQuantizer) -> Self {
        let levels = quantizer
            .codebooks()
            .map(|book| {
                let codebook: Vec<f32> = book.iter().copied().collect();
                Averages { counts: vec![1.0; book.nrows()], sums: codebook.clone(), codebook }
            })
            .collect();
        Self { dim: quantizer.embedding_dim(), vectors: quantizer.latent_width(), levels }
    }

    /// True if `other` has the same shape.
    pub(super) fn fits(&self, other: &Self) -> bool {
        (self.dim, self.vectors, self.levels.len()) == (other.dim, other.vectors, other.levels.len())
    }

    /// The codebooks as a quantiser.
    pub(super) fn quantizer(&self) -> Result<ResidualVectorQuantizer, QuantizerError> {
        let shape = (self.vectors, self.dim);
        ResidualVectorQuantizer::new(
            self.levels
                .iter()
                .map(|level| Array2::from_shape_fn(shape, |(k, d)| level.codebook[k * self.dim + d]))
                .collect(),
        )
    }

    /// Quantises `latents`; `beta` weighs the commitment loss, the mean over all values of each level.
    pub(super) fn quantise(
        &self,
        quantizer: &ResidualVectorQuantizer,
        latents: &[f32],
        beta: f32,
    ) -> Quantised {
        let levels = self.levels.len();
        let mut codes = Vec::new();
        quantizer.codes(latents, &mut codes);
        let mut residual = latents.to_vec();
        let mut output = vec![0.0; latents.len()];
        let mut gradient = vec![0.0; latents.len()];
        let mut commitment = 0.0;
        let mut residuals = Vec::with_capacity(levels);
        let mut used = Vec::with_capacity(levels);
        let scale = 2.0 * beta / latents.len() as f32;
        for (index, level) in self.levels.iter().enumerate() {
            residuals.push(residual.clone());
            let mut seen = vec![false; self.vectors];
            let mut squares = 0.0_f64;
            for (position, codes) in codes.chunks_exact(levels).enumerate() {
                let code = usize::from(codes[index]);
                seen[code] = true;
                let vector = &level.codebook[code * self.dim..][..self.dim];
                let range = position * self.dim..(position + 1) * self.dim;
                let values = residual[range.clone()].iter_mut().zip(&mut output[range.clone()]);
                for (((r, o), g), v) in values.zip(&mut gradient[range]).zip(vector) {
                    *r -= v;
                    *o += v;
                    *g += scale * *r;
                    squares += f64::from(*r * *r);
                }
            }
            commitment += beta * (squares / latents.len() as f64) as f32;
            used.push(seen.into_iter().filter(|seen| *seen).count());
        }
        Quantised { output, gradient, commitment, used, codes, residuals }
    }

    /// Moves the averages towards a batch, and revives codes whose count fell below `revive_below` of the mean.
    pub(super) fn update(&mut self, batch: &Quantised, decay: f32, revive_below: f32, random: &mut SplitMix) {
        let count = self.levels.len();
        for (index, (level, residuals)) in self.levels.iter_mut().zip(&batch.residuals).enumerate() {
            let mut counts = vec![0.0_f32; self.vectors];
            let mut sums = vec![0.0_f32; self.vectors * self.dim];
            for (residual, codes) in residuals.chunks_exact(self.dim).zip(batch.codes.chunks_exact(count)) {
                let code = usize::from(codes[index]);
                counts[code] += 1.0;
                for (sum, r) in sums[code * self.dim..][..self.dim].iter_mut().zip(residual) {
                    *sum += r;
                }
            }
            blend(&mut level.counts, &counts, decay);
            blend(&mut level.sums, &sums, decay);
            let total: f32 = level.counts.iter().sum();
            let mean = total / self.vectors as f32;
            for code in 0..self.vectors {
                if level.counts[code] < revive_below * mean {
                    let positions = residuals.len() / self.dim;
                    let chosen = random.below(positions);
                    let vector = &residuals[chosen * self.dim..][..self.dim];
                    level.counts[code] = 1.0;
                    level.sums[code * self.dim..][..self.dim].copy_from_slice(vector);
                }
            }
            level.rebuild(self.dim);
        }
    }

    /// Replaces the codebooks by k-means over `latents`, level by level over what the levels before leave.
    ///
    /// Seeds are chosen with probability proportional to the squared distance from the seeds before (k-means++,
    /// Arthur and Vassilvitskii, 2007); a cluster that loses its last member keeps its vector.
    pub(super) fn initialise(&mut self, latents: &[f32], random: &mut SplitMix) {
        let dim = self.dim;
        let positions = latents.len() / dim;
        if positions == 0 {
            return;
        }
        let mut residual = latents.to_vec();
        for level in &mut self.levels {
            let mut book = seeds(&residual, dim, self.vectors, random);
            let mut codes = vec![0; positions];
            let mut counts = vec![0.0_f32; self.vectors];
            for round in 0..=KMEANS_ROUNDS {
                for (row, code) in residual.chunks_exact(dim).zip(&mut codes) {
                    *code = nearest(row, &book, dim);
                }
                counts.fill(0.0);
                let mut sums = vec![0.0_f32; book.len()];
                for (row, code) in residual.chunks_exact(dim).zip(&codes) {
                    counts[*code] += 1.0;
                    sums[code * dim..][..dim].iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                }
                if round == KMEANS_ROUNDS {
                    break;
                }
                for (code, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
                    let range = code * dim..(code + 1) * dim;
                    for (value, sum) in book[range.clone()].iter_mut().zip(&sums[range]) {
                        *value = sum / count;
                    }
                }
            }
            for (row, code) in residual.chunks_exact_mut(dim).zip(&codes) {
                row.iter_mut().zip(&book[code * dim..][..dim]).for_each(|(r, v)| *r -= v);
            }
            // Weights as if the batches so far had been like this one, a mean of one a code.
            let unit = positions as f32 / self.vectors as f32;
            level.counts = counts.iter().map(|count| (count / unit).max(0.1)).collect();
            level.sums = book
                .chunks_exact(dim)
                .zip(&level.counts)
                .flat_map(|(row, count)| row.iter().map(move |v| v * count))
                .collect();
            level.codebook = book;
        }
    }
}

impl Averages {
    /// codebook = sums / smoothed counts.
    fn rebuild(&mut self, dim: usize) {
        let total: f32 = self.counts.iter().sum();
        let vectors = self.counts.len() as f32;
        let rows = self.codebook.chunks_exact_mut(dim).zip(self.sums.chunks_exact(dim)).zip(&self.counts);
        for ((row, sums), count) in rows {
            let smoothed = (count + EPSILON) / (total + vectors * EPSILON) * total;
            row.iter_mut().zip(sums).for_each(|(value, sum)| *value = sum / smoothed);
        }
    }
}

fn blend(average: &mut [f32], batch: &[f32], decay: f32) {
    for (average, value) in average.iter_mut().zip(batch) {
        *average = decay * *average + (1.0 - decay) * value;
    }
}

fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

fn nearest(row: &[f32], book: &[f32], dim: usize) -> usize {
    let mut best = (f32::INFINITY, 0);
    for (index, vector) in book.chunks_exact(dim).enumerate() {
        let distance = squared_distance(row, vector);
        if distance < best.0 {
            best = (distance, index);
        }
    }
    best.1
}

fn seeds(rows: &[f32], dim: usize, vectors: usize, random: &mut SplitMix) -> Vec<f32> {
    let positions = rows.len() / dim;
    let row = |index: usize| &rows[index * dim..][..dim];
    let mut book = row(random.below(positions)).to_vec();
    let mut distances: Vec<f32> = rows.chunks_exact(dim).map(|r| squared_distance(r, &book)).collect();
    while book.len() < vectors * dim {
        let total: f64 = distances.iter().copied().map(f64::from).sum();
        let mut target = random.unit() * total;
        let found = distances.iter().position(|distance| {
            target -= f64::from(*distance);
            target < 0.0
        });
        // Fewer distinct rows than vectors: any row will do.
        let chosen = found.unwrap_or_else(|| random.below(positions));
        book.extend_from_slice(row(chosen));
        for (distance, r) in distances.iter_mut().zip(rows.chunks_exact(dim)) {
            *distance = distance.min(squared_distance(r, row(chosen)));
        }
    }
    book
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codebooks(levels: usize, vectors: usize, dim: usize) -> Codebooks {
        let book = |level| {
            Array2::from_shape_fn((vectors, dim), |(k, d)| (0.37 * (k * dim + d + level) as f32).sin())
        };
        Codebooks::new(&ResidualVectorQuantizer::new((0..levels).map(book).collect()).unwrap())
    }

    fn latents(positions: usize, dim: usize) -> Vec<f32> {
        let mut random = SplitMix::new(5);
        (0..positions * dim).map(|_| random.unit() as f32 - 0.5).collect()
    }

    #[test]
    fn moving_averages_come_to_rest_at_the_means() {
        let mut books = codebooks(2, 4, 2);
        let values = latents(64, 2);
        let mut random = SplitMix::new(1);
        books.initialise(&values, &mut random);
        let before = books.clone();
        let quantised = books.quantise(&books.quantizer().unwrap(), &values, 0.25);
        for _ in 0..2_000 {
            books.update(&quantised, 0.9, 0.0, &mut random);
        }
        for (level, (book, residuals)) in books.levels.iter().zip(&quantised.residuals).enumerate() {
            for code in 0..4 {
                let members: Vec<&[f32]> = residuals
                    .chunks_exact(2)
                    .zip(quantised.codes.chunks_exact(2))
                    .filter(|(_, codes)| usize::from(codes[level]) == code)
                    .map(|(row, _)| row)
                    .collect();
                if members.is_empty() {
                    continue;
                }
                let mean = members.iter().map(|row| row[0]).sum::<f32>() / members.len() as f32;
                assert!((book.codebook[2 * code] - mean).abs() < 1e-3, "{before:?}");
            }
        }
    }

    #[test]
    fn initial_codebooks_never_diverge() {
        let mut books = codebooks(3, 16, 4);
        for values in [latents(500, 4), vec![0.0; 40], vec![3.0; 4], latents(3, 4)] {
            books.initialise(&values, &mut SplitMix::new(9));
            let largest = values.iter().fold(0.0_f32, |max, v| max.max(v.abs()));
            for level in &books.levels {
                assert!(level.codebook.iter().all(|v| v.is_finite() && v.abs() <= 2.0 * largest + 1e-6));
            }
        }
        let values = latents(500, 4);
        books.initialise(&values, &mut SplitMix::new(9));
        let quantised = books.quantise(&books.quantizer().unwrap(), &values, 1.0);
        let error: f32 = values.iter().zip(&quantised.output).map(|(z, q)| (z - q) * (z - q)).sum();
        let energy: f32 = values.iter().map(|z| z * z).sum();
        assert!(error < 0.05 * energy, "{error} {energy}");
        assert!(quantised.used.iter().all(|used| *used == 16));
    }

    #[test]
    fn dead_codes_come_back() {
        let mut books = codebooks(1, 8, 2);
        // All latents near the first vector: the others starve.
        let vector = books.levels[0].codebook[..2].to_vec();
        let values: Vec<f32> = latents(64, 2)
            .chunks(2)
            .flat_map(|row| [vector[0] + 0.01 * row[0], vector[1] + 0.01 * row[1]])
            .collect();
        let mut random = SplitMix::new(2);
        for _ in 0..500 {
            let quantised = books.quantise(&books.quantizer().unwrap(), &values, 0.25);
            books.update(&quantised, 0.9, 0.03, &mut random);
        }
        let quantised = books.quantise(&books.quantizer().unwrap(), &values, 0.25);
        assert!(quantised.used[0] >= 6, "{:?}", quantised.used);
    }
}
