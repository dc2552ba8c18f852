//! Tables of the logistic function and of logarithms, worked out in whole numbers while compiling: the same on every
//! machine, since every probability depends on them.

/// Of a logistic value in 1/256, from -2047 to 2047, the probability in 1/65536: `SQUASH[x + 2048]`.
pub(super) static SQUASH: [i32; 4096] = squash_table();
/// Of a probability in 1/4096, at the middle of its step, the logistic value in 1/256.
pub(super) static STRETCH: [i32; 4096] = stretch_table();
/// Share of the way, in 1/65536, that an adaptive probability goes at its n-th bit: 1 / (n + 1.6).
pub(super) static RATE: [i32; 256] = rate_table();
/// Cost in 1/256 bit of something whose probability is the index in 1/4096, at the middle of its step.
pub(super) static COST: [u16; 4096] = cost_table();

/// One in the fixed point of this file.
const ONE: u128 = 1 << 62;
/// exp(-1/512) x 2^62, rounded.
const EXP_HALF_STEP: u128 = 4_602_687_609_541_841_169;
/// Probabilities stay this far from 0 and 1, in 1/65536.
const LEAST: i32 = 24;

/// exp(-halves / 512) x 2^62 for each number of halves.
const fn exponentials() -> [u128; 4097] {
    let mut table = [ONE; 4097];
    let mut halves = 1;
    while halves < table.len() {
        table[halves] = (table[halves - 1] * EXP_HALF_STEP) >> 62;
        halves += 1;
    }
    table
}

/// 1 / (1 + exp(-x)) x 2^62, where `exponential` is exp(-|x|) x 2^62.
const fn logistic(exponential: u128, negative: bool) -> u128 {
    let positive = (ONE << 62) / (ONE + exponential);
    if negative { ONE - positive } else { positive }
}

const fn squash_table() -> [i32; 4096] {
    let exponentials = exponentials();
    let mut table = [0; 4096];
    let mut index = 0;
    while index < table.len() {
        let steps = index.abs_diff(2048);
        let value = logistic(exponentials[2 * steps], index < 2048);
        let rounded = ((value + (1 << 45)) >> 46) as i32;
        table[index] = if rounded < LEAST {
            LEAST
        } else if rounded > 65536 - LEAST {
            65536 - LEAST
        } else {
            rounded
        };
        index += 1;
    }
    table
}

const fn stretch_table() -> [i32; 4096] {
    let exponentials = exponentials();
    let mut table = [0; 4096];
    let mut index = 0;
    // The nearest whole x: the first one for which x + 1/2 has a larger probability.
    let mut x: i32 = -2047;
    while index < table.len() {
        let probability = (2 * index as u128 + 1) << 49;
        while x < 2047 {
            let halves = 2 * x + 1;
            if logistic(exponentials[halves.unsigned_abs() as usize], halves < 0) > probability {
                break;
            }
            x += 1;
        }
        table[index] = x;
        index += 1;
    }
    table
}

const fn rate_table() -> [i32; 256] {
    let mut table = [0; 256];
    let mut bits = 0;
    while bits < table.len() {
        table[bits] = 655_360 / (10 * bits as i32 + 16);
        bits += 1;
    }
    table
}

const fn cost_table() -> [u16; 4096] {
    let mut table = [0; 4096];
    let mut index = 0;
    while index < table.len() {
        // -log2((2 index + 1) / 8192), by squaring.
        let mut mantissa = 2 * index as u128 + 1;
        let whole = mantissa.ilog2();
        mantissa = (mantissa << 62) >> whole;
        let mut fraction = 0;
        let mut bit = 0;
        while bit < 9 {
            mantissa = (mantissa * mantissa) >> 62;
            fraction <<= 1;
            if mantissa >= 2 * ONE {
                mantissa >>= 1;
                fraction |= 1;
            }
            bit += 1;
        }
        table[index] = (13 * 512 - (whole * 512 + fraction)).div_ceil(2) as u16;
        index += 1;
    }
    table
}

/// 1 + floor(3 log2(value)), at most 39, and 0 for 0: a logarithmic class of a magnitude.
pub fn log_class(value: u32) -> u32 {
    match u64::from(value.min(1 << 13)) {
        0 => 0,
        value => 1 + (value * value * value).ilog2().min(38),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_those_of_the_functions() {
        for (index, value) in SQUASH.iter().enumerate() {
            let x = (index as f64 - 2048.0) / 256.0;
            let expected = (65536.0 / (1.0 + (-x).exp())).round().clamp(24.0, 65512.0);
            assert_eq!(f64::from(*value), expected, "{index}");
        }
        for (index, value) in STRETCH.iter().enumerate() {
            let p = (index as f64 + 0.5) / 4096.0;
            let expected = (256.0 * (p / (1.0 - p)).ln()).clamp(-2047.0, 2047.0);
            assert!((f64::from(*value) - expected).abs() <= 0.501, "{index}: {value}, {expected}");
        }
        for (index, value) in COST.iter().enumerate() {
            let expected = -256.0 * ((index as f64 + 0.5) / 4096.0).log2();
            assert!((f64::from(*value) - expected).abs() <= 1.0, "{index}: {value}, {expected}");
        }
        for (bits, value) in RATE.iter().enumerate() {
            assert_eq!(*value, (65536.0 / (bits as f64 + 1.6)) as i32, "{bits}");
        }
    }

    #[test]
    fn classes_are_three_to_an_octave() {
        for value in 1..8192_u32 {
            let expected = 1 + (3.0 * f64::from(value).log2() + 1e-9).floor() as u32;
            assert_eq!(log_class(value), expected.min(39), "{value}");
        }
        assert_eq!((log_class(0), log_class(u32::MAX)), (0, 39));
    }
}
