//! Two processes that say they are the same instance.

use std::slice::from_mut;
use std::time::Duration;

use integration_tests::kafka::{Feed, Random, shared_broker, wait_for};

use crate::scene::{Guarantee, Scene, await_progress, load};

/// The older one's exit code: something that it needs is not available to it.
const UNAVAILABLE: i32 = 69;

#[test]
fn the_older_of_two_writers_is_fenced_and_says_so() {
    let name = "fencing";
    let Some(broker) = shared_broker(name) else { return };
    let seed = Random::seed(name);
    let workload = load(seed, 40_000);
    let scene = Scene::new(broker, name, workload, Guarantee::ExactlyOnce);
    let feed = Feed::start(&scene.client, &scene.pipeline.input, workload);
    let mut tail = scene.tail();
    let share = workload.messages / 4;

    let mut older = scene.daemon();
    feed.allow(share);
    await_progress(&mut older, &mut tail, 0);
    let mut newer = integration_tests::kafka::Daemon::run(&scene.workplace, "newer", &["pipeline.toml"]);
    // The older one notices at its next transaction, so there has to be one.
    let status = wait_for("end of the older one", Duration::from_secs(60), || {
        newer.assert_running();
        if feed.sent() < 3 * share {
            feed.allow(share / 100);
        }
        older.ended().ok_or_else(|| format!("it still runs, {} messages were sent", feed.sent()))
    });
    assert_eq!(status.code(), Some(UNAVAILABLE), "{}", older.log());
    let said = older.log();
    assert!(said.lines().any(|line| line.contains("fenced") || line.contains("another")), "{said}");
    assert!(!said.contains("panicked"), "{said}");

    let before = tail.drain();
    feed.finish();
    await_progress(&mut newer, &mut tail, before);
    scene.await_all_frames(&mut tail, from_mut(&mut newer));
    newer.terminate();
    scene.output().assert_exactly(&scene.expected);
}
