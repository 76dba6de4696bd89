//! The trail over a store of its own: rows come from the feed and from memory, are chained, and are bounded.

use super::chain::{self, Bounds};
use super::record::AuditRecord;
use super::trail::{self, Trail};
use super::*;
use crate::store::StoreOptions;
use crate::store::cause::FeedCause;
use crate::store::feed::{self, FeedKind, FeedRecord};
use crate::store::record::Record as _;
use crate::store::{Get as _, Table};
use crate::types::{Algorithm, Digest};
use std::time::Duration;

const START: [u8; 32] = [9; 32];

struct Nobody;

impl Accounts for Nobody {
    async fn identity(&self, name: &str) -> (u64, Vec<String>) {
        (name.len() as u64, vec!["reader".into()])
    }
}

fn open() -> (tempfile::TempDir, Store, Audit) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(StoreOptions {
        dir: dir.path().to_owned(),
        cache_bytes: 8 << 20,
        slow: Duration::from_secs(10),
        holder: "a test".into(),
        reserve_bytes: 0,
        floor_bytes: 0,
        log_bytes: 64 << 10,
        upgrade_without_copy: false,
    })
    .expect("a store");
    let options = AuditOptions {
        keep_ms: u64::MAX,
        max_bytes: u64::MAX,
        pulls: true,
    };
    let audit = Audit::open(store.clone(), options).expect("a trail");
    (dir, store, audit)
}

fn change<T: Send + 'static>(
    store: &Store,
    f: impl FnMut(&mut Txn<'_>) -> Result<T, StoreError> + Send + 'static,
) -> T {
    store
        .write_blocking(Lane::Request, Need::Keeps, "test", f)
        .expect("written")
}

fn told(name: &str) -> FeedRecord {
    FeedRecord {
        kind: FeedKind::Revision as u8,
        repo: 1,
        name: name.into(),
        rev: 1,
        at_ms: 1_790_000_000_000,
        who: "ann".into(),
        why: "manifest.put".into(),
        cause: FeedCause::None,
    }
}

fn act(request: &str) -> Arc<Act> {
    let by = Initiator {
        account_id: 7,
        account: "ann".into(),
        roles: vec!["admin".into()],
        request: request.into(),
        ..Initiator::default()
    };
    Arc::new(Act::new(&by, "repo.push", "PUT /v2/a"))
}

fn row(n: u64) -> AuditRecord {
    act("").ended(&Ended {
        resource: format!("r{n}"),
        outcome: AuditOutcome::Success,
        status: 0,
        error: String::new(),
    })
}

fn fill(store: &Store, rows: u64) {
    change(store, move |tx| {
        let mut trail = Trail::open(tx, START)?;
        for n in 0..rows {
            trail.add(&row(n))?;
        }
        trail.close()
    });
}

fn lengthen(store: &Store) -> usize {
    let until = store.read(|r| trail::last(r)).expect("read").expect("rows");
    change(store, move |tx| chain::lengthen(tx, START, until))
}

async fn damage(audit: &Audit) -> Vec<String> {
    let found = audit.verify(None).await.expect("verified");
    found.damage.into_iter().map(|damage| damage.what).collect()
}

fn keys(store: &Store) -> Vec<Vec<u8>> {
    let (from, to) = trail::all_rows();
    let rows = store.read(|r| r.scan(Table::Audit, &from, &to, 10_000));
    rows.expect("read")
        .into_iter()
        .map(|(key, _)| key)
        .collect()
}

#[tokio::test]
async fn a_change_is_a_row_with_the_request_behind_it() {
    let (_dir, store, audit) = open();
    let write = |names: &'static [&'static str]| {
        let store = store.clone();
        async move {
            let tell = move |tx: &mut Txn<'_>| {
                names.iter().try_for_each(|name| feed::tell(tx, told(name)))
            };
            let done: Result<(), StoreError> =
                store.write(Lane::Request, Need::Keeps, "test", tell).await;
            done.expect("written");
        }
    };
    write(&["by/itself"]).await;
    let (first, second) = (act("one"), act("two"));
    let cause = first.cause();
    Arc::clone(&cause).of(write(&["a", "b", "c"])).await;
    assert!(cause.is_told());
    second
        .cause()
        .of(async {
            let task = tokio::spawn(crate::store::cause::carried(write(&["d"])));
            task.await.expect("ends");
        })
        .await;
    let idle = second.cause();
    Arc::clone(&idle).of(async {}).await;
    assert!(!idle.is_told());
    audit.turn(&Nobody).await.expect("a turn");
    let page = audit
        .list(AuditFilter::default(), None, 100, true)
        .await
        .expect("rows");
    let rows: Vec<_> = page
        .rows
        .iter()
        .map(|r| {
            (
                r.resource.as_str(),
                r.request_id.as_str(),
                r.action.as_str(),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("by/itself", "", "manifest.put"),
            ("a", "one", "repo.push"),
            ("b", "one", "repo.push"),
            ("c", "one", "repo.push"),
            ("d", "two", "repo.push"),
        ]
    );
    assert_eq!(page.rows[1].account_id, "0000000000000007");
    assert_eq!(page.rows[0].account, "ann");
    // Each is moved once.
    audit.turn(&Nobody).await.expect("a turn");
    assert_eq!(keys(&store).len(), 5);
}

#[tokio::test]
async fn a_transaction_longer_than_a_page_keeps_its_request() {
    let (_dir, store, audit) = open();
    let tell =
        move |tx: &mut Txn<'_>| (0..1200).try_for_each(|n| feed::tell(tx, told(&format!("r{n}"))));
    let done: Result<(), StoreError> = act("long")
        .cause()
        .of(store.write(Lane::Request, Need::Keeps, "test", tell))
        .await;
    done.expect("written");
    audit.turn(&Nobody).await.expect("a turn");
    let filter = AuditFilter {
        request: Some("long".into()),
        ..AuditFilter::default()
    };
    let mut after = None;
    let mut found = 0;
    loop {
        let page = audit
            .list(filter.clone(), after, 500, after.is_none() && found > 0)
            .await
            .expect("rows");
        found += page.rows.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, 1200);
}

#[tokio::test]
async fn a_clock_that_is_put_back_changes_no_order() {
    let (_dir, store, _audit) = open();
    fill(&store, 5);
    assert_eq!(lengthen(&store), 5);
    let last = *keys(&store)
        .last()
        .map(|key| trail::position(key).expect("a row"))
        .as_ref()
        .expect("rows");
    let added = change(&store, |tx| {
        let mut trail = Trail::open(tx, START)?;
        let early = AuditRecord { at_ms: 5, ..row(9) };
        let added = [trail.add(&early)?, trail.add(&early)?];
        trail.close()?;
        Ok(added)
    });
    assert!(added[0] > last && added[1] > added[0], "{last:?} {added:?}");
}

#[tokio::test]
async fn changed_removed_and_inserted_rows_are_found() {
    let (_dir, store, audit) = open();
    fill(&store, 2500);
    assert_eq!(
        [lengthen(&store), lengthen(&store), lengthen(&store)],
        [1000, 1000, 500]
    );
    fill(&store, 3);
    let found = audit.verify(None).await.expect("verified");
    assert_eq!(
        (found.rows, found.chained, found.checkpoints),
        (2503, 2500, 3)
    );
    assert!(found.damage.is_empty(), "{:?}", found.damage);
    assert!(
        audit
            .verify(Some(found.hash))
            .await
            .expect("verified")
            .damage
            .is_empty()
    );
    assert_eq!(
        audit
            .verify(Some("0".repeat(64)))
            .await
            .expect("verified")
            .damage
            .len(),
        1
    );

    let keys = keys(&store);
    let put = |key: Vec<u8>, value: Option<Vec<u8>>| {
        change(&store, move |tx| match &value {
            Some(value) => tx.put(Table::Audit, &key, value),
            None => tx.delete(Table::Audit, &key),
        });
    };
    let get = |key: &[u8]| {
        store
            .read(|r| r.get(Table::Audit, key))
            .expect("read")
            .expect("there")
    };
    // The first, the last and a middle row of each checkpoint, and what is not chained yet.
    for at in [0, 500, 999, 1000, 1999, 2000, 2499, 2502] {
        let (key, old) = (&keys[at], get(&keys[at]));
        let mut other = AuditRecord::from_bytes(&old).expect("a row");
        other.account = "bob".into();
        if at < 2500 {
            put(key.clone(), Some(other.to_bytes().expect("bytes")));
            assert!(damage(&audit).await[0].contains("changed"), "{at}");
        }
        put(key.clone(), None);
        assert!(!damage(&audit).await.is_empty(), "{at}");
        put(key.clone(), Some(old));
        assert!(damage(&audit).await.is_empty(), "{at}");
    }
    let between = Position { ms: 1, number: 0 };
    put(
        trail::row_key(between),
        Some(row(1).to_bytes().expect("bytes")),
    );
    assert!(damage(&audit).await[0].contains("put in between"));
    put(trail::row_key(between), None);
    // A checkpoint and its rows at the end: nothing before them shows it.
    for key in &keys[2000..] {
        put(key.clone(), None);
    }
    let last = trail::position(&keys[2499]).expect("a row");
    put(trail::checkpoint_key(last), None);
    assert!(
        damage(&audit)
            .await
            .iter()
            .any(|what| what.contains("at its end"))
    );
}

#[tokio::test]
async fn what_is_kept_is_bounded_and_stays_whole() {
    let (_dir, store, audit) = open();
    fill(&store, 2500);
    while lengthen(&store) > 0 {}
    let all = Bounds {
        keep_ms: u64::MAX,
        max_bytes: u64::MAX,
    };
    let shorten = |bounds: Bounds| change(&store, move |tx| chain::shorten(tx, START, bounds));
    assert_eq!(shorten(all), None);
    let anchor = audit.verify(None).await.expect("verified").hash;
    assert_eq!(
        shorten(Bounds {
            max_bytes: 1,
            ..all
        }),
        Some(1000)
    );
    let found = audit.verify(Some(anchor)).await.expect("verified");
    assert_eq!((found.rows, found.gone, found.checkpoints), (1500, 1000, 2));
    assert!(found.damage.is_empty(), "{:?}", found.damage);
    assert_eq!(shorten(Bounds { keep_ms: 0, ..all }), Some(1000));
    assert_eq!(shorten(Bounds { keep_ms: 0, ..all }), Some(500));
    assert_eq!(shorten(Bounds { keep_ms: 0, ..all }), None);
    fill(&store, 10);
    lengthen(&store);
    assert!(damage(&audit).await.is_empty());
    assert_eq!(keys(&store).len(), 10);
}

#[tokio::test]
async fn pulls_grow_in_one_row_until_it_is_chained() {
    let (_dir, store, audit) = open();
    let pull = || Pull {
        action: "pull",
        account: "ann".into(),
        address: std::net::IpAddr::from([192, 0, 2, 1]),
        repo: "team/app".parse().expect("name"),
        digest: Digest::of(Algorithm::Sha256, b"x"),
    };
    let counts = || async {
        audit.turn(&Nobody).await.expect("a turn");
        let page = audit
            .list(AuditFilter::default(), None, 100, true)
            .await
            .expect("rows");
        page.rows.iter().map(|row| row.count).collect::<Vec<_>>()
    };
    let mut sent = 0;
    for n in 1..=3 {
        (0..n).for_each(|_| audit.pulled(pull()));
        sent += n;
        // A minute may end here: then there are two rows.
        assert_eq!(counts().await.iter().sum::<u64>(), sent);
    }
    assert!(counts().await.len() <= 2);
    lengthen(&store);
    audit.pulled(pull());
    assert_eq!(counts().await.iter().sum::<u64>(), sent + 1);
    assert!(damage(&audit).await.is_empty());
}
