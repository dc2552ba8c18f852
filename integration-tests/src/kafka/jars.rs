//! The jars of the broker, and whether there is a Java to run them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::root;

const POM: &str = include_str!("../../kafka/pom.xml");

/// What is missing to start a broker.
pub(super) fn missing() -> Option<&'static str> {
    static MISSING: OnceLock<Option<&'static str>> = OnceLock::new();
    *MISSING.get_or_init(|| {
        let runs = |program, flag| {
            let mut command = Command::new(program);
            let quiet = command.arg(flag).stdout(Stdio::null()).stderr(Stdio::null());
            quiet.status().is_ok_and(|status| status.success())
        };
        if !runs("java", "-version") {
            return Some("no java: install a JDK 17 (Debian: openjdk-17-jre-headless)");
        }
        if std::env::var_os("KAFKA_JARS").is_none() && !cache().exists() && !runs("mvn", "-v") {
            return Some(
                "no mvn: install Maven, or set KAFKA_JARS to a folder with the jars of Apache Kafka",
            );
        }
        None
    })
}

/// The class path of the broker; fetched by the first test that needs it.
pub(super) fn class_path() -> String {
    let folder = match std::env::var_os("KAFKA_JARS") {
        Some(folder) => PathBuf::from(folder),
        None => fetched(),
    };
    format!("{}/*", folder.display())
}

/// `target/kafka-VERSION`.
fn cache() -> PathBuf {
    let version = POM
        .split_once("<kafka.version>")
        .and_then(|(_, rest)| rest.split_once("</kafka.version>"))
        .expect("the pom names a version")
        .0;
    let test = std::env::current_exe().expect("a running test has a path");
    // target/PROFILE/deps/TEST
    let target = test.ancestors().nth(3).expect("tests lie three folders deep");
    target.join(format!("kafka-{version}"))
}

fn fetched() -> PathBuf {
    let folder = cache();
    if folder.exists() {
        return folder;
    }
    let beside = |suffix| PathBuf::from(format!("{}.{suffix}", folder.display()));
    let lock = File::create(beside("lock")).expect("a lock file");
    lock.lock().expect("a lock");
    if !folder.exists() {
        fetch(&folder, &beside("partial"));
    }
    folder
}

fn fetch(folder: &Path, partial: &Path) {
    let output = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(root().join("integration-tests/kafka/pom.xml"))
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", partial.display()))
        .output()
        .expect("mvn starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "mvn cannot fetch the jars of the broker:\n{said}");
    std::fs::rename(partial, folder).expect("the folder gets its name");
}
