//! Topics that Rivulet makes.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication, TopicResult};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A topic as it has to be.
#[derive(Clone, Debug)]
pub(crate) struct TopicPlan<'a> {
    pub(crate) name: &'a str,
    pub(crate) partitions: i32,
    /// None: the brokers' default.
    pub(crate) replication_factor: Option<i32>,
    pub(crate) config: Vec<(&'a str, &'a str)>,
}

/// Has the topic exist with at least so many partitions; an existing one keeps its configuration.
pub(crate) fn ensure_topic(client: &ClientConfig, plan: &TopicPlan<'_>) -> Result<(), KafkaError> {
    let admin: AdminClient<DefaultClientContext> = client.create()?;
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
    let replication = TopicReplication::Fixed(plan.replication_factor.unwrap_or(-1));
    let mut topic = NewTopic::new(plan.name, plan.partitions, replication);
    for (key, value) in &plan.config {
        topic = topic.set(key, value);
    }
    for attempt in 0.. {
        match partitions(&admin, plan.name)? {
            Some(found) if found >= plan.partitions => return Ok(()),
            // Several processes may be at it: what one of them has done is found by the others.
            Some(_) if attempt > 5 => break,
            None if attempt > 5 => break,
            Some(_) => {
                let more = NewPartitions::new(plan.name, plan.partitions as usize);
                result(
                    wait(admin.create_partitions([&more], &options)),
                    RDKafkaErrorCode::InvalidPartitions,
                )?;
            }
            None => {
                result(wait(admin.create_topics([&topic], &options)), RDKafkaErrorCode::TopicAlreadyExists)?;
            }
        }
        std::thread::sleep(Duration::from_millis(50 << attempt.min(4)));
    }
    Err(KafkaError::AdminOp(RDKafkaErrorCode::UnknownTopicOrPartition))
}

/// Partitions of a topic, none where it does not exist.
fn partitions(admin: &AdminClient<DefaultClientContext>, topic: &str) -> Result<Option<i32>, KafkaError> {
    let metadata = admin.inner().fetch_metadata(Some(topic), TIMEOUT)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
    Ok(found
        .map(|found| i32::try_from(found.partitions().len()).unwrap_or(i32::MAX))
        .filter(|found| *found > 0))
}

fn result(
    results: Result<Vec<TopicResult>, KafkaError>,
    tolerated: RDKafkaErrorCode,
) -> Result<(), KafkaError> {
    for result in results? {
        match result {
            Err((_, code)) if code != tolerated => return Err(KafkaError::AdminOp(code)),
            _ => {}
        }
    }
    Ok(())
}

/// Waits for an answer of librdkafka's own thread.
fn wait<T>(future: impl Future<Output = Result<T, KafkaError>>) -> Result<T, KafkaError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.map_err(|error| KafkaError::AdminOpCreation(error.to_string()))?.block_on(future)
}
