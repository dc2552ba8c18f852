//! Models in a compacted topic, so that whoever reads packets can get what decodes them.
//!
//! The key of a record is `ID/FILE/CHUNK`: the model's id, one of the files of [`DecoderModel`], and which piece of
//! it the value is. `docs/packet-format.md` specifies it. Nothing that is read is believed: a model counts once its
//! files are the ones that its id is the hash of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;

use super::admin::{TopicPlan, ensure_topic};
use super::producer::{AckProducer, Record, told};
use super::topic_reader::{TopicError, TopicReader};
use crate::model::{DecoderModel, DirectoryErrorKind, ModelDirectory, ModelId};
use crate::telemetry::PipelineTelemetry;

/// Bytes of every piece of a file but its last one: brokers refuse messages above a megabyte.
const CHUNK_BYTES: usize = 900_000;
/// Pieces of all files of a model together, at most: 57.6 MB.
const MAX_CHUNKS: usize = 64;
/// How long the brokers may take to acknowledge a model.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(60);

/// Why a model cannot be had from a topic, or brought to one.
#[derive(Debug, thiserror::Error)]
pub enum ModelTopicError {
    /// The topic cannot be read.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// What the topic holds under the id is not the model.
    #[error(
        "the topic {topic:?} holds no whole model {id}: {kind}; publish it again (a sink's model_topic does), or \
         give its directory"
    )]
    Refused {
        /// The topic.
        topic: String,
        /// The model.
        id: ModelId,
        /// What is wrong with it.
        kind: DirectoryErrorKind,
    },
    /// A model that is larger than what a reader takes.
    #[error("the part of model {id} that decodes takes {chunks} messages; {MAX_CHUNKS} are possible")]
    TooLarge {
        /// The model.
        id: ModelId,
        /// How many it would take.
        chunks: usize,
    },
    /// The topic cannot be made or written.
    #[error("the model cannot be published to the topic {topic:?}: {reason}")]
    Unpublished {
        /// The topic.
        topic: String,
        /// Why.
        reason: String,
    },
}

/// A topic of models, to be read.
#[derive(Clone, Debug)]
pub(crate) struct ModelTopic {
    /// A client that reads what is committed and joins no group.
    pub(crate) reader: ClientConfig,
    pub(crate) topic: String,
}

impl ModelTopic {
    /// The model with this id, none where the topic holds nothing of it. Reads the whole topic.
    ///
    /// # Errors
    /// The topic cannot be read, or what it holds of the model does not verify.
    pub(crate) fn load(&self, id: ModelId) -> Result<Option<DecoderModel>, ModelTopicError> {
        let mut collected = Collected::new(id);
        TopicReader::open(&self.reader, &self.topic)?.read(|message| {
            collected.take(message.key().unwrap_or_default(), message.payload());
            Ok::<_, TopicError>(())
        })?;
        collected.into_model().map_err(|kind| ModelTopicError::Refused {
            topic: self.topic.clone(),
            id,
            kind,
        })
    }
}

/// A topic of models, to be written.
pub(crate) struct ModelPublisher<'a> {
    pub(crate) topic: ModelTopic,
    /// A producer without transactions.
    pub(crate) writer: ClientConfig,
    /// Set to give up.
    pub(crate) stop: &'a AtomicBool,
    pub(crate) telemetry: Arc<PipelineTelemetry>,
}

impl ModelPublisher<'_> {
    /// Has the topic hold the part of `model` that decodes; makes the topic where it is missing. What is there
    /// already is left alone.
    ///
    /// # Errors
    /// The brokers do not answer or refuse, or the model is too large.
    pub(crate) fn publish(self, model: &ModelDirectory) -> Result<(), ModelTopicError> {
        let Self { topic: ModelTopic { reader, topic }, writer, stop, telemetry } = &self;
        let failed =
            |error: KafkaError| ModelTopicError::Unpublished { topic: topic.clone(), reason: told(&error) };
        let files = model.decoder_files();
        let chunks = files.iter().map(|(_, bytes)| bytes.len().div_ceil(CHUNK_BYTES)).sum();
        if chunks > MAX_CHUNKS {
            return Err(ModelTopicError::TooLarge { id: model.id(), chunks });
        }
        let config = vec![("cleanup.policy", "compact")];
        let plan = TopicPlan { name: topic, partitions: 1, replication_factor: None, config };
        ensure_topic(reader, &plan).map_err(failed)?;
        match self.topic.load(model.id()) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {}
            Err(ModelTopicError::Refused { kind, .. }) => {
                tracing::warn!(topic, model = %model.id(), "published again, since what is there is not whole: {kind}");
            }
            Err(error) => return Err(error),
        }
        let producer = AckProducer::new(writer, "models", Arc::clone(telemetry), false).map_err(failed)?;
        for (name, bytes) in &files {
            for (number, chunk) in bytes.chunks(CHUNK_BYTES).enumerate() {
                let key = format!("{}/{name}/{number}", model.id());
                producer
                    .send(Record::new(topic, None, key.as_bytes(), chunk), Vec::new(), stop)
                    .map_err(failed)?;
            }
        }
        producer.flush(ACKNOWLEDGE_WITHIN, stop).map_err(failed)?;
        producer.reporter().ok();
        tracing::info!(topic, model = %model.id(), name = model.name(), "published the model");
        Ok(())
    }
}

/// What a topic holds of one model.
struct Collected {
    prefix: String,
    /// By the file's place in [`DecoderModel::FILES`], then by number.
    chunks: BTreeMap<(usize, usize), Vec<u8>>,
}

impl Collected {
    fn new(id: ModelId) -> Self {
        Self { prefix: format!("{id}/"), chunks: BTreeMap::new() }
    }

    /// Takes a record; the latest one with a key counts, and one without a value takes back what was there.
    fn take(&mut self, key: &[u8], value: Option<&[u8]>) {
        let Some(place) = self.place(key) else { return };
        match value {
            Some(value) if value.len() <= CHUNK_BYTES && self.has_room(place) => {
                self.chunks.insert(place, value.to_vec());
            }
            _ => {
                self.chunks.remove(&place);
            }
        }
    }

    fn has_room(&self, place: (usize, usize)) -> bool {
        self.chunks.len() < MAX_CHUNKS || self.chunks.contains_key(&place)
    }

    /// The file and the piece of it that a key stands for, if they can be this model's.
    fn place(&self, key: &[u8]) -> Option<(usize, usize)> {
        let key = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?;
        let (name, number) = key.split_once('/')?;
        let file = DecoderModel::FILES.iter().position(|file| *file == name)?;
        let chunk: usize = number.parse().ok().filter(|chunk| *chunk < MAX_CHUNKS)?;
        // One key for one piece: "0" and "00" are not the same.
        (chunk.to_string() == number).then_some((file, chunk))
    }

    /// The model, none where nothing of it is there.
    fn into_model(self) -> Result<Option<DecoderModel>, DirectoryErrorKind> {
        if self.chunks.is_empty() {
            return Ok(None);
        }
        let mut files = BTreeMap::<String, Vec<u8>>::new();
        for ((file, _), bytes) in self.chunks {
            let name = DecoderModel::FILES.get(file).copied().unwrap_or_default();
            files.entry(name.to_owned()).or_default().extend(bytes);
        }
        let model = DecoderModel::from_files(files)?;
        // `from_files` has held the files to the id that they bear; the key said which one that is.
        match self.prefix.strip_suffix('/') == Some(model.id().to_string().as_str()) {
            true => Ok(Some(model)),
            false => Err(DirectoryErrorKind::Changed { file: "model.toml".to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::OnceLock;

    use proptest::prelude::*;

    use super::*;

    fn model() -> &'static ModelDirectory {
        static MODEL: OnceLock<ModelDirectory> = OnceLock::new();
        MODEL.get_or_init(|| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/ecg-16x");
            ModelDirectory::load(&path).unwrap()
        })
    }

    /// The records of the shipped model, in pieces of the size given.
    fn records(chunk_bytes: usize) -> Vec<(String, Vec<u8>)> {
        let mut records = Vec::new();
        for (name, bytes) in model().decoder_files() {
            for (number, chunk) in bytes.chunks(chunk_bytes).enumerate() {
                records.push((format!("{}/{name}/{number}", model().id()), chunk.to_vec()));
            }
        }
        records
    }

    fn collect<'a>(
        records: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Result<Option<DecoderModel>, DirectoryErrorKind> {
        let mut collected = Collected::new(model().id());
        records.into_iter().for_each(|(key, value)| collected.take(key.as_bytes(), value));
        collected.into_model()
    }

    fn all(records: &[(String, Vec<u8>)]) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        records.iter().map(|(key, value)| (key.as_str(), Some(value.as_slice())))
    }

    #[test]
    fn pieces_in_any_order_are_the_model() {
        let mut records = records(100_000);
        assert!(records.len() > 8);
        records.reverse();
        let found = collect(all(&records)).unwrap().unwrap();
        assert_eq!((found.id(), found.decoder_onnx()), (model().id(), model().decoder_onnx()));
    }

    #[test]
    fn a_topic_without_the_model_has_none_of_it() {
        let other = ModelId([7; 8]);
        let records = records(CHUNK_BYTES);
        let of_another = records
            .iter()
            .map(|(key, value)| (key.replace(&model().id().to_string(), &other.to_string()), value.clone()));
        assert!(collect(all(&of_another.collect::<Vec<_>>())).unwrap().is_none());
        let taken_back = records.iter().map(|(key, _)| (key.as_str(), None));
        assert!(collect(all(&records).chain(taken_back)).unwrap().is_none());
    }

    #[test]
    fn the_latest_record_of_a_key_counts() {
        let records = records(CHUNK_BYTES);
        let wrong = records.iter().map(|(key, _)| (key.as_str(), Some(&b"wrong"[..])));
        assert!(collect(wrong.clone().chain(all(&records))).unwrap().is_some());
        collect(all(&records).chain(wrong)).unwrap_err();
    }

    #[test]
    fn a_model_under_the_id_of_another_is_refused() {
        let other = ModelId([7; 8]);
        let mut collected = Collected::new(other);
        for (key, value) in records(CHUNK_BYTES) {
            let key = key.replace(&model().id().to_string(), &other.to_string());
            collected.take(key.as_bytes(), Some(&value));
        }
        let refused = collected.into_model().unwrap_err();
        assert!(matches!(refused, DirectoryErrorKind::Changed { .. }), "{refused}");
    }

    #[test]
    fn what_no_model_has_is_not_kept() {
        let id = model().id();
        let mut collected = Collected::new(id);
        let whole = vec![0; CHUNK_BYTES + 1];
        for key in
            ["weights.npz/0", "decoder.onnx/64", "decoder.onnx/00", "decoder.onnx/-1", "decoder.onnx", ""]
        {
            collected.take(format!("{id}/{key}").as_bytes(), Some(b"x"));
        }
        collected.take(format!("{id}/decoder.onnx/0").as_bytes(), Some(&whole));
        assert!(collected.chunks.is_empty(), "{:?}", collected.chunks.keys());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn a_model_is_whole_or_refused(left_out in any::<prop::sample::Index>(), bit in 0..8_u8, at in any::<prop::sample::Index>()) {
            let mut records = records(200_000);
            let changed = left_out.index(records.len());
            let value = &mut records[changed].1;
            let byte = at.index(value.len());
            value[byte] ^= 1 << bit;
            prop_assert!(collect(all(&records)).is_err());
            records.remove(changed);
            prop_assert!(collect(all(&records)).is_err());
        }

    }

    proptest! {
        #[test]
        fn any_record_is_survived(key in prop::collection::vec(any::<u8>(), 0..40), value in prop::option::of(prop::collection::vec(any::<u8>(), 0..40))) {
            let mut collected = Collected::new(model().id());
            let mut own = format!("{}/", model().id()).into_bytes();
            own.extend(&key);
            collected.take(&key, value.as_deref());
            collected.take(&own, value.as_deref());
            prop_assert!(collected.chunks.len() <= 1);
        }
    }
}
