//! The local CA and its leaf in DIR/tls: made when missing, the leaf renewed when due; broken files are named, never replaced.

use super::constraints::Constraints;
use crate::tls::files::{self, PUBLIC, SECRET, broken};
use crate::tls::inspect::CertificateFacts;
use crate::tls::{TlsError, TlsOptions};
use crate::tls::{inspect, issue, machine};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A leaf with fewer days left is renewed.
const RENEW_DAYS: i64 = 30;

/// PEM texts in force.
pub(in crate::tls) struct Local {
    pub(in crate::tls) ca: String,
    /// The leaf and then the CA.
    pub(in crate::tls) chain: String,
    pub(in crate::tls) key: String,
    /// Things to tell people.
    pub(in crate::tls) warnings: Vec<String>,
}

struct Ca {
    pem: String,
    facts: CertificateFacts,
    path: PathBuf,
    key_path: PathBuf,
    key: Option<String>,
}

/// Makes what is missing, renews what is due and returns what is in force.
pub(in crate::tls) fn ensure(options: &TlsOptions) -> Result<Local, TlsError> {
    let dir = &options.dir;
    files::make_dir(dir)?;
    let host = machine::host_name();
    let found = machine::names();
    let typed: Vec<String> = options.names.iter().map(|name| canonical(name)).collect();
    let ca = open_ca(dir, &host, || {
        let constrained = options.constrained;
        constrained.then(|| Constraints::for_machine(&host, &found, &typed))
    })?;
    let (names, left_out) = ca.signable(found, typed)?;

    let mut warnings: Vec<String> = left_out.into_iter().collect();
    warnings.extend((ca.facts.not_before > inspect::now()).then(|| {
        "the CA is not valid yet by this machine's clock: clients whose clock is as wrong refuse the certificate; set the clock"
            .to_owned()
    }));
    let key_path = dir.join("leaf.key");
    let key = if let Some(key) = files::read(&key_path)? {
        key
    } else {
        // Refused before a key is written that nothing could sign.
        signer(&ca)?;
        let key = issue::new_key()?;
        files::write(&key_path, &key, SECRET)?;
        key
    };
    let leaf_path = dir.join("leaf.pem");
    let old = files::read(&leaf_path)?;
    let due = match &old {
        None => Some(Due::Now),
        Some(pem) => due(&leaf_path, pem, (&key_path, &key), &ca, &names)?,
    };
    let chain = match (due, old) {
        (None, Some(pem)) => pem,
        (Some(Due::Soon(why)), Some(pem)) if ca.key.is_none() => {
            // Some keep the CA's key off the machine: a leaf that still serves is no reason to stop.
            warnings.push(format!(
                "the certificate should be renewed ({why}), but {} is not there; put it back, or serve with a certificate of your own",
                ca.key_path.display()
            ));
            pem
        }
        _ => {
            let (chain, warning) = ca.new_chain(&leaf_path, &key, names, &host)?;
            warnings.extend(warning);
            chain
        }
    };
    Ok(Local {
        ca: ca.pem,
        chain,
        key,
        warnings,
    })
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// Why a leaf is replaced.
enum Due {
    /// It cannot serve.
    Now,
    /// It can still serve.
    Soon(&'static str),
}

fn signer(ca: &Ca) -> Result<&str, TlsError> {
    let key = ca.key.as_deref();
    key.ok_or_else(|| TlsError::NoCaKey(ca.key_path.clone()))
}

impl Ca {
    fn permits(&self, name: &str) -> bool {
        let constraints = self.facts.constraints.as_ref();
        constraints.is_none_or(|constraints| constraints.permits(name))
    }

    /// Signs a new leaf for the names and writes it; answers its chain, and what people should know of it.
    fn new_chain(
        &self,
        path: &Path,
        key: &str,
        names: BTreeSet<String>,
        host: &str,
    ) -> Result<(String, Option<String>), TlsError> {
        let names: Vec<String> = names.into_iter().collect();
        // Some clients read a common name as a host name.
        let common = if self.permits(host) {
            host
        } else {
            "localhost"
        };
        let ca = (self.pem.as_str(), signer(self)?, &self.facts);
        let leaf = issue::leaf(ca, key, &names, common)?;
        let chain = format!("{}\n{}", leaf.trim_end(), self.pem);
        match files::write(path, &chain, PUBLIC) {
            // It serves from memory: a server must start on a full disk, on which things are deleted.
            Err(TlsError::Write { path, source }) if is_full(&source) => {
                let warning = format!(
                    "the new server certificate is in use, but the disk has no room for {} ({source}); it is made again until there is",
                    path.display()
                );
                Ok((chain, Some(warning)))
            }
            written => written.map(|()| (chain, None)),
        }
    }

    /// The names that the leaf gets, and a word on those `found` that it cannot get: one name outside the constraints makes
    /// clients refuse the certificate for all others. What people `named` is an error instead.
    fn signable(
        &self,
        mut found: BTreeSet<String>,
        named: Vec<String>,
    ) -> Result<(BTreeSet<String>, Option<String>), TlsError> {
        if let Some(name) = named.iter().find(|name| !self.permits(name)) {
            return Err(TlsError::Outside {
                name: name.clone(),
                ca: self.path.clone(),
            });
        }
        let outside: Vec<String> = found.extract_if(.., |name| !self.permits(name)).collect();
        let left_out = (!outside.is_empty()).then(|| {
            format!(
                "clients that call this machine {} will refuse its certificate: the CA {} may not sign for that. {}",
                outside.join(" or "),
                self.path.display(),
                crate::tls::NEW_CA
            )
        });
        found.extend(named);
        Ok((found, left_out))
    }
}

fn open_ca(
    dir: &Path,
    host: &str,
    constraints: impl FnOnce() -> Option<Constraints>,
) -> Result<Ca, TlsError> {
    let (path, key_path) = (dir.join("ca.pem"), dir.join("ca.key"));
    let mut key = files::read(&key_path)?;
    let pem = if let Some(pem) = files::read(&path)? {
        pem
    } else {
        // The key comes first: a stop between the two files leaves a key that the next start uses.
        let new = if let Some(key) = key.take() {
            key
        } else {
            let new = issue::new_key()?;
            files::write(&key_path, &new, SECRET)?;
            new
        };
        let pem = issue::ca(&new, host, constraints().as_ref())
            .map_err(|e| broken(&key_path, format!("gives no CA: {e}")))?;
        files::write(&path, &pem, PUBLIC)?;
        key = Some(new);
        pem
    };
    let facts = facts(&path, &pem)?;
    if !facts.is_ca {
        return Err(broken(&path, "is not the certificate of a CA"));
    }
    if facts.days_left() < 0 {
        return Err(broken(
            &path,
            format!("has expired. {}", crate::tls::NEW_CA),
        ));
    }
    if key.as_ref().is_some_and(|key| !issue::belongs(key, &facts)) {
        return Err(broken(
            &key_path,
            "is not the key of ca.pem beside it; put back the pair that belongs together",
        ));
    }
    Ok(Ca {
        pem,
        facts,
        path,
        key_path,
        key,
    })
}

fn facts(path: &Path, pem: &str) -> Result<CertificateFacts, TlsError> {
    let chain = files::chain(path, pem)?;
    let first = chain.first().and_then(|der| CertificateFacts::of(der));
    first.ok_or_else(|| broken(path, "holds a certificate that cannot be read"))
}

fn due(
    path: &Path,
    pem: &str,
    key: (&Path, &str),
    ca: &Ca,
    names: &BTreeSet<String>,
) -> Result<Option<Due>, TlsError> {
    let leaf = facts(path, pem)?;
    if !issue::belongs(key.1, &leaf) {
        return Err(broken(
            key.0,
            "is not the key of leaf.pem beside it; move both away and start again to make new ones",
        ));
    }
    let signed_by = files::chain(path, pem)?.into_iter().nth(1);
    let now_ca = files::chain(path, &ca.pem)?.into_iter().next();
    // Made while the clock was wrong: clients with the right time refuse it for as long.
    let too_young = leaf.not_before > inspect::now() && ca.facts.not_before <= inspect::now();
    if leaf.days_left() < 0 || signed_by != now_ca || too_young {
        return Ok(Some(Due::Now));
    }
    // A leaf that ends with its CA cannot be made longer.
    if leaf.days_left() < RENEW_DAYS && leaf.not_after < ca.facts.not_after {
        return Ok(Some(Due::Soon("it expires soon")));
    }
    let there: BTreeSet<String> = leaf.names.into_iter().collect();
    let missing = !names.is_subset(&there);
    Ok(missing.then_some(Due::Soon("a name or address of this machine is not in it")))
}

/// Addresses in their shortest form and names in small letters, to compare with a certificate.
fn canonical(name: &str) -> String {
    name.parse::<std::net::IpAddr>()
        .map_or_else(|_| name.to_ascii_lowercase(), |a| a.to_string())
}
