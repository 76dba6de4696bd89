//! Trust in other servers: the machine's authorities, and what the operator names. A certificate that the operator names is
//! taken for a server's own, too, if it is a CA's (what `openssl req -x509` makes): elsewhere that ends a chain, and nothing
//! can be sounder than to be named byte for byte. Its names, dates and purposes count as those of any other.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_platform_verifier::Verifier;
use std::sync::Arc;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

/// Settings of a client that trusts the machine's authorities and the certificates of this PEM text. `None`: they cannot be
/// used, which whoever needs them tells.
pub fn outward(pem: &[u8]) -> Option<ClientConfig> {
    let first = CertificateDer::pem_slice_iter(pem).next();
    first.and_then(|_| settings(pem))
}

/// The same, also where the text holds no certificate: then the machine's authorities alone are trusted.
pub(super) fn settings(pem: &[u8]) -> Option<ClientConfig> {
    let named: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let named = named.ok()?;
    let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
    let others = Verifier::new_with_extra_roots(named.iter().cloned(), Arc::clone(&provider));
    let trust = Trust {
        others: others.ok()?,
        named,
    };
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().ok()?;
    let config = config.dangerous();
    let config = config.with_custom_certificate_verifier(Arc::new(trust));
    Some(config.with_no_client_auth())
}

#[derive(Debug)]
struct Trust {
    /// Judges every certificate but those that are both named and a CA's.
    others: Verifier,
    named: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// A certificate that is named byte for byte and is a CA's, which no chain may end in.
    fn named_ca<'a>(&self, leaf: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
        if !self
            .named
            .iter()
            .any(|named| named.as_ref() == leaf.as_ref())
        {
            return None;
        }
        let (rest, read) = X509Certificate::from_der(leaf).ok()?;
        (rest.is_empty() && read.is_ca()).then_some(read)
    }
}

/// What is left to check of a certificate whose trust is not in question.
fn suits(
    leaf: &CertificateDer<'_>,
    read: &X509Certificate<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), Error> {
    let at = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let at = ASN1Time::from_timestamp(at).map_err(|_| CertificateError::BadEncoding)?;
    if at < read.validity().not_before {
        return Err(CertificateError::NotValidYet.into());
    }
    if at > read.validity().not_after {
        return Err(CertificateError::Expired.into());
    }
    let purposes = read.extended_key_usage();
    let purposes = purposes.map_err(|_| CertificateError::BadEncoding)?;
    if purposes.is_some_and(|only| !(only.value.server_auth || only.value.any)) {
        return Err(CertificateError::InvalidPurpose.into());
    }
    // This also refuses critical extensions that nobody here knows.
    verify_server_name(&ParsedCertificate::try_from(leaf)?, name)
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(read) = self.named_ca(leaf) else {
            let others = &self.others;
            return others.verify_server_cert(leaf, intermediates, name, ocsp_response, now);
        };
        suits(leaf, &read, name, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.others.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.others.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.others.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
