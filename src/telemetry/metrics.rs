//! Every metric: its name, its labels, its type and what it means, each in one place.
//!
//! Labels come from the configuration and from the program, never from the data: a label such as the stream key
//! would grow without end.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::signal::Stage;

/// What every name begins with.
pub(super) const PREFIX: &str = "rivulet";

pub(super) type FloatCounter = Counter<f64, AtomicU64>;
pub(super) type FloatGauge = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfPipeline {
    pub(super) pipeline: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfStage {
    pub(super) pipeline: Arc<str>,
    pub(super) stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfResult {
    pub(super) pipeline: Arc<str>,
    pub(super) result: TransactionResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfPartition {
    pub(super) pipeline: Arc<str>,
    pub(super) topic: String,
    pub(super) partition: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfComponent {
    pub(super) pipeline: Arc<str>,
    pub(super) component: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfReason {
    pub(super) pipeline: Arc<str>,
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfBuild {
    pub(super) version: &'static str,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransactionResult {
    /// Everything in it counts.
    Committed,
    /// Nothing in it counts; it is tried again.
    Aborted,
    /// Another writer has taken over.
    Fenced,
}

impl TransactionResult {
    pub(super) const ALL: [Self; 3] = [Self::Committed, Self::Aborted, Self::Fenced];
}

impl EncodeLabelValue for TransactionResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = match self {
            Self::Committed => "committed",
            Self::Aborted => "aborted",
            Self::Fenced => "fenced",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfSegment {
    pub(super) pipeline: Arc<str>,
    pub(super) event: SegmentEvent,
}

/// What happens to a segment of a file sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentEvent {
    /// It was created.
    Opened,
    /// It got its footer.
    Closed,
    /// It will be closed before it is full, to make room for another.
    ClosedEarly,
    /// It got its name.
    Named,
}

impl SegmentEvent {
    pub(super) const ALL: [Self; 4] = [Self::Opened, Self::Closed, Self::ClosedEarly, Self::Named];
}

impl EncodeLabelValue for SegmentEvent {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = match self {
            Self::Opened => "opened",
            Self::Closed => "closed",
            Self::ClosedEarly => "closed_early",
            Self::Named => "named",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

impl EncodeLabelValue for Stage {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.to_string(), encoder)
    }
}

/// Declares [`Families`] (what the registry knows), [`PipelineMetrics`] (what one pipeline counts without
/// looking anything up) and the list of names; a metric is named as its field is.
macro_rules! metrics {
    (
        per_pipeline { $($metric:ident: $kind:ty = $new:expr, $help:literal;)+ }
        labelled { $($family:ident: $labels:ty, $member:ty, $family_help:literal;)+ }
        process { $($single:ident: $single_kind:ty, $single_help:literal;)+ }
    ) => {
        pub(super) struct Families {
            $($metric: Family<OfPipeline, $kind, fn() -> $kind>,)+
            $(pub(super) $family: Family<$labels, $member>,)+
            $(pub(super) $single: $single_kind,)+
        }

        /// The metrics that a pipeline has one of each.
        pub(super) struct PipelineMetrics {
            $(pub(super) $metric: $kind,)+
        }

        impl Families {
            /// Registers every metric.
            pub(super) fn register(registry: &mut Registry) -> Self {
                $(
                    let $metric = Family::new_with_constructor($new as fn() -> $kind);
                    registry.register(stringify!($metric), $help, $metric.clone());
                )+
                $(
                    let $family = Family::<$labels, $member>::default();
                    registry.register(stringify!($family), $family_help, $family.clone());
                )+
                $(
                    let $single = <$single_kind>::default();
                    registry.register(stringify!($single), $single_help, $single.clone());
                )+
                Self { $($metric,)+ $($family,)+ $($single,)+ }
            }

            pub(super) fn of_pipeline(&self, pipeline: &Arc<str>) -> PipelineMetrics {
                let labels = OfPipeline { pipeline: Arc::clone(pipeline) };
                PipelineMetrics { $($metric: self.$metric.get_or_create_owned(&labels),)+ }
            }
        }

        #[cfg(test)]
        pub(super) const NAMES: &[&str] =
            &[$(stringify!($metric),)+ $(stringify!($family),)+ $(stringify!($single),)+];
    };
}

metrics! {
    per_pipeline {
        messages_in: Counter = Counter::default, "Messages that the source received";
        samples_in: Counter = Counter::default, "Samples of all channels that the source delivered";
        frames_encoded: Counter = Counter::default, "Frames that were encoded";
        packets_out: Counter = Counter::default, "Packets that were made";
        repeats_dropped: Counter = Counter::default, "Frames left out because they had come before";
        rebalances: Counter = Counter::default, "Changes of the partitions that the source is assigned";
        file_rotations: Counter = Counter::default, "Followed files that were left for the next one of their name";
        file_truncations: Counter = Counter::default, "Times that a followed file was cut or written anew";
        file_rests_lost: Counter = Counter::default, "Followed files that were gone before they were read to their end";
        file_lag_bytes: Gauge = Gauge::default, "Bytes between the positions in followed files and their ends";
        restarts: Counter = Counter::default, "Restarts after an external fault";
        mirror_violations: Counter = Counter::default, "Frames whose PRD was above max_prd_percent";
        window_open_streams: Gauge = Gauge::default, "Streams that have an open frame";
        window_open_samples: Gauge = Gauge::default, "Samples of all channels in open frames";
        segments_open: Gauge = Gauge::default, "Segments of file sinks that grow";
        segments_waiting: Gauge = Gauge::default, "Closed segments that have no name yet";
        pipeline_ready: Gauge = Gauge::default, "1 if every component of the pipeline is well, else 0";
        checkpoint_age_seconds: FloatGauge = unknown, "Time since the last checkpoint, NaN before the first";
        compression_ratio: FloatGauge = unknown, "Bytes of samples over bytes of packets so far";
        mirror_run_prd_percent: FloatGauge = unknown, "PRD over everything that the mirror compared";
        mirror_run_snr_db: FloatGauge = unknown, "SNR over everything that the mirror compared";
        mirror_run_max_error: FloatGauge = unknown, "Largest error of a sample, in sample units";
        frame_latency_seconds: Histogram = latencies, "From a frame's last sample to its acknowledged packet";
        encode_duration_seconds: Histogram = latencies, "Encoding one batch of frames";
        commit_duration_seconds: Histogram = latencies, "Committing positions or a transaction";
        mirror_prd_percent: Histogram = percentages, "PRD of a frame of a channel";
    }
    labelled {
        bytes: OfStage, FloatCounter, "Bytes that left a stage";
        dead_letters: OfStage, Counter, "Inputs that could not be used";
        dead_letter_samples: OfStage, Counter, "Samples lost with dead letters, where that is known";
        retries: OfStage, Counter, "Calls to the outside that were tried again";
        transactions: OfResult, Counter, "Transactions by how they ended";
        segments: OfSegment, Counter, "Segments of file sinks by what happened to them";
        consumer_lag_messages: OfPartition, Gauge, "Messages between the position and the partition's end";
        component_ok: OfComponent, Gauge, "1 if the component is well, else 0";
        serial_connected: OfPipeline, Gauge, "1 while the serial port is open, else 0";
        serial_reconnects: OfPipeline, Counter, "Times that the serial port was opened again";
        serial_framing_errors: OfReason, Counter, "Runs of bytes that were no record";
        serial_bytes_discarded: OfPipeline, Counter, "Bytes that were part of no record";
        serial_lost_records: OfPipeline, Counter, "Records that did not come, by the numbers of the others";
        serial_lost_samples: OfPipeline, Counter, "Samples of all channels in lost records";
        serial_overrun_samples: OfPipeline, Counter, "Samples that came faster than they could be taken";
        serial_clock_drift_ppm: OfPipeline, FloatGauge, "How much faster the device's clock runs than declared";
        build_info: OfBuild, Gauge, "1, with the version that runs";
    }
    process {
        uptime_seconds: FloatGauge, "Time since the process started";
        resident_memory_bytes: Gauge, "Memory of the process that is in RAM";
        cpu_seconds: FloatCounter, "CPU time of the process, user and system";
    }
}

/// A gauge that nothing is known of yet; comparisons with it are false.
fn unknown() -> FloatGauge {
    let gauge = FloatGauge::default();
    gauge.set(f64::NAN);
    gauge
}

/// 0.1 ms to 105 s.
fn latencies() -> Histogram {
    Histogram::new(exponential_buckets(1e-4, 2.0, 21))
}

/// Up to what a decoder that puts out nothing but the mean has, and beyond.
fn percentages() -> Histogram {
    Histogram::new([0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 75.0, 100.0])
}
