//! Reading the past, and deletes, where tens of thousands of rows stand in the way: each read and each transaction looks
//! at a bounded number of them, and nothing is lost for it.
//!
//! The rows are written into a store that no server has open: pushing them would take minutes.

use std::time::Duration;

use dryport::repo::rows::keys::{self, Class, Name};
use dryport::repo::rows::record::{
    ChangeRecord, ItemRecord, ReferrerRecord, RepoRecord, SourceRecord,
};
use dryport::store::record::Record as _;
use dryport::store::{Get as _, Lane, Need, Store, StoreError, StoreOptions, Table};
use dryport::types::{Algorithm, Digest, RepoId, Rev};
use serde_json::Value;

use crate::harness::content::{
    OCI_MANIFEST, bytes_of, image, noise, push_blob, put_manifest, sha256,
};
use crate::harness::{Client, Server};

/// What a read or a transaction looks at (see `repo/bounded`), and a few rows beside.
const BOUND: f64 = 2100.0;
/// How many minutes ago what was pushed was there and nothing else, what is filled in was there, and was gone again.
const BEFORE: i64 = 150;
const BETWEEN: i64 = 90;
const AFTER: i64 = 45;

/// A row on its way into the store.
pub type Row = (Table, Vec<u8>, Vec<u8>);

/// The store of a server, which is ended for it.
pub fn closed_store(server: &mut Server) -> Store {
    server.kill();
    Store::open(StoreOptions {
        dir: server.data(),
        cache_bytes: 16 << 20,
        slow: Duration::from_secs(10),
        holder: "a test".into(),
        reserve_bytes: 0,
        floor_bytes: 0,
        log_bytes: 0,
        upgrade_without_copy: false,
    })
    .unwrap()
}

/// Writes rows, as many as there are.
pub fn fill(store: &Store, rows: &[Row]) {
    for some in rows.chunks(4000) {
        let some = some.to_vec();
        let write = store.write_blocking(Lane::Background, Need::Keeps, "fill", move |tx| {
            for (table, key, value) in &some {
                tx.put(*table, key, value)?;
            }
            Ok::<_, StoreError>(())
        });
        write.unwrap();
    }
}

/// Rows for one repository. What was pushed becomes three hours old, and two revisions are added: one that adds what is
/// filled in, two hours ago, and one that removes it again, an hour ago.
pub struct Filler {
    pub id: RepoId,
    record: RepoRecord,
    store: Store,
    pub rows: Vec<Row>,
    pub added: Rev,
}

impl Filler {
    pub fn open(server: &mut Server, repo: &str) -> Self {
        let store = closed_store(server);
        let (id, row) = store
            .read(|r| {
                let id = r.get(Table::Names, &keys::name(repo))?.unwrap();
                let id = RepoId(u64::from_be_bytes(id.try_into().unwrap()));
                let row = r.get(Table::Repos, &keys::repo(id))?.unwrap();
                Ok::<_, StoreError>((id, row))
            })
            .unwrap();
        let mut record = RepoRecord::from_bytes(&row).unwrap();
        let added = Rev(record.head + 1);
        record.head += 2;
        let mut filler = Self {
            id,
            record,
            store,
            rows: Vec::new(),
            added,
        };
        for rev in 1..added.0 {
            filler.revision(Rev(rev), 180);
        }
        filler.revision(added, 120);
        filler.revision(filler.removed(), 60);
        filler
    }

    pub fn removed(&self) -> Rev {
        Rev(self.added.0 + 1)
    }

    /// The head row of a revision of so many minutes ago.
    fn revision(&mut self, rev: Rev, minutes: i64) {
        let row = ChangeRecord {
            at_ms: u64::try_from(ago(minutes)).unwrap(),
            who: "a test".into(),
            why: "filled".into(),
        };
        let key = keys::change_head(self.id, rev);
        self.rows
            .push((Table::Changes, key, row.to_bytes().unwrap()));
    }

    /// A tag that was there from one revision to another.
    pub fn tag(&mut self, tag: &str, target: &Digest, added: Rev, removed: Rev) {
        let row = item(target, removed);
        let key = keys::item(self.id, &Name::tag(tag), removed != Rev::NEVER, added);
        self.rows.push((Table::Items, key, row));
        let key = keys::item_ref(target, self.id, &Name::tag(tag), added);
        self.rows.push((Table::Refs, key, Vec::new()));
    }

    /// A manifest that was there from the first revision to the second, and named a digest.
    pub fn parent(&mut self, n: u64, child: &Digest) {
        let manifest = Digest::of(Algorithm::Sha256, &n.to_be_bytes());
        let row = item(&manifest, self.removed());
        let key = keys::item(self.id, &Name::manifest(&manifest), true, self.added);
        self.rows.push((Table::Items, key, row));
        let key = keys::manifest_ref(child, self.id, Class::Manifest, &manifest, self.added);
        self.rows.push((Table::Refs, key, Vec::new()));
    }

    /// A referrer that was there from the first revision to the second.
    fn referrer(&mut self, n: u64, subject: &Digest) {
        let row = ReferrerRecord {
            removed: self.removed().0,
            media_type: OCI_MANIFEST.into(),
            size: 100,
            annotations: Vec::new(),
            long: false,
        };
        let manifest = Digest::of(Algorithm::Sha256, &n.to_be_bytes());
        let key = keys::referrer(self.id, true, subject, "a/b", &manifest, self.added);
        self.rows
            .push((Table::Referrers, key, row.to_bytes().unwrap()));
    }

    /// Writes everything and serves it.
    pub async fn serve(mut self, server: &mut Server) {
        let record = self.record.to_bytes().unwrap();
        self.rows.push((Table::Repos, keys::repo(self.id), record));
        self.rows.sort();
        fill(&self.store, &self.rows);
        self.store.close();
        server.restart().await;
    }
}

fn item(target: &Digest, removed: Rev) -> Vec<u8> {
    let row = ItemRecord {
        removed: removed.0,
        target: target.as_key().to_vec(),
        size: 100,
        media_type: OCI_MANIFEST.into(),
        source: SourceRecord::Push("a test".into()),
        at_ms: 1,
        own: Vec::new(),
        artifact_type: String::new(),
    };
    row.to_bytes().unwrap()
}

/// So many minutes ago (wall clock, ms).
fn ago(minutes: i64) -> i64 {
    jiff::Timestamp::now().as_millisecond() - minutes * 60_000
}

/// A repository's name as of so many minutes ago.
fn at(minutes: i64, repo: &str) -> String {
    let time = jiff::Timestamp::from_millisecond(ago(minutes)).unwrap();
    format!("at/{}/{repo}", time.strftime("%Y%m%dt%H%M%Sz"))
}

/// All tags, and the number of pages that they came in.
async fn tags(client: &Client, path: &str) -> (Vec<String>, usize) {
    let (mut tags, mut pages, mut next) = (Vec::new(), 0, Some(path.to_owned()));
    while let Some(at) = next {
        let reply = client.get(&at).await.expect(200);
        let page: Value = reply.json();
        let page = page["tags"]
            .as_array()
            .expect("a list, also if it is empty");
        tags.extend(page.iter().map(|tag| tag.as_str().unwrap().to_owned()));
        pages += 1;
        next = reply.next();
        assert!(pages < 200, "a list without an end");
    }
    (tags, pages)
}

/// No read and no transaction of this server has looked at more rows than it may.
pub async fn assert_bounded(server: &Server) {
    let text = server.anonymous().get("/metrics").await.expect(200).text();
    for name in [
        "dryport_store_read_rows_max",
        "dryport_store_write_rows_max",
    ] {
        let most = text.lines().find_map(|line| line.strip_prefix(name));
        let most: f64 = most.unwrap().trim().parse().unwrap();
        assert!(most <= BOUND, "{name} is {most}");
    }
}

/// A layer, and the image v1 that has it.
pub async fn image_of(client: &Client, repo: &str) -> (Digest, Digest) {
    let (config, layer) = (b"{}", noise(1, 5000));
    push_blob(client, repo, config).await;
    push_blob(client, repo, &layer).await;
    let manifest = bytes_of(&image(config, &[&layer]));
    let digest = put_manifest(client, repo, "v1", OCI_MANIFEST, &manifest).await;
    (sha256(&layer).parse().unwrap(), digest.parse().unwrap())
}

#[tokio::test]
async fn tags_that_were_not_there_end_a_page() {
    const TAGS: usize = 20_000;
    const MOVES: u64 = 5000;
    let mut server = Server::start().await;
    let (_, image) = image_of(&server.admin(), "app").await;
    for tag in ["a", "z"] {
        let path = format!("/v2/app/manifests/{image}");
        let bytes = server.admin().get(&path).await.body;
        put_manifest(&server.admin(), "app", tag, OCI_MANIFEST, &bytes).await;
    }
    let mut filler = Filler::open(&mut server, "app");
    let (added, removed) = (filler.added, filler.removed());
    let names: Vec<String> = (0..TAGS).map(|n| format!("t{n:06}")).collect();
    for name in &names {
        filler.tag(name, &image, added, removed);
    }
    // One that was moved with nearly every revision.
    for n in 0..MOVES {
        let at = Rev(removed.0 + n);
        filler.tag("moved", &image, at, Rev(at.0 + 1));
    }
    let last = Rev(removed.0 + MOVES);
    filler.record.head = last.0;
    filler.revision(last, 30);
    filler.serve(&mut server).await;
    let anyone = server.anonymous();

    let (before, pages) = tags(&anyone, &format!("/v2/{}/tags/list", at(BEFORE, "app"))).await;
    assert_eq!(before, ["a", "v1", "z"]);
    assert!((2..10).contains(&pages), "{pages} pages");
    // A page that is full does not look for what comes after it until it finds something.
    let first = format!("/v2/{}/tags/list?n=2", at(BEFORE, "app"));
    let (two, pages) = tags(&anyone, &first).await;
    assert_eq!(two, ["a", "v1", "z"]);
    assert!(pages < 10, "{pages} pages");

    let all = format!("/v2/{}/tags/list", at(BETWEEN, "app"));
    let (all, pages) = tags(&anyone, &all).await;
    let mut wanted = names;
    wanted.extend(["a", "v1", "z"].map(str::to_owned));
    wanted.sort();
    assert!(all == wanted, "{} tags in {pages} pages", all.len());

    let then = format!("/v2/{}/tags/list", at(AFTER, "app"));
    let (then, _) = tags(&anyone, &then).await;
    assert_eq!(then, ["a", "moved", "v1", "z"]);
    let after = format!("/v2/{}/tags/list", at(10, "app"));
    assert_eq!(tags(&anyone, &after).await.0, ["a", "v1", "z"]);
    assert_bounded(&server).await;
}

#[tokio::test]
async fn referrers_that_were_not_there_end_a_page() {
    let mut server = Server::start().await;
    let (_, subject) = image_of(&server.admin(), "app").await;
    let mut filler = Filler::open(&mut server, "app");
    for n in 0..20_000 {
        filler.referrer(n, &subject);
    }
    filler.serve(&mut server).await;
    let anyone = server.anonymous();
    let (mut pages, mut next) = (
        0,
        Some(format!("/v2/{}/referrers/{subject}", at(BEFORE, "app"))),
    );
    while let Some(path) = next {
        let reply = anyone.get(&path).await.expect(200);
        assert_eq!(reply.json()["manifests"], serde_json::json!([]));
        (pages, next) = (pages + 1, reply.next());
    }
    assert!((2..10).contains(&pages), "{pages} pages");
    assert_bounded(&server).await;
}

#[tokio::test]
async fn a_base_layer_of_the_past_is_found_and_deleted_within_bounds() {
    let mut server = Server::start().await;
    let (layer, image) = image_of(&server.admin(), "app").await;
    let mut filler = Filler::open(&mut server, "app");
    for n in 0..8000 {
        filler.parent(n, &layer);
    }
    filler.serve(&mut server).await;
    let admin = server.admin();
    let blob = |name: String| format!("/v2/{name}/blobs/{layer}");
    for minutes in [BEFORE, BETWEEN, AFTER] {
        admin.get(&blob(at(minutes, "app"))).await.expect(200);
    }
    // The image is live and needs it, among all that do not any more.
    let refused = admin.delete(&blob("app".into())).await.expect(405);
    assert!(refused.text().contains(&image.to_string()));
    admin.get(&blob("app".into())).await.expect(200);
    let manifest = format!("/v2/app/manifests/{image}");
    admin.delete(&manifest).await.expect(202);
    admin.delete(&blob("app".into())).await.expect(202);
    admin.get(&blob("app".into())).await.expect(404);
    admin.delete(&blob("app".into())).await.expect(404);
    // The past has it, also as of a time that nobody has asked for; after that nothing does.
    admin.get(&blob(at(BETWEEN + 5, "app"))).await.expect(200);
    admin.get(&blob(at(AFTER, "app"))).await.expect(200);
    admin.get(&blob(at(-5, "app"))).await.expect(404);
    assert_bounded(&server).await;
}

#[tokio::test]
async fn a_manifest_of_many_tags_is_deleted_within_bounds() {
    let mut server = Server::start().await;
    let (_, image) = image_of(&server.admin(), "app").await;
    let mut filler = Filler::open(&mut server, "app");
    let (added, removed) = (filler.added, filler.removed());
    for n in 0..10_000 {
        filler.tag(&format!("old{n:05}"), &image, added, removed);
    }
    for n in 0..900 {
        filler.tag(&format!("t{n:05}"), &image, added, Rev::NEVER);
    }
    filler.serve(&mut server).await;
    let admin = server.admin();
    assert_eq!(tags(&admin, "/v2/app/tags/list").await.0.len(), 901);
    let manifest = format!("/v2/app/manifests/{image}");
    admin.delete(&manifest).await.expect(202);
    admin.get(&manifest).await.expect(404);
    assert!(tags(&admin, "/v2/app/tags/list").await.0.is_empty());
    admin.delete(&manifest).await.expect(404);
    assert_bounded(&server).await;
}

#[tokio::test]
async fn a_delete_of_a_blob_never_takes_it_from_a_manifest_that_comes_meanwhile() {
    let mut server = Server::start().await;
    let (layer, first) = image_of(&server.admin(), "app").await;
    let mut filler = Filler::open(&mut server, "app");
    filler.record.strict = Some(true);
    for n in 0..6000 {
        filler.parent(n, &layer);
    }
    filler.serve(&mut server).await;
    let admin = server.admin();
    let blob = format!("/v2/app/blobs/{layer}");
    let bytes = noise(1, 5000);
    let first = format!("/v2/app/manifests/{first}");
    admin.delete(&first).await.expect(202);
    for n in 0..16_u64 {
        let config = format!("{{\"n\":{n}}}");
        push_blob(&admin, "app", config.as_bytes()).await;
        let manifest = bytes_of(&image(config.as_bytes(), &[&bytes]));
        let path = format!("/v2/app/manifests/{}", sha256(&manifest));
        let push = async {
            tokio::time::sleep(Duration::from_millis(2 * n)).await;
            let kind = [("content-type", OCI_MANIFEST)];
            admin.send("PUT", &path, &kind, &manifest).await
        };
        let (deleted, pushed) = tokio::join!(admin.delete(&blob), push);
        match (deleted.status, pushed.status) {
            (405, 201) => {
                admin.get(&blob).await.expect(200);
                admin.delete(&path).await.expect(202);
            }
            (202, 400 | 404) => {
                admin.get(&blob).await.expect(404);
                push_blob(&admin, "app", &bytes).await;
            }
            other => panic!("round {n}: {other:?}: {}", pushed.text()),
        }
    }
    assert_bounded(&server).await;
}
