//! Producing a workload no faster than a test allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::Client;
use super::workload::Workload;

/// A thread that produces the messages of a workload, as many as were allowed so far: so that a test knows that
/// there is something to read at the moment at which it kills the reader.
pub struct Feed {
    total: usize,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    allowed: AtomicUsize,
    sent: AtomicUsize,
    abandoned: AtomicBool,
}

impl Feed {
    /// A feed to `topic` that waits for its first allowance.
    pub fn start(client: &Client, topic: &str, workload: Workload) -> Self {
        let shared = Arc::new(Shared::default());
        let (producer, topic) = (client.producer(), topic.to_owned());
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for (sent, message) in workload.messages().enumerate() {
                    while sent >= shared.allowed.load(Ordering::Acquire) {
                        if shared.abandoned.load(Ordering::Acquire) {
                            return;
                        }
                        std::thread::park_timeout(Duration::from_millis(1));
                    }
                    let (key, value) = (message.key.as_bytes(), message.value());
                    producer.send(&topic, message.partition, Some(key), Some(&value));
                    shared.sent.store(sent + 1, Ordering::Release);
                }
                producer.flush();
            }
        });
        Self { total: workload.messages, shared, thread: Some(thread) }
    }

    /// Allows `messages` more.
    pub fn allow(&self, messages: usize) {
        self.shared.allowed.fetch_add(messages, Ordering::AcqRel);
    }

    /// Allows `messages` more, spread over a while, and returns at its end.
    pub fn trickle(&self, messages: usize, lasting: Duration) {
        let started = Instant::now();
        let mut allowed = 0;
        while allowed < messages {
            let share = started.elapsed().as_secs_f64() / lasting.as_secs_f64();
            let due = ((messages as f64 * share) as usize).min(messages);
            self.allow(due - allowed);
            allowed = due;
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// True if messages are left that were not allowed yet.
    pub fn holds_back(&self) -> bool {
        self.shared.allowed.load(Ordering::Acquire) < self.total
    }

    /// Messages sent so far.
    pub fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::Acquire)
    }

    /// Allows all and waits until they were delivered.
    #[track_caller]
    pub fn finish(mut self) {
        self.allow(self.total);
        let thread = self.thread.take().expect("it is taken once");
        assert!(thread.join().is_ok(), "the feed failed");
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.shared.abandoned.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            let _ = thread.join();
        }
    }
}
