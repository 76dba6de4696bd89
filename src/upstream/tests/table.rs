//! The upstreams over a store of their own: who wins, what is refused, what is told.

use super::*;
use crate::store::StoreOptions;
use crate::upstream::UpstreamChange;
use std::time::Duration;

fn open(dir: &std::path::Path, configured: Vec<UpstreamSettings>) -> (Store, Upstreams) {
    let store = Store::open(StoreOptions {
        dir: dir.to_owned(),
        cache_bytes: 8 << 20,
        slow: Duration::from_secs(10),
        holder: "a test".into(),
        reserve_bytes: 0,
        floor_bytes: 0,
        log_bytes: 64 << 10,
        upgrade_without_copy: false,
    })
    .expect("a store");
    let upstreams = Upstreams::open(store.clone(), options(configured)).expect("upstreams");
    (store, upstreams)
}

fn options(configured: Vec<UpstreamSettings>) -> UpstreamOptions {
    UpstreamOptions {
        configured,
        offline: false,
    }
}

fn one(name: &str, prefix: &str) -> UpstreamSettings {
    UpstreamSettings::new(
        name.parse().expect("a name"),
        vec![
            format!("https://{name}.example")
                .parse()
                .expect("an address"),
        ],
        prefix.parse().expect("a name"),
    )
}

fn name(text: &str) -> UpstreamName {
    text.parse().expect("a name")
}

fn found(of: Option<Arc<Upstream>>) -> Option<String> {
    of.map(|one| one.settings.name.to_string())
}

#[tokio::test]
async fn upstreams_are_added_changed_removed_and_read_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, upstreams) = open(dir.path(), Vec::new());
    let repo: RepoName = "docker.io/library/alpine".parse().expect("a name");
    assert!(upstreams.is_empty() && upstreams.of(&repo).is_none());
    upstreams
        .add(one("hub", "docker.io"), "ann")
        .await
        .expect("added");
    assert_eq!(found(upstreams.of(&repo)).as_deref(), Some("hub"));
    let again = upstreams.add(one("hub", "other"), "ann").await;
    assert!(matches!(again, Err(UpstreamError::Exists(_))));
    let same = upstreams.add(one("two", "docker.io"), "ann").await;
    assert!(matches!(same, Err(UpstreamError::Taken { .. })));
    upstreams
        .add(one("deep", "docker.io/library"), "ann")
        .await
        .expect("a prefix within");
    assert_eq!(found(upstreams.of(&repo)).as_deref(), Some("deep"));

    let change = UpstreamChange {
        offline: Some(true),
        default: Some(true),
        ..UpstreamChange::default()
    };
    let set = upstreams
        .set(&name("hub"), "ann", move |own| change.clone().of(own))
        .await;
    let set = set.expect("changed").upstream;
    assert!(set.settings.offline && set.settings.prefix.as_str() == "docker.io");
    assert_eq!(found(upstreams.default_upstream()).as_deref(), Some("hub"));
    let second = UpstreamChange {
        default: Some(true),
        ..UpstreamChange::default()
    };
    let second = upstreams
        .set(&name("deep"), "ann", move |own| second.clone().of(own))
        .await;
    assert!(matches!(second, Err(UpstreamError::Taken { .. })));

    upstreams
        .remove(&name("deep"), "ann")
        .await
        .expect("removed");
    assert_eq!(found(upstreams.of(&repo)).as_deref(), Some("hub"));
    let gone = upstreams.remove(&name("deep"), "ann").await;
    assert!(matches!(gone, Err(UpstreamError::Unknown(_))));
    let strange = upstreams.set(&name("deep"), "ann", |own| own).await;
    assert!(matches!(strange, Err(UpstreamError::Unknown(_))));

    drop(upstreams);
    store.close();
    drop(store);
    let (_store, upstreams) = open(dir.path(), Vec::new());
    let hub = upstreams.get(&name("hub")).expect("kept");
    assert!(hub.settings.offline && hub.settings.default);
}

#[tokio::test]
async fn those_of_the_configuration_are_read_only_and_win() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_store, upstreams) = open(dir.path(), vec![one("own", "own")]);
    upstreams
        .add(one("hub", "docker.io"), "ann")
        .await
        .expect("added");
    let set = upstreams.set(&name("own"), "ann", |own| own).await;
    assert!(matches!(set, Err(UpstreamError::Configured(_))));
    let removed = upstreams.remove(&name("own"), "ann").await;
    assert!(matches!(removed, Err(UpstreamError::Configured(_))));
    let same = upstreams.add(one("own", "x"), "ann").await;
    assert!(matches!(same, Err(UpstreamError::Exists(_))));

    // The configuration takes the name of one that was added, and its prefix comes free.
    let hub = one("hub", "mirror");
    upstreams
        .reconfigure(options(vec![hub.clone()]))
        .expect("taken");
    assert!(upstreams.get(&name("own")).is_err());
    let shown = upstreams.show(&name("hub")).expect("there");
    assert!(shown.is_configured() && !shown.hidden);
    let listed = upstreams.list();
    assert_eq!(listed.len(), 2);
    assert!(listed[1].hidden && listed[1].note.is_some());
    let repo: RepoName = "docker.io/x".parse().expect("a name");
    assert_eq!(found(upstreams.of(&repo)), None);
    // What is hidden can be removed.
    upstreams
        .remove(&name("hub"), "ann")
        .await
        .expect("removed");
    assert_eq!(upstreams.list().len(), 1);
    // A configuration that cannot be changes nothing.
    let twice = upstreams.reconfigure(options(vec![hub, one("other", "mirror")]));
    assert!(matches!(twice, Err(UpstreamError::Taken { .. })));
    assert_eq!(upstreams.list().len(), 1);
}

#[tokio::test]
async fn a_change_is_told_to_the_feed() {
    use crate::store::feed::{self, FeedKind, FeedRecord};
    use crate::store::record::Record as _;
    let dir = tempfile::tempdir().expect("a directory");
    let (store, upstreams) = open(dir.path(), Vec::new());
    upstreams
        .add(one("hub", "docker.io"), "ann")
        .await
        .expect("added");
    let refused = upstreams.add(one("hub", "docker.io"), "ann").await;
    assert!(refused.is_err());
    upstreams
        .remove(&name("hub"), "bob")
        .await
        .expect("removed");
    let page = store.read(|r| feed::read(r, &feed::FeedCursor::START, 10));
    let told: Vec<_> = page
        .expect("read")
        .rows
        .iter()
        .map(|(_, row)| FeedRecord::from_bytes(row).expect("a row"))
        .map(|row| (FeedKind::of(row.kind), row.name, row.who, row.why))
        .collect();
    let row = |who: &str, why: &str| {
        let kind = Some(FeedKind::Upstream);
        (kind, "hub".to_owned(), who.to_owned(), why.to_owned())
    };
    assert_eq!(
        told,
        [row("ann", "upstream.add"), row("bob", "upstream.remove")]
    );
}
