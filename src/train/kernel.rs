//! Matrix products: the one place where training touches raw pointers.

#![allow(unsafe_code)]
// A kernel takes its slices one by one: a struct of them would have to be taken apart again.
#![allow(clippy::too_many_arguments)]

/// How slowly the first and the second moment of Adam forget.
pub(super) const ADAM_DECAYS: (f32, f32) = (0.9, 0.999);

/// A matrix inside a slice: element (row, column) stands at `row * row_stride + column * column_stride`.
/// Rows may overlap: that is how a convolution becomes a product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix<'a> {
    pub(super) data: &'a [f32],
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Consecutive columns, rows `row_stride` apart.
    pub(super) fn rows(data: &'a [f32], row_stride: usize) -> Self {
        Self { data, row_stride, column_stride: 1 }
    }

    /// The transpose of a matrix of consecutive columns.
    pub(super) fn transposed(data: &'a [f32], row_stride: usize) -> Self {
        Self { data, row_stride: 1, column_stride: row_stride }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        rows == 0
            || columns == 0
            || (rows - 1) * self.row_stride + (columns - 1) * self.column_stride < self.data.len()
    }
}

/// `target = left * right`, added to what is there where `add` says so. `target` has consecutive columns and
/// rows `target_stride` apart; `left` is `[rows, depth]`, `right` is `[depth, columns]`.
///
/// # Panics
/// A matrix does not fit its slice: a fault of the caller.
pub(super) fn multiply(
    (rows, columns, depth): (usize, usize, usize),
    target: &mut [f32],
    target_stride: usize,
    left: Matrix<'_>,
    right: Matrix<'_>,
    add: bool,
) {
    assert!(left.holds(rows, depth) && right.holds(depth, columns), "a factor is larger than its slice");
    assert!(
        columns <= target_stride && Matrix::rows(target, target_stride).holds(rows, columns),
        "the product is larger than its slice"
    );
    // SAFETY: every element that the product reads or writes lies inside its slice, as was just checked;
    // `target` is borrowed exclusively, and its rows do not overlap.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            target.as_mut_ptr(),
            1,
            target_stride as isize,
            add,
            left.data.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.data.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Instantiates a function for each instruction set and picks the widest at run time. The body is the scalar
/// one: without fused multiply-adds, every instance gives the same bits.
macro_rules! dispatch {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        $visibility fn $name($($argument: $kind),*) {
            #[inline(always)]
            fn scalar($($argument: $kind),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                fn avx512($($argument: $kind),*) { scalar($($argument),*) }
                #[target_feature(enable = "avx2")]
                fn avx2($($argument: $kind),*) { scalar($($argument),*) }
                if std::arch::is_x86_feature_detected!("avx512f") {
                    // SAFETY: the instruction set was just detected; the function has no other requirement.
                    return unsafe { avx512($($argument),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: as above.
                    return unsafe { avx2($($argument),*) };
                }
            }
            scalar($($argument),*)
        }
    };
}

dispatch! {
    /// One filter a channel over padded rows: `output[t][c] = bias[c] + sum_k padded[t * stride + k][c] * kernel[k][c]`.
    pub(super) fn depthwise(padded: &[f32], kernel: &[f32], bias: &[f32], stride: usize, output: &mut [f32], channels: usize) {
        for (t, out) in output.chunks_exact_mut(channels).enumerate() {
            if bias.is_empty() {
                out.fill(0.0);
            } else {
                out.copy_from_slice(&bias[..channels]);
            }
            for (k, weights) in kernel.chunks_exact(channels).enumerate() {
                let row = &padded[(t * stride + k) * channels..][..channels];
                let (out, weights) = (&mut out[..channels], &weights[..channels]);
                for c in 0..channels {
                    out[c] += row[c] * weights[c];
                }
            }
        }
    }
}

dispatch! {
    /// Backward of [`depthwise`]: adds to the gradients of kernel, bias and padded rows.
    pub(super) fn depthwise_backward(
        padded: &[f32], kernel: &[f32], stride: usize, gradient: &[f32], channels: usize,
        kernel_gradient: &mut [f32], bias_gradient: &mut [f32], padded_gradient: &mut [f32],
    ) {
        for (t, out) in gradient.chunks_exact(channels).enumerate() {
            let out = &out[..channels];
            if !bias_gradient.is_empty() {
                let bias = &mut bias_gradient[..channels];
                for c in 0..channels {
                    bias[c] += out[c];
                }
            }
            for (k, weights) in kernel.chunks_exact(channels).enumerate() {
                let start = (t * stride + k) * channels;
                let (row, weights) = (&padded[start..][..channels], &weights[..channels]);
                let own = &mut kernel_gradient[k * channels..][..channels];
                let before = &mut padded_gradient[start..][..channels];
                for c in 0..channels {
                    own[c] += row[c] * out[c];
                    before[c] += weights[c] * out[c];
                }
            }
        }
    }
}

dispatch! {
    /// Adds a row to every row.
    pub(super) fn add_bias(rows: &mut [f32], bias: &[f32]) {
        let channels = bias.len();
        for row in rows.chunks_exact_mut(channels) {
            let row = &mut row[..channels];
            for c in 0..channels {
                row[c] += bias[c];
            }
        }
    }
}

dispatch! {
    /// Adds the sum of all rows.
    pub(super) fn sum_rows(rows: &[f32], sum: &mut [f32]) {
        let channels = sum.len();
        for row in rows.chunks_exact(channels) {
            let row = &row[..channels];
            for c in 0..channels {
                sum[c] += row[c];
            }
        }
    }
}

dispatch! {
    /// `max(0, x)`, in place.
    pub(super) fn relu(values: &mut [f32]) {
        for value in values {
            *value = if *value > 0.0 { *value } else { 0.0 };
        }
    }
}

dispatch! {
    /// Clears the gradient where the output of a ReLU is zero.
    pub(super) fn relu_backward(output: &[f32], gradient: &mut [f32]) {
        for (gradient, output) in gradient.iter_mut().zip(output) {
            *gradient = if *output > 0.0 { *gradient } else { 0.0 };
        }
    }
}

dispatch! {
    /// One step of Adam in PyTorch's form: epsilon is added to the root of the corrected second moment
    /// (Kingma and Ba, 2015, algorithm 1). `corrections` are 1 - beta^step of both moments.
    pub(super) fn adam(
        parameters: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32], learning_rate: f32, corrections: (f32, f32),
    ) {
        const EPSILON: f32 = 1e-8;
        let rate = learning_rate / corrections.0;
        let root = corrections.1.sqrt();
        let moments = first.iter_mut().zip(second);
        for ((parameter, gradient), (first, second)) in parameters.iter_mut().zip(gradient).zip(moments) {
            *first += (1.0 - ADAM_DECAYS.0) * (gradient - *first);
            *second += (1.0 - ADAM_DECAYS.1) * (gradient * gradient - *second);
            *parameter -= rate * *first / (second.sqrt() / root + EPSILON);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wave(len: usize, seed: f32) -> Vec<f32> {
        (0..len).map(|i| (0.7 * i as f32 + seed).sin()).collect()
    }

    proptest! {
        #[test]
        fn products_are_those_of_the_scalar_twin(
            rows in 1_usize..40, columns in 1_usize..40, depth in 1_usize..60, overlap in 1_usize..8, add: bool,
        ) {
            let left_data = wave(rows * overlap + depth, 0.1);
            let right_data = wave(depth * columns, 0.5);
            let mut target = wave(rows * (columns + 3), 0.9);
            let expected: Vec<f32> = (0..rows * (columns + 3)).map(|i| {
                let (row, column) = (i / (columns + 3), i % (columns + 3));
                if column >= columns {
                    return target[i];
                }
                let product: f32 = (0..depth).map(|k| left_data[row * overlap + k] * right_data[column * depth + k]).sum();
                if add { target[i] + product } else { product }
            }).collect();
            let left = Matrix::rows(&left_data, overlap);
            let right = Matrix::transposed(&right_data, depth);
            multiply((rows, columns, depth), &mut target, columns + 3, left, right, add);
            for (found, expected) in target.iter().zip(&expected) {
                prop_assert!((found - expected).abs() < 1e-4, "{found} {expected}");
            }
        }
    }

    proptest! {
        /// The plainest loops in the same order: every instance has to give their bits.
        #[test]
        fn every_instance_gives_the_scalar_twins_bits(
            channels in 1_usize..40, rows in 1_usize..12, taps in 1_usize..8, stride in 1_usize..3, bias: bool, seed in 0.0_f32..9.0,
        ) {
            let same = |found: &[f32], expected: &[f32]| {
                found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits())
            };
            let padded = wave(((rows - 1) * stride + taps) * channels, seed);
            let kernel = wave(taps * channels, seed + 1.0);
            let bias = wave(if bias { channels } else { 0 }, seed + 2.0);
            let gradient = wave(rows * channels, seed + 3.0);
            let at = |t: usize, k: usize, c: usize| (t * stride + k) * channels + c;

            let mut output = vec![0.0; rows * channels];
            depthwise(&padded, &kernel, &bias, stride, &mut output, channels);
            let mut twin = [vec![0.0; rows * channels], vec![0.0; kernel.len()], vec![0.0; bias.len()], vec![0.0; padded.len()]];
            for t in 0..rows {
                for c in 0..channels {
                    let mut sum = bias.get(c).copied().unwrap_or(0.0);
                    for k in 0..taps {
                        sum += padded[at(t, k, c)] * kernel[k * channels + c];
                    }
                    twin[0][t * channels + c] = sum;
                    let out = gradient[t * channels + c];
                    if let Some(own) = twin[2].get_mut(c) {
                        *own += out;
                    }
                    for k in 0..taps {
                        twin[1][k * channels + c] += padded[at(t, k, c)] * out;
                        twin[3][at(t, k, c)] += kernel[k * channels + c] * out;
                    }
                }
            }
            prop_assert!(same(&output, &twin[0]));
            let (mut of_kernel, mut of_bias, mut of_padded) =
                (vec![0.0; kernel.len()], vec![0.0; bias.len()], vec![0.0; padded.len()]);
            depthwise_backward(&padded, &kernel, stride, &gradient, channels, &mut of_kernel, &mut of_bias, &mut of_padded);
            prop_assert!(same(&of_kernel, &twin[1]) && same(&of_bias, &twin[2]) && same(&of_padded, &twin[3]));

            let row = wave(channels, seed + 4.0);
            let mut added = gradient.clone();
            add_bias(&mut added, &row);
            let expected: Vec<f32> = gradient.iter().enumerate().map(|(i, g)| g + row[i % channels]).collect();
            prop_assert!(same(&added, &expected));
            let mut sum = row.clone();
            sum_rows(&gradient, &mut sum);
            let mut expected = row.clone();
            gradient.iter().enumerate().for_each(|(i, g)| expected[i % channels] += g);
            prop_assert!(same(&sum, &expected));

            let mut clipped = gradient.clone();
            relu(&mut clipped);
            prop_assert!(clipped.iter().zip(&gradient).all(|(a, g)| *a == g.max(0.0)));
            let mut passed = added.clone();
            relu_backward(&clipped, &mut passed);
            let expected: Vec<f32> =
                clipped.iter().zip(&added).map(|(c, a)| if *c > 0.0 { *a } else { 0.0 }).collect();
            prop_assert!(same(&passed, &expected));

            let (mut parameters, mut first, mut second) = (added.clone(), wave(added.len(), seed + 5.0), clipped.clone());
            let (before, moments) = (parameters.clone(), (first.clone(), second.clone()));
            adam(&mut parameters, &gradient, &mut first, &mut second, 0.01, (0.1, 0.001));
            for i in 0..before.len() {
                let m = moments.0[i] + (1.0 - 0.9_f32) * (gradient[i] - moments.0[i]);
                let v = moments.1[i] + (1.0 - 0.999_f32) * (gradient[i] * gradient[i] - moments.1[i]);
                let moved = before[i] - 0.01 / 0.1_f32 * m / (v.sqrt() / 0.001_f32.sqrt() + 1e-8);
                prop_assert!(same(&[parameters[i], first[i], second[i]], &[moved, m, v]));
            }
        }
    }

    #[test]
    #[should_panic(expected = "larger than its slice")]
    fn a_product_beyond_its_slice_is_refused() {
        let data = wave(11, 0.0);
        multiply(
            (3, 4, 4),
            &mut [0.0; 12],
            4,
            Matrix::rows(&data, 4),
            Matrix::rows(&wave(16, 0.0), 4),
            false,
        );
    }
}
