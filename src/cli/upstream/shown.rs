//! Upstreams for people: the list, one of them, and what came of trying one out. Secrets never come here.

use crate::cli::output;
use crate::upstream::{
    AddressTest, CredentialSource, TestStep, UpstreamBreaker, UpstreamCounters, UpstreamOrigin,
    UpstreamTest, UpstreamView,
};
use std::fmt::Write as _;

/// The list; `offline`: no upstream is asked.
pub(super) fn all(views: &[UpstreamView], offline: bool) -> String {
    if views.is_empty() {
        return "No upstreams.".to_owned();
    }
    let row = |view: &UpstreamView| {
        let urls: Vec<_> = view.urls.iter().map(ToString::to_string).collect();
        vec![
            view.name.to_string(),
            view.prefix.to_string(),
            urls.join(" "),
            origin(view).to_owned(),
            state(view, offline),
        ]
    };
    let rows: Vec<_> = views.iter().map(row).collect();
    let mut text = output::table(&["NAME", "PREFIX", "ADDRESS", "ORIGIN", "STATE"], &rows);
    for view in views {
        if let Some(note) = &view.note {
            let _ = writeln!(text, "{}: {note}", view.name);
        }
    }
    if offline {
        text.push_str("No upstream is asked: upstreams.offline is set.\n");
    }
    text
}

fn origin(view: &UpstreamView) -> &'static str {
    match view.origin {
        UpstreamOrigin::Added => "added",
        UpstreamOrigin::Configuration => "configuration",
    }
}

fn state(view: &UpstreamView, offline: bool) -> String {
    let mut words = Vec::new();
    if view.hidden {
        words.push("hidden");
    }
    if view.default {
        words.push("default");
    }
    if view.offline || offline {
        words.push("offline");
    }
    match view.counters.breaker {
        UpstreamBreaker::Open => words.push("fails"),
        UpstreamBreaker::HalfOpen => words.push("is tried again"),
        UpstreamBreaker::Closed => {}
    }
    words.join(", ")
}

/// One upstream, with what is known of its work or without.
pub(super) fn one(view: &UpstreamView, works: bool) -> String {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String| {
        lines.push(format!("{:<21}{value}", format!("{name}:")));
    };
    line("Upstream", view.name.to_string());
    line("Origin", origin(view).to_owned());
    if let Some(note) = &view.note {
        line("Note", note.clone());
    }
    for url in &view.urls {
        line("Address", url.to_string());
    }
    line("Prefix", view.prefix.to_string());
    if view.default {
        line("Default", "bare names are looked for here".to_owned());
    }
    if !view.namespaces.is_empty() {
        line("Hosts for ns", view.namespaces.join(", "));
    }
    line("Credentials", credentials(&view.credentials));
    if view.ca_pem.is_some() {
        line(
            "CA",
            "certificates of its own beside the system's".to_owned(),
        );
    }
    if let Some(own) = &view.client_certificate {
        line("Client certificate", own.certificate.clone());
        line("Client key", own.key.clone());
    }
    if let Some(proxy) = &view.proxy {
        line("Proxy", proxy.clone());
    }
    line("library/ in front", view.library_prefix.to_string());
    for (name, list) in [("Allowed names", &view.allow), ("Denied names", &view.deny)] {
        if !list.is_empty() {
            let texts: Vec<_> = list.iter().map(ToString::to_string).collect();
            line(name, texts.join(", "));
        }
    }
    line("Tags are believed for", span(view.freshness_ms));
    line("First byte within", span(view.first_byte_ms));
    line(
        "Requests a second",
        limit(view.requests_per_second.into(), |n| n.to_string()),
    );
    line("Bytes a second", limit(view.bytes_per_second, output::size));
    line(
        "Offline",
        if view.offline { "yes" } else { "no" }.to_owned(),
    );
    if works {
        work(&view.counters, &mut line);
    }
    lines.join("\n")
}

fn work(counters: &UpstreamCounters, line: &mut impl FnMut(&str, String)) {
    line("Requests", counters.requests.to_string());
    line("Fetched", output::size(counters.bytes));
    line(
        "Answered from here",
        format!(
            "{} ({} of them stale), {} asked for",
            counters.hits, counters.stale, counters.misses
        ),
    );
    line("Errors", counters.errors.to_string());
    let breaker = match counters.breaker {
        UpstreamBreaker::Closed => "asked",
        UpstreamBreaker::HalfOpen => "one request tries whether it answers again",
        UpstreamBreaker::Open => "not asked for a while: it failed too often",
    };
    line("State", breaker.to_owned());
    if let Some(left) = counters.budget_left {
        line("Requests left", left.to_string());
    }
    let last = counters
        .last_success_ms
        .map_or_else(|| "not yet".to_owned(), |ms| format!("{} ago", span(ms)));
    line("Answered last", last);
}

fn credentials(source: &CredentialSource) -> String {
    match source {
        CredentialSource::Anonymous => "none".to_owned(),
        CredentialSource::Environment { user, password } => {
            format!("the environment variables {user} and {password}")
        }
        CredentialSource::File(path) => format!("the file {path}"),
        CredentialSource::DockerConfig(path) => format!("docker's file {path}"),
        CredentialSource::Command(argv) => format!("the command {}", argv.join(" ")),
    }
}

fn limit(value: u64, shown: impl Fn(u64) -> String) -> String {
    if value == 0 {
        "no limit".to_owned()
    } else {
        shown(value)
    }
}

/// `5m`, `1h30m`, `250ms`.
fn span(ms: u64) -> String {
    let parts = [
        (ms / 3_600_000, "h"),
        (ms / 60_000 % 60, "m"),
        (ms / 1000 % 60, "s"),
        (ms % 1000, "ms"),
    ];
    let mut text = String::new();
    for (count, unit) in parts.iter().filter(|(count, _)| *count > 0) {
        let _ = write!(text, "{count}{unit}");
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

/// What came of trying one out.
pub(super) fn trial(done: &UpstreamTest) -> String {
    let mut text = String::new();
    for AddressTest { url, steps, ok } in &done.addresses {
        let verdict = if *ok {
            "answers"
        } else {
            "does not answer as a registry should"
        };
        let _ = writeln!(text, "{url} {verdict}");
        for step in steps {
            let _ = writeln!(text, "  {}", taken(step));
        }
    }
    if done.offline {
        text.push_str(
            "Only this test asks it: it is offline by its settings, or all upstreams are.\n",
        );
    }
    text
}

fn taken(TestStep { ok, us, text, .. }: &TestStep) -> String {
    let sign = if *ok { "" } else { "failed: " };
    match us {
        Some(us) => format!("{sign}{text} ({}.{} ms)", us / 1000, us % 1000 / 100),
        None => format!("{sign}{text}"),
    }
}

/// `1 repository`, `2 repositories`.
pub(super) fn repositories(count: u64) -> String {
    if count == 1 {
        "1 repository".to_owned()
    } else {
        format!("{count} repositories")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (ms, text) in [
            (0, "0s"),
            (300_000, "5m"),
            (5_400_000, "1h30m"),
            (250, "250ms"),
        ] {
            assert_eq!(span(ms), text);
        }
    }
}
