//! `[upstreams]` and `[[upstream]]`: other registries that this one fetches from on demand. What addresses, names and patterns
//! must be like is known by whoever asks upstreams.

use crate::config::key::{choice, count, millis, path, size, switch, text, texts};
use crate::config::section::section;
use std::path::PathBuf;

section! {
    /// What holds for all upstreams.
    pub struct UpstreamsSettings {
        /// No upstream is asked.
        pub offline: bool = switch("upstreams.offline", false)
            .doc("No upstream is asked, whatever its own settings say: what is here is served, and nothing else is looked for."),
    }
}

section! {
    /// Another registry, as the file describes it. `dryport upstream` shows it and cannot change it.
    pub struct UpstreamTable checked by whole {
        /// What tells one from the other.
        pub name: String = text("upstream.name")
            .doc("Name of this upstream: lower-case letters, digits, dots, dashes and underscores."),
        /// Addresses.
        pub url: Vec<String> = texts("upstream.url")
            .doc("Its addresses, such as [\"https://registry-1.docker.io\"]; the next is asked where one cannot be reached."),
        /// What its repositories begin with.
        pub prefix: String = text("upstream.prefix")
            .doc("What the names of its repositories begin with here, such as \"docker.io\"."),
        /// Bare names are looked for there.
        pub default: bool = switch("upstream.default", false)
            .doc("Names that no repository here has are looked for there, as docker's registry-mirrors asks for them."),
        /// Hosts that `ns` may name.
        pub ns: Vec<String> = texts("upstream.ns")
            .doc("Hosts, beside those of its addresses, that containerd may name for it (?ns=HOST)."),
        /// The variable with the user.
        pub user_env: String = text("upstream.user_env")
            .doc("Credentials from the environment of the server: the variable that holds the user."),
        /// The variable with the password.
        pub password_env: String = text("upstream.password_env")
            .doc("The variable that holds the password."),
        /// A file of credentials.
        pub creds_from: Option<PathBuf> = path("upstream.creds_from")
            .doc("Credentials from a file: USER:PASSWORD on its first line."),
        /// A file like docker's.
        pub docker_config: Option<PathBuf> = path("upstream.docker_config")
            .doc("Credentials from a file of docker's config.json form, and from the helpers that it names."),
        /// A command.
        pub creds_command: Vec<String> = texts("upstream.creds_command")
            .doc("Credentials from a program: it and its arguments, without a shell. It prints USER:PASSWORD, or what docker's\ncredential helpers print, within 10 s."),
        /// Its CA.
        pub ca: Option<PathBuf> = path("upstream.ca")
            .doc("File (PEM) of certificates that are trusted for it beside the system's."),
        /// Our certificate.
        pub client_cert: Option<PathBuf> = path("upstream.client_cert")
            .doc("File (PEM) of our certificate and its chain, where the upstream asks for one."),
        /// Its key.
        pub client_key: Option<PathBuf> = path("upstream.client_key")
            .doc("File (PEM) of the certificate's key."),
        /// The proxy.
        pub proxy: String = text("upstream.proxy")
            .doc("Proxy on the way, such as \"http://proxy.example:3128\". Not set: what the environment says."),
        /// `library/` in front.
        pub library_prefix: String = choice("upstream.library_prefix", &["auto", "on", "off"], "auto", |word| Ok(word.to_owned()))
            .doc("Whether names of one component get library/ in front there: auto is at Docker Hub alone."),
        /// Names that may be asked for.
        pub allow: Vec<String> = texts("upstream.allow")
            .doc("Patterns of the names there that may be asked for, such as [\"library/*\"]; none: all."),
        /// Names that may not.
        pub deny: Vec<String> = texts("upstream.deny")
            .doc("Patterns of the names there that may not, also where allow has them."),
        /// In ms.
        pub freshness_ms: u64 = millis("upstream.freshness", "5m")
            .doc("For how long the meaning of a tag is believed without asking again."),
        /// 0 is no limit.
        pub requests_per_second: u64 = count("upstream.requests_per_second", "0")
            .doc("Most requests a second; 0 is no limit.")
            .between(0, 1_000_000, "0 is no limit"),
        /// Bytes; 0 is no limit.
        pub bandwidth_bytes: u64 = size("upstream.bandwidth", "0B")
            .doc("Most bytes a second from it; 0 is no limit."),
        /// In ms; never 0.
        pub first_byte_ms: u64 = millis("upstream.first_byte", "30s")
            .doc("The longest wait for the first byte of an answer, once there is a connection.")
            .between(1, 600_000, "with none no answer would ever come"),
        /// It is not asked.
        pub offline: bool = switch("upstream.offline", false)
            .doc("It is not asked; what is here is served."),
    }
}

/// What single values cannot show.
fn whole(table: &UpstreamTable) -> Result<(), String> {
    let name = &table.name;
    if table.url.is_empty() {
        return Err(format!(
            "upstream \"{name}\" has no `upstream.url`: give its addresses, such as url = [\"https://registry-1.docker.io\"]"
        ));
    }
    if table.prefix.is_empty() {
        return Err(format!(
            "upstream \"{name}\" has no `upstream.prefix`: give what the names of its repositories begin with here, such as prefix = \"docker.io\""
        ));
    }
    if table.user_env.is_empty() != table.password_env.is_empty() {
        return Err(format!(
            "upstream \"{name}\": `upstream.user_env` and `upstream.password_env` belong together"
        ));
    }
    if table.client_cert.is_some() != table.client_key.is_some() {
        return Err(format!(
            "upstream \"{name}\": `upstream.client_cert` and `upstream.client_key` belong together"
        ));
    }
    let sources = [
        !table.user_env.is_empty(),
        table.creds_from.is_some(),
        table.docker_config.is_some(),
        !table.creds_command.is_empty(),
    ];
    if sources.iter().filter(|is_set| **is_set).count() > 1 {
        return Err(format!(
            "upstream \"{name}\" has more than one place to take credentials from: `upstream.user_env`, `upstream.creds_from`, `upstream.docker_config` and `upstream.creds_command` exclude each other"
        ));
    }
    Ok(())
}
