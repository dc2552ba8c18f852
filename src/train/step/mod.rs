//! One training step: forward, loss, backward, codebooks, Adam.

mod groups;
mod passes;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::groups::Group;
use self::passes::{Side, infer};
use super::codebooks::Codebooks;
use super::loss::{FrameLoss, SignalLoss};
use super::network::{Folded, Parameters, Plan, Statistics};
use crate::model::random::SplitMix;
use crate::model::{Architecture, AutoencoderError, QuantizerError, ResidualVectorQuantizer, VQAutoencoder};

/// What stays the same over all steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepSettings {
    /// Weight of the mean squared error of the first difference.
    pub difference_weight: f32,
    /// Weight of the mean squared error below the cutoff; 0 leaves it out.
    pub lowpass_weight: f32,
    /// Cutoff as a fraction of the sample rate.
    pub lowpass_cutoff: f32,
    /// Decay of the codebooks' moving averages.
    pub ema_decay: f32,
    /// Codes whose count falls below this fraction of the mean count are revived; 0 leaves them dead.
    pub revive_below: f32,
    /// Threads that share the frames of a batch.
    pub threads: usize,
}

/// What a step found.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// The whole loss.
    pub loss: f32,
    /// Mean squared error of the normalised signal.
    pub mse: f32,
    /// The commitment loss, summed over levels, weighted.
    pub commitment: f32,
    /// Distinct codes in the batch, level by level.
    pub codes_used: Vec<usize>,
}

/// Everything that a step changes: restoring it goes on to the same bits.
#[derive(Clone, Debug, PartialEq, bincode::Encode, bincode::Decode)]
pub struct Snapshot {
    encoder: Parameters,
    decoder: Parameters,
    codebooks: Codebooks,
    /// First and second moments of the encoder's and the decoder's parameters.
    moments: [Vec<f32>; 4],
    steps: u64,
    random: SplitMix,
}

/// Why a trainer cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainerError {
    /// A snapshot of another model.
    #[error("the snapshot is of another architecture")]
    Snapshot,
    /// The weights no longer make a model: training has diverged.
    #[error("training has diverged: {0}; try a smaller learning rate")]
    Diverged(#[from] AutoencoderError),
    /// The codebooks no longer make a quantiser: training has diverged.
    #[error("training has diverged: {0}; try a smaller learning rate")]
    Codebooks(#[from] QuantizerError),
}

/// Trains one model.
pub struct Trainer {
    architecture: Architecture,
    settings: StepSettings,
    loss: SignalLoss,
    encoder: Plan,
    decoder: Plan,
    state: Snapshot,
    quantizer: ResidualVectorQuantizer,
    folded: [Folded; 2],
    statistics: [Statistics; 2],
    groups: Vec<Group>,
}

impl Trainer {
    /// Starts from the weights and codebooks of `model`.
    ///
    /// # Errors
    /// The codebooks are not finite.
    pub fn new(model: &VQAutoencoder, settings: StepSettings) -> Result<Self, TrainerError> {
        let architecture = model.architecture().clone();
        let encoder = Plan::new(model.encoder().network());
        let decoder = Plan::new(model.decoder().network());
        let zeros = |plan: &Plan| vec![0.0; plan.parameters()];
        let state = Snapshot {
            encoder: encoder.read(model.encoder()),
            decoder: decoder.read(model.decoder()),
            codebooks: Codebooks::new(model.quantizer()),
            moments: [zeros(&encoder), zeros(&encoder), zeros(&decoder), zeros(&decoder)],
            steps: 0,
            random: SplitMix::new(0),
        };
        let loss = SignalLoss::new(
            settings.difference_weight,
            settings.lowpass_weight,
            settings.lowpass_cutoff,
            architecture.out_ch,
        );
        Ok(Self {
            quantizer: state.codebooks.quantizer()?,
            architecture,
            settings,
            loss,
            encoder,
            decoder,
            state,
            folded: Default::default(),
            statistics: Default::default(),
            groups: Vec::new(),
        })
    }

    /// Steps done so far.
    pub fn steps(&self) -> u64 {
        self.state.steps
    }

    /// Replaces the codebooks by k-means over the latents of `frames`, `[batch][frame_size][in_ch]`, and seeds the
    /// random numbers that revive codes.
    ///
    /// # Errors
    /// The latents are not finite.
    pub fn initialise_codebooks(&mut self, frames: &[f32], seed: u64) -> Result<(), TrainerError> {
        self.state.random = SplitMix::new(seed);
        let latents = self.latents_of_batch(frames);
        self.state.codebooks.initialise(&latents, &mut self.state.random);
        self.quantizer = self.state.codebooks.quantizer()?;
        Ok(())
    }

    /// One optimiser step. `inputs` and `targets` are `[batch][frame_size][channels]`, normalised.
    ///
    /// # Errors
    /// Training has diverged.
    pub fn step(
        &mut self,
        inputs: &[f32],
        targets: &[f32],
        learning_rate: f32,
    ) -> Result<StepReport, TrainerError> {
        let in_size = self.architecture.frame_size * self.architecture.in_ch;
        let out_size = self.architecture.frame_size * self.architecture.out_ch;
        let latent_size = self.architecture.latent_positions() * self.architecture.embedding_dim;
        let frames = inputs.len() / in_size;
        self.distribute(inputs, targets, frames);

        self.encoder.fold(&self.state.encoder, &mut self.folded[0]);
        self.decoder.fold(&self.state.decoder, &mut self.folded[1]);
        self.forward(Side::Encoder, frames);
        let latents: Vec<f32> = self.groups.iter().flat_map(|group| group.boundary.iter().copied()).collect();
        let quantised = self.state.codebooks.quantise(&self.quantizer, &latents, self.architecture.beta);
        self.spread(&quantised.output, latent_size);
        if self.decoder.segments() == 1 {
            self.decode_and_back(frames, out_size);
        } else {
            self.forward(Side::Decoder, frames);
            self.loss_gradients(frames, out_size);
            self.backward(Side::Decoder, frames, true);
        }
        self.add_to_boundary(&quantised, latent_size);
        self.backward(Side::Encoder, frames, false);
        self.update(learning_rate);
        let StepSettings { ema_decay, revive_below, .. } = self.settings;
        self.state.codebooks.update(&quantised, ema_decay, revive_below, &mut self.state.random);
        self.quantizer = self.state.codebooks.quantizer()?;

        let mut sums = FrameLoss::default();
        self.groups.iter().for_each(|group| sums += group.loss);
        let signal = self.loss.total(sums, frames, out_size);
        Ok(StepReport {
            loss: signal + quantised.commitment,
            mse: (sums.squared_error / (frames * out_size) as f64) as f32,
            commitment: quantised.commitment,
            codes_used: quantised.used,
        })
    }

    /// Reconstructions in inference mode, `[batch][frame_size][out_ch]`, through quantisation.
    ///
    /// # Errors
    /// Never for codes of the trainer's own quantiser; the type is that of the lookup.
    pub fn reconstruct(&self, inputs: &[f32]) -> Result<Vec<f32>, TrainerError> {
        let in_size = self.architecture.frame_size * self.architecture.in_ch;
        let latent_size = self.architecture.latent_positions() * self.architecture.embedding_dim;
        let latents = infer(&self.encoder, &self.state.encoder, inputs, in_size, self.settings.threads);
        let mut codes = Vec::new();
        self.quantizer.codes(&latents, &mut codes);
        let mut quantised = Vec::with_capacity(latents.len());
        self.quantizer.lookup(&codes, &mut quantised)?;
        Ok(infer(&self.decoder, &self.state.decoder, &quantised, latent_size, self.settings.threads))
    }

    /// The trained weights as a model.
    ///
    /// # Errors
    /// Training has diverged.
    pub fn model(&self) -> Result<VQAutoencoder, TrainerError> {
        Ok(VQAutoencoder::new(
            self.architecture.clone(),
            self.encoder.write(&self.state.encoder),
            self.quantizer.codebooks().cloned().collect(),
            self.decoder.write(&self.state.decoder),
        )?)
    }

    /// Everything that steps change.
    pub fn snapshot(&self) -> Snapshot {
        self.state.clone()
    }

    /// Goes on from a snapshot of the same architecture.
    ///
    /// # Errors
    /// It is of another one.
    pub fn restore(&mut self, snapshot: Snapshot) -> Result<(), TrainerError> {
        let own = &self.state;
        let lengths = |state: &Snapshot| {
            let parameters = |p: &Parameters| [p.trained.len(), p.moving_mean.len(), p.moving_variance.len()];
            (parameters(&state.encoder), parameters(&state.decoder), state.moments.each_ref().map(Vec::len))
        };
        if lengths(own) != lengths(&snapshot) || !own.codebooks.fits(&snapshot.codebooks) {
            return Err(TrainerError::Snapshot);
        }
        self.quantizer = snapshot.codebooks.quantizer()?;
        self.state = snapshot;
        Ok(())
    }
}
