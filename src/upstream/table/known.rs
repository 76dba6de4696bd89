//! Every upstream that there is at one time, and the look-ups that the way of a pull needs: hashes of what it has in hand.
//!
//! Made anew with each change and never changed. What did not change keeps its state.

use crate::types::RepoName;
use crate::upstream::one::Upstream;
use crate::upstream::settings::{UpstreamName, UpstreamOrigin, UpstreamSettings, is_hub};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The one name that all those of Docker Hub are looked up by.
const HUB: &str = "docker.io";

/// An upstream as it is listed.
#[derive(Debug, Clone)]
pub struct ListedUpstream {
    /// It.
    pub upstream: Arc<Upstream>,
    /// Another one counts in its place, which the note tells of.
    pub hidden: bool,
    /// What is odd about it, for people.
    pub note: Option<String>,
}

/// Those of one time.
#[derive(Default)]
pub(super) struct Known {
    /// By name, and a hidden one after the one that hides it.
    pub listed: Vec<ListedUpstream>,
    by_name: BTreeMap<UpstreamName, Arc<Upstream>>,
    by_prefix: HashMap<String, Arc<Upstream>>,
    by_host: HashMap<String, Arc<Upstream>>,
    pub default: Option<Arc<Upstream>>,
}

impl Known {
    /// Of these; the configuration's come first, and whoever comes first keeps what two want. `before` gives its state to what
    /// is the same.
    pub fn of(configured: &[UpstreamSettings], added: &[UpstreamSettings], before: &Self) -> Self {
        let mut known = Self::default();
        let configured = configured
            .iter()
            .map(|s| (s, UpstreamOrigin::Configuration));
        let added = added.iter().map(|s| (s, UpstreamOrigin::Added));
        let all: Vec<_> = configured.chain(added).collect();
        for (settings, origin) in &all {
            known.take_in(before.same(settings, *origin));
        }
        known.listed.sort_by(|a, b| {
            let place = |one: &ListedUpstream| (one.upstream.settings.name.clone(), one.hidden);
            place(a).cmp(&place(b))
        });
        known.take_in_hosts();
        known
    }

    /// The upstream of these settings: the one that is there, with its state, if nothing changed.
    fn same(&self, settings: &UpstreamSettings, origin: UpstreamOrigin) -> Arc<Upstream> {
        let own = self.by_name.get(&settings.name);
        let same = own.filter(|own| own.settings == *settings && own.origin == origin);
        same.cloned()
            .unwrap_or_else(|| Arc::new(Upstream::new(settings.clone(), origin)))
    }

    fn take_in(&mut self, upstream: Arc<Upstream>) {
        let settings = &upstream.settings;
        let hides = self.by_name.get(&settings.name).map(|_| {
            "one of this name stands in the configuration, and that one counts".to_owned()
        });
        let hides = hides.or_else(|| {
            let other = self.by_prefix.get(settings.prefix.as_str())?;
            Some(format!(
                "the prefix {} belongs to upstream {}, and that one counts",
                settings.prefix, other.settings.name
            ))
        });
        let mut note = hides.clone();
        if hides.is_none() {
            if settings.default
                && let Some(other) = &self.default
            {
                note = Some(format!(
                    "bare names are looked for at upstream {}, not here",
                    other.settings.name
                ));
            } else if settings.default {
                self.default = Some(Arc::clone(&upstream));
            }
            self.by_name
                .insert(settings.name.clone(), Arc::clone(&upstream));
            self.by_prefix
                .insert(settings.prefix.to_string(), Arc::clone(&upstream));
        }
        self.listed.push(ListedUpstream {
            upstream,
            hidden: hides.is_some(),
            note,
        });
    }

    /// Hosts that `ns` may name: those that an operator gave before those of addresses, and of the latter the configuration's
    /// before the others, by name.
    fn take_in_hosts(&mut self) {
        let mut all: Vec<_> = self.by_name.values().cloned().collect();
        all.sort_by_key(|one| one.origin == UpstreamOrigin::Added);
        for upstream in &all {
            for host in &upstream.settings.namespaces {
                self.take_in_host(host, upstream);
            }
        }
        for upstream in &all {
            for url in &upstream.settings.urls {
                self.take_in_host(url.host(), upstream);
            }
        }
    }

    fn take_in_host(&mut self, host: &str, upstream: &Arc<Upstream>) {
        self.by_host
            .entry(host_key(host))
            .or_insert_with(|| Arc::clone(upstream));
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub fn get(&self, name: &UpstreamName) -> Option<&Arc<Upstream>> {
        self.by_name.get(name)
    }

    /// The one whose prefix is the longest of those that the name has more than, in whole components.
    pub fn of_repo(&self, name: &RepoName) -> Option<&Arc<Upstream>> {
        let mut prefix = name.as_str();
        while let Some((above, _)) = prefix.rsplit_once('/') {
            if let Some(found) = self.by_prefix.get(above) {
                return Some(found);
            }
            prefix = above;
        }
        None
    }

    pub fn of_host(&self, host: &str) -> Option<&Arc<Upstream>> {
        self.by_host.get(&host_key(host))
    }
}

fn host_key(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    if is_hub(&host) { HUB.to_owned() } else { host }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, url: &str, prefix: &str) -> UpstreamSettings {
        UpstreamSettings::new(
            name.parse().expect("a name"),
            vec![url.parse().expect("an address")],
            prefix.parse().expect("a name"),
        )
    }

    fn name(of: Option<&Arc<Upstream>>) -> Option<&str> {
        of.map(|one| one.settings.name.as_str())
    }

    #[test]
    fn the_longest_prefix_wins_in_whole_components() {
        let added = [
            one("a", "https://a.example", "a"),
            one("deep", "https://b.example", "a/b/c"),
        ];
        let known = Known::of(&[], &added, &Known::default());
        for (repo, wanted) in [
            ("a/x", Some("a")),
            ("a/b/c", Some("a")),
            ("a/b/c/d", Some("deep")),
            ("a/b/cd/e", Some("a")),
            ("a", None),
            ("ab/x", None),
        ] {
            let repo: RepoName = repo.parse().expect("a name");
            assert_eq!(name(known.of_repo(&repo)), wanted, "{repo}");
        }
        assert!(!known.is_empty() && Known::default().is_empty());
    }

    #[test]
    fn the_configuration_wins() {
        let mut own = one("hub", "https://docker.io", "docker.io");
        own.default = true;
        let mut mirror = one("mirror", "https://m.example", "m");
        mirror.namespaces = vec!["quay.io".into()];
        mirror.default = true;
        let added = [
            one("hub", "https://other.example", "other"),
            one("second", "https://c.example", "docker.io"),
            one("quay", "https://quay.io", "quay.io"),
            mirror,
        ];
        let known = Known::of(&[own], &added, &Known::default());
        let listed: Vec<_> = known
            .listed
            .iter()
            .map(|one| {
                (
                    one.upstream.settings.name.as_str(),
                    one.hidden,
                    one.note.is_some(),
                )
            })
            .collect();
        assert_eq!(
            listed,
            [
                ("hub", false, false),
                ("hub", true, true),
                ("mirror", false, true),
                ("quay", false, false),
                ("second", true, true)
            ]
        );
        assert_eq!(name(known.default.as_ref()), Some("hub"));
        for host in ["docker.io", "index.docker.io", "REGISTRY-1.docker.io"] {
            assert_eq!(name(known.of_host(host)), Some("hub"), "{host}");
        }
        // A host that an operator gave comes before one of an address.
        assert_eq!(name(known.of_host("quay.io")), Some("mirror"));
        assert_eq!(name(known.of_host("other.example")), None);
    }

    #[test]
    fn what_did_not_change_keeps_its_state() {
        let (a, b) = (
            one("a", "https://a.example", "a"),
            one("b", "https://b.example", "b"),
        );
        let before = Known::of(&[], &[a.clone(), b.clone()], &Known::default());
        let mut changed = b;
        changed.offline = true;
        let after = Known::of(&[], &[a, changed], &before);
        let is_same = |text: &str| {
            let name = text.parse().expect("a name");
            let pair = (before.get(&name), after.get(&name));
            matches!(pair, (Some(a), Some(b)) if Arc::ptr_eq(a, b))
        };
        assert!(is_same("a") && !is_same("b"));
    }
}
