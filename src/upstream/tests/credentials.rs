//! Where secrets come from, and that none is repeated.

use super::*;

/// `USER:PASSWORD`; empty for none.
fn basic(found: Option<Credential>) -> String {
    let Some(found) = found else {
        return String::new();
    };
    match found {
        Credential::Basic { user, password } => format!("{user}:{password}"),
        Credential::IdentityToken(token) => format!("<token>:{token}"),
    }
}

fn shell(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

fn settings(credentials: CredentialSource) -> (UpstreamSettings, UpstreamUrl) {
    let url: UpstreamUrl = "https://quay.io".parse().unwrap();
    let mut settings = UpstreamSettings::new(
        "quay".parse().unwrap(),
        vec![url.clone()],
        "quay.io".parse().unwrap(),
    );
    settings.credentials = credentials;
    (settings, url)
}

#[test]
fn both_forms_are_read() {
    let read = |text: &str| basic(credential_of(text.as_bytes()));
    assert_eq!(read("ann:se:cret\r\nmore"), "ann:se:cret");
    assert_eq!(
        read(r#" {"ServerURL":"x","Username":"ann","Secret":"s"} "#),
        "ann:s"
    );
    assert_eq!(read(r#"{"Username":"<token>","Secret":"t"}"#), "<token>:t");
    for bad in ["", "ann", ":x", "{", r#"{"Username":"","Secret":"x"}"#] {
        assert_eq!(read(bad), "", "{bad}");
    }
}

#[test]
fn a_program_is_run_without_a_shell_and_never_repeated() {
    assert_eq!(
        basic(said(&shell("printf 'ann:secret\\n'"), PATIENCE).ok()),
        "ann:secret"
    );
    let text = |argv: &[String], patience| said(argv, patience).expect_err("refused").to_string();
    let failed = text(&shell("echo ann:s3cret; echo s3cret >&2; exit 3"), PATIENCE);
    assert!(
        failed.contains("exit status: 3") && !failed.contains("s3cret"),
        "{failed}"
    );
    let odd = text(&shell("echo s3cret"), PATIENCE);
    assert!(
        odd.contains("neither USER:PASSWORD") && !odd.contains("s3cret"),
        "{odd}"
    );
    let missing = text(&["/nonexistent/program".to_owned()], PATIENCE);
    assert!(missing.contains("cannot be run"), "{missing}");
    let begun = Instant::now();
    let slow = text(&shell("sleep 60 & sleep 60"), Duration::from_millis(200));
    assert!(slow.contains("was stopped"), "{slow}");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn what_a_program_said_is_kept_until_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let count = dir.path().join("count");
    let script = format!("echo x >> {0}; echo ann:$(wc -l < {0})", count.display());
    let (settings, url) = settings(CredentialSource::Command(shell(&script)));
    let login = Login::default();
    let said = || basic(login.of(&settings, &url).unwrap().credential);
    assert_eq!(said(), "ann:1");
    assert_eq!(said(), "ann:1");
    // It is not doubted at once.
    login.forget();
    assert_eq!(said(), "ann:1");
    login.forget_older(Duration::ZERO);
    assert_eq!(said(), "ann:2");
}

#[test]
fn files_are_read_anew_and_their_mode_is_judged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("login");
    let (settings, url) = settings(CredentialSource::File(path.display().to_string()));
    let login = Login::default();
    let of = || login.of(&settings, &url);
    assert!(of().unwrap_err().to_string().contains("cannot be read"));
    std::fs::write(&path, "ann:s3cret\n").unwrap();
    for (mode, warns) in [(0o600, false), (0o640, false), (0o644, true)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let found = of().unwrap();
        assert_eq!(found.warning.is_some(), warns, "{mode:o}");
        assert_eq!(basic(found.credential), "ann:s3cret");
    }
    std::fs::write(&path, "s3cret\n").unwrap();
    let odd = of().unwrap_err().to_string();
    assert!(
        odd.contains("not USER:PASSWORD") && !odd.contains("s3cret"),
        "{odd}"
    );
}

#[test]
fn dockers_file_and_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    // ann:secret
    let text = r#"{"auths":{"quay.io":{"auth":"YW5uOnNlY3JldA=="}}}"#;
    std::fs::write(&path, text).unwrap();
    let login = Login::default();
    let (settings_of, url) = settings(CredentialSource::DockerConfig(path.display().to_string()));
    let found = login.of(&settings_of, &url).unwrap();
    assert_eq!(basic(found.credential), "ann:secret");
    // The log-in of any of its addresses will do.
    let other: UpstreamUrl = "https://ghcr.io".parse().unwrap();
    let found = login.of(&settings_of, &other).unwrap();
    assert_eq!(basic(found.credential), "ann:secret");
    let elsewhere = UpstreamSettings {
        urls: vec![other.clone()],
        ..settings_of
    };
    let none = login.of(&elsewhere, &other).unwrap();
    assert!(none.credential.is_none() && none.warning.is_some());
    let (unset, url) = settings(CredentialSource::Environment {
        user: "DRYPORT_TEST_IS_NOT_SET".into(),
        password: "DRYPORT_TEST_IS_NOT_SET".into(),
    });
    let text = login.of(&unset, &url).unwrap_err().to_string();
    assert!(text.contains("DRYPORT_TEST_IS_NOT_SET"), "{text}");
}
