//! The forms that scripts outside this repository use, as arguments.

use super::{Cli, Command, init, mirror, serve, trust, user, version};
use clap::{CommandFactory as _, Parser as _};
use std::path::Path;

fn parse(line: &str) -> Result<Command, clap::Error> {
    Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command)
}

fn good(line: &str) -> Command {
    parse(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn the_tree_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn init_form() {
    let Command::Init(init::Init {
        place,
        admin,
        password_stdin,
        mode,
    }) = good("dryport init --data /d --admin ann --password-stdin")
    else {
        panic!("not init")
    };
    assert_eq!(place.data.as_deref(), Some(Path::new("/d")));
    assert_eq!((admin.as_str(), password_stdin, mode), ("ann", true, None));
}

#[test]
fn serve_form() {
    let line = "dryport serve --data /d --https 0.0.0.0:8443 --http [::1]:8080 --mode standalone";
    let Command::Serve(serve) = good(line) else {
        panic!("not serve")
    };
    let pairs: Vec<(String, String)> = serve::Serve::flags(&serve);
    let pairs: Vec<(&str, &str)> = pairs
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(
        pairs,
        [
            ("listen.https", "0.0.0.0:8443"),
            ("listen.http", "[::1]:8080"),
            ("mode", "standalone")
        ]
    );
    let Command::Serve(plain) = good("dryport serve") else {
        panic!("not serve")
    };
    assert!(plain.flags().is_empty());
    assert!(parse("dryport serve --https 8443").is_err());
    assert!(parse("dryport serve --mode big").is_err());
}

#[test]
fn user_add_form() {
    let line = "dryport user add --data /d ann --password-stdin --role writer --on team";
    let Command::User(user::UserCommand::Add(add)) = good(line) else {
        panic!("not user add")
    };
    assert_eq!((add.name.as_str(), add.password_stdin), ("ann", true));
    assert_eq!(
        (add.role, add.on.as_deref()),
        (Some(user::RoleFlag::Writer), Some("team"))
    );
    assert!(parse("dryport user add --data /d ann --password-stdin").is_ok());
    assert!(parse("dryport user add ann --on team").is_err());
    assert!(parse("dryport user add ann --role boss").is_err());
}

#[test]
fn mirror_form() {
    let line = "dryport mirror --data /d docker://h/n:t --to x/y --platform linux/amd64 --platform linux/arm64 \
                --plain-http --ca c.pem --insecure --realm auth.h --creds-file a.json";
    let Command::Mirror(mirror::Mirror {
        source,
        to,
        platform,
        plain_http,
        insecure,
        realm,
        ca,
        creds_file,
        ..
    }) = good(line)
    else {
        panic!("not mirror")
    };
    assert_eq!(
        (source.as_str(), to.as_deref()),
        ("docker://h/n:t", Some("x/y"))
    );
    assert_eq!(
        (platform.len(), realm.len(), plain_http, insecure),
        (2, 1, true, true)
    );
    assert!(ca.is_some() && creds_file.is_some());
    assert!(parse("dryport mirror").is_err());
}

#[test]
fn trust_and_version_forms() {
    let Command::Trust(trust::Trust { pem, .. }) = good("dryport trust --data /d --pem") else {
        panic!("not trust")
    };
    assert!(pem);
    assert!(parse("dryport trust --pem --json").is_err());
    let Command::Version(version::Version { format }) = good("dryport version --json") else {
        panic!("not version")
    };
    assert!(format.json);
}

#[test]
fn lists_and_the_rest() {
    for line in [
        "dryport user list --json",
        "dryport user passwd ann --password-stdin",
        "dryport user grant ann --role admin",
        "dryport user revoke ann --on team",
        "dryport user remove ann",
        "dryport repo list --json",
        "dryport repo show a/b --data /d",
        "dryport repo delete a/b",
        "dryport tag list a/b --json",
        "dryport tag history a/b:1",
        "dryport tag delete a/b:1",
        "dryport config validate --config f",
        "dryport config generate",
        "dryport config print",
        "dryport completions bash",
    ] {
        good(line);
    }
    for line in [
        "dryport",
        "dryport tag delete a/b",
        "dryport tag delete h:5000/a",
        "dryport repo",
        "dryport fly",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}
