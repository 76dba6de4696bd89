//! Makes the local CA, leaves and keys (rcgen). Writes no file.

use super::constraints::{Constraints, Net};
use crate::tls::TlsError;
use crate::tls::inspect::CertificateFacts;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: Duration = Duration::from_hours(24);
/// The most that clients accept for a leaf is 398 days.
const LEAF_DAYS: u32 = 397;
const CA_DAYS: u32 = 3653;

fn make(error: impl std::fmt::Display) -> TlsError {
    TlsError::Make(error.to_string())
}

/// A new P-256 key as PKCS#8 PEM.
pub(in crate::tls) fn new_key() -> Result<String, TlsError> {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
    Ok(pair.serialize_pem())
}

/// True if the private key belongs to the certificate.
pub(in crate::tls) fn belongs(key_pem: &str, facts: &CertificateFacts) -> bool {
    KeyPair::from_pem(key_pem).is_ok_and(|pair| pair.public_key_raw() == facts.public_key)
}

/// A self-signed CA certificate (PEM) for the key, valid ten years, for leaves only; without constraints for any name.
pub(in crate::tls) fn ca(
    key_pem: &str,
    host: &str,
    constraints: Option<&Constraints>,
) -> Result<String, TlsError> {
    let key = KeyPair::from_pem(key_pem).map_err(make)?;
    // Part of the key in the name keeps the CAs of several boxes apart in a trust store.
    let short = Sha256::digest(key.public_key_raw())
        .iter()
        .take(4)
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let mut params = params(&format!("Dryport CA {short} {host}"), CA_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.name_constraints = constraints.map(extension);
    Ok(params.self_signed(&key).map_err(make)?.pem())
}

/// A leaf (PEM, without its CA) for the key and names, signed by the CA; it ends no later than the CA.
pub(in crate::tls) fn leaf(
    ca: (&str, &str, &CertificateFacts),
    key_pem: &str,
    names: &[String],
    host: &str,
) -> Result<String, TlsError> {
    let (ca_pem, ca_key, ca_facts) = ca;
    let key = KeyPair::from_pem(key_pem).map_err(make)?;
    let ca_key = KeyPair::from_pem(ca_key).map_err(make)?;
    let issuer = Issuer::from_ca_cert_pem(ca_pem, ca_key).map_err(make)?;
    let mut params = params(host, LEAF_DAYS)?;
    params.subject_alt_names = CertificateParams::new(names)
        .map_err(make)?
        .subject_alt_names;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let end = UNIX_EPOCH + Duration::from_secs(ca_facts.not_after.unsigned_abs());
    params.not_after = params.not_after.min(end.into());
    Ok(params.signed_by(&key, &issuer).map_err(make)?.pem())
}

/// As the extension, which rcgen marks critical (RFC 5280 demands it): who does not understand it must refuse.
fn extension(constraints: &Constraints) -> NameConstraints {
    let names = constraints.names().iter().cloned();
    let nets = constraints.nets().iter().filter_map(cidr);
    NameConstraints {
        permitted_subtrees: names
            .map(GeneralSubtree::DnsName)
            .chain(nets.map(GeneralSubtree::IpAddress))
            .collect(),
        excluded_subtrees: Vec::new(),
    }
}

/// `None` for an address and a mask of two families, which no network of ours has.
fn cidr(net: &Net) -> Option<CidrSubnet> {
    match (net.address, net.mask) {
        (IpAddr::V4(ip), IpAddr::V4(mask)) => Some(CidrSubnet::V4(ip.octets(), mask.octets())),
        (IpAddr::V6(ip), IpAddr::V6(mask)) => Some(CidrSubnet::V6(ip.octets(), mask.octets())),
        _ => None,
    }
}

/// Name, dates and a random serial: without one a renewed leaf would carry the serial of the last, which Firefox refuses.
fn params(common_name: &str, days: u32) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // X.520 allows 64 characters for a common name.
    let common_name: String = common_name.chars().take(64).collect();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    let now = SystemTime::now();
    // A day early: clocks inside a closed network differ.
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * (days - 1)).into();
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(make)?;
    // Positive, and never begun by a zero byte.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}
