//! What memory knows ends when readers see a change, before anybody is answered, and by the feed alone elsewhere.

use super::*;
use crate::store::cause::FeedCause;
use crate::store::epochs::{Epoch, Held, Subject};
use crate::store::feed::{FeedKind, FeedRecord};
use crate::store::record::Record as _;

/// Of some repositories.
static NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn told(kind: u8, name: &str) -> FeedRecord {
    FeedRecord {
        kind,
        repo: 1,
        name: name.into(),
        rev: 1,
        at_ms: 0,
        who: String::new(),
        why: "test".into(),
        cause: FeedCause::None,
    }
}

/// Sets a row and tells the feed.
fn tell(store: &Store, kind: FeedKind, name: &'static str) -> Done<()> {
    store.write_blocking(Lane::Request, Need::Grows, "tell", move |txn| {
        txn.put(Table::Names, name.as_bytes(), b"1")?;
        feed::tell(txn, told(kind as u8, name))
    })
}

/// Sets a row of that name, and declares what ends.
fn ending(
    store: &Store,
    name: &'static str,
) -> impl Future<Output = Done<()>> + use<> + Send + 'static {
    let store = store.clone();
    async move {
        let change = move |txn: &mut Txn<'_>| {
            txn.ends(Subject::Shown(name));
            txn.put(Table::Names, name.as_bytes(), b"1")
        };
        store.write(Lane::Request, Need::Grows, "put", change).await
    }
}

#[tokio::test]
async fn memory_ends_before_the_answer_and_also_without_one() {
    let (_dir, store) = store();
    let epochs = store.epochs();
    let before = epochs.now(Subject::Shown("a"));
    ending(&store, "a").await.unwrap();
    let after = epochs.now(Subject::Shown("a"));
    assert_ne!(before, after);
    // The caller goes away while the change waits for its turn.
    let (go, held) = stop_writer(&store);
    let gone = tokio::time::timeout(Duration::from_millis(20), ending(&store, "a")).await;
    assert!(gone.is_err() && epochs.is(Subject::Shown("a"), after));
    drop(go);
    until(|| !epochs.is(Subject::Shown("a"), after));
    assert_eq!(get(&store, "a").as_deref(), Some("1"));
    held.join().unwrap();
}

#[test]
fn who_meets_a_new_epoch_reads_the_change() {
    let (_dir, store) = store();
    let epochs = store.epochs();
    for name in NAMES {
        let before = epochs.now(Subject::Shown(name));
        let (reader, known) = (store.clone(), store.epochs());
        let read = thread::spawn(move || {
            while known.is(Subject::Shown(name), before) {
                std::hint::spin_loop();
            }
            get(&reader, name)
        });
        tell(&store, FeedKind::Revision, name).unwrap();
        assert_eq!(read.join().unwrap().as_deref(), Some("1"));
    }
}

#[test]
fn nobody_of_a_batch_is_answered_before_all_of_it_has_ended() {
    let (_dir, store) = store();
    let epochs = store.epochs();
    let before: Vec<Epoch> = NAMES.map(|name| epochs.now(Subject::Shown(name))).into();
    let (go, held) = stop_writer(&store);
    let changes = NAMES.iter().enumerate();
    let changes: Vec<_> = changes
        .map(|(at, name)| {
            let (store, queue, before) = (store.clone(), &store, before.clone());
            let change = thread::spawn(move || {
                tell(&store, FeedKind::Revision, name).unwrap();
                let epochs = store.epochs();
                let ended =
                    |(name, epoch): (&&str, &Epoch)| !epochs.is(Subject::Shown(name), *epoch);
                NAMES.iter().zip(&before).all(ended)
            });
            until(|| queue.counters().queued == at as u64 + 1);
            change
        })
        .collect();
    drop(go);
    for change in changes {
        assert!(change.join().unwrap());
    }
    held.join().unwrap();
}

#[test]
fn a_change_of_nothing_ends_nothing() {
    let (_dir, store) = store();
    let epochs = store.epochs();
    let before = epochs.now(Subject::Accounts);
    let done: Done<()> = store.write_blocking(Lane::Request, Need::Keeps, "look", |txn| {
        txn.ends_everything();
        txn.get(Table::Names, b"a").map(drop)
    });
    done.unwrap();
    assert!(epochs.is(Subject::Accounts, before));
    tell(&store, FeedKind::Job, "7").unwrap();
    assert!(epochs.is(Subject::Accounts, before));
}

/// One of each sort, and some that the rows below do not touch.
const ALL: [Subject<'static>; 13] = [
    Subject::Shown("team/app"),
    Subject::Shown("team"),
    Subject::Shown("team/app/web"),
    Subject::Shown("other"),
    Subject::Home("team/app"),
    Subject::Home("other"),
    Subject::Below(""),
    Subject::Below("team"),
    Subject::Below("team/app"),
    Subject::Below("tea"),
    Subject::Settings,
    Subject::Accounts,
    Subject::Quotas,
];

fn ended(epochs: &Epochs, before: &[Epoch]) -> Vec<Subject<'static>> {
    let all = ALL.into_iter().zip(before);
    let over = all.filter(|(subject, epoch)| !epochs.is(*subject, **epoch));
    over.map(|(subject, _)| subject).collect()
}

#[test]
fn who_only_reads_the_feed_ends_the_same() {
    use Subject::{Accounts, Below, Home, Quotas, Settings, Shown};
    let (_dir, store) = store();
    let (own, follower) = (store.epochs(), Epochs::default());
    let shown = [
        Shown("team/app"),
        Below(""),
        Below("team"),
        Below("team/app"),
    ];
    let with_home = [&shown[..1], &[Home("team/app")], &shown[1..]].concat();
    let cases: [(FeedKind, &str, Vec<Subject<'_>>); 10] = [
        (FeedKind::Revision, "team/app", shown.to_vec()),
        (FeedKind::RepoMade, "team/app", with_home.clone()),
        (FeedKind::RepoDeleted, "team/app", with_home),
        (
            FeedKind::RepoSet,
            "team/app",
            vec![Home("team/app"), Settings],
        ),
        (FeedKind::Snapshot, "team/app@june", shown.to_vec()),
        (FeedKind::Blob, "team/app@sha256:0", shown.to_vec()),
        (FeedKind::Account, "team/app", vec![Accounts]),
        (FeedKind::Setting, "team/app", vec![Quotas]),
        (FeedKind::Job, "7", Vec::new()),
        (FeedKind::Schedule, "7", Vec::new()),
    ];
    let mut cursor = FeedCursor::START;
    for (kind, name, ends) in cases {
        let before = ALL.map(|subject| own.now(subject));
        let elsewhere = ALL.map(|subject| follower.now(subject));
        tell(&store, kind, name).unwrap();
        assert_eq!(ended(&own, &before), ends, "{kind:?}");
        let page = store.read(|r| feed::read(r, &cursor, 10)).unwrap();
        follower.follow(&page);
        cursor = page.next;
        assert_eq!(ended(&follower, &elsewhere), ends, "{kind:?}, by the feed");
    }
}

#[test]
fn what_the_feed_cannot_say_ends_everything() {
    let (_dir, store) = store();
    let own = store.epochs();
    let before = ALL.map(|subject| own.now(subject));
    let done: Done<()> = store.write_blocking(Lane::Request, Need::Grows, "tell", |txn| {
        feed::tell(txn, told(200, "new"))
    });
    done.unwrap();
    assert_eq!(ended(&own, &before), ALL, "of a later version");
    let page = |rows, behind| feed::Page {
        rows,
        next: FeedCursor::START,
        behind,
    };
    let row = |bytes: Vec<u8>| vec![(FeedCursor::START, bytes)];
    let of_later = told(200, "new").to_bytes().unwrap();
    for page in [
        page(Vec::new(), true),
        page(row(of_later), false),
        page(row(vec![99, 1]), false),
    ] {
        let follower = Epochs::default();
        let before = ALL.map(|subject| follower.now(subject));
        follower.follow(&page);
        assert_eq!(ended(&follower, &before), ALL, "{page:?}");
    }
}

#[test]
fn thousands_of_rows_end_each_of_their_own() {
    let (_dir, store) = store();
    let epochs = store.epochs();
    let name = |n: u32| format!("mirrors/of-a-big-registry/image-{n}");
    let before: Vec<Epoch> = (0..4000)
        .map(|n| epochs.now(Subject::Shown(&name(n))))
        .collect();
    let accounts = epochs.now(Subject::Accounts);
    let done: Done<()> = store.write_blocking(Lane::Request, Need::Grows, "tell", move |txn| {
        (0..4000).try_for_each(|n| feed::tell(txn, told(FeedKind::Revision as u8, &name(n))))
    });
    done.unwrap();
    let is_over = |(n, epoch): (usize, &Epoch)| !epochs.is(Subject::Shown(&name(n as u32)), *epoch);
    assert!(before.iter().enumerate().all(is_over));
    assert!(epochs.is(Subject::Accounts, accounts));
}

#[test]
fn names_are_spread() {
    let (mut met, mut pairs) = (0, 0);
    let names: Vec<String> = (0..200)
        .map(|n| format!("team-{}/app-{n}", n % 7))
        .collect();
    for (at, name) in names.iter().enumerate() {
        let epochs = Epochs::default();
        let before: Vec<Epoch> = names
            .iter()
            .map(|n| epochs.now(Subject::Shown(n)))
            .collect();
        epochs.end(Subject::Shown(name));
        for (other, epoch) in before.iter().enumerate().filter(|(other, _)| *other != at) {
            pairs += 1;
            met += usize::from(!epochs.is(Subject::Shown(&names[other]), *epoch));
        }
    }
    // One in 4,093 would be the best.
    assert!(met * 1000 < pairs, "{met} of {pairs}");
}

#[test]
fn what_was_looked_for_before_a_change_does_not_hold_after_it() {
    let epochs = Epochs::default();
    let now = || epochs.now(Subject::Quotas);
    let none = Held::default();
    assert!(!none.is(now()), "nobody has looked");
    let before = now();
    none.found(before);
    assert!(none.is(now()));
    epochs.end(Subject::Quotas);
    assert!(!none.is(now()));
    none.found(before);
    assert!(!none.is(now()), "looked before, told after");
    none.found(now());
    assert!(none.is(now()));
}
