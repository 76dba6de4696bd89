//! A disk that is full, under changes that grow and changes that remove, and the power that goes meanwhile.

use super::super::disk::{Disk, Fault};
use super::super::ledger::Ledger;
use super::super::scenario::{Client, Recording, content, repo};
use super::super::state::State;
use super::super::{Rng, Service};
use crate::repo::{RepoError, RepoErrorKind};
use crate::types::{Algorithm, Digest};

const SHA256: Algorithm = Algorithm::Sha256;
/// Room for what removes.
const RESERVE: u64 = 2 << 20;

/// A run on a disk that fills up, and the number of the step from which on it is full.
pub(in super::super) async fn record(base: &State) -> (Recording, usize) {
    let disk = Disk::start(base.clone(), "one boot".into(), Fault::None);
    disk.keep_reserve(RESERVE);
    let ledger = Ledger::new(disk.clone());
    let service = Service::open(&disk).expect("opens");
    let client = Client::new(&service, &ledger);
    let mut rng = Rng::new(11);
    let mut images = Vec::new();
    for n in 0..6 {
        images.push(Box::pin(image(&client, &mut rng, n)).await.expect("pushed"));
    }
    let from = disk.steps();
    disk.fill();
    Box::pin(full(&client, &mut rng, images)).await;
    disk.grow(64 << 20);
    let last = Box::pin(image(&client, &mut rng, 90)).await;
    last.expect("there is room again");
    service.close().await;
    let run = Recording {
        base: base.clone(),
        ops: disk.history().0,
        ledger,
    };
    (run, from)
}

struct Image {
    manifest: Digest,
    layer: Digest,
    tag: String,
}

async fn image(client: &Client<'_>, rng: &mut Rng, n: usize) -> Result<Image, RepoError> {
    let name = &repo("team/full");
    let config = client.push(name, &content(rng, 500 + n), SHA256).await?;
    let layer = client.push(name, &content(rng, 20_000), SHA256).await?;
    let tag = format!("v{n}");
    let (blobs, tags) = ([config, layer], [tag.as_str()]);
    let manifest = client.manifest(name, &blobs, &tags, None, 4000).await?;
    Ok(Image {
        manifest,
        layer,
        tag,
    })
}

/// What grows is refused, what removes is done, in turn; nothing that was refused may ever show.
async fn full(client: &Client<'_>, rng: &mut Rng, images: Vec<Image>) {
    let (name, new) = (&repo("team/full"), &repo("team/new"));
    let kept = images.len() - 2;
    let layer = images[kept].layer;
    for (n, image) in images.into_iter().take(kept).enumerate() {
        for len in [8, 3_000, 30_000] {
            let bytes = content(rng, len + n);
            refused(client.push(name, &bytes, SHA256).await);
        }
        let put = client.manifest(name, &[layer], &["new"], None, n).await;
        refused(put);
        refused(client.mount(new, layer, name).await);
        if n % 2 == 0 {
            client.delete_tag(name, &image.tag).await.expect("untagged");
        }
        let tags: &[&str] = if n % 2 == 0 { &[] } else { &[&image.tag] };
        let gone = client.delete_manifest(name, image.manifest, tags);
        gone.await.expect("deleted");
        let gone = client.delete_blob(name, image.layer).await;
        gone.expect("deleted");
        client.service.sweep().await.expect("swept");
    }
}

fn refused<T>(done: Result<T, RepoError>) {
    match done {
        Ok(_) => panic!("taken on a full disk"),
        Err(e) => assert!(e.kind() == RepoErrorKind::NoSpace, "{e}"),
    }
}
