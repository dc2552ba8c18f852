//! The decoders of the models that packets name.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::codec::{CodecError, RvqDecoder};
use crate::kafka::model_topic::{ModelTopic, ModelTopicError};
use crate::model::{LibraryError, ModelId, ModelLibrary};

/// Decoders that are held at a time: a topic decides how many models its packets name.
const MAX_LOADED: usize = 64;
/// How long a model that was not found is not looked for again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Models that were not found and are remembered.
const MAX_UNKNOWN: usize = 1024;

/// Finds the decoder of a model in directories and, where it is in none, in a topic, when it is first needed.
pub(crate) struct Decoders {
    library: ModelLibrary,
    topic: Option<ModelTopic>,
    loaded: HashMap<ModelId, RvqDecoder>,
    unknown: HashMap<ModelId, (Instant, String)>,
}

/// Why a packet's decoder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DecodersError {
    /// No directory and no topic has a model of that id, or only a part of it.
    #[error("{0}")]
    Unknown(String),
    /// The model's directory is damaged.
    #[error(transparent)]
    Library(LibraryError),
    /// The topic of models cannot be read.
    #[error(transparent)]
    Topic(ModelTopicError),
    /// The model's decoder cannot be run.
    #[error("model {id}: {source}")]
    Codec {
        /// The model.
        id: ModelId,
        /// Why.
        source: CodecError,
    },
}

impl Decoders {
    pub(crate) fn new(library: ModelLibrary, topic: Option<ModelTopic>) -> Self {
        Self { library, topic, loaded: HashMap::new(), unknown: HashMap::new() }
    }

    /// The decoder of the model with this id.
    ///
    /// # Errors
    /// It cannot be had. After [`DecodersError::Unknown`] packets of other models can be decoded.
    pub(crate) fn get(&mut self, id: ModelId) -> Result<&mut RvqDecoder, DecodersError> {
        if !self.loaded.contains_key(&id) {
            let decoder = self.load(id)?;
            if self.loaded.len() >= MAX_LOADED {
                self.loaded.clear();
            }
            self.loaded.insert(id, decoder);
        }
        self.loaded.get_mut(&id).ok_or_else(|| DecodersError::Unknown(format!("no decoder of model {id}")))
    }

    fn load(&mut self, id: ModelId) -> Result<RvqDecoder, DecodersError> {
        match self.unknown.get(&id) {
            Some((since, reason)) if since.elapsed() < LOOK_AGAIN_AFTER => {
                return Err(DecodersError::Unknown(reason.clone()));
            }
            _ => self.unknown.remove(&id),
        };
        let result = self.look_for(id);
        if let Err(DecodersError::Unknown(reason)) = &result {
            if self.unknown.len() >= MAX_UNKNOWN {
                self.unknown.clear();
            }
            self.unknown.insert(id, (Instant::now(), reason.clone()));
        }
        result
    }

    fn look_for(&self, id: ModelId) -> Result<RvqDecoder, DecodersError> {
        let codec = |source| DecodersError::Codec { id, source };
        let not_found = match self.library.load(id) {
            Ok(model) => return RvqDecoder::new(&model).map_err(codec),
            Err(error @ LibraryError::Unknown { .. }) => error,
            Err(error) => return Err(DecodersError::Library(error)),
        };
        let Some(topic) = &self.topic else { return Err(DecodersError::Unknown(not_found.to_string())) };
        match topic.load(id) {
            Ok(Some(model)) => RvqDecoder::of_part(&model).map_err(codec),
            Ok(None) => {
                Err(DecodersError::Unknown(format!("{not_found}; nor is it in the topic {:?}", topic.topic)))
            }
            Err(error @ ModelTopicError::Refused { .. }) => Err(DecodersError::Unknown(error.to_string())),
            Err(error) => Err(DecodersError::Topic(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_is_found_in_a_directory_and_others_are_not() {
        let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let mut decoders = Decoders::new(ModelLibrary::new(vec![models]), None);
        let shipped: ModelId = "95ed5a144c6fa34d".parse().unwrap();
        decoders.get(shipped).unwrap();
        let unknown = |decoders: &mut Decoders, byte| {
            matches!(decoders.get(ModelId([byte; 8])), Err(DecodersError::Unknown(_)))
        };
        assert!((0..3).all(|byte| unknown(&mut decoders, byte)));
        assert!(unknown(&mut decoders, 0));
        assert_eq!((decoders.loaded.len(), decoders.unknown.len()), (1, 3));
        decoders.get(shipped).unwrap();
    }
}
