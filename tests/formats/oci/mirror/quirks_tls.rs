//! Upstreams whose certificate is one that somebody made for them, a CA's own above all, as `openssl req -x509` makes it: who
//! names it has it taken, for its names and dates.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

use crate::harness::content::push_image;
use crate::harness::{Server, init, run, text_of};

/// A server with a certificate of its own, and that certificate's file.
async fn serving(change: impl Fn(&mut CertificateParams)) -> (Server, String) {
    let home = tempfile::tempdir().unwrap();
    init(&home.path().join("data"), &[]);
    let mut params =
        CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let (cert_file, key_file) = (home.path().join("own.pem"), home.path().join("own.key"));
    let cert = params.self_signed(&key).unwrap();
    std::fs::write(&cert_file, cert.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let (cert_file, key_file) = (text(&cert_file), text(&key_file));
    let env = [
        ("DRYPORT_TLS__CERT", cert_file.as_str()),
        ("DRYPORT_TLS__KEY", key_file.as_str()),
    ];
    (Server::serve(home, &[], &env).await, cert_file)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_its_own_server_is_taken_if_it_is_named() {
    let target = Server::start().await;
    let dir = target.dir();
    let (upstream, cert) = serving(|_| {}).await;
    push_image(&upstream.admin(), "team/app", "v1", 1).await;
    let (_misnamed, of_misnamed) = serving(|_| {}).await;
    let mirror = |port: u16, more: &[&str]| {
        let source = format!("docker://127.0.0.1:{port}/team/app:v1");
        run(&[&["mirror", "--data", &dir, &source, "--to", "copy"], more].concat())
    };
    for (more, says) in [
        (vec![], "the certificate of a CA itself"),
        (
            vec!["--ca", of_misnamed.as_str()],
            "the certificate of a CA itself",
        ),
    ] {
        let output = mirror(upstream.https, &more);
        let told = text_of(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(says) && told.contains("--ca FILE"), "{told}");
    }
    let output = mirror(upstream.https, &["--ca", &cert]);
    assert!(output.status.success(), "{}", text_of(&output));
    target
        .anonymous()
        .get("/v2/copy/manifests/v1")
        .await
        .expect(200);
    assert!(mirror(upstream.https, &["--insecure"]).status.success());
    // Names and dates count all the same.
    let (other, cert) = serving(|params| {
        params.subject_alt_names = CertificateParams::new(vec!["r.example".to_owned()])
            .unwrap()
            .subject_alt_names;
    })
    .await;
    let told = text_of(&mirror(other.https, &["--ca", &cert]));
    assert!(told.contains("not valid for name"), "{told}");
    let (late, cert) = serving(|params| {
        params.not_before = date_time_ymd(2010, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    })
    .await;
    let told = text_of(&mirror(late.https, &["--ca", &cert]));
    assert!(told.contains("xpired"), "{told}");
    // A server of a CA that is named, as ever.
    let ordinary = Server::start().await;
    push_image(&ordinary.admin(), "team/app", "v1", 2).await;
    let ca = ordinary.data().join("tls/ca.pem");
    let output = mirror(ordinary.https, &["--ca", ca.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text_of(&output));
}
