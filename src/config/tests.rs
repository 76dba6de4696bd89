use super::*;
use crate::config::{generate, mode_file};

fn pair(a: &str, b: &str) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

fn with(file: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dryport.toml"), file).unwrap();
    let all = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| pair(a, b)).collect();
    load(LoadOptions {
        config_file: None,
        data: Some(dir.path().to_owned()),
        flags: all(flags),
        env: all(env),
    })
}

#[test]
fn layers_win_in_order_and_keep_their_origin() {
    let loaded = with(
        "[log]\nlevel = \"warn\"\nslow = \"2s\"\n[blobs]\nlease = \"1h\"",
        &[
            ("DRYPORT_LOG__SLOW", "3s"),
            ("DRYPORT_LOG__LEVEL", "debug"),
            ("DRYPORT_LOG", "trace"),
        ],
        &[
            ("log.slow", "4s"),
            ("listen.https", "127.0.0.1:1"),
            ("listen.https", "127.0.0.1:2"),
        ],
    )
    .unwrap();
    assert_eq!(loaded.config.log.slow_ms, 4000);
    assert_eq!(loaded.config.log.level, "debug");
    assert_eq!(loaded.config.blobs.lease_seconds, 3600);
    assert_eq!(loaded.config.listen.https.len(), 2);
    let text = loaded.print();
    for line in [
        "log.slow = \"4s\"  # from flag --set log.slow\n",
        "log.level = \"debug\"  # from environment DRYPORT_LOG__LEVEL\n",
        "listen.https = [\"127.0.0.1:1\", \"127.0.0.1:2\"]  # from flag --https\n",
        "mode = \"mirror\"  # from default\n",
        "/dryport.toml\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert_eq!(loaded.origins.len(), Config::SCHEMA.keys().count());
}

#[test]
fn modes_preset_and_can_be_overridden() {
    let preset = with(&mode_file(Mode::Standalone), &[], &[]).unwrap();
    assert!(!preset.config.access.anonymous_pull);
    assert!(
        preset
            .print()
            .contains("access.anonymous_pull = false  # from mode standalone")
    );
    let env = [("DRYPORT_ACCESS__ANONYMOUS_PULL", "true")];
    assert!(
        with("mode = \"standalone\"", &env, &[])
            .unwrap()
            .config
            .access
            .anonymous_pull
    );
    assert!(with("", &[], &[]).unwrap().config.access.anonymous_pull);
    let full = with("", &[], &[("mode", "full")]).unwrap_err();
    assert!(full.to_string().contains("PostgreSQL"));
}

#[test]
fn unknown_variables_only_warn() {
    let env = [
        ("DRYPORT_PORT", "tcp://10.0.0.1:443"),
        ("DRYPORT_DATA", "/x"),
        ("DRYPORT_CONFIG", ""),
    ];
    let loaded = with("", &env, &[]).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("DRYPORT_PORT"));
    assert!(loaded.print().contains("# from flag --data"));
}

#[test]
fn values_that_do_not_go_together_are_refused() {
    for (file, part) in [
        ("listen.https = []", "both empty"),
        ("listen.http = [\":8443\"]", "one port"),
        ("tls.cert = \"a.pem\"", "belong together"),
        ("limits.manifest = 1", "limits.manifest"),
        ("serve.progress = \"0s\"", "serve.progress"),
        (
            "mode = \"standalone\"\naccess.anonymous_push = true",
            "anonymous_push",
        ),
        ("[tls]\nnmes = []", "did you mean `tls.names`"),
    ] {
        let error = with(file, &[], &[]).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let error = with("", &[], &[("tls.nams", "x")]).unwrap_err().to_string();
    assert!(error.contains("did you mean `tls.names`"), "{error}");
}

#[test]
fn data_directory_and_paths() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("own.toml");
    std::fs::write(
        &file,
        "data = \"d\"\ntls.cert = \"c.pem\"\ntls.key = \"/k.pem\"",
    )
    .unwrap();
    let named = |env: Vec<(String, String)>| {
        load(LoadOptions {
            config_file: Some(file.clone()),
            env,
            ..LoadOptions::default()
        })
        .unwrap()
    };
    let loaded = named(Vec::new());
    assert_eq!(loaded.config.data, dir.path().join("d"));
    assert_eq!(loaded.config.tls.cert, Some(dir.path().join("c.pem")));
    assert_eq!(loaded.config.tls.key, Some("/k.pem".into()));
    assert_eq!(
        named(vec![pair("DRYPORT_DATA", "/e")]).config.data,
        Path::new("/e")
    );
    let empty = named(vec![pair("DRYPORT_DATA", "")]);
    assert_eq!(empty.config.data, dir.path().join("d"));
    let missing = LoadOptions {
        config_file: Some("/no/such.toml".into()),
        ..LoadOptions::default()
    };
    assert!(matches!(load(missing), Err(ConfigError::Read { .. })));
}

#[test]
fn the_generated_file_is_the_default() {
    let text = generate();
    assert!(with(&text, &[], &[]).is_ok());
    // Every commented value, taken live, gives the defaults again.
    let live: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest)
                if rest
                    .split_once(" = ")
                    .is_some_and(|(k, _)| !k.contains(' ')) =>
            {
                rest
            }
            _ => line,
        })
        .fold(String::new(), |all, line| all + line + "\n");
    let live = with(&live, &[], &[]).unwrap().config;
    let plain = with("", &[], &[]).unwrap().config;
    assert_eq!(
        Config {
            data: plain.data.clone(),
            ..live
        },
        plain
    );
}

#[test]
fn restart_is_named_for_fixed_keys_only() {
    let old = with("", &[], &[]).unwrap().config;
    let mut new = old.clone();
    new.policy.strict = true;
    assert!(Config::restart_needed(&old, &new).is_empty());
    new.listen.https.clear();
    new.cache.memory_bytes = 1;
    assert_eq!(
        Config::restart_needed(&old, &new),
        ["listen.https", "cache.memory"]
    );
}

#[test]
fn a_section_names_its_keys_after_itself() {
    for section in Config::SCHEMA.0 {
        for key in section.keys {
            let head = key.name.rsplit_once('.').map_or("", |(head, _)| head);
            assert_eq!(head, section.name, "{}", key.name);
            assert!(!key.doc.is_empty(), "{}", key.name);
        }
    }
}
