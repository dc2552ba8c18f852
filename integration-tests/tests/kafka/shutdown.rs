//! An orderly end.

use std::slice::from_mut;
use std::time::Duration;

use integration_tests::kafka::{Feed, Random, Workload, shared_broker};

use crate::scene::{Guarantee, Scene, await_progress, load};

#[test]
fn exactly_once_goes_on_where_it_was_told_to_end() {
    restarted("shutdown-exactly-once", Guarantee::ExactlyOnce);
}

#[test]
fn at_least_once_repeats_nothing_when_told_to_end() {
    restarted("shutdown-at-least-once", Guarantee::AtLeastOnce);
}

fn restarted(name: &str, guarantee: Guarantee) {
    let Some(broker) = shared_broker(name) else { return };
    let seed = Random::seed(name);
    let workload = load(seed, 40_000);
    let scene = Scene::new(broker, name, workload, guarantee);
    let feed = Feed::start(&scene.client, &scene.pipeline.input, workload);
    let mut tail = scene.tail();
    let mut random = Random::new(seed ^ 4);
    let share = workload.messages / 5;
    for _ in 0..4 {
        let before = tail.drain();
        let mut daemon = scene.daemon();
        feed.allow(share / 2);
        await_progress(&mut daemon, &mut tail, before);
        // Told to end in the middle of things: frames are open in every stream.
        feed.trickle(share / 2, random.below(Duration::from_millis(300)));
        daemon.terminate();
    }
    feed.finish();
    let mut daemon = scene.daemon();
    scene.await_all_frames(&mut tail, from_mut(&mut daemon));
    scene.client.await_no_lag(name, &scene.pipeline.input, Duration::from_secs(30));
    daemon.terminate();
    scene.output().assert_exactly(&scene.expected);
}

#[test]
fn an_idle_daemon_commits_what_it_was_given_before_it_ends() {
    let name = "shutdown-idle";
    let Some(broker) = shared_broker(name) else { return };
    let seed = Random::seed(name);
    let workload = Workload { seed, messages: 4_000, keys: 16, partitions: 4, max_samples: 60 };
    let scene = Scene::new(broker, name, workload, Guarantee::ExactlyOnce);
    Feed::start(&scene.client, &scene.pipeline.input, workload).finish();
    let mut daemon = scene.daemon();
    scene.await_all_frames(&mut scene.tail(), from_mut(&mut daemon));
    daemon.terminate();
    // Windows are checkpointed with the positions: no message has to be read again for its open frame.
    assert_eq!(scene.client.lag(name, &scene.pipeline.input), Ok(0));
    let again = scene.daemon();
    scene.client.await_no_lag(name, &scene.pipeline.input, Duration::from_secs(10));
    again.terminate();
    scene.output().assert_exactly(&scene.expected);
}
