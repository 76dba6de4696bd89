use super::constraints::Constraints;
use super::inspect::CertificateFacts;
use super::*;
use rustls::pki_types::ServerName;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tokio::net::{TcpListener, TcpStream};

fn options(dir: &Path) -> TlsOptions {
    TlsOptions {
        dir: dir.join("tls"),
        names: vec!["Reg.Example".to_owned(), "10.9.8.7".to_owned()],
        own: None,
        constrained: true,
        given: None,
        http2: Http2::Allow,
    }
}

/// Connects with the CA as the only root; true if h2 was chosen, and the leaf that the server showed.
async fn connect(tls: &Tls, ca: &str, alpn: &[&[u8]], name: &str) -> io::Result<(bool, Vec<u8>)> {
    let mut roots = rustls::RootCertStore::empty();
    for der in files::chain(Path::new("ca"), ca).unwrap() {
        roots.add(der).unwrap();
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = async { tls.accept(listener.accept().await?.0).await };
    let client = async {
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
    };
    let (server, client) = tokio::join!(server, client);
    let leaf = client?.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    Ok((server?.1, leaf))
}

#[tokio::test]
async fn clients_that_trust_the_ca_connect() {
    let dir = tempfile::tempdir().unwrap();
    let tls = Tls::open(options(dir.path())).unwrap();
    let ca = tls.ca_pem().unwrap();
    for name in ["reg.example", "10.9.8.7", "localhost", "127.0.0.1", "::1"] {
        assert!(
            !connect(&tls, &ca, &[b"h2", b"http/1.1"], name)
                .await
                .unwrap()
                .0,
            "{name}"
        );
    }
    assert!(connect(&tls, &ca, &[b"h2"], "localhost").await.unwrap().0);
    assert!(connect(&tls, &ca, &[], "other.example").await.is_err());

    let with = |http2| Tls {
        inner: Tls::open(TlsOptions {
            http2,
            ..options(dir.path())
        })
        .unwrap()
        .inner,
    };
    assert!(
        connect(
            &with(Http2::Prefer),
            &ca,
            &[b"http/1.1", b"h2"],
            "localhost"
        )
        .await
        .unwrap()
        .0
    );
    assert!(
        connect(&with(Http2::Off), &ca, &[b"h2"], "localhost")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_new_name_renews_the_leaf_and_keeps_the_ca() {
    let dir = tempfile::tempdir().unwrap();
    let tls = Tls::open(options(dir.path())).unwrap();
    let (ca, fingerprint) = (tls.ca_pem().unwrap(), tls.fingerprint());
    assert!(!tls.refresh().unwrap());
    let before = connect(&tls, &ca, &[], "localhost").await.unwrap().1;
    let mut more = options(dir.path());
    more.names.push("new.reg.example".to_owned());
    assert!(tls.reconfigure(more).unwrap());
    assert!(!tls.refresh().unwrap());
    let after = connect(&tls, &ca, &[], "new.reg.example").await.unwrap().1;
    assert_ne!(before, after);
    assert_eq!(tls.fingerprint(), fingerprint);
    assert!(tls.names().contains(&"new.reg.example".to_owned()));

    // Opened again without it: the name may stay, and nothing is made anew.
    let again = Tls::open(options(dir.path())).unwrap();
    assert_eq!(
        connect(&again, &ca, &[], "localhost").await.unwrap().1,
        after
    );

    // The same serial twice under one issuer is refused by browsers.
    let serial = |der: &[u8]| {
        let (_, cert) = x509_parser::parse_x509_certificate(der).unwrap();
        cert.tbs_certificate.serial.clone()
    };
    assert_ne!(serial(&before), serial(&after));
}

#[test]
fn broken_files_are_named_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let tls = Tls::open(options(dir.path())).unwrap();
    let at = |name: &str| dir.path().join("tls").join(name);
    for (name, mode) in [
        ("ca.key", 0o600),
        ("leaf.key", 0o600),
        ("ca.pem", 0o644),
        ("", 0o700),
    ] {
        let found = fs::metadata(at(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{name}");
    }
    for name in ["ca.pem", "ca.key", "leaf.pem", "leaf.key"] {
        let good = fs::read(at(name)).unwrap();
        fs::write(at(name), "not PEM").unwrap();
        let error = tls.refresh().unwrap_err();
        assert_eq!(error.kind(), TlsErrorKind::Unusable);
        assert!(error.to_string().contains("tls/"), "{error}");
        assert_eq!(fs::read(at(name)).unwrap(), b"not PEM");
        fs::write(at(name), good).unwrap();
    }
    assert!(!tls.refresh().unwrap());

    // The CA's key kept elsewhere: serving goes on, a due renewal only warns.
    let ca_key = fs::read(at("ca.key")).unwrap();
    fs::remove_file(at("ca.key")).unwrap();
    assert!(!tls.refresh().unwrap() && tls.warnings().is_empty());
    let mut more = options(dir.path());
    more.names.push("x.reg.example".to_owned());
    assert!(!tls.reconfigure(more).unwrap());
    assert!(tls.warnings()[0].contains("ca.key"));
    fs::write(at("ca.key"), ca_key).unwrap();
    assert!(tls.refresh().unwrap() && tls.warnings().is_empty());
}

#[test]
fn own_certificates_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    Tls::open(options(dir.path())).unwrap();
    let at = |name: &str| dir.path().join("tls").join(name);
    let own = |cert: &str, key: &str| {
        Tls::open(TlsOptions {
            own: Some((at(cert), at(key))),
            given: None,
            ..options(dir.path())
        })
    };
    let tls = own("leaf.pem", "leaf.key").unwrap();
    assert!(tls.ca_pem().is_none() && tls.warnings().is_empty());
    assert!(tls.trust_text("a", 1).contains(&tls.fingerprint()));
    assert!(own("leaf.pem", "ca.key").is_err_and(|e| e.to_string().contains("together")));
    assert!(own("none.pem", "leaf.key").is_err_and(|e| e.kind() == TlsErrorKind::Io));
    // A CA as a server's certificate has no names: it works, with a warning.
    assert!(own("ca.pem", "ca.key").unwrap().warnings()[0].contains("names"));
}

/// A leaf for other names, signed with the key of the CA in `dir` as somebody who stole it would.
fn signed_for(dir: &Path, names: &[&str]) -> TlsOptions {
    let read = |name: &str| fs::read_to_string(dir.join("tls").join(name)).unwrap();
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let ca_key = rcgen::KeyPair::from_pem(&read("ca.key")).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read("ca.pem"), ca_key).unwrap();
    let key = new_es256_key().unwrap();
    let params = rcgen::CertificateParams::new(names).unwrap();
    let pair = rcgen::KeyPair::from_pem(&key).unwrap();
    let (cert_path, key_path) = (dir.join("other.pem"), dir.join("other.key"));
    fs::write(&cert_path, params.signed_by(&pair, &issuer).unwrap().pem()).unwrap();
    fs::write(&key_path, key).unwrap();
    TlsOptions {
        own: Some((cert_path, key_path)),
        ..options(dir)
    }
}

#[tokio::test]
async fn a_new_ca_is_taken_for_this_machine_only() {
    let dir = tempfile::tempdir().unwrap();
    let tls = Tls::open(options(dir.path())).unwrap();
    let ca = tls.ca_pem().unwrap();
    let permits = tls.ca_permits().unwrap();
    for said in ["localhost", "reg.example", "10.0.0.0/8", "fe80::/10"] {
        assert!(permits.contains(&said.to_owned()), "{permits:?}");
        assert!(tls.trust_text("reg.example", 1).contains(said));
    }
    let taken = async |name: &str, with: &[&str]| {
        let other = Tls::open(signed_for(dir.path(), with)).unwrap();
        connect(&other, &ca, &[], name).await.is_ok()
    };
    assert!(taken("a.reg.example", &["a.reg.example", "192.168.1.1"]).await);
    assert!(taken("192.168.1.1", &["192.168.1.1"]).await);
    for outside in ["bank.example", "8.8.8.8", "2001:db8::1"] {
        assert!(!taken(outside, &[outside]).await, "{outside}");
        // One such name, and the certificate is good for none.
        assert!(
            !taken("localhost", &["localhost", outside]).await,
            "{outside}"
        );
    }
}

#[tokio::test]
async fn a_name_outside_is_refused_or_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join("tls").join(name);
    // A CA of a machine without names or addresses of its own.
    files::make_dir(&at("")).unwrap();
    let key = issue::new_key().unwrap();
    let few = Constraints::for_machine("localhost", &BTreeSet::new(), &["reg.example".to_owned()]);
    fs::write(at("ca.pem"), issue::ca(&key, "x", Some(&few)).unwrap()).unwrap();
    fs::write(at("ca.key"), &key).unwrap();
    let tls = Tls::open(options(dir.path())).unwrap();
    let ca = tls.ca_pem().unwrap();
    for name in ["localhost", "reg.example", "10.9.8.7", "::1"] {
        connect(&tls, &ca, &[], name).await.unwrap();
    }
    let outside: Vec<String> = machine::names()
        .into_iter()
        .filter(|n| !few.permits(n))
        .collect();
    assert_eq!(tls.warnings().len(), usize::from(!outside.is_empty()));
    for name in outside {
        assert!(tls.warnings()[0].contains(&name) && tls.warnings()[0].contains("new CA"));
        assert!(!tls.names().contains(&name));
    }

    let before = tls.names();
    for name in ["other.example", "8.8.8.8", "*.example"] {
        let mut more = options(dir.path());
        more.names.push(name.to_owned());
        let error = tls.reconfigure(more.clone()).unwrap_err();
        assert_eq!(error.kind(), TlsErrorKind::Outside);
        let text = error.to_string();
        assert!(
            text.contains(name) && text.contains("move ca.pem and ca.key away"),
            "{text}"
        );
        assert!(Tls::open(more).is_err());
    }
    assert_eq!(tls.names(), before);
    connect(&tls, &ca, &[], "localhost").await.unwrap();

    // The way that the error names.
    fs::rename(at("ca.pem"), at("old.pem")).unwrap();
    fs::rename(at("ca.key"), at("old.key")).unwrap();
    let mut more = options(dir.path());
    more.names.push("other.example".to_owned());
    let tls = Tls::open(more).unwrap();
    let new = tls.ca_pem().unwrap();
    assert_ne!(new, ca);
    connect(&tls, &new, &[], "other.example").await.unwrap();
}

#[tokio::test]
async fn a_ca_that_is_there_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let unlimited = TlsOptions {
        constrained: false,
        ..options(dir.path())
    };
    let tls = Tls::open(unlimited.clone()).unwrap();
    let ca = tls.ca_pem().unwrap();
    assert!(tls.ca_permits().is_none());
    assert!(tls.trust_text("a", 1).contains("any name"));
    let mut more = options(dir.path());
    more.names.push("other.example".to_owned());
    let again = Tls::open(more).unwrap();
    assert_eq!(again.ca_pem().unwrap(), ca);
    assert!(again.warnings().is_empty(), "{:?}", again.warnings());
    connect(&again, &ca, &[], "other.example").await.unwrap();
}

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A certificate for the key that ends so many seconds from now, signed by the CA in `dir`, with the names of the leaf.
fn ending_in(dir: &Path, seconds: i64, begins_in: i64, key: &str) -> String {
    let read = |name: &str| fs::read_to_string(dir.join("tls").join(name)).unwrap();
    let leaf = files::chain(Path::new("leaf"), &read("leaf.pem")).unwrap();
    let names = CertificateFacts::of(&leaf[0]).unwrap().names;
    let at = |seconds: i64| {
        let at = u64::try_from(inspect::now() + seconds).unwrap();
        (std::time::UNIX_EPOCH + std::time::Duration::from_secs(at)).into()
    };
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    (params.not_before, params.not_after) = (at(begins_in), at(seconds));
    let ca_key = rcgen::KeyPair::from_pem(&read("ca.key")).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read("ca.pem"), ca_key).unwrap();
    let key = rcgen::KeyPair::from_pem(key).unwrap();
    let pem = params.signed_by(&key, &issuer).unwrap().pem();
    format!("{pem}{}", read("ca.pem"))
}

#[tokio::test]
async fn a_leaf_is_renewed_thirty_days_before_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let tls = Tls::open(options(dir.path())).unwrap();
    let (ca, at) = (tls.ca_pem().unwrap(), dir.path().join("tls"));
    let key = fs::read_to_string(at.join("leaf.key")).unwrap();
    let put = |seconds| {
        fs::write(
            at.join("leaf.pem"),
            ending_in(dir.path(), seconds, -60 * DAY, &key),
        )
        .unwrap();
    };
    let days_left = || {
        let pem = fs::read_to_string(at.join("leaf.pem")).unwrap();
        let leaf = &files::chain(Path::new("leaf"), &pem).unwrap()[0];
        CertificateFacts::of(leaf).unwrap().days_left()
    };
    // Long enough: it is taken as it is, and stays.
    put(30 * DAY + HOUR);
    assert!(tls.refresh().unwrap() && !tls.refresh().unwrap());
    assert_eq!(days_left(), 30);
    // An hour less than thirty days, an hour left, over: a new one comes, of the same CA, for new connections.
    for seconds in [30 * DAY - HOUR, HOUR, -HOUR] {
        put(seconds);
        let old = fs::read_to_string(at.join("leaf.pem")).unwrap();
        assert!(tls.refresh().unwrap(), "{seconds} s left");
        assert!(days_left() >= 395, "{seconds} s left");
        let shown = connect(&tls, &ca, &[], "reg.example").await.unwrap().1;
        let old = &files::chain(Path::new("leaf"), &old).unwrap()[0];
        assert_ne!(shown, old.to_vec());
        assert_eq!(tls.ca_pem().unwrap(), ca);
        assert!(!tls.refresh().unwrap() && tls.warnings().is_empty());
    }
    // The same at the start.
    put(HOUR);
    let again = Tls::open(options(dir.path())).unwrap();
    assert!(days_left() >= 395);
    connect(&again, &ca, &[], "localhost").await.unwrap();

    // Without the CA's key: a warning as long as it serves, then an error, and the old one stays in force.
    let over = ending_in(dir.path(), -HOUR, -60 * DAY, &key);
    put(DAY);
    fs::remove_file(at.join("ca.key")).unwrap();
    assert!(tls.refresh().unwrap());
    assert!(
        tls.warnings()[0].contains("expires soon"),
        "{:?}",
        tls.warnings()
    );
    fs::write(at.join("leaf.pem"), over).unwrap();
    let error = tls.refresh().unwrap_err().to_string();
    assert!(error.contains("ca.key"), "{error}");
    connect(&tls, &ca, &[], "localhost").await.unwrap();
}

#[test]
fn ones_own_certificate_is_told_to_end_thirty_days_before() {
    let dir = tempfile::tempdir().unwrap();
    Tls::open(options(dir.path())).unwrap();
    let key = new_es256_key().unwrap();
    let (cert_path, key_path) = (dir.path().join("own.pem"), dir.path().join("own.key"));
    fs::write(&key_path, &key).unwrap();
    let put = |seconds, begins_in| {
        fs::write(&cert_path, ending_in(dir.path(), seconds, begins_in, &key)).unwrap();
    };
    put(30 * DAY + HOUR, -DAY);
    let tls = Tls::open(TlsOptions {
        own: Some((cert_path.clone(), key_path.clone())),
        given: None,
        ..options(dir.path())
    })
    .unwrap();
    assert!(tls.warnings().is_empty(), "{:?}", tls.warnings());
    for (seconds, begins_in, said) in [
        (30 * DAY - HOUR, -DAY, "expires in 29 days"),
        (DAY + HOUR, -DAY, "expires in 1 day;"),
        (HOUR, -DAY, "expires today"),
        (-HOUR, -DAY, "has expired"),
        (90 * DAY, HOUR, "not valid yet"),
    ] {
        put(seconds, begins_in);
        let file = fs::read(&cert_path).unwrap();
        assert!(tls.refresh().unwrap(), "{said}");
        let warnings = tls.warnings();
        assert!(
            warnings.len() == 1 && warnings[0].contains(said),
            "{warnings:?}"
        );
        assert!(warnings[0].contains("own.pem"), "{warnings:?}");
        // It is the operator's: never replaced.
        assert_eq!(fs::read(&cert_path).unwrap(), file);
    }
}

#[test]
fn openssl_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let tls = Tls::open(options(dir.path())).unwrap();
    let run = |args: &[&str]| {
        let out = std::process::Command::new("openssl")
            .args(args)
            .current_dir(dir.path().join("tls"))
            .output();
        out.ok().map(|o| {
            (
                o.status.success(),
                String::from_utf8_lossy(&o.stdout).into_owned(),
            )
        })
    };
    let Some((good, said)) = run(&[
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-verify_hostname",
        "reg.example",
        "-CAfile",
        "ca.pem",
        "leaf.pem",
    ]) else {
        // Past the test harness, which would swallow it: `tests/run` counts it.
        let _ = writeln!(
            std::io::stderr(),
            "SKIP unit: tls::openssl_agrees: openssl is not installed"
        );
        return;
    };
    assert!(good, "{said}");
    let (_, print) = run(&["x509", "-in", "ca.pem", "-noout", "-fingerprint", "-sha256"]).unwrap();
    assert!(print.contains(&tls.fingerprint()), "{print}");
    let (_, text) = run(&["x509", "-in", "ca.pem", "-noout", "-text"]).unwrap();
    assert!(text.contains("CA:TRUE, pathlen:0") && text.contains("Certificate Sign"));
    for said in [
        "Name Constraints: critical",
        "DNS:reg.example",
        "IP:10.0.0.0/255.0.0.0",
        "IP:FC00:0:0:0:0:0:0:0/FE00:0:0:0:0:0:0:0",
    ] {
        assert!(text.contains(said), "{said} is not in: {text}");
    }
}

#[test]
fn token_keys_are_pkcs8() {
    assert!(
        new_es256_key()
            .unwrap()
            .starts_with("-----BEGIN PRIVATE KEY-----")
    );
}
