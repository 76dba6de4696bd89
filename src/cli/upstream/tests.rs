//! The forms that are fixed, as arguments.

use super::*;
use crate::cli::{Cli, Command};
use crate::upstream::CredentialSource;
use clap::Parser as _;

fn parse(line: &str) -> Result<UpstreamCommand, String> {
    let cli = Cli::try_parse_from(line.split_whitespace()).map_err(|e| e.to_string())?;
    match cli.command {
        Command::Upstream(command) => Ok(command),
        other => Err(format!("{other:?}")),
    }
}

fn add(line: &str) -> Result<UpstreamAdd, String> {
    let text = format!("dryport upstream add {line}");
    match parse(&text)? {
        UpstreamCommand::Add(add) => add.operation().map_err(|failure| failure.message),
        other => Err(format!("{other:?}")),
    }
}

fn set(line: &str) -> Result<UpstreamSet, String> {
    let text = format!("dryport upstream set {line}");
    match parse(&text)? {
        UpstreamCommand::Set(set) => set.operation().map_err(|failure| failure.message),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn fixed_forms() {
    let added = add("hub --url docker.io --prefix docker.io --offline").expect("taken");
    assert_eq!(added.urls[0].to_string(), "https://docker.io");
    assert_eq!(added.settings.offline, Some(true));
    assert_eq!(added.settings.default, None);
    let plain = add("a --url site:5000 --url http://b:1 --prefix a --plain-http").expect("taken");
    let urls: Vec<_> = plain.urls.iter().map(ToString::to_string).collect();
    assert_eq!(urls, ["http://site:5000", "http://b:1"]);
    for (value, is) in [("true", true), ("false", false)] {
        let set = set(&format!("hub --offline {value}")).expect("taken");
        assert_eq!(set.settings.offline, Some(is));
    }
    assert!(set("hub --offline").is_err());
    assert!(
        set("hub")
            .expect_err("refused")
            .contains("nothing is to be changed")
    );
}

#[test]
fn schemes_that_contradict() {
    let told = add("a --url https://a:1/x --prefix a --plain-http").expect_err("refused");
    assert!(told.contains("http://a:1/x"), "{told}");
    let plain = add("a --url http://a:1 --prefix a").expect("taken");
    assert!(plain.urls[0].is_plain());
    assert!(
        add("a --url ftp://a --prefix a")
            .expect_err("refused")
            .contains("no address")
    );
}

#[test]
fn one_source_of_credentials() {
    let of = |line: &str| {
        let added = add(&format!("a --url a --prefix a {line}"))?;
        Ok::<_, String>(added.settings.credentials)
    };
    assert_eq!(of(""), Ok(None));
    assert_eq!(of("--anonymous"), Ok(Some(CredentialSource::Anonymous)));
    let file = of("--creds-from login").expect("taken");
    assert!(matches!(file, Some(CredentialSource::File(path)) if path.starts_with('/')));
    assert!(of("--user-env A").is_err());
    assert!(of("--user-env A --password-env B --creds-from c").is_err());
    assert!(of("--user-env A --password-env B").is_ok());
}
