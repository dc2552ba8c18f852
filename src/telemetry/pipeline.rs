//! What the stages of one pipeline report to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::health::{Board, Health, News, PipelineReadiness};
use super::latency::{Latencies, LatencySnapshot};
use super::metrics::{
    Families, OfComponent, OfPartition, OfResult, OfSegment, OfStage, PipelineMetrics, SegmentEvent,
    TransactionResult,
};
use super::serial::SerialTelemetry;
use crate::fidelity::Fidelity;
use crate::signal::Stage;

const STAGES: [Stage; 4] = [Stage::Source, Stage::Window, Stage::Encode, Stage::Sink];

/// The component that stands for the pipeline as a whole.
const WHOLE: &str = "pipeline";

/// Metrics and health of one pipeline. Every method may be called from any thread and is cheap enough to be
/// called for each message, packet or frame.
pub struct PipelineTelemetry {
    name: Arc<str>,
    families: Arc<Families>,
    metrics: PipelineMetrics,
    latencies: Latencies,
    bits_in: AtomicU64,
    packet_bytes: AtomicU64,
    checkpoint: Mutex<Option<Instant>>,
    board: Mutex<Board>,
}

impl PipelineTelemetry {
    pub(super) fn new(name: &str, families: Arc<Families>) -> Self {
        let name: Arc<str> = name.into();
        let telemetry = Self {
            metrics: families.of_pipeline(&name),
            name,
            families,
            latencies: Latencies::new(),
            bits_in: AtomicU64::new(0),
            packet_bytes: AtomicU64::new(0),
            checkpoint: Mutex::default(),
            board: Mutex::default(),
        };
        // A counter that appears with its first event has no increase to be seen.
        for stage in STAGES {
            telemetry.bytes(stage, 0);
            telemetry.retries(stage, 0);
            telemetry.dead_letters(stage, 0, 0);
        }
        for result in TransactionResult::ALL {
            telemetry.transactions(result, 0);
        }
        for event in SegmentEvent::ALL {
            telemetry.segments(event, 0);
        }
        telemetry
    }

    /// The pipeline's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The source has received `count` messages.
    pub fn messages_in(&self, count: u64) {
        self.metrics.messages_in.inc_by(count);
    }

    /// The source has delivered `count` samples of all channels, stored with `stored_bits_total` bits in all.
    pub fn samples_in(&self, count: u64, stored_bits_total: u64) {
        self.metrics.samples_in.inc_by(count);
        self.bits_in.fetch_add(stored_bits_total, Ordering::Relaxed);
        self.families.bytes.get_or_create(&self.of(Stage::Window)).inc_by(stored_bits_total as f64 / 8.0);
    }

    /// `count` frames have been encoded.
    pub fn frames_encoded(&self, count: u64) {
        self.metrics.frames_encoded.inc_by(count);
    }

    /// `count` packets have been made.
    pub fn packets_out(&self, count: u64) {
        self.metrics.packets_out.inc_by(count);
    }

    /// Packets of `count` bytes have been made.
    pub fn packet_bytes(&self, count: u64) {
        self.packet_bytes.fetch_add(count, Ordering::Relaxed);
        self.bytes(Stage::Encode, count);
    }

    /// `count` bytes have come from outside ([`Stage::Source`]) or gone there ([`Stage::Sink`]). Those of the
    /// stages between come with [`Self::samples_in`] and [`Self::packet_bytes`].
    pub fn bytes(&self, stage: Stage, count: u64) {
        self.families.bytes.get_or_create(&self.of(stage)).inc_by(count as f64);
    }

    /// An input could not be used; `samples` are lost with it, 0 where that is not known.
    pub fn dead_letter(&self, stage: Stage, samples: u64) {
        self.dead_letters(stage, 1, samples);
    }

    fn dead_letters(&self, stage: Stage, letters: u64, samples: u64) {
        self.families.dead_letters.get_or_create(&self.of(stage)).inc_by(letters);
        self.families.dead_letter_samples.get_or_create(&self.of(stage)).inc_by(samples);
    }

    /// A call to the outside is tried again.
    pub fn retry(&self, stage: Stage) {
        self.retries(stage, 1);
    }

    fn retries(&self, stage: Stage, count: u64) {
        self.families.retries.get_or_create(&self.of(stage)).inc_by(count);
    }

    /// The source has been assigned other partitions.
    pub fn rebalance(&self) {
        self.metrics.rebalances.inc();
    }

    /// A transaction has ended.
    pub fn transaction(&self, result: TransactionResult) {
        self.transactions(result, 1);
    }

    fn transactions(&self, result: TransactionResult, count: u64) {
        let labels = OfResult { pipeline: Arc::clone(&self.name), result };
        self.families.transactions.get_or_create(&labels).inc_by(count);
    }

    /// Something happened to a segment of a file sink.
    pub fn segment(&self, event: SegmentEvent) {
        self.segments(event, 1);
    }

    fn segments(&self, event: SegmentEvent, count: u64) {
        let labels = OfSegment { pipeline: Arc::clone(&self.name), event };
        self.families.segments.get_or_create(&labels).inc_by(count);
    }

    /// So many more segments of file sinks grow, or fewer.
    pub fn segments_open(&self, change: i64) {
        self.metrics.segments_open.inc_by(change);
    }

    /// So many more segments of file sinks are closed and wait for their names, or fewer.
    pub fn segments_waiting(&self, change: i64) {
        self.metrics.segments_waiting.inc_by(change);
    }

    /// Committing took `seconds`.
    pub fn commit(&self, seconds: f64) {
        self.metrics.commit_duration_seconds.observe(seconds);
    }

    /// What is needed to go on from here has been stored.
    pub fn checkpoint(&self) {
        *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// `count` streams have an open frame.
    pub fn open_streams(&self, count: u64) {
        self.metrics.window_open_streams.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Open frames hold `count` samples of all channels.
    pub fn open_samples(&self, count: u64) {
        self.metrics.window_open_samples.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// `messages` are left between the position in a partition and its end.
    pub fn lag(&self, topic: &str, partition: i32, messages: u64) {
        let gauge =
            self.families.consumer_lag_messages.get_or_create_owned(&self.of_partition(topic, partition));
        gauge.set(i64::try_from(messages).unwrap_or(i64::MAX));
    }

    /// The partition belongs to another consumer now: its lag is no longer ours to tell.
    pub fn lag_gone(&self, topic: &str, partition: i32) {
        self.families.consumer_lag_messages.remove(&self.of_partition(topic, partition));
    }

    /// `bytes` are left between the positions in followed files and their ends.
    pub fn file_lag(&self, bytes: u64) {
        self.metrics.file_lag_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// A followed file has been read to its end and another has its name.
    pub fn file_rotation(&self) {
        self.metrics.file_rotations.inc();
    }

    /// A followed file was cut, or written anew.
    pub fn file_truncation(&self) {
        self.metrics.file_truncations.inc();
    }

    /// A followed file was gone before it was read to its end.
    pub fn file_rest_lost(&self) {
        self.metrics.file_rests_lost.inc();
    }

    /// From a frame's last sample to its acknowledged packet `seconds` have passed.
    pub fn frame_latency(&self, seconds: f64) {
        self.metrics.frame_latency_seconds.observe(seconds);
        self.latencies.record(seconds);
    }

    /// The distribution of frame latencies so far; none before the first.
    pub fn latency_snapshot(&self) -> Option<LatencySnapshot> {
        self.latencies.snapshot()
    }

    /// Encoding a batch took `seconds`.
    pub fn encode_seconds(&self, seconds: f64) {
        self.metrics.encode_duration_seconds.observe(seconds);
    }

    /// The mirror has compared a frame of a channel.
    pub fn mirror_frame(&self, prd_percent: f64) {
        self.metrics.mirror_prd_percent.observe(prd_percent);
    }

    /// The PRD of a frame of a channel was above the limit.
    pub fn mirror_violation(&self) {
        self.metrics.mirror_violations.inc();
    }

    /// The fidelity of everything that the mirror has compared so far.
    pub fn mirror_fidelity(&self, fidelity: &Fidelity) {
        self.metrics.mirror_run_prd_percent.set(fidelity.prd_percent.unwrap_or(f64::NAN));
        self.metrics.mirror_run_snr_db.set(fidelity.snr_db.unwrap_or(f64::NAN));
        self.metrics.mirror_run_max_error.set(fidelity.max_error);
    }

    /// `count` frames have been left out because they had come before.
    pub fn repeats_dropped(&self, count: u64) {
        self.metrics.repeats_dropped.inc_by(count);
    }

    /// What a serial source reports to, which has these `reasons` for bytes to be no record.
    pub(crate) fn serial(&self, reasons: &[&'static str]) -> SerialTelemetry {
        SerialTelemetry::new(&self.families, &self.name, reasons)
    }

    /// The component `component` (`source`, `sinks[0]`, `delivery`) is in `state`. A change to the worse and a
    /// recovery are logged, once each.
    pub fn health(&self, component: &str, state: Health) {
        match self.report(component, state.clone()) {
            None => {}
            Some(News::Recovery) => tracing::info!(pipeline = %self.name, component, "recovered"),
            Some(News::Trouble) => match state {
                Health::Failed(reason) => {
                    tracing::error!(pipeline = %self.name, component, "failed: {reason}");
                }
                Health::Degraded(reason) => {
                    tracing::warn!(pipeline = %self.name, component, "degraded: {reason}");
                }
                Health::Ok | Health::Starting => {}
            },
        }
    }

    /// The health of the pipeline as a whole, which its supervisor knows.
    pub(crate) fn whole_health(&self, state: Health) {
        self.health(WHOLE, state);
    }

    /// The pipeline has ended, well or for a reason; whoever waited for the end tells it.
    pub(crate) fn ended(&self, failure: Option<String>) {
        self.report(WHOLE, failure.map_or(Health::Ok, Health::Failed));
    }

    /// The pipeline is started again after an external fault.
    pub(crate) fn restart(&self) {
        self.metrics.restarts.inc();
        self.board.lock().unwrap_or_else(PoisonError::into_inner).restart(WHOLE);
    }

    /// Whether the pipeline does its work.
    pub fn readiness(&self) -> PipelineReadiness {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).readiness()
    }

    fn report(&self, component: &str, state: Health) -> Option<News> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).report(component, state)
    }

    /// Brings what follows from other figures or from the time up to date.
    pub(super) fn refresh(&self) {
        let packet_bytes = self.packet_bytes.load(Ordering::Relaxed);
        if packet_bytes > 0 {
            let bytes_in = self.bits_in.load(Ordering::Relaxed) as f64 / 8.0;
            self.metrics.compression_ratio.set(bytes_in / packet_bytes as f64);
        }
        if let Some(checkpoint) = *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner) {
            self.metrics.checkpoint_age_seconds.set(checkpoint.elapsed().as_secs_f64());
        }
        let readiness = self.readiness();
        self.metrics.pipeline_ready.set(i64::from(readiness.ready));
        for (component, health) in readiness.components {
            let labels = OfComponent { pipeline: Arc::clone(&self.name), component };
            self.families.component_ok.get_or_create(&labels).set(i64::from(health == Health::Ok));
        }
    }

    fn of(&self, stage: Stage) -> OfStage {
        OfStage { pipeline: Arc::clone(&self.name), stage }
    }

    fn of_partition(&self, topic: &str, partition: i32) -> OfPartition {
        OfPartition { pipeline: Arc::clone(&self.name), topic: topic.to_owned(), partition }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Telemetry;
    use super::*;

    /// The value of a series as it is served.
    #[track_caller]
    fn value(telemetry: &Telemetry, series: &str) -> f64 {
        find(telemetry, series).unwrap_or_else(|| panic!("no {series}"))
    }

    fn find(telemetry: &Telemetry, series: &str) -> Option<f64> {
        let text = telemetry.openmetrics().unwrap();
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    #[test]
    fn what_is_counted_is_served_under_the_pipeline_that_counted_it() {
        let telemetry = Telemetry::new();
        let (ecg, abp) = (telemetry.pipeline("ecg"), telemetry.pipeline("abp"));
        ecg.messages_in(3);
        telemetry.pipeline("ecg").messages_in(2);
        abp.messages_in(1);
        ecg.dead_letter(Stage::Window, 7);
        ecg.retry(Stage::Sink);
        ecg.transaction(TransactionResult::Aborted);
        ecg.frame_latency(0.25);
        ecg.mirror_frame(3.5);
        for (series, expected) in [
            ("messages_in_total{pipeline=\"ecg\"}", 5.0),
            ("messages_in_total{pipeline=\"abp\"}", 1.0),
            ("dead_letters_total{pipeline=\"ecg\",stage=\"window\"}", 1.0),
            ("dead_letter_samples_total{pipeline=\"ecg\",stage=\"window\"}", 7.0),
            ("dead_letters_total{pipeline=\"ecg\",stage=\"source\"}", 0.0),
            ("retries_total{pipeline=\"ecg\",stage=\"sink\"}", 1.0),
            ("transactions_total{pipeline=\"ecg\",result=\"aborted\"}", 1.0),
            ("transactions_total{pipeline=\"ecg\",result=\"fenced\"}", 0.0),
            ("frame_latency_seconds_sum{pipeline=\"ecg\"}", 0.25),
            ("mirror_prd_percent_count{pipeline=\"ecg\"}", 1.0),
            ("mirror_prd_percent_bucket{le=\"3.0\",pipeline=\"ecg\"}", 0.0),
            ("mirror_prd_percent_bucket{le=\"5.0\",pipeline=\"ecg\"}", 1.0),
        ] {
            assert_eq!(value(&telemetry, &format!("rivulet_{series}")), expected, "{series}");
        }
        assert_eq!(ecg.latency_snapshot().unwrap().count, 1);
        assert_eq!(abp.latency_snapshot(), None);
    }

    #[test]
    fn the_ratio_is_that_of_all_bits_in_to_all_bytes_out() {
        let telemetry = Telemetry::new();
        let pipeline = telemetry.pipeline("ecg");
        let ratio = "rivulet_compression_ratio{pipeline=\"ecg\"}";
        pipeline.samples_in(100, 1_200);
        assert!(value(&telemetry, ratio).is_nan(), "nothing has left");
        pipeline.packet_bytes(10);
        assert_eq!(value(&telemetry, ratio), 15.0);
        pipeline.packet_bytes(5);
        pipeline.samples_in(100, 1_200);
        assert_eq!(value(&telemetry, ratio), 20.0);
        assert_eq!(value(&telemetry, "rivulet_bytes_total{pipeline=\"ecg\",stage=\"window\"}"), 300.0);
        assert_eq!(value(&telemetry, "rivulet_bytes_total{pipeline=\"ecg\",stage=\"encode\"}"), 15.0);
    }

    #[test]
    fn the_lag_of_a_partition_that_is_gone_is_gone() {
        let telemetry = Telemetry::new();
        let pipeline = telemetry.pipeline("ecg");
        let series = |partition| {
            format!(
                "rivulet_consumer_lag_messages{{pipeline=\"ecg\",topic=\"in\",partition=\"{partition}\"}}"
            )
        };
        pipeline.lag("in", 0, 5);
        pipeline.lag("in", 1, 6);
        pipeline.lag("in", 1, 4);
        assert_eq!(value(&telemetry, &series(1)), 4.0);
        pipeline.lag_gone("in", 1);
        assert_eq!(find(&telemetry, &series(1)), None);
        assert_eq!(value(&telemetry, &series(0)), 5.0);
    }

    #[test]
    fn the_age_of_a_checkpoint_is_unknown_before_the_first() {
        let telemetry = Telemetry::new();
        let pipeline = telemetry.pipeline("ecg");
        let series = "rivulet_checkpoint_age_seconds{pipeline=\"ecg\"}";
        assert!(value(&telemetry, series).is_nan());
        pipeline.checkpoint();
        let age = value(&telemetry, series);
        assert!((0.0..60.0).contains(&age), "{age}");
    }

    #[test]
    fn health_is_served_by_component() {
        let telemetry = Telemetry::new();
        let pipeline = telemetry.pipeline("ecg");
        let ready = "rivulet_pipeline_ready{pipeline=\"ecg\"}";
        let source = "rivulet_component_ok{pipeline=\"ecg\",component=\"source\"}";
        assert_eq!(value(&telemetry, ready), 0.0);
        pipeline.whole_health(Health::Ok);
        pipeline.health("source", Health::Degraded("away".to_owned()));
        assert_eq!((value(&telemetry, ready), value(&telemetry, source)), (0.0, 0.0));
        pipeline.health("source", Health::Ok);
        assert_eq!((value(&telemetry, ready), value(&telemetry, source)), (1.0, 1.0));
        pipeline.restart();
        assert_eq!((value(&telemetry, ready), value(&telemetry, source)), (0.0, 0.0));
        assert_eq!(value(&telemetry, "rivulet_restarts_total{pipeline=\"ecg\"}"), 1.0);
    }
}
