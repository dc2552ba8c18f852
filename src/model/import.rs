//! Reads the architecture of a model off the shapes of its weights.

use super::architecture::{Architecture, ArchitectureError, Norm, build_decoder_2d, build_encoder_2d};
use super::npz::{Npz, NpzError};
use super::weights::codebook_key;

/// Why weights are not those of the family.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// An unreadable file or array, or one that is missing.
    #[error(transparent)]
    Npz(#[from] NpzError),
    /// Parameters outside the family.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// Projections beside the stages.
    #[error(
        "this is a residual variant: its {network} has {found} kernels of one tap where {stages} stages without \
         residual connections have {expected}; only models without them can be imported"
    )]
    Residual {
        /// `encoder` or `decoder`.
        network: &'static str,
        /// Kernels of one tap.
        found: usize,
        /// Stages, counted by the kernels of several taps.
        stages: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A tensor that has no place where it stands.
    #[error("'{key}' has shape {found:?} where {expected} is expected")]
    Tensor {
        /// The array.
        key: String,
        /// Its shape.
        found: Vec<usize>,
        /// What the family has there.
        expected: String,
    },
    /// Networks that end too early.
    #[error("the {network} ends after '{key}' without {expected}")]
    Incomplete {
        /// `encoder` or `decoder`.
        network: &'static str,
        /// The last array.
        key: String,
        /// What is missing.
        expected: &'static str,
    },
    /// Nothing says how long a frame is.
    #[error("the frame size is not known: the .npz has neither 'x' nor 'z'; give --frame-size")]
    FrameSize,
}

/// One kernel and the vectors after it: bias and norms.
struct Group {
    key: String,
    kernel: [usize; 4],
    vectors: usize,
}

/// The architecture whose weights `npz` holds; `frame_size` is taken from `x` or `z` where it is not given.
///
/// Filter counts fix the multiplier only up to rounding: of several that give the same networks, 1.25 is
/// preferred, then the roundest.
///
/// # Errors
/// Arrays that are missing or have no place in the family, each by its name; residual variants.
pub fn read_architecture(npz: &Npz, frame_size: Option<usize>) -> Result<Architecture, ImportError> {
    let encoder = groups(npz, "encoder", "enc")?;
    let decoder = groups(npz, "decoder", "dec")?;
    // A stage of the encoder has one kernel of several taps, one of the decoder two.
    let num_stages = wide_kernels(&encoder);
    let decoder_stages = wide_kernels(&decoder) / 2;
    check_residual("encoder", &encoder, num_stages, num_stages.saturating_sub(2) + 1)?;
    check_residual("decoder", &decoder, decoder_stages, decoder_stages + 1)?;
    let (first, head) = ends("encoder", &encoder, "[1, 7, in_ch, base_filters]")?;
    let (decoder_first, decoder_head) = ends("decoder", &decoder, "[1, 7, embedding_dim, filters]")?;
    let encoder_block_norm = norm(first, 1)?;
    let decoder_block_norm = norm(decoder_first, 1)?;
    // The norm before the decoder's head stands after the vectors of the last block.
    let before_head =
        decoder.len().checked_sub(2).and_then(|index| decoder.get(index)).unwrap_or(decoder_first);
    let decoder_head_norm = norm(before_head, 1 + norm_vectors(decoder_block_norm))?;
    let codebook = npz.floats(&codebook_key(npz, 0))?;
    let num_levels = (0..).take_while(|&level| npz.contains(&codebook_key(npz, level))).count();
    let [latent_width, embedding_dim] = *codebook.shape() else {
        return Err(ImportError::Tensor {
            key: codebook_key(npz, 0),
            found: codebook.shape().to_vec(),
            expected: "[latent_width, embedding_dim]".to_owned(),
        });
    };
    let in_ch = first.kernel[2];
    let frame_size = match frame_size {
        Some(frame_size) => frame_size,
        None => frame_size_of(npz, in_ch, num_stages)?,
    };
    let architecture = Architecture {
        frame_size,
        embedding_dim,
        latent_width,
        in_ch,
        out_ch: decoder_head.kernel[3],
        base_filters: first.kernel[3],
        num_levels,
        num_stages,
        encoder_block_norm,
        encoder_head_norm: norm(head, 1)?,
        decoder_block_norm,
        decoder_head_norm,
        ..Architecture::new(frame_size)
    };
    architecture.validate()?;
    Ok(with_multiplier(architecture, &encoder, &decoder))
}

/// Kernels of a network with what follows each.
fn groups(npz: &Npz, network: &'static str, prefix: &str) -> Result<Vec<Group>, ImportError> {
    let mut groups: Vec<Group> = Vec::new();
    for index in 0.. {
        let key = format!("{prefix}_{index}");
        if !npz.contains(&key) && index > 0 {
            break;
        }
        let tensor = npz.floats(&key)?;
        match (tensor.shape(), groups.last_mut()) {
            (&[a, b, c, d], _) => groups.push(Group { key, kernel: [a, b, c, d], vectors: 0 }),
            ([_], Some(group)) => group.vectors += 1,
            (found, _) => {
                let expected = format!("a kernel [1, taps, in, out] or a vector of the {network}");
                return Err(ImportError::Tensor { key, found: found.to_vec(), expected });
            }
        }
    }
    Ok(groups)
}

fn wide_kernels(groups: &[Group]) -> usize {
    groups.iter().filter(|group| group.kernel[1] > 1).count()
}

fn check_residual(
    network: &'static str,
    groups: &[Group],
    stages: usize,
    expected: usize,
) -> Result<(), ImportError> {
    let found = groups.iter().filter(|group| group.kernel[1] == 1).count();
    if found > expected {
        return Err(ImportError::Residual { network, found, stages, expected });
    }
    Ok(())
}

/// The first and the last kernel of a network, checked for their taps.
fn ends<'a>(
    network: &'static str,
    groups: &'a [Group],
    expected: &str,
) -> Result<(&'a Group, &'a Group), ImportError> {
    let misplaced = |group: &Group, expected: &str| ImportError::Tensor {
        key: group.key.clone(),
        found: group.kernel.to_vec(),
        expected: expected.to_owned(),
    };
    match groups {
        [first, ..] if first.kernel[1] != 7 => Err(misplaced(first, expected)),
        [first, .., last] if last.kernel[1] == 1 => Ok((first, last)),
        [.., last] => Err(ImportError::Incomplete {
            network,
            key: last.key.clone(),
            expected: "a head, a kernel [1, 1, in, out]",
        }),
        [] => Err(ImportError::Incomplete { network, key: String::new(), expected: "any kernel" }),
    }
}

fn norm_vectors(norm: Norm) -> usize {
    match norm {
        Norm::None => 0,
        Norm::Layer => 2,
        Norm::Batch => 4,
    }
}

/// The norm whose vectors follow a kernel and the `before` vectors that belong to something else.
fn norm(group: &Group, before: usize) -> Result<Norm, ImportError> {
    [Norm::None, Norm::Layer, Norm::Batch]
        .into_iter()
        .find(|&norm| before + norm_vectors(norm) == group.vectors)
        .ok_or_else(|| ImportError::Tensor {
            key: group.key.clone(),
            found: group.kernel.to_vec(),
            expected: format!(
                "a kernel with {before}, {} or {} vectors after it, not {},",
                before + 2,
                before + 4,
                group.vectors
            ),
        })
}

fn frame_size_of(npz: &Npz, in_ch: usize, num_stages: usize) -> Result<usize, ImportError> {
    if npz.contains("x") {
        let x = npz.floats("x")?;
        let len = match *x.shape() {
            [.., len, channels] if channels == in_ch && (in_ch > 1 || len > 1) => Some(len),
            [.., len] if in_ch == 1 => Some(len),
            _ => None,
        };
        return len.ok_or_else(|| ImportError::Tensor {
            key: "x".to_owned(),
            found: x.shape().to_vec(),
            expected: format!("frames of {in_ch} channels, [T, {in_ch}] or [N, T, {in_ch}],"),
        });
    }
    if npz.contains("z")
        && let [.., positions, _] = *npz.floats("z")?.shape()
        && let Some(len) =
            1_usize.checked_shl(num_stages as u32).and_then(|factor| positions.checked_mul(factor))
    {
        return Ok(len);
    }
    Err(ImportError::FrameSize)
}

/// The architecture with the multiplier that gives the kernels found; as it is where none does, so that reading
/// the weights names the first tensor that does not fit.
fn with_multiplier(architecture: Architecture, encoder: &[Group], decoder: &[Group]) -> Architecture {
    let kernels = |groups: &[Group]| groups.iter().map(|group| group.kernel.to_vec()).collect::<Vec<_>>();
    let (encoder, decoder) = (kernels(encoder), kernels(decoder));
    let gives = |architecture: &Architecture| {
        let same = |network: Result<super::Network, ArchitectureError>, found: &[Vec<usize>]| {
            network.is_ok_and(|network| {
                network.weight_shapes().iter().filter(|shape| shape.len() == 4).eq(found)
            })
        };
        same(build_encoder_2d(architecture), &encoder) && same(build_decoder_2d(architecture), &decoder)
    };
    let thousandths = [250, 50, 10, 1].into_iter().flat_map(|step| (250..=4000).step_by(step));
    std::iter::once(1250)
        .chain(thousandths)
        .map(|thousandths| Architecture {
            multiplier: f64::from(thousandths) / 1000.0,
            ..architecture.clone()
        })
        .find(gives)
        .unwrap_or(architecture)
}

#[cfg(test)]
mod tests {
    use ndarray::{ArrayD, IxDyn};

    use super::*;
    use crate::model::formula::formula_model;
    use crate::model::npz::NpzWriter;
    use crate::model::weights::{WeightsError, add_weights, read_weights};

    fn small() -> Architecture {
        Architecture { base_filters: 8, num_stages: 3, latent_width: 8, ..Architecture::new(64) }
    }

    fn npz(architecture: &Architecture) -> NpzWriter {
        let mut writer = NpzWriter::default();
        add_weights(&mut writer, &formula_model(architecture)).unwrap();
        writer
    }

    fn read(writer: NpzWriter) -> Npz {
        Npz::read(&writer.finish().unwrap()).unwrap()
    }

    /// The weights of `small()` with some arrays replaced or, where there is no shape, taken away.
    fn changed(change: impl Fn(&str) -> Option<Option<Vec<usize>>>) -> Npz {
        let original = read(npz(&small()));
        let mut writer = NpzWriter::default();
        for key in original.names() {
            match change(key) {
                Some(Some(shape)) => writer.floats(key, ArrayD::ones(IxDyn(&shape)).view()).unwrap(),
                Some(None) => {}
                None => writer.floats(key, original.floats(key).unwrap().view()).unwrap(),
            }
        }
        read(writer)
    }

    #[test]
    fn every_architecture_is_read_off_its_shapes() {
        for base_filters in [8, 16, 24, 32, 48, 64] {
            for num_stages in 1..=5 {
                let architecture = Architecture { base_filters, num_stages, ..Architecture::new(320) };
                let npz = read(npz(&architecture));
                let found = read_architecture(&npz, Some(320)).unwrap();
                assert_eq!(found, architecture);
                assert_eq!(
                    read_weights(&npz, &found).unwrap().encoder(),
                    formula_model(&architecture).encoder()
                );
            }
        }
        let norms = [Norm::Batch, Norm::Layer, Norm::None];
        for (index, block) in norms.into_iter().enumerate() {
            for head in norms {
                for num_stages in [1, 2, 4] {
                    let architecture = Architecture {
                        num_stages,
                        in_ch: 3,
                        out_ch: 2,
                        embedding_dim: 5,
                        latent_width: 12,
                        num_levels: 11,
                        base_filters: 16,
                        encoder_block_norm: block,
                        encoder_head_norm: head,
                        decoder_block_norm: norms[(index + 1) % 3],
                        decoder_head_norm: head,
                        ..Architecture::new(48)
                    };
                    assert_eq!(read_architecture(&read(npz(&architecture)), Some(48)).unwrap(), architecture);
                }
            }
        }
    }

    #[test]
    fn a_multiplier_that_gives_the_same_filters_is_found() {
        for multiplier in [0.5, 1.0, 1.1, 1.5, 2.0, 1.618] {
            let architecture =
                Architecture { multiplier, num_stages: 4, base_filters: 40, ..Architecture::new(64) };
            let found = read_architecture(&read(npz(&architecture)), Some(64)).unwrap();
            assert_eq!(build_encoder_2d(&found), build_encoder_2d(&architecture), "{multiplier}");
            assert_eq!(build_decoder_2d(&found), build_decoder_2d(&architecture), "{multiplier}");
        }
    }

    #[test]
    fn the_frame_size_comes_from_x_or_z() {
        let with = |key: &str, shape: &[usize], in_ch: usize| {
            let mut writer = npz(&Architecture { in_ch, ..small() });
            writer.floats(key, ArrayD::zeros(IxDyn(shape)).view()).unwrap();
            read_architecture(&read(writer), None).map(|architecture| architecture.frame_size)
        };
        for shape in [&[64][..], &[5, 64], &[64, 1], &[5, 64, 1], &[5, 1, 64, 1]] {
            assert_eq!(with("x", shape, 1).unwrap(), 64, "{shape:?}");
        }
        assert_eq!(with("x", &[64, 2], 2).unwrap(), 64);
        assert_eq!(with("x", &[1, 64, 2], 2).unwrap(), 64);
        assert_eq!(with("z", &[8, 16], 1).unwrap(), 64);
        assert!(with("x", &[64], 2).unwrap_err().to_string().contains("'x'"));
        assert!(with("x", &[65], 1).unwrap_err().to_string().contains("2^3"));
        assert!(matches!(with("other", &[64], 1), Err(ImportError::FrameSize)));
    }

    #[test]
    fn residual_variants_are_refused_by_name() {
        for (prefix, network) in [("enc", "encoder"), ("dec", "decoder")] {
            let original = read(npz(&small()));
            let mut writer = NpzWriter::default();
            let mut shift = 0;
            for key in original.names().filter(|key| !key.starts_with(prefix)) {
                writer.floats(key, original.floats(key).unwrap().view()).unwrap();
            }
            // A projection beside each kernel of 7 taps.
            for index in 0.. {
                let Ok(tensor) = original.floats(&format!("{prefix}_{index}")) else { break };
                if let [_, 7, inputs, outputs] = *tensor.shape() {
                    for shape in [vec![1, 1, inputs, outputs], vec![outputs]] {
                        let key = format!("{prefix}_{}", index + shift);
                        writer.floats(&key, ArrayD::ones(IxDyn(&shape)).view()).unwrap();
                        shift += 1;
                    }
                }
                writer.floats(&format!("{prefix}_{}", index + shift), tensor.view()).unwrap();
            }
            let error = read_architecture(&read(writer), Some(64)).unwrap_err().to_string();
            assert!(error.contains("residual") && error.contains(network), "{error}");
        }
    }

    #[test]
    fn misfits_are_named() {
        let refused = |npz: &Npz| match read_architecture(npz, Some(64)) {
            Err(error) => error.to_string(),
            Ok(architecture) => read_weights(npz, &architecture).unwrap_err().to_string(),
        };
        let replaced = |key: &str, shape: &[usize]| {
            refused(&changed(|found| (found == key).then(|| Some(shape.to_vec()))))
        };
        let missing = |key: &str| refused(&changed(|found| (found == key).then_some(None)));
        for key in ["enc_0", "dec_0", "cb_0"] {
            assert!(missing(key).contains(&format!("no array '{key}'")), "{}", missing(key));
        }
        assert!(replaced("enc_0", &[1, 9, 1, 8]).contains("'enc_0' has shape [1, 9, 1, 8]"));
        assert!(replaced("enc_1", &[2, 2]).contains("'enc_1'"));
        assert!(replaced("enc_1", &[9]).contains("'enc_1' has shape [9]"));
        assert!(replaced("enc_6", &[1, 7, 8, 9]).contains("'enc_6' has shape [1, 7, 8, 9]"));
        assert!(replaced("cb_0", &[8]).contains("'cb_0'"));
        assert!(replaced("cb_1", &[8, 15]).contains("'cb_1'"));
        let cut = |prefix: &'static str, from: usize| {
            refused(&changed(move |key| {
                let index: Option<usize> = key.strip_prefix(prefix).and_then(|index| index.parse().ok());
                index.is_some_and(|index| index >= from).then_some(None)
            }))
        };
        for from in 1..19 {
            let text = cut("enc_", from);
            assert!(text.contains("enc_") || text.contains("encoder"), "{from} {text}");
            let text = cut("dec_", from);
            assert!(text.contains("dec_") || text.contains("decoder"), "{from} {text}");
        }
    }

    #[test]
    fn a_value_that_is_no_number_is_named() {
        let original = read(npz(&small()));
        for bad in ["enc_3", "dec_5", "cb_1"] {
            let mut writer = NpzWriter::default();
            for key in original.names() {
                let mut tensor = original.floats(key).unwrap();
                if key == bad {
                    tensor.iter_mut().take(1).for_each(|value| *value = f32::NAN);
                }
                writer.floats(key, tensor.view()).unwrap();
            }
            let npz = read(writer);
            let error = read_architecture(&npz, Some(64))
                .map_err(|error| error.to_string())
                .and_then(|found| read_weights(&npz, &found).map_err(|error: WeightsError| error.to_string()))
                .unwrap_err();
            assert!(error.contains(&format!("'{bad}'")) && error.contains("finite"), "{error}");
        }
    }
}
