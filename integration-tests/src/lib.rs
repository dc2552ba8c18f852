//! The built `rivulet` binary, and folders to use it in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod codec;
pub mod kafka;
pub mod serial;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// The project's root folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the project").to_owned()
}

/// The `rivulet` binary of the profile that the tests were built with, built if it is not there or old.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().expect("a running test has a path");
        // target/PROFILE/deps/TEST
        let profile_folder = test.ancestors().nth(2).expect("tests lie two folders deep");
        let mut build = Command::new(option_env!("CARGO").unwrap_or("cargo"));
        build.args(["build", "--quiet", "--package", "rivulet", "--bin", "rivulet"]).current_dir(root());
        if profile_folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success(), "the binary does not build");
        profile_folder.join("rivulet")
    })
}

/// What a command left behind.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    fn new(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Standard output as one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Holds that the command succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Holds that the command failed with `code`, said `text` on standard error, and did not panic.
    #[track_caller]
    pub fn fails(self, code: i32, text: &str) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains(text), "'{text}' is not in: {self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        self
    }
}

/// A folder of a test's own that looks like a fresh clone: with the examples and the shipped models.
pub struct Workplace {
    folder: TempDir,
}

impl Workplace {
    /// A new one; it is removed with the value.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["pipelines", "models"] {
            std::os::unix::fs::symlink(root().join(name), folder.path().join(name)).expect("a link");
        }
        Self { folder }
    }

    /// The path of `name` in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in it.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder");
        std::fs::write(&path, bytes).expect("a file");
        path
    }

    /// `rivulet` with these arguments in this folder, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(self.folder.path()).env_remove("RIVULET_LOG");
        command
    }

    /// Runs `rivulet` with these arguments to its end.
    pub fn rivulet(&self, arguments: &[&str]) -> Outcome {
        Outcome::new(self.command(arguments).output().expect("rivulet starts"))
    }

    /// Names of the files in it, the links to the examples and models left out.
    pub fn files(&self) -> Vec<String> {
        fn collect(folder: &Path, prefix: &str, names: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                let kind = entry.file_type().expect("a kind");
                if kind.is_dir() {
                    collect(&entry.path(), &format!("{name}/"), names);
                } else if !kind.is_symlink() {
                    names.push(name);
                }
            }
        }
        let mut names = Vec::new();
        collect(self.folder.path(), "", &mut names);
        names.sort();
        names
    }
}

impl Default for Workplace {
    fn default() -> Self {
        Self::new()
    }
}

/// A pipeline file that encodes `path` with the shipped ECG model into `out.rvl`, past a mirror.
pub fn pipeline(source: &str) -> String {
    format!(
        "name = \"test\"\n[source]\ntype = \"file\"\n{source}\n[encoder]\ntype = \"rvq\"\nmodel = \"models/ecg-16x\"\n\
         [[sinks]]\ntype = \"file\"\npath = \"out.rvl\"\n[[sinks]]\ntype = \"mirror\"\n"
    )
}

/// The columns of a CSV file with a header, as written by `rivulet decode`.
pub fn read_csv(path: &Path) -> (Vec<String>, Vec<Vec<f64>>) {
    let text = std::fs::read_to_string(path).expect("a CSV file");
    let mut lines = text.lines();
    let names: Vec<String> = lines.next().expect("a header").split(',').map(str::to_owned).collect();
    let mut columns = vec![Vec::new(); names.len()];
    for line in lines {
        for (column, cell) in columns.iter_mut().zip(line.split(',')) {
            column.push(cell.parse().unwrap_or(f64::NAN));
        }
    }
    (names, columns)
}

/// Samples of a two-channel WFDB 212 file (header(5) and signal(5) of the WFDB Programmer's Guide).
pub fn read_wfdb_212(path: &Path) -> [Vec<f64>; 2] {
    let bytes = std::fs::read(path).expect("a .dat file");
    let sign = |value: i32| f64::from(if value > 2047 { value - 4096 } else { value });
    let mut channels = [Vec::new(), Vec::new()];
    for triple in bytes.chunks_exact(3) {
        let [a, b, c] = [i32::from(triple[0]), i32::from(triple[1]), i32::from(triple[2])];
        channels[0].push(sign(a | ((b & 15) << 8)));
        channels[1].push(sign(c | ((b >> 4) << 8)));
    }
    channels
}

/// PRD over a whole stream, mean removed, in percent.
pub fn prd_percent(original: &[f64], decoded: &[f64]) -> f64 {
    let mean = original.iter().sum::<f64>() / original.len() as f64;
    let deviation: f64 = original.iter().map(|x| (x - mean).powi(2)).sum();
    let error: f64 = original.iter().zip(decoded).map(|(x, y)| (x - y).powi(2)).sum();
    100.0 * (error / deviation).sqrt()
}
