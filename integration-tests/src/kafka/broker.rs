//! One Kafka node (KRaft: broker and controller in one process).

use std::fmt::Write;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::client::Client;
use super::process::{Process, tail};
use super::security::{Certificates, PASSWORD, USER};
use super::{jars, wait_for};

const START_DEADLINE: Duration = Duration::from_secs(90);
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// Where and how clients are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// In the clear, for everyone.
    Plaintext,
    /// TLS; the client has to show a certificate.
    Tls,
    /// TLS, and a user with a password: SCRAM-SHA-256 or PLAIN.
    SaslTls,
}

/// A Kafka node with a folder and ports of its own; it is killed and removed with the value.
#[derive(Debug)]
pub struct Broker {
    // Before the folder, so that it has ended when the folder is removed.
    process: Mutex<Option<Process>>,
    folder: TempDir,
    ports: Ports,
    certificates: Option<Certificates>,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    plaintext: u16,
    controller: u16,
    tls: u16,
    sasl: u16,
}

impl Broker {
    /// A new, empty one that lets everyone in.
    pub fn start() -> Self {
        Self::new(false)
    }

    /// A new, empty one that has TLS and SASL listeners besides.
    pub fn start_secured() -> Self {
        Self::new(true)
    }

    fn new(secured: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("kafka-").tempdir().expect("a temporary folder");
        let certificates = secured.then(|| Certificates::make(&folder.path().join("tls")));
        let ports =
            Ports { plaintext: free_port(), controller: free_port(), tls: free_port(), sasl: free_port() };
        let broker = Self { process: Mutex::new(None), folder, ports, certificates };
        broker.format();
        broker.restart();
        broker
    }

    /// `host:port` for clients in the clear.
    pub fn address(&self) -> String {
        self.listener_address(Listener::Plaintext)
    }

    /// `host:port` of a listener.
    pub fn listener_address(&self, listener: Listener) -> String {
        let port = match listener {
            Listener::Plaintext => self.ports.plaintext,
            Listener::Tls => self.ports.tls,
            Listener::SaslTls => self.ports.sasl,
        };
        format!("127.0.0.1:{port}")
    }

    /// The certificates of a secured one.
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("a broker that was started with security")
    }

    /// A client in the clear.
    pub fn client(&self) -> Client {
        Client::new(&self.address())
    }

    /// SIGKILL, as a crash would.
    pub fn kill(&self) {
        if let Some(mut process) = self.process().take() {
            process.kill9();
        }
    }

    /// An orderly stop.
    pub fn stop(&self) {
        if let Some(mut process) = self.process().take() {
            process.signal_term();
            process.wait(STOP_DEADLINE);
        }
    }

    /// Starts it again, with its data and ports, and waits until it answers.
    pub fn restart(&self) {
        let log = File::options().create(true).append(true).open(self.log()).expect("a log file");
        let mut java = self.java("-Xmx512m", "kafka.Kafka");
        java.arg(self.properties()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        let mut process = Process::spawn("the broker", &mut java, Some(self.folder.path()));
        let client = self.client();
        let started = Instant::now();
        wait_for("answer of the broker", START_DEADLINE, || {
            assert!(process.ended().is_none(), "the broker ended\n{}", tail(&self.log(), 40));
            client
                .ready(Duration::from_secs(1))
                .map_err(|error| format!("{error} after {:?}\n{}", started.elapsed(), tail(&self.log(), 10)))
        });
        *self.process() = Some(process);
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn properties(&self) -> PathBuf {
        self.folder.path().join("server.properties")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// Java with the quick compiler only: the process lives for seconds.
    fn java(&self, memory: &str, class: &str) -> Command {
        let mut command = Command::new("java");
        command
            .args([memory, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
            .arg("-Dorg.slf4j.simpleLogger.showDateTime=true")
            .args(["-cp", &jars::class_path(), class])
            .current_dir(self.folder.path());
        command
    }

    fn format(&self) {
        std::fs::write(self.properties(), self.settings()).expect("a file");
        let mut tool = self.java("-Xmx128m", "kafka.tools.StorageTool");
        // Any 16 bytes in base64 name a cluster.
        tool.args(["format", "--cluster-id", "cml2dWxldC1rZmstdGVzdA", "--config"]).arg(self.properties());
        if self.certificates.is_some() {
            tool.args(["--add-scram", &format!("SCRAM-SHA-256=[name={USER},password={PASSWORD}]")]);
        }
        let output = tool.output().expect("java starts");
        assert!(output.status.success(), "the broker's folder cannot be formatted: {output:?}");
    }

    fn settings(&self) -> String {
        let Ports { plaintext, controller, tls, sasl } = self.ports;
        let mut listeners = format!("PLAINTEXT://127.0.0.1:{plaintext}");
        let mut security = String::new();
        if let Some(certificates) = &self.certificates {
            let _ = write!(listeners, ",SSL://127.0.0.1:{tls},SASL_SSL://127.0.0.1:{sasl}");
            security = secured_settings(&certificates.broker_store(), &certificates.authority());
        }
        format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners={listeners},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners={listeners}\n\
             controller.listener.names=CONTROLLER\n\
             inter.broker.listener.name=PLAINTEXT\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL\n\
             log.dirs={data}\n\
             num.partitions=4\n\
             num.network.threads=2\n\
             num.io.threads=4\n\
             offsets.topic.replication.factor=1\n\
             offsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=4\n\
             transaction.abort.timed.out.transaction.cleanup.interval.ms=500\n\
             group.initial.rebalance.delay.ms=0\n\
             group.min.session.timeout.ms=1000\n\
             broker.session.timeout.ms=2000\n\
             broker.heartbeat.interval.ms=500\n\
             controlled.shutdown.enable=false\n\
             log.cleaner.dedupe.buffer.size=2097152\n\
             {security}",
            data = self.folder.path().join("data").display(),
        )
    }
}

fn secured_settings(store: &Path, authority: &Path) -> String {
    format!(
        "ssl.keystore.type=PEM\n\
         ssl.keystore.location={store}\n\
         ssl.truststore.type=PEM\n\
         ssl.truststore.location={authority}\n\
         listener.name.ssl.ssl.client.auth=required\n\
         listener.name.sasl_ssl.sasl.enabled.mechanisms=SCRAM-SHA-256,PLAIN\n\
         listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=\
         org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
         listener.name.sasl_ssl.plain.sasl.jaas.config=\
         org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";\n",
        store = store.display(),
        authority = authority.display(),
    )
}

/// A port on 127.0.0.1 that nobody listens at.
///
/// It lies below the range from which the system takes the ports of outgoing connections: a client that tries to
/// reach a stopped broker could otherwise be given the broker's port, and connect to itself.
pub fn free_port() -> u16 {
    const RANGE: std::ops::Range<u16> = 15_000..32_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() as u16 % 600 * 28;
    for _ in 0..RANGE.len() {
        let step = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = RANGE.start + step % (RANGE.end - RANGE.start);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free in {RANGE:?}");
}
