//! Flags that several verbs share.

use crate::model::{Architecture, EpsilonKind, ModelMetadata, Norm, Normalisation};

/// The parameters of an architecture; what is not given stays as it is.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Architecture")]
pub(super) struct ArchitectureFlags {
    /// Samples per channel in a frame.
    #[arg(long)]
    pub(super) frame_size: Option<usize>,
    /// Length of a latent vector.
    #[arg(long)]
    embedding_dim: Option<usize>,
    /// Vectors in each codebook.
    #[arg(long)]
    latent_width: Option<usize>,
    /// Channels that the encoder reads.
    #[arg(long)]
    in_ch: Option<usize>,
    /// Channels that the decoder writes.
    #[arg(long)]
    out_ch: Option<usize>,
    /// Filters of the encoder's first stage.
    #[arg(long)]
    base_filters: Option<usize>,
    /// Growth of the filters from stage to stage.
    #[arg(long)]
    multiplier: Option<f64>,
    /// Levels of residual quantisation.
    #[arg(long)]
    num_levels: Option<usize>,
    /// Weight of the commitment loss.
    #[arg(long)]
    beta: Option<f32>,
    /// Stages, each halving the time resolution.
    #[arg(long)]
    num_stages: Option<usize>,
    /// Norm after each convolution of the encoder: batch, layer or none.
    #[arg(long)]
    encoder_block_norm: Option<Norm>,
    /// Norm after the encoder's head: batch, layer or none.
    #[arg(long)]
    encoder_head_norm: Option<Norm>,
    /// Norm after each convolution of the decoder: batch, layer or none.
    #[arg(long)]
    decoder_block_norm: Option<Norm>,
    /// Norm before the decoder's head: batch, layer or none.
    #[arg(long)]
    decoder_head_norm: Option<Norm>,
}

impl ArchitectureFlags {
    /// `base` with every parameter that was given.
    pub(super) fn apply(&self, base: Architecture) -> Architecture {
        Architecture {
            frame_size: self.frame_size.unwrap_or(base.frame_size),
            embedding_dim: self.embedding_dim.unwrap_or(base.embedding_dim),
            latent_width: self.latent_width.unwrap_or(base.latent_width),
            in_ch: self.in_ch.unwrap_or(base.in_ch),
            out_ch: self.out_ch.unwrap_or(base.out_ch),
            base_filters: self.base_filters.unwrap_or(base.base_filters),
            multiplier: self.multiplier.unwrap_or(base.multiplier),
            num_levels: self.num_levels.unwrap_or(base.num_levels),
            beta: self.beta.unwrap_or(base.beta),
            num_stages: self.num_stages.unwrap_or(base.num_stages),
            encoder_block_norm: self.encoder_block_norm.unwrap_or(base.encoder_block_norm),
            encoder_head_norm: self.encoder_head_norm.unwrap_or(base.encoder_head_norm),
            decoder_block_norm: self.decoder_block_norm.unwrap_or(base.decoder_block_norm),
            decoder_head_norm: self.decoder_head_norm.unwrap_or(base.decoder_head_norm),
        }
    }
}

/// What a model says of itself and how its frames are scaled.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Description")]
pub(super) struct DescriptionFlags {
    /// Name of the model; that of its directory if not given.
    #[arg(long)]
    name: Option<String>,
    /// What the signals are: ecg, ppg, ...
    #[arg(long, default_value = "unknown")]
    modality: String,
    /// Samples per second and channel that the model is for.
    #[arg(long)]
    sample_rate_hz: Option<f64>,
    /// Physical unit of the samples.
    #[arg(long)]
    unit: Option<String>,
    /// What keeps the scale of a constant frame from zero: absolute (in squared sample units) or relative.
    #[arg(long)]
    epsilon_kind: Option<EpsilonKind>,
    /// How much it is.
    #[arg(long)]
    epsilon: Option<f64>,
}

impl DescriptionFlags {
    pub(super) fn metadata(&self, default_name: String) -> ModelMetadata {
        ModelMetadata {
            name: self.name.clone().unwrap_or(default_name),
            modality: self.modality.clone(),
            sample_rate_hz: self.sample_rate_hz,
            unit: self.unit.clone(),
        }
    }

    pub(super) fn normalisation(&self, base: Normalisation) -> Normalisation {
        Normalisation {
            kind: self.epsilon_kind.unwrap_or(base.kind),
            epsilon: self.epsilon.unwrap_or(base.epsilon),
        }
    }
}
