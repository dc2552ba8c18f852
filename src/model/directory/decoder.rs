//! What decoding takes of a model: enough for whoever has the packets and not the directory.

use std::collections::BTreeMap;

use super::description::{Description, sha256};
use super::{CODEBOOKS, DECODER, DirectoryErrorKind, MODEL_TOML, ModelDirectory, codebooks_of, malformed};
use crate::model::{Architecture, ModelId, ResidualVectorQuantizer};

/// The part of a model that decodes: `model.toml`, which the id is the hash of, and with the hashes in it
/// `decoder.onnx` and `codebooks.npz`.
#[derive(Clone, Debug)]
pub struct DecoderModel {
    description: Description,
    decoder: Vec<u8>,
    quantizer: ResidualVectorQuantizer,
}

impl DecoderModel {
    /// The files that it consists of.
    pub const FILES: [&'static str; 3] = [MODEL_TOML, DECODER, CODEBOOKS];

    /// The model that these files are, by their names.
    ///
    /// # Errors
    /// A file is missing, cannot be understood, or is not the one that `model.toml` was written with.
    pub fn from_files(mut files: BTreeMap<String, Vec<u8>>) -> Result<Self, DirectoryErrorKind> {
        let mut take = |file: &str| {
            files.remove(file).ok_or_else(|| DirectoryErrorKind::Missing { file: file.to_owned() })
        };
        let text = String::from_utf8(take(MODEL_TOML)?)
            .map_err(|_| malformed(MODEL_TOML, "it is not text".to_owned()))?;
        let description = Description::parse(&text)?;
        let mut checked = |file: &str| {
            let bytes = take(file)?;
            match description.files.get(file) {
                Some(hash) if sha256(&bytes) == *hash => Ok(bytes),
                Some(_) => Err(DirectoryErrorKind::Changed { file: file.to_owned() }),
                None => Err(malformed(MODEL_TOML, format!("it does not list {file}"))),
            }
        };
        let (decoder, codebooks) = (checked(DECODER)?, checked(CODEBOOKS)?);
        let quantizer = codebooks_of(&codebooks, &description.architecture)?;
        Ok(Self { description, decoder, quantizer })
    }

    /// Its id.
    pub fn id(&self) -> ModelId {
        self.description.id
    }

    /// The architecture of its networks.
    pub fn architecture(&self) -> &Architecture {
        &self.description.architecture
    }

    /// Its codebooks.
    pub fn quantizer(&self) -> &ResidualVectorQuantizer {
        &self.quantizer
    }

    /// The decoder as ONNX: latents to frames `[frame_size, out_ch]`.
    pub fn decoder_onnx(&self) -> &[u8] {
        &self.decoder
    }
}

impl ModelDirectory {
    /// The files of the part that decodes, each with its bytes.
    pub fn decoder_files(&self) -> [(&'static str, &[u8]); 3] {
        DecoderModel::FILES.map(|name| {
            let bytes = if name == MODEL_TOML { self.text.as_bytes() } else { self.file(name) };
            (name, bytes)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::directory::tests::written;

    fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
        let model = ModelDirectory::load(path).unwrap();
        model.decoder_files().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).into()
    }

    #[test]
    fn the_part_that_decodes_stands_alone() {
        let (_folder, path) = written();
        let model = ModelDirectory::load(&path).unwrap();
        let part = DecoderModel::from_files(files(&path)).unwrap();
        assert_eq!((part.id(), part.architecture()), (model.id(), model.architecture()));
        assert_eq!(part.decoder_onnx(), model.decoder_onnx());
        assert!(part.quantizer().codebooks().eq(model.quantizer().codebooks()));
    }

    #[test]
    fn what_was_changed_or_left_out_is_named() {
        let (_folder, path) = written();
        for name in DecoderModel::FILES {
            let mut missing = files(&path);
            missing.remove(name);
            let error = DecoderModel::from_files(missing).unwrap_err();
            assert!(
                matches!(&error, DirectoryErrorKind::Missing { file } if file == name),
                "{name}: {error}"
            );
            let mut changed = files(&path);
            let bytes = changed.get_mut(name).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            let error = DecoderModel::from_files(changed).unwrap_err();
            assert!(error.to_string().contains(name), "{name}: {error}");
        }
    }
}
