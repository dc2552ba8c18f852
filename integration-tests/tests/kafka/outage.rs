//! The broker goes away under load, and comes back.

use std::slice::from_mut;
use std::time::{Duration, Instant};

use integration_tests::kafka::{
    Broker, Daemon, Feed, Random, available, free_port, http_get, wait_for, wait_until,
};

use crate::scene::{Guarantee, Scene, await_progress, load};

struct Effort {
    messages: usize,
    kills: usize,
    stopped: Duration,
}

const SHORT: Effort = Effort { messages: 60_000, kills: 3, stopped: Duration::from_secs(10) };
const LONG: Effort = Effort { messages: 600_000, kills: 30, stopped: Duration::from_secs(30) };

#[test]
fn an_outage_of_the_broker_is_waited_out() {
    outage("outage", Guarantee::ExactlyOnce, &SHORT);
}

#[test]
#[ignore = "takes minutes"]
fn many_outages_of_the_broker_are_waited_out() {
    outage("outages", Guarantee::ExactlyOnce, &LONG);
}

#[test]
#[ignore = "takes minutes"]
fn many_outages_of_the_broker_are_waited_out_at_least_once() {
    outage("outages-at-least-once", Guarantee::AtLeastOnce, &LONG);
}

fn outage(name: &str, guarantee: Guarantee, effort: &Effort) {
    if !available(name) {
        return;
    }
    let seed = Random::seed(name);
    let broker = Broker::start();
    let workload = load(seed, effort.messages);
    let scene = Scene::new(&broker, name, workload, guarantee);
    let feed = Feed::start(&scene.client, &scene.pipeline.input, workload);
    let mut tail = scene.tail();
    let mut random = Random::new(seed ^ 3);
    let share = workload.messages / (effort.kills + 3);
    let metrics = format!("127.0.0.1:{}", free_port());
    let mut daemon = Daemon::run(&scene.workplace, "daemon", &["pipeline.toml", "--metrics", &metrics]);
    let ready = || http_get(&metrics, "/health/ready").map(|(status, _)| status);

    feed.allow(share / 2);
    await_progress(&mut daemon, &mut tail, 0);
    wait_until("ready", Duration::from_secs(30), || ready() == Some(200));
    for _ in 0..effort.kills {
        feed.trickle(share / 2, random.below(Duration::from_millis(500)));
        broker.kill();
        // Short enough to fall into a client's retries, or long enough for them to have failed.
        std::thread::sleep(random.below(Duration::from_secs(2)));
        broker.restart();
        let before = tail.drain();
        feed.allow(share / 2);
        await_progress(&mut daemon, &mut tail, before);
    }

    feed.trickle(share, Duration::from_millis(200));
    broker.stop();
    let stopped = Instant::now();
    wait_for("a daemon that is not ready without its broker", effort.stopped, || match ready() {
        Some(status) if status != 200 => Ok(()),
        seen => Err(seen),
    });
    std::thread::sleep(effort.stopped.saturating_sub(stopped.elapsed()));
    daemon.assert_running();
    broker.restart();
    feed.finish();
    scene.await_all_frames(&mut tail, from_mut(&mut daemon));
    wait_until("ready again", Duration::from_secs(30), || ready() == Some(200));
    daemon.terminate();

    let output = scene.output();
    match guarantee {
        Guarantee::ExactlyOnce => output.assert_exactly(&scene.expected),
        Guarantee::AtLeastOnce => {
            output.assert_at_least(&scene.expected);
        }
    }
}
