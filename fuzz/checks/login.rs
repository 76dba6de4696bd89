//! Scopes, tokens, and the log-ins in docker's `config.json`.

use super::text;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use dryport::auth::{Auth, AuthOptions, Principal, Scope};
use dryport::fetch::Credential;
use dryport::fetch::credentials::DockerConfig;
use dryport::store::{Store, StoreOptions};
use dryport::types::{RepoName, wall_ms};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Scopes: at most 256, each name once, known words only, and the same once they are written down again.
pub fn scope(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Ok(scopes) = Scope::parse(text) else {
        return;
    };
    assert!(scopes.len() <= 256);
    let mut again = Vec::new();
    for (at, scope) in scopes.iter().enumerate() {
        let twin = |s: &Scope| s.kind == scope.kind && s.name == scope.name;
        assert_eq!(scopes.iter().position(twin), Some(at), "{scopes:?}");
        match scope.kind.as_str() {
            "registry" => assert_eq!(scope.name, "catalog"),
            "repository" => assert!(is_name(&scope.name), "{scope:?}"),
            other => panic!("{other} is no type"),
        }
        assert!(scope.actions.len() <= 4);
        for (at, action) in scope.actions.iter().enumerate() {
            assert!(["pull", "push", "delete", "*"].contains(&action.as_str()));
            assert_eq!(scope.actions.iter().position(|a| a == action), Some(at));
        }
        again.push(format!(
            "{}:{}:{}",
            scope.kind,
            scope.name,
            scope.actions.join(",")
        ));
    }
    let read = Scope::parse(&again.join(" ")).ok();
    assert_eq!(read.as_ref(), Some(&scopes), "{text:?}");
    let json = serde_json::to_string(&scopes).expect("scopes are JSON");
    assert_eq!(serde_json::from_str::<Vec<Scope>>(&json).ok(), Some(scopes));
}

/// A repository name, or one after a host and port.
fn is_name(name: &str) -> bool {
    if name.parse::<RepoName>().is_ok() {
        return true;
    }
    let Some((host, rest)) = name.split_once('/') else {
        return false;
    };
    let (host, port) = host.split_once(':').unwrap_or((host, "1"));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
    name.len() <= 512
        && rest.parse::<RepoName>().is_ok()
        && !host.is_empty()
        && host.bytes().all(plain)
        && (1..=5).contains(&port.len())
        && port.bytes().all(|b| b.is_ascii_digit())
}

/// A key made for this alone.
const PEM: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgqp15yO/bPXXgFQVc
z21udQ5JmnoLpgLkpiOYZ0fw8RuhRANCAAQwDopSZYSECyuEllenlAIpiG3H2CW+
gjfLxO0X56aecC0RXXtYUF1Ezk3WUER/P5BGXG3AY+Fw16CBA+Zqbyjw
-----END PRIVATE KEY-----
";
const SERVICE: &str = "registry.example";

struct World {
    auth: Auth,
    runtime: Runtime,
    key: EncodingKey,
    /// The id of the key, as the server writes it.
    kid: String,
}

/// The accounts of an empty server; made once a process.
fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        // The folder goes at once: nothing is written later, and no process can leave it behind.
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(StoreOptions {
            dir: dir.path().to_owned(),
            cache_bytes: 1 << 20,
            slow: Duration::from_mins(1),
            holder: "checks".to_owned(),
            reserve_bytes: 0,
            floor_bytes: 0,
            log_bytes: 0,
            upgrade_without_copy: false,
        });
        let options = AuthOptions {
            anonymous_pull: true,
            anonymous_push: false,
            signing_keys: vec![PEM.to_owned()],
            token_seconds: 300,
        };
        let auth = Auth::open(store.expect("a store"), options).expect("accounts");
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().build().expect("a runtime");
        let issued = runtime.block_on(auth.issue(&Principal::Anonymous, SERVICE, &[]));
        let header = jsonwebtoken::decode_header(issued.expect("a token").token);
        World {
            auth,
            runtime,
            key: EncodingKey::from_ec_pem(PEM.as_bytes()).expect("a key"),
            kid: header.ok().and_then(|h| h.kid).expect("a key id"),
        }
    })
}

/// Text alone is never a token: nobody here has the key. Text of two lines is the header (empty: the server's own)
/// and the claims of one that the key signs: whatever they are, only what they say in full counts.
pub fn jwt(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let world = world();
    if let Some((header, claims)) = text.split_once('\n') {
        signed(world, header, claims);
        return;
    }
    let read = world.runtime.block_on(world.auth.bearer(text, SERVICE));
    assert!(read.is_err(), "{text} was taken");
    let read = world.runtime.block_on(world.auth.refresh(text, SERVICE));
    assert!(read.is_err(), "{text} was taken");
}

fn signed(world: &World, header: &str, claims: &str) {
    let own = format!(r#"{{"typ":"JWT","alg":"ES256","kid":"{}"}}"#, world.kid);
    let header = if header.is_empty() {
        own.as_str()
    } else {
        header
    };
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", part(header), part(claims));
    let signature = crypto::sign(message.as_bytes(), &world.key, Algorithm::ES256);
    let token = format!("{message}.{}", signature.expect("a signature"));
    // There are no users, so nothing that names one counts.
    let refreshed = world.runtime.block_on(world.auth.refresh(&token, SERVICE));
    assert!(refreshed.is_err(), "{claims}");
    let Ok(grant) = world.runtime.block_on(world.auth.bearer(&token, SERVICE)) else {
        return;
    };
    assert_eq!(grant.principal, Principal::Anonymous);
    let head: serde_json::Value = serde_json::from_str(header).expect("a header of JSON");
    assert_eq!(head["alg"], "ES256");
    assert_eq!(head["kid"], world.kid.as_str());
    let claims: serde_json::Value = serde_json::from_str(claims).expect("claims of JSON");
    assert_eq!(claims["iss"], "dryport");
    assert_eq!(claims["aud"], SERVICE);
    assert_eq!(claims["sub"], "");
    let now = wall_ms() / 1000;
    let time = |name: &str| claims[name].as_u64().expect("a time");
    assert!(time("exp").saturating_add(6) >= now && time("nbf") <= now + 6);
    let scope: Vec<Scope> = serde_json::from_value(claims["access"].clone()).expect("scopes");
    assert_eq!(grant.scope.as_deref(), Some(&scope));
    // For another service, and with one letter of its signature changed, it is nothing.
    let other = world
        .runtime
        .block_on(world.auth.bearer(&token, "other.example"));
    assert!(other.is_err());
    let mut forged = token.into_bytes();
    let at = forged.len() - 40;
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).expect("still text");
    let read = world.runtime.block_on(world.auth.bearer(&forged, SERVICE));
    assert!(read.is_err());
}

/// A line with a registry, then docker's `config.json`: the same answer each time, a helper that is a plain program
/// name, and no secret in an error.
pub fn credentials(data: &[u8]) {
    let Some((registry, json)) = text(data).and_then(|t| t.split_once('\n')) else {
        return;
    };
    let path = Path::new("config.json");
    let read = |config: &DockerConfig| {
        let helper = config.helper(registry).map_err(|e| e.to_string());
        let found = match config.of_part(path, registry, "team/app") {
            Ok(None) => config.credential(path, registry),
            found => found,
        };
        (helper, found.map_err(|e| e.to_string()))
    };
    let config = match DockerConfig::parse(path, json.as_bytes()) {
        Ok(config) => config,
        Err(error) => {
            let shown = error.to_string();
            let digits = |c: char| c.is_ascii_digit();
            let bare: String = shown.split(digits).collect();
            assert_eq!(bare, "config.json is not valid JSON (line , column )");
            return;
        }
    };
    let first = read(&config);
    for _ in 0..8 {
        let again = DockerConfig::parse(path, json.as_bytes()).expect("as before");
        assert_eq!(read(&again), first, "{registry:?} {json}");
    }
    if let Ok(Some(program)) = &first.0 {
        let name = program.strip_prefix("docker-credential-");
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        assert!(
            name.is_some_and(|n| !n.is_empty() && n.bytes().all(plain)),
            "{program:?}"
        );
    }
    if let Ok(Some(found)) = &first.1 {
        let shown = format!("{found:?}");
        assert!(shown.ends_with("(hidden)"), "{shown}");
        if let Credential::Basic { user, .. } = found {
            assert!(
                !user.contains(':'),
                "the other side would read another user"
            );
        }
    }
}
