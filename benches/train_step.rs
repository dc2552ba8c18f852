//! Time of one training step, batch 64 of 512 samples: `cargo bench --bench train_step [-- BASE_FILTERS [THREADS]]`.
//!
//! `benches/peers/train_step.py` runs it beside the same step in PyTorch.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::Instant;

use rivulet::model::{Architecture, build_rvq_autoencoder};
use rivulet::train::{StepSettings, Trainer};

const BATCH: usize = 64;
const FRAME_SIZE: usize = 512;
const WARM_UP: usize = 5;
const STEPS: usize = 25;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let base_filters = numbers.next().unwrap_or(48);
    let threads = numbers.next().unwrap_or(1);
    let architecture = Architecture { base_filters, ..Architecture::new(FRAME_SIZE) };
    let settings = StepSettings {
        difference_weight: 0.1,
        lowpass_weight: 0.0,
        lowpass_cutoff: 0.0,
        ema_decay: 0.99,
        revive_below: 0.03,
        threads,
    };
    let mut trainer = Trainer::new(&build_rvq_autoencoder(&architecture, 1).unwrap(), settings).unwrap();
    let frames: Vec<f32> = (0..BATCH * FRAME_SIZE).map(|i| (0.01 * (i % 7919) as f32).sin() * 1.4).collect();
    trainer.initialise_codebooks(&frames, 1).unwrap();
    let mut times_ms: Vec<f64> = (0..WARM_UP + STEPS)
        .map(|_| {
            let started = Instant::now();
            trainer.step(&frames, &frames, 1e-3).unwrap();
            1e3 * started.elapsed().as_secs_f64()
        })
        .skip(WARM_UP)
        .collect();
    times_ms.sort_by(f64::total_cmp);
    println!("{:.2} ms a step, median of {STEPS}, base {base_filters}, {threads} threads", times_ms[STEPS / 2]);
}
