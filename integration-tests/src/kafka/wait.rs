//! Waiting with a deadline.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const EVERY: Duration = Duration::from_millis(10);

/// Asks until there is an answer.
///
/// # Panics
/// After `deadline`, with `what` was waited for and what was seen last.
#[track_caller]
pub fn wait_for<T, S: Debug>(what: &str, deadline: Duration, mut ask: impl FnMut() -> Result<T, S>) -> T {
    let started = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(seen) if started.elapsed() >= deadline => {
                panic!("{what}: not within {deadline:?}; seen last: {seen:?}")
            }
            Err(_) => std::thread::sleep(EVERY),
        }
    }
}

/// As [`wait_for`], until `condition` holds.
#[track_caller]
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, deadline, || if condition() { Ok(()) } else { Err("not yet") });
}
