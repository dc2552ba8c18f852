//! Time of one training step: base 48, 4 stages, 64 frames of 512 samples.
//!
//! Prints one line `threads N ms M` for each number of threads given (default 1), M the fastest of
//! `--steps` steps (default 40), the least disturbed.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::time::Instant;

use rivulet::model::{Architecture, build_rvq_autoencoder};
use rivulet::train::{StepSettings, Trainer};

const FRAMES: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut threads = Vec::new();
    let mut steps = 40;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => {}
            "--steps" => steps = arguments.next().ok_or("--steps needs a number")?.parse()?,
            number => threads.push(number.parse()?),
        }
    }
    if threads.is_empty() {
        threads.push(1);
    }
    let architecture = Architecture { base_filters: 48, ..Architecture::new(512) };
    let values = FRAMES * architecture.frame_size;
    let batch: Vec<f32> = (0..values).map(|i| (0.05 * i as f32).sin() + (0.31 * i as f32).cos()).collect();
    for threads in threads {
        let settings = StepSettings {
            difference_weight: 0.1,
            lowpass_weight: 0.0,
            lowpass_cutoff: 0.0,
            ema_decay: 0.99,
            revive_below: 0.0,
            threads,
        };
        let mut trainer = Trainer::new(&build_rvq_autoencoder(&architecture, 1)?, settings)?;
        trainer.initialise_codebooks(&batch, 1)?;
        let mut fastest = f64::INFINITY;
        for _ in 0..steps {
            let start = Instant::now();
            trainer.step(&batch, &batch, 1e-3)?;
            fastest = fastest.min(start.elapsed().as_secs_f64() * 1e3);
        }
        println!("threads {threads} ms {fastest:.2}");
    }
    Ok(())
}
