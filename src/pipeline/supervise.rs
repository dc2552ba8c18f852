//! Runs pipelines side by side: what befalls one leaves the others alone.
//!
//! ```text
//! start -> attempt -> ended well, or by a fault of the user or of rivulet itself: over
//!             ^    \-> external fault: wait, each time longer
//!             \-----------------------/
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};

use super::control::Progress;
use super::fault::{Fault, PipelineError};
use super::summary::Summary;
use crate::back_off::{BackOff, BackOffPolicy};
use crate::telemetry::{Health, PipelineTelemetry, Telemetry};

/// What one attempt at running a pipeline is given.
#[derive(Clone)]
pub struct Attempt {
    /// The stop flag and how far the run is.
    pub progress: Arc<Progress>,
    /// What its stages report to.
    pub telemetry: Arc<PipelineTelemetry>,
    follows_failure: bool,
}

impl Attempt {
    /// The pipeline is built and begins to run. After a failure it takes more than that to be called well
    /// again: it has to run for a while.
    pub fn running(&self) {
        if !self.follows_failure {
            self.telemetry.whole_health(Health::Ok);
        }
    }
}

/// Whether a pipeline that an external fault has ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It is over: a finite input would be read from its beginning.
    Never,
    /// For ever, as long as a retry can help and nobody has asked for an end.
    Always,
}

/// A pipeline that is over.
#[derive(Debug)]
pub struct Ended {
    /// Its place among those that were started, from 0.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// What it has done, or why it could not.
    pub result: Result<Summary, PipelineError>,
}

/// Runs pipelines, each in a task of its own.
pub struct Supervisor {
    telemetry: Arc<Telemetry>,
    policy: BackOffPolicy,
    stop: watch::Sender<bool>,
    pipelines: Vec<(String, Arc<Progress>)>,
    running: HashMap<Id, usize>,
    tasks: JoinSet<Result<Summary, PipelineError>>,
}

impl Supervisor {
    /// Without pipelines yet.
    pub fn new(telemetry: Arc<Telemetry>, policy: BackOffPolicy) -> Self {
        Self {
            telemetry,
            policy,
            stop: watch::Sender::new(false),
            pipelines: Vec::new(),
            running: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Starts the pipeline `name`; `attempt` builds it and runs it to its end, as often as it has to. Returns
    /// what tells how far it is. Has to be called within a tokio runtime.
    pub fn start<A, F>(&mut self, name: &str, restart: Restart, attempt: A) -> Arc<Progress>
    where
        A: Fn(Attempt) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Summary, PipelineError>> + Send + 'static,
    {
        let progress = Arc::new(Progress::default());
        let telemetry = self.telemetry.pipeline(name);
        telemetry.whole_health(Health::Starting);
        let first = Attempt { progress: Arc::clone(&progress), telemetry, follows_failure: false };
        let policy = (restart == Restart::Always).then_some(self.policy);
        let task = self.tasks.spawn(supervise(first, Arc::new(attempt), policy, self.stop.subscribe()));
        self.running.insert(task.id(), self.pipelines.len());
        self.pipelines.push((name.to_owned(), Arc::clone(&progress)));
        progress
    }

    /// Asks every pipeline to end: nothing is ready any more, reading stops, waits are cut short.
    pub fn stop(&self) {
        self.telemetry.stop();
        self.stop.send_replace(true);
        for (_, progress) in &self.pipelines {
            progress.stop.store(true, Ordering::Relaxed);
        }
    }

    /// The next pipeline that is over; none once all are. May be dropped and called again.
    pub async fn next_ended(&mut self) -> Option<Ended> {
        let (id, result) = match self.tasks.join_next_with_id().await? {
            Ok(ended) => ended,
            Err(error) => (error.id(), Err(PipelineError::Panicked(panic_text(error)))),
        };
        let index = self.running.remove(&id)?;
        let (name, _) = self.pipelines.get(index)?;
        let failure = result.as_ref().err().map(ToString::to_string);
        self.telemetry.pipeline(name).ended(failure);
        Some(Ended { index, name: name.clone(), result })
    }

    /// The names of those that are not over yet, in the order in which they were started.
    pub fn unfinished(&self) -> Vec<&str> {
        let mut indices: Vec<_> = self.running.values().copied().collect();
        indices.sort_unstable();
        indices.iter().filter_map(|index| self.pipelines.get(*index)).map(|(name, _)| name.as_str()).collect()
    }
}

async fn supervise<A, F>(
    mut attempt: Attempt,
    run: Arc<A>,
    policy: Option<BackOffPolicy>,
    mut stop: watch::Receiver<bool>,
) -> Result<Summary, PipelineError>
where
    A: Fn(Attempt) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Summary, PipelineError>> + Send + 'static,
{
    let Some(policy) = policy else { return in_own_task(attempt, run).await };
    let mut back_off = BackOff::new(policy);
    loop {
        let started = Instant::now();
        let mut running = std::pin::pin!(in_own_task(attempt.clone(), Arc::clone(&run)));
        let ended = tokio::select! {
            ended = &mut running => ended,
            () = tokio::time::sleep(policy.steady_after), if attempt.follows_failure => {
                attempt.telemetry.whole_health(Health::Ok);
                running.await
            }
        };
        let error = match ended {
            Ok(summary) => return Ok(summary),
            Err(error) => error,
        };
        let verdict = error.verdict();
        if verdict.fault != Fault::External || !verdict.can_retry || *stop.borrow() {
            return Err(error);
        }
        attempt.telemetry.whole_health(Health::Degraded(format!("{error}; it is started again")));
        let wait = back_off.after_failure(started.elapsed());
        tracing::debug!(pipeline = attempt.telemetry.name(), wait_ms = wait.as_millis(), "waiting");
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // The sender goes only with the whole program.
            _ = stop.wait_for(|stop| *stop) => return Err(error),
        }
        attempt.follows_failure = back_off.is_failing();
        attempt.telemetry.restart();
    }
}

/// One attempt, in a task of its own so that a panic ends nothing else.
async fn in_own_task<A, F>(attempt: Attempt, run: Arc<A>) -> Result<Summary, PipelineError>
where
    A: Fn(Attempt) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Summary, PipelineError>> + Send + 'static,
{
    let ended = tokio::spawn(async move { run(attempt).await }).await;
    ended.unwrap_or_else(|error| Err(PipelineError::Panicked(panic_text(error))))
}

fn panic_text(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "it was cancelled".to_owned() };
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "it panicked".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;
    use crate::pipeline::{BuildError, RunError};
    use crate::sink::SinkError;
    use crate::source::SourceError;

    /// Waits that no test notices, or that no test survives.
    fn policy(longest: Duration) -> BackOffPolicy {
        BackOffPolicy { first: longest, longest, ..BackOffPolicy::default() }
    }

    const SHORT: Duration = Duration::from_millis(2);
    const FOR_EVER: Duration = Duration::from_secs(1 << 40);

    fn io() -> std::io::Error {
        std::io::Error::other("no space left")
    }

    fn external() -> PipelineError {
        RunError::Sink(SinkError::Write { path: "disk".into(), source: io() }).into()
    }

    fn user() -> PipelineError {
        BuildError::Source(SourceError::Io { path: "missing".into(), source: io() }).into()
    }

    fn summary(pipeline: &str, interrupted: bool) -> Summary {
        Summary {
            pipeline: pipeline.to_owned(),
            streams: 0,
            samples: 0,
            frames: 0,
            packets: 0,
            bytes_in: 0,
            bytes_out: 0,
            ratio: 0.0,
            nominal_ratio: Some(0.0),
            fidelity: None,
            max_prd_percent: None,
            violations: None,
            seconds: 0.0,
            samples_per_second: 0.0,
            dead_letters: 0,
            dead_letter_samples: 0,
            interrupted,
        }
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    fn restarts(telemetry: &Telemetry, name: &str) -> u64 {
        let series = format!("rivulet_restarts_total{{pipeline=\"{name}\"}} ");
        let text = telemetry.openmetrics().unwrap();
        text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap()
    }

    /// Runs until it is told to stop.
    async fn until_stopped(attempt: Attempt) -> Result<Summary, PipelineError> {
        attempt.running();
        while !attempt.progress.stop.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(summary(attempt.telemetry.name(), true))
    }

    #[test]
    fn an_external_fault_is_tried_again_until_it_is_gone() {
        block_on(async {
            let telemetry = Arc::new(Telemetry::new());
            let mut supervisor = Supervisor::new(Arc::clone(&telemetry), policy(SHORT));
            let attempts = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&attempts);
            supervisor.start("a", Restart::Always, move |attempt| {
                let before = counted.fetch_add(1, Ordering::Relaxed);
                attempt.running();
                let ready = attempt.telemetry.readiness().ready;
                async move {
                    assert_eq!(ready, before == 0, "after a failure it has to run for a while first");
                    if before < 2 { Err(external()) } else { Ok(summary("a", false)) }
                }
            });
            let ended = supervisor.next_ended().await.unwrap();
            assert_eq!((ended.index, ended.name.as_str()), (0, "a"));
            assert!(ended.result.is_ok(), "{ended:?}");
            assert_eq!(attempts.load(Ordering::Relaxed), 3);
            assert_eq!(restarts(&telemetry, "a"), 2);
            assert!(telemetry.readiness().pipelines["a"].ready, "it has ended well");
            assert!(supervisor.next_ended().await.is_none());
        });
    }

    #[test]
    fn one_that_fails_or_panics_leaves_the_others_alone() {
        block_on(async {
            let telemetry = Arc::new(Telemetry::new());
            let mut supervisor = Supervisor::new(Arc::clone(&telemetry), policy(SHORT));
            let other = supervisor.start("runs", Restart::Always, until_stopped);
            supervisor.start("refused", Restart::Always, |_| async { Err(user()) });
            supervisor.start("final", Restart::Never, |_| async { Err(external()) });
            supervisor.start("panics", Restart::Always, |attempt| async move {
                assert!(attempt.telemetry.name().is_empty(), "a fault of ours");
                Ok(summary("panics", false))
            });
            let mut failed = Vec::new();
            for _ in 0..3 {
                let ended = supervisor.next_ended().await.unwrap();
                let error = ended.result.unwrap_err();
                failed.push((ended.index, error.verdict().fault, error.to_string()));
            }
            failed.sort_by_key(|(index, ..)| *index);
            assert_eq!(failed[0], (1, Fault::User, "missing: no space left".to_owned()));
            assert_eq!((failed[1].0, failed[1].1), (2, Fault::External));
            assert_eq!((failed[2].0, failed[2].1), (3, Fault::Internal));
            assert!(failed[2].2.contains("a fault of ours"), "{}", failed[2].2);
            assert!(["refused", "final", "panics"].iter().all(|name| restarts(&telemetry, name) == 0));

            assert_eq!(supervisor.unfinished(), ["runs"]);
            assert!(!other.stop.load(Ordering::Relaxed));
            let readiness = telemetry.readiness();
            assert!(!readiness.ready && readiness.pipelines["runs"].ready);
            assert_eq!(
                readiness.pipelines["refused"].components["pipeline"],
                Health::Failed("missing: no space left".to_owned())
            );
            supervisor.stop();
            let ended = supervisor.next_ended().await.unwrap();
            assert!(ended.result.unwrap().interrupted);
            assert!(supervisor.unfinished().is_empty() && supervisor.next_ended().await.is_none());
        });
    }

    #[test]
    fn a_wait_ends_with_the_shutdown() {
        block_on(async {
            let telemetry = Arc::new(Telemetry::new());
            let mut supervisor = Supervisor::new(Arc::clone(&telemetry), policy(FOR_EVER));
            supervisor.start("a", Restart::Always, |attempt| async move {
                attempt.running();
                Err(external())
            });
            let degraded = Health::Degraded(format!("{}; it is started again", external()));
            while telemetry.readiness().pipelines["a"].components["pipeline"] != degraded {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            supervisor.stop();
            let ended = supervisor.next_ended().await.unwrap();
            assert_eq!(ended.result.unwrap_err().to_string(), external().to_string());
            assert_eq!(restarts(&telemetry, "a"), 0);
            assert!(telemetry.readiness().stopping);
        });
    }

    #[test]
    fn what_fails_while_it_is_stopped_is_not_tried_again() {
        block_on(async {
            let telemetry = Arc::new(Telemetry::new());
            let mut supervisor = Supervisor::new(Arc::clone(&telemetry), policy(SHORT));
            supervisor.start("a", Restart::Always, |attempt| async move {
                let _ = until_stopped(attempt).await;
                Err(external())
            });
            supervisor.stop();
            assert!(supervisor.next_ended().await.unwrap().result.is_err());
            assert_eq!(restarts(&telemetry, "a"), 0);
        });
    }

    #[test]
    fn running_for_a_while_after_a_failure_is_a_recovery() {
        block_on(async {
            let telemetry = Arc::new(Telemetry::new());
            let policy = BackOffPolicy { steady_after: SHORT, ..policy(SHORT) };
            let mut supervisor = Supervisor::new(Arc::clone(&telemetry), policy);
            let attempts = AtomicUsize::new(0);
            supervisor.start("a", Restart::Always, move |attempt| {
                let before = attempts.fetch_add(1, Ordering::Relaxed);
                async move { if before == 0 { Err(external()) } else { until_stopped(attempt).await } }
            });
            while !telemetry.readiness().ready {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(restarts(&telemetry, "a"), 1);
            supervisor.stop();
            assert!(supervisor.next_ended().await.unwrap().result.is_ok());
        });
    }
}
