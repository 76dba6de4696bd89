//! Facts of a certificate: names, dates, constraints, fingerprint. Reads only.

use super::constraints::Constraints;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What Dryport wants to know of a certificate.
#[derive(Debug, Clone)]
pub(super) struct CertificateFacts {
    /// Host names and addresses, as text.
    pub(super) names: Vec<String>,
    /// End of validity, seconds since 1970.
    pub(super) not_after: i64,
    /// Start of validity, seconds since 1970.
    pub(super) not_before: i64,
    pub(super) is_ca: bool,
    /// What it may sign for, if it is a CA that does not sign for everything.
    pub(super) constraints: Option<Constraints>,
    /// The bits of the public key.
    pub(super) public_key: Vec<u8>,
}

impl CertificateFacts {
    /// Reads DER; `None` if it is no certificate.
    pub(super) fn of(der: &[u8]) -> Option<Self> {
        let (_, cert) = X509Certificate::from_der(der).ok()?;
        let alternative = cert.subject_alternative_name().ok().flatten();
        let names = alternative.map_or_else(Vec::new, |san| {
            san.value.general_names.iter().filter_map(name).collect()
        });
        let constraints = cert.name_constraints().ok().flatten();
        Some(Self {
            names,
            constraints: constraints.map(|found| Constraints::of(found.value)),
            not_after: cert.validity().not_after.timestamp(),
            not_before: cert.validity().not_before.timestamp(),
            is_ca: cert.is_ca(),
            public_key: cert.public_key().subject_public_key.data.to_vec(),
        })
    }

    /// Days from now to the end; negative after it.
    pub(super) fn days_left(&self) -> i64 {
        (self.not_after - now()).div_euclid(86_400)
    }
}

fn name(general: &GeneralName<'_>) -> Option<String> {
    match general {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let address = <[u8; 4]>::try_from(*bytes)
                .map(IpAddr::from)
                .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(|a| a.to_string())
        }
        _ => None,
    }
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

/// SHA-256 as `AA:BB:...`, the form of `openssl x509 -fingerprint -sha256`.
pub(super) fn fingerprint(der: &[u8]) -> String {
    let mut out = String::new();
    for byte in Sha256::digest(der) {
        let colon = if out.is_empty() { "" } else { ":" };
        let _ = write!(out, "{colon}{byte:02X}");
    }
    out
}
