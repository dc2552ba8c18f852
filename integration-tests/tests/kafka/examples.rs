//! The shipped pipelines, as they are, all in one process.

use std::time::Duration;

use integration_tests::Workplace;
use integration_tests::kafka::{Client, Daemon, shared_broker, wait_for};

const PATIENCE: Duration = Duration::from_secs(60);
const SAMPLES: i16 = 2_000;

fn sample(i: i16) -> i16 {
    (300.0 * (f64::from(i) / 11.0).sin()) as i16
}

/// Waits until the topic holds at least so many messages.
fn await_messages(client: &Client, topic: &str, count: i64) {
    wait_for(&format!("{count} messages in {topic}"), PATIENCE, || match client.ends(topic) {
        Ok(ends) if ends.iter().sum::<i64>() >= count => Ok(()),
        seen => Err(seen),
    });
}

#[test]
fn the_shipped_pipelines_run_side_by_side() {
    let name = "examples";
    let Some(broker) = shared_broker(name) else { return };
    let client = broker.client();
    for topic in
        ["telemetry", "telemetry.packets", "telemetry-json", "telemetry-json.refused", "telemetry-site-1"]
    {
        client.create_topic(topic, 2);
    }
    let workplace = Workplace::new();
    let pipelines = ["kafka", "kafka-json", "kafka-cooperative", "kafka-decode"];
    let files: Vec<_> = pipelines.iter().map(|name| format!("pipelines/{name}.toml")).collect();
    let files: Vec<_> = files.iter().map(String::as_str).collect();
    let brokers = broker.address();
    let daemon = Daemon::run_with(&workplace, "daemon", &files, &[("KAFKA_BROKERS", &brokers)]);

    let producer = client.producer();
    let samples: Vec<i16> = (0..SAMPLES).map(sample).collect();
    for piece in samples.chunks(100) {
        let raw: Vec<u8> = piece.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        producer.send("telemetry", 0, Some(b"bed-1"), Some(&raw));
        producer.send("telemetry-site-1", 1, Some(b"pump-1"), Some(&raw));
    }
    for (number, piece) in samples.chunks(100).enumerate() {
        let time = 1_790_000_000_000.0 + number as f64 * 100.0 / 0.36;
        let message = serde_json::json!({ "device": "ring-1", "time": time.round(), "values": piece });
        producer.send("telemetry-json", 0, None, Some(message.to_string().as_bytes()));
    }
    producer.send("telemetry-json", 1, Some(b"broken"), Some(b"{\"device\": \"ring-1\", \"val"));
    producer.flush();

    for topic in
        ["telemetry.packets", "telemetry-json.packets", "packets-of-telemetry-site-1", "telemetry.decoded"]
    {
        await_messages(&client, topic, 1);
    }
    await_messages(&client, "telemetry-json.refused", 1);
    await_messages(&client, "rivulet.models", 1);
    daemon.terminate();

    let refused = client.read("telemetry-json.refused");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0].header("rivulet-topic"), Some("telemetry-json"));
    assert_eq!(refused[0].header("rivulet-partition"), Some("1"));
    assert_eq!(refused[0].header("rivulet-offset"), Some("0"));
    let decoded = client.read("telemetry.decoded");
    let frames = usize::try_from(SAMPLES).unwrap_or(0) / 512;
    let count: usize = decoded
        .iter()
        .map(|record| serde_json::from_slice::<serde_json::Value>(record.value.as_deref().unwrap_or(b"")))
        .map(|message| message.unwrap()["samples"].as_array().unwrap().len())
        .sum();
    assert_eq!(count, frames * 512, "every whole frame, decoded");
}
