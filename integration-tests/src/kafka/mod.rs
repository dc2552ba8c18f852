//! A real Apache Kafka, started by the tests, and what it takes to prove the daemon against it.
//!
//! A [`Broker`] is one KRaft node in a folder of its own, from the jars that Maven fetches once into the target
//! directory (or that lie in `$KAFKA_JARS`). It can be killed, stopped and started again with its data. Java 17 and
//! Maven have to be there: without them a test says `skipped` and passes, unless `CI=true`, which makes it fail.
//!
//! A [`Workload`] is a series of messages that follows from a seed; [`Frames::expected`] says, by the library and
//! without the daemon, which frames have to come out of it. A [`Daemon`] is the built binary at work. What is in a
//! packet topic is read into [`Frames`] too, and compared frame by frame: where packets begin and end depends on
//! timing, frames do not.
//!
//! Everything random follows from one seed, which is printed; `RIVULET_TEST_SEED` repeats it.

mod broker;
mod client;
mod daemon;
mod feed;
mod frames;
mod jars;
mod process;
mod random;
mod security;
mod wait;
mod workload;

pub use broker::{Broker, Listener, free_port};
pub use client::{Client, Producer, Record, Tail};
pub use daemon::{Daemon, http_get, json_lines, metric_sum};
pub use feed::Feed;
pub use frames::{Frame, FrameId, Frames, through_the_codec};
pub use random::Random;
pub use security::{Certificates, PASSWORD, USER};
pub use wait::{wait_for, wait_until};
pub use workload::{Message, Workload};

/// The broker that the tests of a binary share, or the reason why there is none.
///
/// Tests that kill it or configure it start their own with [`Broker::start`].
pub fn shared_broker(test: &str) -> Option<&'static Broker> {
    static SHARED: std::sync::OnceLock<Broker> = std::sync::OnceLock::new();
    available(test).then(|| SHARED.get_or_init(Broker::start))
}

/// True if a broker can be started; else says that `test` is skipped.
///
/// # Panics
/// If it cannot and `CI=true`.
pub fn available(test: &str) -> bool {
    match jars::missing() {
        None => true,
        Some(reason) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{test}: {reason}");
            // Past the capture of the test harness, which shows the output of failed tests only.
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("{test}: skipped: {reason}\n").as_bytes(),
            );
            false
        }
    }
}
