//! What a serial source reports to.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::metrics::{Families, FloatGauge, OfPipeline, OfReason};

/// Metrics of a pipeline's serial port; they are there once a pipeline has one.
pub(crate) struct SerialTelemetry {
    families: Arc<Families>,
    pipeline: Arc<str>,
    connected: Gauge,
    reconnects: Counter,
    bytes_discarded: Counter,
    lost_records: Counter,
    lost_samples: Counter,
    overrun_samples: Counter,
    clock_drift_ppm: FloatGauge,
}

impl SerialTelemetry {
    /// `reasons` are all that [`SerialTelemetry::framing_error`] is told.
    pub(super) fn new(families: &Arc<Families>, pipeline: &Arc<str>, reasons: &[&'static str]) -> Self {
        let labels = OfPipeline { pipeline: Arc::clone(pipeline) };
        let telemetry = Self {
            families: Arc::clone(families),
            pipeline: Arc::clone(pipeline),
            connected: families.serial_connected.get_or_create_owned(&labels),
            reconnects: families.serial_reconnects.get_or_create_owned(&labels),
            bytes_discarded: families.serial_bytes_discarded.get_or_create_owned(&labels),
            lost_records: families.serial_lost_records.get_or_create_owned(&labels),
            lost_samples: families.serial_lost_samples.get_or_create_owned(&labels),
            overrun_samples: families.serial_overrun_samples.get_or_create_owned(&labels),
            clock_drift_ppm: families.serial_clock_drift_ppm.get_or_create_owned(&labels),
        };
        telemetry.connected.set(0);
        telemetry.clock_drift_ppm.set(f64::NAN);
        // A counter that appears with its first event has no increase to be seen.
        reasons.iter().for_each(|reason| telemetry.framing_errors(reason, 0));
        telemetry
    }

    /// The port is open, or no longer.
    pub(crate) fn connected(&self, connected: bool) {
        self.connected.set(i64::from(connected));
    }

    /// The port was opened, and not for the first time.
    pub(crate) fn reconnect(&self) {
        self.reconnects.inc();
    }

    /// Bytes were no record.
    pub(crate) fn framing_error(&self, reason: &'static str) {
        self.framing_errors(reason, 1);
    }

    fn framing_errors(&self, reason: &'static str, count: u64) {
        let labels = OfReason { pipeline: Arc::clone(&self.pipeline), reason };
        self.families.serial_framing_errors.get_or_create(&labels).inc_by(count);
    }

    /// `count` bytes were part of no record.
    pub(crate) fn bytes_discarded(&self, count: u64) {
        self.bytes_discarded.inc_by(count);
    }

    /// Records did not come, as the numbers of those that did tell.
    pub(crate) fn lost(&self, records: u64, samples: u64) {
        self.lost_records.inc_by(records);
        self.lost_samples.inc_by(samples);
    }

    /// Samples came faster than they could be taken.
    pub(crate) fn overrun(&self, samples: u64) {
        self.overrun_samples.inc_by(samples);
    }

    /// How much faster the device's clock runs than declared.
    pub(crate) fn clock_drift_ppm(&self, ppm: f64) {
        self.clock_drift_ppm.set(ppm);
    }
}
