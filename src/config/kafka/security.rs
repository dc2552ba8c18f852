//! `tls` and `sasl`: how brokers know Rivulet, and Rivulet them.

use std::path::PathBuf;

use crate::config::Secret;
use crate::config::section::{Refused, Section};

/// TLS to the brokers.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsConfig {
    /// Certificates (PEM) of those who may sign the brokers'; none: the system's.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate and its key (PEM), where brokers ask for them.
    pub identity: Option<TlsIdentity>,
    /// Whether a broker's certificate has to bear the name of its host.
    pub verify_hostname: bool,
}

/// The certificate by which brokers know a client.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsIdentity {
    /// The certificate, PEM.
    pub cert_file: PathBuf,
    /// Its private key, PEM.
    pub key_file: PathBuf,
    /// What opens the key.
    pub key_password: Option<Secret>,
}

/// Who Rivulet is to the brokers.
#[derive(Clone, Debug, PartialEq)]
pub struct SaslConfig {
    /// How the password is proved.
    pub mechanism: SaslMechanism,
    /// The name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// How a client proves its password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslMechanism {
    /// `PLAIN`: it is sent.
    Plain,
    /// `SCRAM-SHA-256`: it is proved and not sent.
    ScramSha256,
    /// `SCRAM-SHA-512`: it is proved and not sent.
    ScramSha512,
}

impl SaslMechanism {
    /// The name of the mechanism.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

pub(in crate::config) const TLS_KEYS: &[&str] =
    &["ca_file", "cert_file", "key_file", "key_password", "verify_hostname"];

pub(in crate::config) const SASL_KEYS: &[&str] = &["mechanism", "user", "password"];

pub(super) fn read_tls(section: &mut Section<'_>) -> Result<Option<TlsConfig>, Refused> {
    let Some(mut tls) = section.table("tls", TLS_KEYS)? else { return Ok(None) };
    let ca_file = tls.path("ca_file");
    let cert_file = tls.path("cert_file");
    let key_file = tls.path("key_file");
    let key_password = tls.secret("key_password");
    let verify_hostname = tls.flag("verify_hostname");
    let identity = match (cert_file?, key_file?, key_password?) {
        (Some(cert_file), Some(key_file), key_password) => {
            Some(TlsIdentity { cert_file, key_file, key_password })
        }
        (Some(_), None, _) => return Err(tls.refuse("key_file", "missing: the private key of cert_file")),
        (None, Some(_), _) => return Err(tls.refuse("cert_file", "missing: the certificate of key_file")),
        (None, None, Some(_)) => {
            return Err(tls.refuse("key_password", "means nothing without cert_file and key_file"));
        }
        (None, None, None) => None,
    };
    Ok(Some(TlsConfig { ca_file: ca_file?, identity, verify_hostname: verify_hostname?.unwrap_or(true) }))
}

pub(super) fn read_sasl(section: &mut Section<'_>) -> Result<Option<SaslConfig>, Refused> {
    let Some(mut sasl) = section.table("sasl", SASL_KEYS)? else { return Ok(None) };
    let mechanisms = [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512];
    let mechanism = sasl.choice("mechanism", &mechanisms.map(|mechanism| (mechanism.as_str(), mechanism)));
    let mechanism = sasl.required("mechanism", mechanism);
    let user = sasl.word("user");
    let user = sasl.required("user", user);
    let password = sasl.secret("password");
    let password = sasl.required("password", password);
    Ok(Some(SaslConfig { mechanism: mechanism?, user: user?, password: password? }))
}
