//! The reqwest clients of one run, and reqwest's errors in our words.

use super::FetchOptions;
use super::error::FetchError;
use super::realm::{host_port, is_loopback};
use reqwest::{Certificate, ClientBuilder, Url, redirect};
use std::error::Error as _;

/// Two pools of connections: through the environment's proxies, and straight to this machine.
#[derive(Debug)]
pub(super) struct Wire {
    proxied: reqwest::Client,
    direct: reqwest::Client,
}

impl Wire {
    pub(super) fn new(options: &FetchOptions) -> Result<Self, FetchError> {
        let certificates = match &options.ca_pem {
            None => Vec::new(),
            Some(pem) => certificates(pem)?,
        };
        let make = |proxied: bool| {
            let start = || {
                let builder = builder(options);
                if proxied { builder } else { builder.no_proxy() }
            };
            start()
                .tls_certs_merge(certificates.iter().cloned())
                .build()
                // An empty system store fails the build: what was given by hand must do then.
                .or_else(|_| start().tls_certs_only(certificates.iter().cloned()).build())
                .map_err(|e| {
                    FetchError::Options(format!("no HTTP client can be made: {}", causes(&e)))
                })
        };
        Ok(Self {
            proxied: make(true)?,
            direct: make(false)?,
        })
    }

    /// The pool for an address: nothing of this machine goes through a proxy.
    pub(super) fn client(&self, url: &Url) -> &reqwest::Client {
        if is_loopback(url) {
            &self.direct
        } else {
            &self.proxied
        }
    }
}

fn builder(options: &FetchOptions) -> ClientBuilder {
    reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .user_agent(options.user_agent.clone())
        .connect_timeout(options.connect_timeout)
        .read_timeout(options.read_timeout)
        .tls_danger_accept_invalid_certs(options.insecure)
        // Go servers and nginx send one large body faster over HTTP/1.1 connections of its own.
        .http1_only()
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, FetchError> {
    let list = Certificate::from_pem_bundle(pem).map_err(|e| {
        FetchError::Options(format!("the CA file is no PEM certificate: {}", causes(&e)))
    })?;
    if list.is_empty() {
        return Err(FetchError::Options(
            "the CA file holds no certificate (a block that starts with -----BEGIN CERTIFICATE-----)".to_owned(),
        ));
    }
    Ok(list)
}

/// A URL as it may be shown: without user, query and fragment.
pub(super) fn shown(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), host_port(url), url.path())
}

/// The causes of an error from the inside, without the URL that reqwest puts in front.
pub(super) fn causes(error: &reqwest::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        // hyper-util's own layer only names the phase, which the next cause tells better.
        let says_more = !text.starts_with("client error (") || cause.source().is_none();
        if says_more && parts.last().is_none_or(|last| !last.contains(&text)) {
            parts.push(text);
        }
        next = cause.source();
    }
    if parts.is_empty() {
        return if error.is_timeout() {
            "no answer in time".to_owned()
        } else {
            "the request failed".to_owned()
        };
    }
    parts.join(": ")
}

/// Why no answer came.
pub(super) fn no_answer(url: &Url, error: &reqwest::Error) -> FetchError {
    let why = causes(error);
    let lower = why.to_ascii_lowercase();
    if lower.contains("certificate") || lower.contains("unknownissuer") {
        FetchError::Certificate {
            host: host_port(url),
            why,
        }
    } else {
        FetchError::Connect {
            url: shown(url),
            why,
        }
    }
}
