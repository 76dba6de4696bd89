use super::*;
use rustls::pki_types::ServerName;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tokio::net::{TcpListener, TcpStream};

fn options(dir: &Path) -> TlsOptions {
    TlsOptions {
        dir: dir.join("tls"),
        names: vec!["Reg.Example".to_owned(), "10.9.8.7".to_owned()],
        own: None,
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
    more.names.push("new.example".to_owned());
    assert!(tls.reconfigure(more).unwrap());
    assert!(!tls.refresh().unwrap());
    let after = connect(&tls, &ca, &[], "new.example").await.unwrap().1;
    assert_ne!(before, after);
    assert_eq!(tls.fingerprint(), fingerprint);
    assert!(tls.names().contains(&"new.example".to_owned()));

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
    more.names.push("x.example".to_owned());
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
        eprintln!("SKIP: openssl is not installed");
        return;
    };
    assert!(good, "{said}");
    let (_, print) = run(&["x509", "-in", "ca.pem", "-noout", "-fingerprint", "-sha256"]).unwrap();
    assert!(print.contains(&tls.fingerprint()), "{print}");
    let (_, text) = run(&["x509", "-in", "ca.pem", "-noout", "-text"]).unwrap();
    assert!(text.contains("CA:TRUE, pathlen:0") && text.contains("Certificate Sign"));
}

#[test]
fn token_keys_are_pkcs8() {
    assert!(
        new_es256_key()
            .unwrap()
            .starts_with("-----BEGIN PRIVATE KEY-----")
    );
}
