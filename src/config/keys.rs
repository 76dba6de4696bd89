//! The one table of settings: name, kind, default, preset, meaning. Reading, printing and the generated file all follow it.

use super::value::Kind;

/// One setting.
#[derive(Clone, Copy)]
pub(super) struct Key {
    /// Dotted name.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Default, in the form of the environment (lists with commas); empty = not set or no members.
    pub(super) default: &'static str,
    /// What standalone mode presets instead.
    pub(super) standalone: Option<&'static str>,
    /// Name of its own command line flag, without dashes.
    pub(super) flag: Option<&'static str>,
    /// One to three lines for people.
    pub(super) doc: &'static str,
}

const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        default,
        standalone: None,
        flag: None,
        doc,
    }
}

const fn flagged(key: Key, flag: &'static str) -> Key {
    Key {
        flag: Some(flag),
        ..key
    }
}

/// Every setting, in the order of the generated file: top-level keys first, then one block a section.
pub(super) const KEYS: &[Key] = &[
    flagged(
        key(
            "mode",
            Kind::Choice(&["mirror", "standalone", "full"]),
            "mirror",
            "Presets for the other settings.\nmirror: anybody may pull, accounts may push. standalone: accounts for everything.",
        ),
        "mode",
    ),
    flagged(
        key(
            "data",
            Kind::Path,
            "",
            "Folder that holds everything. Not set: /var/lib/dryport as root, else $XDG_DATA_HOME/dryport.",
        ),
        "data",
    ),
    flagged(
        key(
            "url",
            Kind::Url,
            "",
            "Address by which clients reach this server, for links and the token service.\nNot set: the scheme of the listener and the host that the client asked for.",
        ),
        "url",
    ),
    key(
        "trusted_proxies",
        Kind::Networks,
        "",
        "Proxies in front of this server. What they say of who called them counts (proxy_header); from others it does not.",
    ),
    key(
        "proxy_header",
        Kind::Choice(&["x-forwarded-for", "forwarded", "none"]),
        "x-forwarded-for",
        "The one header in which trusted_proxies say who called them; all others are a client's own and ignored.\nx-forwarded-for (with X-Forwarded-Proto and X-Forwarded-Host), forwarded (RFC 7239), or none: they pass TCP on.",
    ),
    flagged(
        key(
            "listen.https",
            Kind::Listeners,
            "[::]:8443",
            "Where to serve HTTPS. [::] takes IPv4 too. An empty list turns it off.",
        ),
        "https",
    ),
    flagged(
        key(
            "listen.http",
            Kind::Listeners,
            "",
            "Where to serve plain HTTP. Passwords travel readable: only behind a proxy on the same machine.",
        ),
        "http",
    ),
    Key {
        standalone: Some("false"),
        ..key(
            "access.anonymous_pull",
            Kind::Switch,
            "true",
            "May people without an account pull?",
        )
    },
    key(
        "access.anonymous_push",
        Kind::Switch,
        "false",
        "May people without an account push?",
    ),
    key(
        "tls.names",
        Kind::Names,
        "",
        "Further host names or addresses for the certificate; those of this machine are always in it.",
    ),
    key(
        "tls.cert",
        Kind::Path,
        "",
        "Your own certificate chain (PEM) in place of the one that Dryport makes; needs tls.key.",
    ),
    key(
        "tls.key",
        Kind::Path,
        "",
        "The private key (PEM) of tls.cert.",
    ),
    key(
        "tls.ca_constraints",
        Kind::Choice(&["auto", "none"]),
        "auto",
        "What a new CA of Dryport's may sign for. auto: private addresses, tls.names, and the names, their domain and the\npublic addresses that this machine has by then; clients refuse it for all else. none: everything.",
    ),
    key(
        "tls.http2",
        Kind::Choice(&["allow", "prefer", "off"]),
        "allow",
        "HTTP/2: allow (clients that offer both get HTTP/1.1, which moves large layers faster), prefer, or off.",
    ),
    key(
        "blobs.lease",
        Kind::Duration,
        "24h",
        "How long an uploaded blob is kept that no manifest names yet.",
    ),
    key(
        "blobs.reserve",
        Kind::Size,
        "1GiB",
        "Free disk space that pushes leave alone; one that would need it, be it a tag, is refused with 507.\nBeside it 32 MiB are set aside for deletes (DIR/reserve).",
    ),
    key(
        "history.keep",
        Kind::Duration,
        "30d",
        "How long removed tags and untagged manifests stay restorable and keep their bytes.\nA repository may have its own: `dryport repo set NAME --history-keep 90d`.",
    ),
    key(
        "gc.interval",
        Kind::Duration,
        "1m",
        "How often what nothing needs any more is looked for; 0s leaves that to `dryport gc`.",
    ),
    key(
        "gc.files_per_second",
        Kind::Count,
        "2000",
        "Most content files that a collection removes a second; 0 is no limit.",
    ),
    key(
        "check.every",
        Kind::Duration,
        "30d",
        "In this time every blob is read once and compared with its digest; 0s turns that off.",
    ),
    key(
        "check.rate",
        Kind::Size,
        "32MiB",
        "Most bytes that reading all blobs takes from the disk a second.",
    ),
    key(
        "uploads.idle",
        Kind::Duration,
        "24h",
        "An upload that gets no bytes for this long is dropped.",
    ),
    key(
        "mirror.memory",
        Kind::Size,
        "256MiB",
        "Memory for the manifests of one `dryport mirror` run and the lists of what belongs to them (1 MiB at least); an image\nthat needs more is refused with its size.",
    ),
    key(
        "cache.memory",
        Kind::Size,
        "256MiB",
        "Memory for manifests, small blobs and look-ups.",
    ),
    key(
        "store.cache",
        Kind::Size,
        "64MiB",
        "Memory for the metadata store.",
    ),
    key(
        "store.upgrade_without_copy",
        Kind::Switch,
        "false",
        "Upgrade the database of an older version without a copy of it, where the disk has no room for one. There is no way\nback to the older version then; the upgrade itself is one transaction, and a kill meanwhile loses nothing.",
    ),
    key(
        "policy.strict",
        Kind::Switch,
        "false",
        "Refuse a manifest whose layers or images are missing here? Not set: sparse indexes and images are accepted.",
    ),
    key(
        "metrics.open",
        Kind::Switch,
        "false",
        "May everybody read /metrics? Else only admins and, by metrics.local, this machine.",
    ),
    key(
        "metrics.local",
        Kind::Choice(&["auto", "on", "off"]),
        "auto",
        "May who connects from this machine read /metrics, if no proxy header came with the request?\nauto: yes, unless trusted_proxies is set, as a proxy on this machine brings strangers.",
    ),
    key(
        "log.level",
        Kind::Filter,
        "info",
        "error, warn, info, debug or trace; a module may have its own: \"info,dryport::http=debug\".",
    ),
    key(
        "log.slow",
        Kind::Duration,
        "1s",
        "Log operations that take longer than this; 0s logs none.",
    ),
    key(
        "serve.drain",
        Kind::Duration,
        "30s",
        "How long running transfers may go on after the server was told to stop.",
    ),
    key(
        "serve.progress",
        Kind::Duration,
        "60s",
        "A connection on which so long nothing moves, or less than 4 KiB of a body, is closed. There is no limit for a\nwhole transfer.",
    ),
    key(
        "serve.idle",
        Kind::Duration,
        "75s",
        "A connection that brings no whole request for this long is closed.",
    ),
    key(
        "serve.sendfile",
        Kind::Choice(&["auto", "off"]),
        "auto",
        "Over plain HTTP/1.1 the kernel sends by itself what it has in memory of a file (auto). off: all bytes are copied.",
    ),
    key(
        "limits.manifest",
        Kind::Size,
        "4MiB",
        "The largest manifest accepted; larger ones are refused with 413.",
    ),
    key(
        "limits.connections",
        Kind::Count,
        "4000",
        "Most connections of one address (an IPv6 /64 counts as one). Over it the longest idle one is closed, or the new\none where none is idle. Loopback and trusted_proxies may have three quarters of all; nobody may have more.",
    ),
    key(
        "limits.requests",
        Kind::Count,
        "1000",
        "Most requests at once of one account or, without one, of one address. More wait for 10 s, then they get 429.\nRequests without an account that come from loopback or trusted_proxies themselves are not counted.",
    ),
    key(
        "limits.uploads",
        Kind::Count,
        "4000",
        "Most unfinished uploads of one account or, without one, of one address; one more gets 429.",
    ),
    key(
        "limits.upload_memory",
        Kind::Size,
        "32MiB",
        "Memory for the bytes of all uploads together; when it is used up, clients are made to send slower.",
    ),
];

/// The key of this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// `; did you mean x?` with the nearest of some words, or nothing where none is near.
pub(super) fn hint<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((score, name)) if score > 0.7 => format!("; did you mean `{name}`?"),
        _ => String::new(),
    }
}

/// The hint for an unknown key. The last part of the name alone counts too, so that a key in the wrong section is found.
pub(super) fn hint_key(word: &str) -> String {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let moved = KEYS.iter().find(|key| last(key.name) == last(word));
    let whole = hint(word, KEYS.iter().map(|key| key.name));
    match moved {
        Some(key) if strsim::jaro_winkler(word, key.name) < 0.85 => {
            format!("; did you mean `{}`?", key.name)
        }
        _ => whole,
    }
}
