//! What librdkafka tells its clients: errors, logs and rebalances.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::TopicPartitionList;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

use crate::telemetry::{Health, PipelineTelemetry, Repeats};

/// Errors of a client become its component's health.
pub(crate) struct Reporter {
    component: &'static str,
    telemetry: Arc<PipelineTelemetry>,
    logged: Mutex<Repeats>,
    /// What librdkafka has complained of since all was well.
    trouble: Mutex<Option<RDKafkaErrorCode>>,
}

impl Reporter {
    pub(crate) fn new(component: &'static str, telemetry: Arc<PipelineTelemetry>) -> Self {
        telemetry.health(component, Health::Starting);
        Self {
            component,
            telemetry,
            logged: Mutex::new(Repeats::new(5, Duration::from_secs(60))),
            trouble: Mutex::default(),
        }
    }

    /// Something is wrong that may pass.
    pub(crate) fn degraded(&self, reason: impl Into<String>) {
        self.telemetry.health(self.component, Health::Degraded(reason.into()));
    }

    /// librdkafka complains. The same trouble shows in many ways, and they follow each other fast: the first one
    /// stands, unless it is of the vague kind and another one is not.
    fn complain(&self, code: RDKafkaErrorCode, reason: &str) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.is_none_or(|known| is_outage(known) && !is_outage(code)) {
            *trouble = Some(code);
            self.degraded(explain(code, reason));
        }
    }

    /// The brokers answer again; what else there is to complain of stands.
    pub(crate) fn outage_is_over(&self) {
        let trouble = *self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.is_some_and(is_outage) {
            self.ok();
        }
    }

    /// True if there is something to complain of.
    pub(crate) fn is_troubled(&self) -> bool {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// All is well.
    pub(crate) fn ok(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.telemetry.health(self.component, Health::Ok);
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        let severe = (level as i32) <= RDKafkaLogLevel::Error as i32;
        // Errors come as health, too, in words of ours.
        if severe && let Some(left_out) = self.lock().event(Instant::now()) {
            tracing::debug!(component = self.component, facility, left_out, "librdkafka: {text}");
        } else if !severe {
            tracing::trace!(component = self.component, facility, "librdkafka: {text}");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Repeats> {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Reporter {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        Self::log(self, level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code()
            && !matches!(code, RDKafkaErrorCode::PartitionEOF | RDKafkaErrorCode::Fenced)
        {
            self.complain(code, reason);
        }
    }
}

/// An error of librdkafka with what to do about it.
pub(crate) fn explain(code: RDKafkaErrorCode, reason: &str) -> String {
    let advice = match code {
        // Which of the brokers it is, and how, changes from one attempt to the next.
        code if is_outage(code) => {
            return "no broker can be reached; trying again: is it running, and is 'brokers' right?"
                .to_owned();
        }
        RDKafkaErrorCode::Resolve => {
            "the name of a broker cannot be resolved; trying again: is 'brokers' right?"
        }
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
            "authentication failed: the brokers refuse to let us in; trying again: are mechanism, user and \
             password of 'sasl' right?"
        }
        RDKafkaErrorCode::SSL => "no secure connection; trying again: do the files of 'tls' fit the brokers?",
        RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
            "a topic does not exist; waiting for it: is its name right, or has it to be created?"
        }
        RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::GroupAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed
        | RDKafkaErrorCode::TransactionalIdAuthorizationFailed => {
            "the brokers do not allow it; trying again: has the user the rights that it needs?"
        }
        _ => return format!("{code}: {reason}"),
    };
    format!("{advice} ({reason})")
}

/// True for what follows from every other trouble with a connection as well.
fn is_outage(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure)
}

/// A change of the partitions that a consumer has.
#[derive(Clone, Debug)]
pub(crate) enum Rebalance {
    Assign(TopicPartitionList),
    Revoke(TopicPartitionList),
}

/// Keeps rebalances until the thread that polls has time for them: librdkafka waits until it is told to assign or
/// unassign.
pub(crate) struct GroupContext {
    pub(crate) reporter: Reporter,
    rebalances: Mutex<VecDeque<Rebalance>>,
    closing: AtomicBool,
}

pub(crate) type GroupConsumer = BaseConsumer<GroupContext>;

impl GroupContext {
    pub(crate) fn new(reporter: Reporter) -> Self {
        Self { reporter, rebalances: Mutex::default(), closing: AtomicBool::new(false) }
    }

    /// The oldest rebalance that has not been dealt with.
    pub(crate) fn next_rebalance(&self) -> Option<Rebalance> {
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// From now on partitions are given up at once: nobody polls for rebalances any more.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.reporter.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        ClientContext::error(&self.reporter, error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        self.reporter.telemetry.rebalance();
        let assigned = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let released = match assigned {
                true => consumer.assign(&TopicPartitionList::new()),
                false => unassign(consumer, partitions),
            };
            if let Err(error) = released {
                tracing::debug!("partitions cannot be released: {error}");
            }
            return;
        }
        let rebalance = match assigned {
            true => Rebalance::Assign(partitions.clone()),
            false => Rebalance::Revoke(partitions.clone()),
        };
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).push_back(rebalance);
    }
}

/// Takes partitions, by the protocol of the group.
pub(crate) fn assign(consumer: &GroupConsumer, partitions: &TopicPartitionList) -> Result<(), KafkaError> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
        _ => consumer.assign(partitions),
    }
}

/// Gives partitions up, by the protocol of the group.
pub(crate) fn unassign(consumer: &GroupConsumer, partitions: &TopicPartitionList) -> Result<(), KafkaError> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
        _ => consumer.unassign(),
    }
}
