//! The Kafka ends of a pipeline.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::BuildError;
use crate::config::{
    AutoOffsetReset, CreateTopicConfig, DeadLetterConfig, Guarantee, KafkaClientConfig, KafkaSinkConfig,
    KafkaSourceConfig, PipelineConfig, SinkConfig, SourceConfig, SourceDecoding, StateStore,
};
use crate::kafka::client::{
    Isolation, Transactional, consumer_config, producer_config, reader_config, writer_config,
};
use crate::kafka::context::GroupConsumer;
use crate::kafka::instance::Instance;
use crate::kafka::model_topic::{ModelPublisher, ModelTopic, ModelTopicError};
use crate::kafka::producer::AckProducer;
use crate::model::{ModelDirectory, ModelLibrary};
use crate::pipeline::decode::DecodeStage;
use crate::pipeline::decoders::Decoders;
use crate::sink::kafka::{
    CreateTopic, DeadLetterTopic, DeadLetterTopicSink, KafkaSink, Topics, TransactionalOptions,
    TransactionalSink,
};
use crate::sink::{Sink, SinkError};
use crate::source::decoding::MessageDecoder;
use crate::source::kafka::{KafkaCommitter, KafkaSource, KafkaSourceOptions, Reset};
use crate::source::{Committer, SourceError};
use crate::telemetry::PipelineTelemetry;

/// This process as a member of its source's group.
pub(super) struct Member<'a> {
    consumer: Arc<GroupConsumer>,
    client: &'a KafkaClientConfig,
    changelog: Option<&'a str>,
    exactly_once: bool,
    instance: Instance,
}

impl<'a> Member<'a> {
    /// Joins the group.
    pub(super) fn join(
        config: &'a PipelineConfig,
        source: &'a KafkaSourceConfig,
        telemetry: &Arc<PipelineTelemetry>,
    ) -> Result<(KafkaSource, Self), BuildError> {
        let delivery = &config.delivery;
        let instance = Instance::claim(&config.name, delivery.instance.as_deref())?;
        let exactly_once = delivery.guarantee == Guarantee::ExactlyOnce;
        let (decoder, changelog) = match (&source.decoding, &delivery.state) {
            // Packets leave no open windows.
            (SourceDecoding::Packets(_), _) => (None, None),
            (SourceDecoding::Samples(decoding), StateStore::Changelog { topic }) => {
                (Some(decoding), Some(topic.as_str()))
            }
            (SourceDecoding::Samples(decoding), StateStore::None | StateStore::File { .. }) => {
                (Some(decoding), None)
            }
        };
        let options = KafkaSourceOptions {
            consumer: consumer_config(source, Some(&instance.group_instance_id())),
            committed: reader_config(&source.client, Isolation::Committed),
            uncommitted: reader_config(&source.client, Isolation::Uncommitted),
            topics: source.topics.clone(),
            reset: match source.auto_offset_reset {
                AutoOffsetReset::Earliest => Reset::Earliest,
                AutoOffsetReset::Latest => Reset::Latest,
                AutoOffsetReset::Error => Reset::Error,
            },
            key_header: source.key_header.clone(),
            decoder: decoder.cloned().map(MessageDecoder::new),
            changelog: changelog.map(str::to_owned),
            transactional: exactly_once,
            max_streams: config.window.max_streams.get(),
        };
        let source_client = &source.client;
        let source = KafkaSource::open(options, Arc::clone(telemetry))?;
        let consumer = Arc::clone(source.consumer());
        Ok((source, Self { consumer, client: source_client, changelog, exactly_once, instance }))
    }

    /// Who commits what every sink has; none where a sink does it in its transactions.
    pub(super) fn committer(
        &self,
        telemetry: &Arc<PipelineTelemetry>,
        abandoned: &Arc<AtomicBool>,
    ) -> Result<Option<Box<dyn Committer>>, BuildError> {
        if self.exactly_once {
            return Ok(None);
        }
        let changelog = match self.changelog {
            None => None,
            Some(topic) => {
                let config = writer_config(self.client);
                let producer = AckProducer::new(&config, "delivery", Arc::clone(telemetry), false);
                let refused =
                    |error| SourceError::Refused(format!("the changelog cannot be written: {error}"));
                Some((topic.to_owned(), producer.map_err(refused)?))
            }
        };
        let committer = KafkaCommitter::new(Arc::clone(&self.consumer), changelog, Arc::clone(abandoned));
        Ok(Some(Box::new(committer)))
    }

    /// The sink of dead letters; none where the sink of packets takes them into its transactions.
    pub(super) fn dead_letter_sink(
        &self,
        topic: &str,
        telemetry: &Arc<PipelineTelemetry>,
        abandoned: &Arc<AtomicBool>,
    ) -> Result<Option<Box<dyn Sink>>, SinkError> {
        if self.exactly_once {
            return Ok(None);
        }
        let topic = DeadLetterTopic { topic: topic.to_owned() };
        let config = writer_config(self.client);
        let sink = DeadLetterTopicSink::open(&config, topic, Arc::clone(abandoned), Arc::clone(telemetry))?;
        Ok(Some(Box::new(sink)))
    }

    pub(super) fn into_instance(self) -> Instance {
        self.instance
    }
}

/// A Kafka sink, with transactions where the pipeline is to deliver exactly once.
pub(super) fn sink(
    config: &PipelineConfig,
    sink: &KafkaSinkConfig,
    member: Option<&Member<'_>>,
    telemetry: &Arc<PipelineTelemetry>,
    abandoned: &Arc<AtomicBool>,
) -> Result<Box<dyn Sink>, SinkError> {
    let create = sink.create_topic.as_ref().map(|topic| create_topic(topic, &sink.client));
    let topics = Topics::new(sink.topic.clone(), create).of_samples(sink.encoding);
    let member = match member {
        Some(member) if member.exactly_once => member,
        _ => {
            let producer = producer_config(sink, None);
            let sink = KafkaSink::open(&producer, topics, Arc::clone(abandoned), Arc::clone(telemetry))?;
            return Ok(Box::new(sink));
        }
    };
    let id = member.instance.transactional_id();
    let transactional = Transactional { id: &id, timeout: config.delivery.transaction_timeout };
    let dead_letters = match &config.dead_letters {
        Some(DeadLetterConfig::Topic { topic }) => Some(DeadLetterTopic { topic: topic.clone() }),
        _ => None,
    };
    let options = TransactionalOptions {
        producer: producer_config(sink, Some(transactional)),
        consumer: Arc::clone(&member.consumer),
        topics,
        dead_letters,
        changelog: member.changelog.map(str::to_owned),
        stop: Arc::clone(abandoned),
        timeout: config.delivery.transaction_timeout,
    };
    Ok(Box::new(TransactionalSink::open(options, Arc::clone(telemetry))?))
}

/// What turns the packets of a source into samples for the sinks.
pub(super) fn decode_stage(config: &PipelineConfig) -> Result<DecodeStage, BuildError> {
    let SourceConfig::Kafka(source) = &config.source else { return Err(BuildError::NoEncoder) };
    let SourceDecoding::Packets(packets) = &source.decoding else { return Err(BuildError::NoEncoder) };
    let reader = reader_config(&source.client, Isolation::Committed);
    let topic = packets.model_topic.clone().map(|topic| ModelTopic { reader, topic });
    let decoders = Decoders::new(ModelLibrary::new(packets.models.clone()), topic);
    let mut encodings = Vec::new();
    for sink in &config.sinks {
        if let SinkConfig::Kafka(sink) = sink
            && !encodings.contains(&sink.encoding)
        {
            encodings.push(sink.encoding);
        }
    }
    Ok(DecodeStage::new(decoders, encodings, config.window.max_streams.get()))
}

/// Brings the pipeline's model to the topic of models of a sink that has one.
pub(super) fn publish_model(
    sink: &KafkaSinkConfig,
    model: &ModelDirectory,
    telemetry: &Arc<PipelineTelemetry>,
    stop: &AtomicBool,
) -> Result<(), ModelTopicError> {
    let Some(topic) = &sink.model_topic else { return Ok(()) };
    let publisher = ModelPublisher {
        topic: ModelTopic { reader: reader_config(&sink.client, Isolation::Committed), topic: topic.clone() },
        writer: producer_config(sink, None),
        stop,
        telemetry: Arc::clone(telemetry),
    };
    publisher.publish(model)
}

fn create_topic(topic: &CreateTopicConfig, client: &KafkaClientConfig) -> CreateTopic {
    let count = |count: std::num::NonZeroUsize| i32::try_from(count.get()).unwrap_or(i32::MAX);
    CreateTopic {
        client: reader_config(client, Isolation::Committed),
        partitions: count(topic.partitions),
        replication_factor: count(topic.replication_factor),
        config: topic.config.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
    }
}
