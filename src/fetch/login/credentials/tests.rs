//! Files as docker and podman write them.

use super::*;

fn find(text: &str, registry: &str) -> Result<Option<Credential>, FetchError> {
    in_file(
        Path::new("config.json"),
        text.as_bytes(),
        registry,
        "team/app",
    )
}

fn basic(user: &str, password: &str) -> Credential {
    Credential::Basic {
        user: user.to_owned(),
        password: password.to_owned(),
    }
}

#[test]
fn entries() {
    let text = r#"{"auths": {
        "https://index.docker.io/v1/": {"auth": "aHViOnNlY3JldA=="},
        "r.example:5000": {"auth": "dTpwOmM="},
        "https://t.example/v2/": {"auth": "", "identitytoken": "idtok"},
        "p.example": {"username": "x", "password": "y"},
        "empty.example": {}, "bad.example": {"auth": "***"}}}"#;
    assert_eq!(
        find(text, "docker.io").expect("ok"),
        Some(basic("hub", "secret"))
    );
    assert_eq!(
        find(text, "r.example:5000").expect("ok"),
        Some(basic("u", "p:c"))
    );
    assert_eq!(find(text, "r.example").expect("ok"), None);
    assert_eq!(
        find(text, "t.example").expect("ok"),
        Some(Credential::IdentityToken("idtok".to_owned()))
    );
    assert_eq!(find(text, "p.example").expect("ok"), Some(basic("x", "y")));
    assert_eq!(find(text, "empty.example").expect("ok"), None);
    assert!(find(text, "bad.example").is_err());
    let twice = r#"{"auths": {"docker.io": {"auth": "YTox"}, "https://index.docker.io/v1/": {"auth": "Yjoy"}}}"#;
    assert_eq!(find(twice, "docker.io").expect("ok"), Some(basic("b", "2")));
    let colon = r#"{"auths": {"a.example": {"username": "a:b", "password": "hunter2"}}}"#;
    let error = find(colon, "a.example").expect_err("refused").to_string();
    assert!(
        error.contains("colon") && !error.contains("hunter2"),
        "{error}"
    );
    assert!(find("{", "a").is_err());
    assert_eq!(find("{}", "a").expect("ok"), None);
}

#[test]
fn the_most_specific_entry_counts() {
    // The user of each is its number.
    let auth = |user: u8| format!(r#"{{"auth":"{}"}}"#, BASE64.encode(format!("{user}:p")));
    let text = format!(
        r#"{{"auths":{{"r.example":{},"r.example/team":{},"https://R.example/team/app/":{},"r.example/tea":{},
            "r.example/other":{},"r.example/none":{{}},"docker.io/library":{},"r.example/v2/x":{}}}}}"#,
        auth(1),
        auth(2),
        auth(3),
        auth(4),
        auth(5),
        auth(6),
        auth(7)
    );
    for (registry, name, user) in [
        ("r.example", "team/app", "3"),
        ("r.example", "team/app/deep/er", "3"),
        ("r.example", "team/apple", "2"),
        ("r.example", "team", "2"),
        ("r.example", "teams/app", "1"),
        ("r.example", "none/x", "1"),
        ("r.example", "v2/x", "7"),
        ("index.docker.io", "library/alpine", "6"),
    ] {
        let found = in_file(Path::new("c"), text.as_bytes(), registry, name);
        assert_eq!(
            found.expect(name),
            Some(basic(user, "p")),
            "{registry}/{name}"
        );
    }
    let found = in_file(Path::new("c"), text.as_bytes(), "docker.io", "team/app");
    assert_eq!(found.expect("ok"), None);
    // A helper for the whole registry comes after what is for a part of it.
    let helper = text.replacen('{', r#"{"credsStore":"no-such-helper-here","#, 1);
    let find = |name| in_file(Path::new("c"), helper.as_bytes(), "r.example", name);
    assert_eq!(find("team/x").expect("ok"), Some(basic("2", "p")));
    assert!(find("x").is_err());
}

#[test]
fn what_is_not_filled_in_is_not_there() {
    for text in [
        "",
        " \n",
        "\u{feff}",
        "\u{feff}{}",
        "{}",
        r#"{"auths":null,"credsStore":null,"credHelpers":null}"#,
        r#"{"auths":{"r.example":null}}"#,
        r#"{"auths":{"r.example":{"auth":null,"identitytoken":null}}}"#,
        r#"{"credHelpers":{"r.example":null}}"#,
        r#"{"credHelpers":{"r.example":""}}"#,
    ] {
        assert_eq!(find(text, "r.example").expect(text), None, "{text}");
    }
    // "u:pw", "u:pass", "us:pass"
    for (auth, user, password) in [
        ("dTpwdw", "u", "pw"),
        ("dTpwdw==", "u", "pw"),
        ("dTpwdw=", "u", "pw"),
        ("dTpwYXNz", "u", "pass"),
        (" dXM6cGFzcw\\n", "us", "pass"),
    ] {
        let text = format!(r#"{{"auths":{{"r.example":{{"auth":"{auth}"}}}}}}"#);
        let found = find(&text.replace("\\\\n", "\\n"), "r.example");
        assert_eq!(found.expect(auth), Some(basic(user, password)), "{auth}");
    }
}

#[test]
fn helpers() {
    assert!(find(r#"{"credHelpers": {"a.example": "../evil"}}"#, "a.example").is_err());
    let missing = find(r#"{"credsStore": "no-such-helper-here"}"#, "a.example");
    assert!(
        missing
            .expect_err("cannot run")
            .to_string()
            .contains("docker-credential-no-such-helper-here")
    );
}

#[test]
fn secrets_stay_hidden() {
    let shown = format!(
        "{:?}",
        (
            basic("user", "hunter2"),
            Credential::IdentityToken("hunter2".to_owned())
        )
    );
    assert!(!shown.contains("hunter2"), "{shown}");
}

/// One entry that cannot be read hinders who asks for its host, and nobody else; the text names the host and no secret.
#[test]
fn a_bad_entry_spoils_no_other() {
    for bad in [
        "7",
        "[7]",
        r#""hunter2""#,
        r#"{"auth":7}"#,
        r#"{"auth":"hunter2!"}"#,
        r#"{"auth":"aHVudGVyMg=="}"#,
        r#"{"username":"a:b","password":"hunter2"}"#,
    ] {
        let text = format!(
            r#"{{"auths":{{"bad.example":{bad},"https://u:hunter2@bad2.example/v2/":{bad},"r.example":{{"auth":"dTpw"}},"none.example":null}}}}"#
        );
        assert_eq!(find(&text, "r.example").expect(bad), Some(basic("u", "p")));
        let error = find(&text, "bad.example").expect_err(bad).to_string();
        assert!(
            error.contains("bad.example") && !error.contains("hunter2"),
            "{error}"
        );
        let files = CredentialFiles {
            files: vec![(PathBuf::from("c"), Ok(text.into_bytes()))],
            named: true,
        };
        let told = files.warnings();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].contains(" bad.example ") && told[1].contains(" bad2.example "),
            "{told:?}"
        );
        assert!(!told.concat().contains("hunter2"), "{told:?}");
    }
    let helpers = r#"{"credHelpers":{"bad.example":7},"auths":{"r.example":{"auth":"dTpw"}}}"#;
    assert_eq!(
        find(helpers, "r.example").expect("read"),
        Some(basic("u", "p"))
    );
    assert!(find(helpers, "bad.example").is_err());
}
