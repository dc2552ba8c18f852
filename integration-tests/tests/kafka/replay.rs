//! Recordings produced to a pipeline's own topic, and measured through the broker.

use std::time::Duration;

use integration_tests::kafka::{Frames, Workload, shared_broker};
use serde_json::Value;

use crate::scene::{Guarantee, Scene};

const RECORDING: &str = "pipelines/data/mitdb_100_60s.hea";

fn scene(name: &str, guarantee: Guarantee) -> Option<Scene> {
    let broker = shared_broker(name)?;
    // Only the topics and the pipeline of the scene are used; nobody feeds its workload.
    let workload = Workload { seed: 1, messages: 2_000, keys: 2, partitions: 3, max_samples: 100 };
    Some(Scene::new(broker, name, workload, guarantee))
}

fn replay(scene: &Scene, arguments: &[&str]) -> Value {
    let all =
        [&["replay", "pipeline.toml", "--input", RECORDING, "--via", "kafka", "--json"], arguments].concat();
    scene.workplace.rivulet(&all).ok().json()
}

#[test]
fn a_replay_through_the_broker_ends_when_all_is_committed() {
    for (name, guarantee) in
        [("replay-exactly-once", Guarantee::ExactlyOnce), ("replay-at-least-once", Guarantee::AtLeastOnce)]
    {
        let Some(scene) = scene(name, guarantee) else { return };
        let report = replay(&scene, &["--streams", "4", "--message-samples", "100"]);
        // Each of the two channels of 21,600 samples is a stream of the topic, and each is played twice.
        assert_eq!(report["produced_samples"], 4 * 21_600, "{report}");
        assert_eq!(report["produced_messages"], 4 * 216, "{report}");
        assert_eq!(report["produced_bytes"], 4 * 21_600 * 2, "{report}");
        assert_eq!(report["frames"], 4 * (21_600 / 512), "what is left of a frame stays open: {report}");
        assert_eq!((&report["via"], &report["interrupted"]), (&Value::from("kafka"), &Value::from(false)));
        assert!(report["latency"].is_null() && report["produced_messages_per_second"].as_f64() > Some(0.0));
        scene.client.await_no_lag(name, &scene.pipeline.input, Duration::from_secs(10));
        assert_eq!(Frames::of_packets(&scene.client.read(&scene.pipeline.output)).len(), 4 * (21_600 / 512));
    }
}

#[test]
fn a_paced_replay_through_the_broker_measures_latency() {
    let Some(mut scene) = scene("replay-paced", Guarantee::ExactlyOnce) else { return };
    scene.pipeline.input = "replay-paced.made".to_owned();
    scene.write();
    let outcome =
        scene.workplace.rivulet(&["replay", "pipeline.toml", "--input", RECORDING, "--via", "kafka"]);
    outcome.fails(69, "--partitions");

    let report = replay(&scene, &["--partitions", "2", "--speed", "4", "--duration", "3"]);
    assert!(scene.client.has_topic("replay-paced.made"));
    let produced = report["produced_samples"].as_u64().unwrap();
    assert!(produced > 0 && produced <= 2 * 3 * 4 * 360, "{report}");
    assert_eq!(report["played_samples"], produced);
    assert_eq!(report["latency"]["count"], report["frames"], "{report}");
    assert!(report["latency"]["p50_seconds"].as_f64() > Some(0.0));
    assert_eq!(report["packet_wait_bound_by"], "delivery.commit_interval_ms");
    scene.client.await_no_lag("replay-paced", "replay-paced.made", Duration::from_secs(10));
}

#[test]
fn json_messages_are_written_as_the_pipeline_reads_them() {
    let Some(mut scene) = scene("replay-json", Guarantee::AtLeastOnce) else { return };
    scene.pipeline.decoding = "codec = \"json\"\nsample_type = \"i16\"\nsample_rate_hz = 360\nsamples = \"data.v\"\n\
                               time = \"t\"\ntime_unit = \"ms\"\nkey = \"device\"\n";
    scene.pipeline.more = "[window]\nmax_gap_ms = 10\n".to_owned();
    scene.write();
    let report = replay(&scene, &[]);
    assert_eq!(
        (&report["produced_samples"], &report["dead_letters"]),
        (&Value::from(43_200), &Value::from(0))
    );
    assert_eq!(report["frames"], 2 * (21_600 / 512), "no gap closed a frame: {report}");
    let message = &scene.client.read(&scene.pipeline.input)[0];
    let value: Value = serde_json::from_slice(message.value.as_deref().unwrap()).unwrap();
    assert_eq!(value["data"]["v"].as_array().unwrap().len(), 18, "{value}");
    assert!(value["device"].as_str().unwrap().starts_with("mitdb_100_60s/"), "{value}");
}
