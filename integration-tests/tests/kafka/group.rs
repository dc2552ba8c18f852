//! Several daemons share the partitions of a topic; they come, leave and are killed.

use std::time::Duration;

use integration_tests::kafka::{Daemon, Feed, Random, shared_broker, wait_for};

use crate::scene::{FIRST_OUT, Guarantee, Scene, load};

const INSTANCES: usize = 3;

struct Effort {
    messages: usize,
    changes: usize,
}

const SHORT: Effort = Effort { messages: 80_000, changes: 16 };
const LONG: Effort = Effort { messages: 1_000_000, changes: 120 };

#[test]
fn eager_groups_lose_and_repeat_nothing() {
    changing("group-eager", "range,roundrobin", &SHORT);
}

#[test]
fn cooperative_groups_lose_and_repeat_nothing() {
    changing("group-cooperative", "cooperative-sticky", &SHORT);
}

#[test]
#[ignore = "takes minutes"]
fn eager_groups_lose_and_repeat_nothing_for_long() {
    changing("group-eager-long", "range,roundrobin", &LONG);
}

#[test]
#[ignore = "takes minutes"]
fn cooperative_groups_lose_and_repeat_nothing_for_long() {
    changing("group-cooperative-long", "cooperative-sticky", &LONG);
}

fn changing(name: &str, assignors: &'static str, effort: &Effort) {
    let Some(broker) = shared_broker(name) else { return };
    let seed = Random::seed(name);
    let workload = load(seed, effort.messages);
    let mut scene = Scene::new(broker, name, workload, Guarantee::ExactlyOnce);
    scene.pipeline.assignors = assignors;
    scene.write();
    let feed = Feed::start(&scene.client, &scene.pipeline.input, workload);
    let mut tail = scene.tail();
    let mut random = Random::new(seed ^ 2);
    let mut running: Vec<Option<Daemon>> = (0..INSTANCES).map(|_| None).collect();
    let share = workload.messages / (effort.changes + 1);

    for change in 0..effort.changes {
        let place = random.within(0..INSTANCES as u64) as usize;
        let what = match running[place].take() {
            None => {
                running[place] = Some(scene.instance(&place.to_string()));
                "joined"
            }
            Some(daemon) if random.within(0..2) == 0 => {
                daemon.kill9();
                "was killed"
            }
            Some(daemon) => {
                daemon.terminate();
                "left"
            }
        };
        if running.iter().all(Option::is_none) {
            let place = random.within(0..INSTANCES as u64) as usize;
            running[place] = Some(scene.instance(&place.to_string()));
        }
        // Every third change comes on the heels of the one before, whatever the group has made of it.
        if change % 3 == 2 {
            feed.trickle(share, random.below(Duration::from_millis(500)));
            continue;
        }
        let before = tail.drain();
        feed.allow(share / 2);
        wait_for(&format!("packets after instance {place} {what}, change {change}"), FIRST_OUT, || {
            running.iter_mut().flatten().for_each(Daemon::assert_running);
            let now = tail.poll();
            if now > before { Ok(()) } else { Err(format!("{now} packets, as before")) }
        });
        feed.trickle(share / 2, random.below(Duration::from_millis(500)));
    }
    feed.finish();
    let mut running: Vec<Daemon> = running.into_iter().flatten().collect();
    scene.await_all_frames(&mut tail, &mut running);
    running.into_iter().for_each(Daemon::terminate);

    scene.output().assert_exactly(&scene.expected);
    scene.client.await_no_lag(name, &scene.pipeline.input, Duration::from_secs(10));
}
