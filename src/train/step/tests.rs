use super::*;
use crate::model::npz::Npz;
use crate::model::{Norm, build_rvq_autoencoder};

fn settings(threads: usize) -> StepSettings {
    StepSettings {
        difference_weight: 0.1,
        lowpass_weight: 1.0,
        lowpass_cutoff: 0.03,
        ema_decay: 0.99,
        revive_below: 0.03,
        threads,
    }
}

fn architecture() -> Architecture {
    Architecture { base_filters: 8, latent_width: 16, num_stages: 2, ..Architecture::new(64) }
}

fn batch(frames: usize, phase: f32) -> Vec<f32> {
    (0..frames * 64).map(|i| (0.05 * (1 + i / 64 % 5) as f32 * i as f32 + phase).sin()).collect()
}

fn trainer(architecture: &Architecture, threads: usize) -> Trainer {
    let mut trainer =
        Trainer::new(&build_rvq_autoencoder(architecture, 3).unwrap(), settings(threads)).unwrap();
    trainer.initialise_codebooks(&batch(20, 0.0), 7).unwrap();
    trainer
}

#[test]
fn the_loss_falls_and_inference_agrees() {
    let mut trainer = trainer(&architecture(), 2);
    let mut reports = Vec::new();
    for step in 0..400 {
        let frames = batch(16, step as f32);
        reports.push(trainer.step(&frames, &frames, 2e-3).unwrap());
    }
    let (first, last) = (reports[0].mse, reports[399].mse);
    assert!(last < 0.25 * first, "{first} {last}");
    let frames = batch(16, 1.0);
    let output = trainer.reconstruct(&frames).unwrap();
    let mse = frames.iter().zip(&output).map(|(x, y)| (x - y).powi(2)).sum::<f32>() / frames.len() as f32;
    assert!(mse < 2.0 * last + 0.02, "{mse} {last}");
}

#[test]
fn the_result_does_not_depend_on_threads() {
    for decoder_block_norm in [Norm::None, Norm::Batch] {
        let architecture = Architecture { decoder_block_norm, ..architecture() };
        let run = |threads| {
            let mut trainer = trainer(&architecture, threads);
            for step in 0..4 {
                let frames = batch(13, step as f32);
                trainer.step(&frames, &frames, 1e-3).unwrap();
            }
            trainer.snapshot()
        };
        let one = run(1);
        assert!(one == run(2) && one == run(3) && one == run(20));
    }
}

#[test]
fn a_snapshot_goes_on_to_the_same_bits() {
    let mut whole = trainer(&architecture(), 2);
    let mut halves = trainer(&architecture(), 2);
    let step = |trainer: &mut Trainer, step: usize| {
        let frames = batch(9, step as f32);
        trainer.step(&frames, &frames, 1e-3).unwrap();
    };
    (0..6).for_each(|i| step(&mut whole, i));
    (0..3).for_each(|i| step(&mut halves, i));
    let bytes = bincode::encode_to_vec(halves.snapshot(), bincode::config::standard()).unwrap();
    let (snapshot, _): (Snapshot, _) =
        bincode::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
    let mut resumed =
        Trainer::new(&build_rvq_autoencoder(&architecture(), 99).unwrap(), settings(1)).unwrap();
    resumed.restore(snapshot).unwrap();
    (3..6).for_each(|i| step(&mut resumed, i));
    assert!(whole.snapshot() == resumed.snapshot());

    let other = Architecture { base_filters: 16, ..architecture() };
    let mut other = Trainer::new(&build_rvq_autoencoder(&other, 1).unwrap(), settings(1)).unwrap();
    assert!(matches!(other.restore(whole.snapshot()), Err(TrainerError::Snapshot)));
}

#[test]
fn a_model_comes_out_as_it_went_in() {
    let model = build_rvq_autoencoder(&architecture(), 5).unwrap();
    let back = Trainer::new(&model, settings(1)).unwrap().model().unwrap();
    assert_eq!(model.encoder(), back.encoder());
    assert_eq!(model.decoder(), back.decoder());
}

/// One step of PyTorch in float64 (`benches/peers/reference_step.py`).
#[test]
fn a_step_equals_the_reference_step() {
    let npz = Npz::read(include_bytes!("../testdata/reference_step.npz")).unwrap();
    let counted = |prefix: &str| -> Vec<String> {
        (0..).map(|index| format!("{prefix}_{index}")).take_while(|name| npz.contains(name)).collect()
    };
    let arrays = |names: &[String]| names.iter().map(|name| npz.floats(name).unwrap()).collect::<Vec<_>>();
    let (encoder, decoder, books) = (counted("enc"), counted("dec"), counted("cb"));
    let architecture = Architecture {
        base_filters: 8,
        num_stages: 3,
        in_ch: 2,
        out_ch: 2,
        embedding_dim: 4,
        latent_width: 16,
        ..Architecture::new(64)
    };
    let codebooks = arrays(&books).into_iter().map(|book| book.into_dimensionality().unwrap()).collect();
    let model = VQAutoencoder::new(architecture, arrays(&encoder), codebooks, arrays(&decoder)).unwrap();
    let settings =
        StepSettings { lowpass_cutoff: 10.0 / 360.0, ema_decay: 0.9, revive_below: 0.0, ..settings(1) };
    let mut trainer = Trainer::new(&model, settings).unwrap();
    let flat = |name: &str| npz.floats(name).unwrap().into_iter().collect::<Vec<f32>>();
    let report = trainer.step(&flat("inputs"), &flat("targets"), 1e-3).unwrap();

    // The whole loss, the mean squared error, and last the commitment before its weight.
    let losses = flat("losses");
    let expected = [losses[0], losses[1], 0.25 * losses[losses.len() - 1]];
    for (found, expected) in [report.loss, report.mse, report.commitment].iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5 * expected, "{found}, expected {expected}");
    }
    let after = trainer.model().unwrap();
    let sides = [(&encoder, after.encoder(), 0), (&decoder, after.decoder(), 1)];
    for (names, network, side) in sides {
        // The first group holds the sum over all groups once a step is done.
        let mut gradients = trainer.groups[0].gradients[side].iter();
        for (name, weights) in names.iter().zip(network.weights()) {
            let expected = flat(&format!("{name}_after"));
            let moving = !npz.contains(&format!("{name}_gradient"));
            let gradient = if moving { vec![0.0; expected.len()] } else { flat(&format!("{name}_gradient")) };
            let largest = gradient.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            for ((found, expected), gradient) in weights.iter().zip(&expected).zip(&gradient) {
                if !moving {
                    let own = gradients.next().unwrap();
                    assert!((own - gradient).abs() <= 2e-4 * largest + 1e-7, "{name}: {own} for {gradient}");
                }
                // Adam's first step is as long as the learning rate, even where the gradient is rounding.
                if moving || gradient.abs() > 1e-3 * largest + 1e-6 {
                    assert!((found - expected).abs() < 2e-6, "{name}: {found} for {expected}");
                }
            }
        }
        assert_eq!(gradients.next(), None);
    }
    for (name, book) in books.iter().zip(after.quantizer().codebooks()) {
        for (found, expected) in book.iter().zip(flat(&format!("{name}_after"))) {
            assert!((found - expected).abs() < 1e-5, "{name}: {found} for {expected}");
        }
    }
}
