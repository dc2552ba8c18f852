//! Fidelity of the model in training on whole recordings, as the pipeline would measure it.

use super::recipe::Recipe;
use super::step::{Trainer, TrainerError};
use super::stream::{Stream, is_constant};
use crate::codec::normalise::{normalise, restore, side};
use crate::fidelity::StreamFidelity;
use crate::packet::ChannelSide;

/// Frames that go through the model together.
const BATCH_FRAMES: usize = 64;

/// Passes a stream through the model frame by frame and compares, in sample units, whole counts where the
/// samples are counts.
pub(super) fn measure(
    trainer: &Trainer,
    recipe: &Recipe,
    stream: &Stream,
) -> Result<StreamFidelity, TrainerError> {
    let channels = recipe.architecture.in_ch;
    let frame_size = recipe.architecture.frame_size;
    let mut fidelity = StreamFidelity::new(channels);
    let mut batch = Batch::default();
    let mut result = Ok(());
    stream.frames(frame_size, |frame, valid| {
        let sides: Vec<ChannelSide> =
            (0..channels).map(|channel| side(&recipe.normalisation, frame, channel, channels)).collect();
        let varies = !is_constant(frame, channels);
        if varies {
            normalise(frame, &sides, &mut batch.inputs);
        }
        batch.frames.push((frame[..valid * channels].to_vec(), sides, varies));
        if batch.frames.len() == BATCH_FRAMES && result.is_ok() {
            result = batch.flush(trainer, stream, frame_size * channels, &mut fidelity);
        }
    });
    result?;
    batch.flush(trainer, stream, frame_size * channels, &mut fidelity)?;
    Ok(fidelity)
}

#[derive(Default)]
struct Batch {
    /// Normalised frames that vary.
    inputs: Vec<f32>,
    /// Valid samples, scaling, and whether the frame is among the inputs.
    frames: Vec<(Vec<f64>, Vec<ChannelSide>, bool)>,
}

impl Batch {
    fn flush(
        &mut self,
        trainer: &Trainer,
        stream: &Stream,
        frame_len: usize,
        fidelity: &mut StreamFidelity,
    ) -> Result<(), TrainerError> {
        let outputs = trainer.reconstruct(&self.inputs)?;
        let mut outputs = outputs.chunks_exact(frame_len);
        let constant = vec![0.0; frame_len];
        let mut decoded = Vec::new();
        for (original, sides, varies) in self.frames.drain(..) {
            let output = if varies { outputs.next() } else { None }.unwrap_or(&constant);
            decoded.clear();
            restore(output, &sides, &mut decoded);
            decoded.truncate(original.len());
            decoded.iter_mut().for_each(|sample| *sample = stream.sample_type.nearest(*sample));
            fidelity.add_frame(&original, &decoded).for_each(drop);
        }
        self.inputs.clear();
        Ok(())
    }
}
