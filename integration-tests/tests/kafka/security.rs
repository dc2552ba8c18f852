//! Brokers that want TLS, certificates and passwords.

use std::slice::from_mut;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use integration_tests::kafka::{
    Broker, Certificates, Daemon, Feed, Listener, PASSWORD, Random, USER, Workload, available, free_port,
    http_get, wait_until,
};

use crate::scene::{Guarantee, Scene};

fn secured_broker(test: &str) -> Option<&'static Broker> {
    static SECURED: OnceLock<Broker> = OnceLock::new();
    available(test).then(|| SECURED.get_or_init(Broker::start_secured))
}

/// A workload that waits to be read, and the pipeline for it over `listener`.
fn scene(broker: &Broker, name: &str, listener: Listener, tables: String) -> Scene {
    let workload =
        Workload { seed: Random::seed(name), messages: 2_000, keys: 8, partitions: 4, max_samples: 80 };
    let mut scene = Scene::new(broker, name, workload, Guarantee::ExactlyOnce);
    scene.pipeline.brokers = broker.listener_address(listener);
    scene.pipeline.tables = tables;
    scene.write();
    Feed::start(&scene.client, &scene.pipeline.input, workload).finish();
    scene
}

fn tls(certificates: &Certificates) -> String {
    format!("[SECTION.tls]\nca_file = \"{}\"\n", certificates.authority().display())
}

fn sasl(mechanism: &str) -> String {
    format!(
        "[SECTION.sasl]\nmechanism = \"{mechanism}\"\nuser = \"{USER}\"\npassword = \"${{KAFKA_PASSWORD}}\"\n"
    )
}

fn daemon(scene: &Scene, metrics: &str, password: &str) -> Daemon {
    let environment = [("KAFKA_PASSWORD", password), ("KEY_PASSWORD", "of-the-key")];
    Daemon::run_with(&scene.workplace, "daemon", &["pipeline.toml", "--metrics", metrics], &environment)
}

fn comes_through(scene: &Scene) {
    let metrics = format!("127.0.0.1:{}", free_port());
    let mut daemon = daemon(scene, &metrics, PASSWORD);
    scene.await_all_frames(&mut scene.tail(), from_mut(&mut daemon));
    assert!(!daemon.log().contains(PASSWORD), "{}", daemon.log());
    daemon.terminate();
    scene.output().assert_exactly(&scene.expected);
}

/// The daemon says why it cannot reach the broker, once, and goes on trying.
fn is_refused(scene: &Scene, password: &str, reasons: &[&str]) {
    let metrics = format!("127.0.0.1:{}", free_port());
    let mut daemon = daemon(scene, &metrics, password);
    let says_why = |line: &str| {
        let line = line.to_lowercase();
        reasons.iter().any(|reason| line.contains(reason))
    };
    daemon.await_line(&format!("{reasons:?}"), Duration::from_secs(60), says_why);
    // For as long as it is tried again, nothing changes.
    let watched = Instant::now();
    wait_until("the end of a while of refusals", Duration::from_secs(30), || {
        daemon.assert_running();
        let ready = http_get(&metrics, "/health/ready").map(|(status, _)| status);
        assert!(ready.is_none_or(|status| status != 200), "ready without its broker");
        watched.elapsed() > Duration::from_secs(6)
    });
    let log = daemon.log();
    let said = log.lines().filter(|line| says_why(line)).count();
    // The source and the sink may each say so.
    assert!(said <= 2, "said {said} times: {log}");
    assert!(!log.contains(password), "{log}");
    daemon.terminate();
    assert!(scene.client.read(&scene.pipeline.output).is_empty());
}

#[test]
fn tls_with_a_certificate_of_its_own() {
    let name = "security-tls";
    let Some(broker) = secured_broker(name) else { return };
    let certificates = broker.certificates();
    let tables = format!(
        "{}cert_file = \"{}\"\nkey_file = \"{}\"\nkey_password = \"${{KEY_PASSWORD}}\"\n",
        tls(certificates),
        certificates.client_certificate().display(),
        certificates.client_key().display()
    );
    comes_through(&scene(broker, name, Listener::Tls, tables));
}

#[test]
fn scram_over_tls() {
    let name = "security-scram";
    let Some(broker) = secured_broker(name) else { return };
    let tables = tls(broker.certificates()) + &sasl("SCRAM-SHA-256");
    comes_through(&scene(broker, name, Listener::SaslTls, tables));
}

#[test]
fn plain_over_tls() {
    let name = "security-plain";
    let Some(broker) = secured_broker(name) else { return };
    let tables = tls(broker.certificates()) + &sasl("PLAIN");
    comes_through(&scene(broker, name, Listener::SaslTls, tables));
}

#[test]
fn a_wrong_password_is_said_once() {
    for mechanism in ["SCRAM-SHA-256", "PLAIN"] {
        let name = format!("security-wrong-{}", mechanism.to_lowercase());
        let Some(broker) = secured_broker(&name) else { return };
        let tables = tls(broker.certificates()) + &sasl(mechanism);
        let scene = scene(broker, &name, Listener::SaslTls, tables);
        is_refused(&scene, "not-the-password", &["authentication"]);
    }
}

#[test]
fn a_broker_of_another_authority_is_not_trusted() {
    let name = "security-authority";
    let Some(broker) = secured_broker(name) else { return };
    let folder = tempfile::tempdir().unwrap();
    let tables = tls(&Certificates::make(folder.path())) + &sasl("PLAIN");
    let scene = scene(broker, name, Listener::SaslTls, tables);
    is_refused(&scene, PASSWORD, &["certificate"]);
}
