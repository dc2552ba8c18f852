//! What the Kafka source and sinks share.
//!
//! `client` turns a pipeline's configuration into librdkafka's, `check` and `probe` say before a run
//! what is wrong with it, and `instance` names this process among those that run the same pipeline. While it
//! runs, `context` keeps what librdkafka has to tell, `producer` what was acknowledged, `transaction` the
//! life of transactions, and `changelog` the windows that are open.

pub(crate) mod admin;
pub(crate) mod changelog;
pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod context;
pub(crate) mod instance;
pub(crate) mod model_topic;
pub(crate) mod probe;
pub(crate) mod producer;
pub(crate) mod topic_reader;
pub(crate) mod transaction;

pub use instance::InstanceError;

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use crate::signal::OriginCheckpoint;

/// Where partitions end, or with [`Offset::Beginning`] where they begin: what ListOffsets calls the latest and the
/// earliest time. One request a broker, whatever the number of partitions.
///
/// The client should be one that fetches nothing: the answer comes behind those of fetches, which brokers hold back.
pub(crate) fn bounds<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    partitions: &TopicPartitionList,
    bound: Offset,
    within: Duration,
) -> KafkaResult<TopicPartitionList> {
    let mut wanted = partitions.clone();
    wanted.set_all_offsets(bound)?;
    let found = client.offsets_for_times(wanted, within)?;
    found.elements().iter().try_for_each(|place| place.error())?;
    Ok(found)
}

/// Offsets as they are committed.
pub(crate) fn offsets<'a>(origins: impl Iterator<Item = &'a OriginCheckpoint>) -> TopicPartitionList {
    let mut offsets = TopicPartitionList::new();
    for origin in origins {
        let Some((topic, partition)) = changelog::place(&origin.origin) else { continue };
        let mut place = offsets.add_partition(topic, partition);
        // An offset that was read can be represented.
        let _ = place.set_offset(Offset::Offset(origin.next));
        if let Some(note) = &origin.note {
            place.set_metadata(note);
        }
    }
    offsets
}
