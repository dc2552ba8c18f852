//! The daemon is killed while it reads.

use std::slice::from_mut;
use std::time::Duration;

use integration_tests::kafka::{Feed, Frames, Random, shared_broker};

use crate::scene::{Guarantee, Scene, await_progress, load};

struct Effort {
    messages: usize,
    /// Kills of a daemon that has begun to put out packets and is being fed.
    kills_at_work: usize,
    /// Kills at a random moment after the start: while it joins its group, or reads its windows back.
    kills_at_start: usize,
}

const SHORT: Effort = Effort { messages: 200_000, kills_at_work: 20, kills_at_start: 6 };
const LONG: Effort = Effort { messages: 2_000_000, kills_at_work: 100, kills_at_start: 30 };

#[test]
fn exactly_once_loses_and_repeats_nothing_when_killed() {
    killed("exactly-once-killed", Guarantee::ExactlyOnce, &SHORT);
}

#[test]
fn at_least_once_loses_nothing_when_killed() {
    killed("at-least-once-killed", Guarantee::AtLeastOnce, &SHORT);
}

#[test]
#[ignore = "takes minutes"]
fn exactly_once_loses_and_repeats_nothing_when_killed_often() {
    killed("exactly-once-killed-often", Guarantee::ExactlyOnce, &LONG);
}

#[test]
#[ignore = "takes minutes"]
fn at_least_once_loses_nothing_when_killed_often() {
    killed("at-least-once-killed-often", Guarantee::AtLeastOnce, &LONG);
}

fn killed(name: &str, guarantee: Guarantee, effort: &Effort) {
    let Some(broker) = shared_broker(name) else { return };
    let seed = Random::seed(name);
    let workload = load(seed, effort.messages);
    let scene = Scene::new(broker, name, workload, guarantee);
    let feed = Feed::start(&scene.client, &scene.pipeline.input, workload);
    let mut tail = scene.tail();
    let mut random = Random::new(seed ^ 1);
    let share = workload.messages / (effort.kills_at_work + 1);
    let every = effort.kills_at_work / effort.kills_at_start;

    for kill in 0..effort.kills_at_work {
        if kill % every == every - 1 {
            let daemon = scene.daemon();
            std::thread::sleep(random.below(Duration::from_secs(3)));
            daemon.kill9();
        }
        let before = tail.drain();
        let mut daemon = scene.daemon();
        feed.allow(share / 2);
        await_progress(&mut daemon, &mut tail, before);
        // It is killed while messages keep coming.
        let life = random.below(Duration::from_millis(400));
        feed.trickle((share / 2) * life.as_millis() as usize / 400, life);
        assert!(feed.holds_back(), "all messages were sent before kill {kill}");
        daemon.kill9();
    }
    feed.finish();
    let mut daemon = scene.daemon();
    scene.await_all_frames(&mut tail, from_mut(&mut daemon));
    daemon.terminate();

    let output = scene.output();
    check(&scene, &output, &scene.expected, guarantee);
    check(&scene, &output, &scene.undisturbed(), guarantee);
}

fn check(scene: &Scene, output: &Frames, expected: &Frames, guarantee: Guarantee) {
    match guarantee {
        Guarantee::ExactlyOnce => {
            output.assert_exactly(expected);
            scene.client.await_no_lag(&scene.pipeline.name, &scene.pipeline.input, Duration::from_secs(10));
        }
        Guarantee::AtLeastOnce => {
            let repeats = output.assert_at_least(expected);
            assert_eq!(repeats.len(), output.len() - expected.len(), "a frame that is too many is a repeat");
        }
    }
}
