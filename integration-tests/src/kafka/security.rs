//! Certificates and users of a broker that wants them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The user that a broker with security knows.
pub const USER: &str = "sensor";
/// Its password.
pub const PASSWORD: &str = "correct-horse-battery";

/// A certificate authority, and what it signed: a certificate for the broker on 127.0.0.1 and one for a client.
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes them in `folder` with openssl.
    pub fn make(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let made = Self { folder: folder.to_owned() };
        made.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=test authority",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ]);
        made.sign("server", &["-nodes"], "subjectAltName=IP:127.0.0.1,DNS:localhost");
        made.sign("client", &["-passout", "pass:of-the-key"], "extendedKeyUsage=clientAuth");
        // A broker takes its key and certificate as one PEM file.
        let read = |name: &str| std::fs::read_to_string(made.path(name)).expect("a PEM file");
        std::fs::write(made.path("broker.pem"), read("server.key") + &read("server.pem"))
            .expect("a PEM file");
        made
    }

    /// The authority's certificate.
    pub fn authority(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// The client's certificate.
    pub fn client_certificate(&self) -> PathBuf {
        self.path("client.pem")
    }

    /// The client's key.
    pub fn client_key(&self) -> PathBuf {
        self.path("client.key")
    }

    /// The password of the client's key.
    pub fn client_key_password(&self) -> &'static str {
        "of-the-key"
    }

    pub(super) fn broker_store(&self) -> PathBuf {
        self.path("broker.pem")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A key `name.key` and the certificate `name.pem` for it.
    fn sign(&self, name: &str, protection: &[&str], extension: &str) {
        let (key, request, certificate) =
            (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        std::fs::write(self.path("extension"), extension).expect("a file");
        let subject = format!("/CN={name}");
        let mut arguments = vec!["req", "-newkey", "rsa:2048", "-subj", &subject];
        arguments.extend_from_slice(protection);
        arguments.extend(["-keyout", &key, "-out", &request]);
        self.openssl(&arguments);
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "extension",
            "-out",
            &certificate,
        ]);
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(&self.folder).output();
        let output = output.expect("openssl starts");
        assert!(
            output.status.success(),
            "openssl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
