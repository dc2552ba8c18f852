//! The telemetry of the process: every pipeline's, and what concerns all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use super::health::Readiness;
use super::metrics::{Families, OfBuild, PREFIX};
use super::pipeline::PipelineTelemetry;
use super::process;

/// Metrics and health of the whole process.
pub struct Telemetry {
    registry: Registry,
    families: Arc<Families>,
    pipelines: Mutex<BTreeMap<String, Arc<PipelineTelemetry>>>,
    started: Instant,
    stopping: AtomicBool,
}

impl Telemetry {
    /// Without pipelines yet; the time up counts from here.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let families = Families::register(&mut registry);
        families.build_info.get_or_create(&OfBuild { version: env!("CARGO_PKG_VERSION") }).set(1);
        Self {
            registry,
            families: Arc::new(families),
            pipelines: Mutex::default(),
            started: Instant::now(),
            stopping: AtomicBool::new(false),
        }
    }

    /// What the pipeline `name` reports to; the same for the same name.
    pub fn pipeline(&self, name: &str) -> Arc<PipelineTelemetry> {
        let mut pipelines = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(PipelineTelemetry::new(name, Arc::clone(&self.families)));
        Arc::clone(pipelines.entry(name.to_owned()).or_insert_with(new))
    }

    /// The process has been asked to end: nothing is ready from here on.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether everything does its work.
    pub fn readiness(&self) -> Readiness {
        let pipelines: BTreeMap<_, _> =
            self.all().iter().map(|pipeline| (pipeline.name().to_owned(), pipeline.readiness())).collect();
        let stopping = self.stopping.load(Ordering::Relaxed);
        let ready = !stopping && !pipelines.is_empty() && pipelines.values().all(|pipeline| pipeline.ready);
        Readiness { ready, stopping, pipelines }
    }

    /// Every metric in the OpenMetrics text format.
    ///
    /// # Errors
    /// A label that the format cannot carry.
    pub fn openmetrics(&self) -> Result<String, std::fmt::Error> {
        self.all().iter().for_each(|pipeline| pipeline.refresh());
        self.families.uptime_seconds.set(self.started.elapsed().as_secs_f64());
        if let Some(bytes) = process::resident_memory_bytes() {
            self.families.resident_memory_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        if let Some(seconds) = process::cpu_seconds() {
            // The system's count is the counter: there is nothing to add up.
            self.families.cpu_seconds.inner().store(seconds.to_bits(), Ordering::Relaxed);
        }
        let mut output = String::new();
        text::encode(&mut output, &self.registry)?;
        Ok(output)
    }

    fn all(&self) -> Vec<Arc<PipelineTelemetry>> {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::NAMES;
    use super::*;
    use crate::telemetry::Health;

    /// The names and types that the text declares.
    fn declared(text: &str) -> Vec<(&str, &str)> {
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
    }

    #[test]
    fn every_metric_is_served_and_stands_in_the_operations_guide() {
        let telemetry = Telemetry::new();
        let pipeline = telemetry.pipeline("ecg");
        pipeline.lag("telemetry", 0, 1);
        pipeline.health("source", Health::Ok);
        pipeline.serial(&["check"]).framing_error("check");
        let text = telemetry.openmetrics().unwrap();
        assert!(text.contains("rivulet_serial_framing_errors_total{pipeline=\"ecg\",reason=\"check\"} 1\n"));
        assert!(text.ends_with("# EOF\n"));
        let guide = include_str!("../../docs/operations.md");
        let declared = declared(&text);
        assert_eq!(declared.len(), NAMES.len(), "{declared:?}");
        for (name, kind) in declared {
            assert!(NAMES.contains(&name.strip_prefix("rivulet_").unwrap()), "{name}");
            let suffix = if kind == "counter" { "_total" } else { "" };
            let row = format!("| `{name}{suffix}` | {kind} |");
            assert!(guide.contains(&row), "docs/operations.md lacks: {row}");
        }
    }

    #[test]
    fn nothing_is_ready_before_a_pipeline_is_or_once_the_end_has_begun() {
        let telemetry = Telemetry::new();
        assert!(!telemetry.readiness().ready);
        telemetry.pipeline("a").health("source", Health::Ok);
        assert!(telemetry.readiness().ready);
        telemetry.pipeline("b").health("source", Health::Starting);
        assert!(!telemetry.readiness().ready);
        telemetry.pipeline("b").health("source", Health::Ok);
        assert!(telemetry.readiness().ready);
        telemetry.stop();
        let readiness = telemetry.readiness();
        assert!(!readiness.ready && readiness.stopping && readiness.pipelines["a"].ready);
    }
}
