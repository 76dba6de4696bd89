use super::*;
use crate::store::record::golden;
use crate::types::Algorithm;

fn key() -> Vec<u8> {
    Digest::of(Algorithm::Sha256, b"golden").as_key().to_vec()
}

#[test]
fn golden_repositories() {
    let now = || RepoRecord {
        name: "team/app".into(),
        kind: 1,
        origin: 1,
        strict: Some(true),
        head: 300,
        horizon: 2,
        stage: Some(7),
        created_ms: 1_700_000_000_000,
        deleted: false,
        keep_ms: Some(86_400_000),
        attachments: true,
    };
    golden::check(&RepoRecord {
        attachments: false,
        ..now()
    });
    golden::check_old(2, &now());
    golden::check_old(
        1,
        &RepoRecord {
            keep_ms: None,
            ..now()
        },
    );
    let place = [key(), u64::MAX.to_be_bytes().to_vec()].concat();
    golden::check(&QuotaRecord {
        limit: 10 << 30,
        history_limit: Some(1 << 30),
        used: 300,
        history: 20,
        counted_to: Some(place.clone()),
        held_to: Some(place.clone()),
    });
    golden::check_old(
        1,
        &QuotaRecord {
            limit: 10 << 30,
            history_limit: None,
            used: 300,
            history: 0,
            counted_to: Some(place),
            held_to: Some(Vec::new()),
        },
    );
    golden::check(&UsageRecord {
        tags: 1,
        manifests: 2,
        bytes: 1 << 40,
        files: 3,
    });
    golden::check_old(
        1,
        &UsageRecord {
            tags: 1,
            manifests: 2,
            bytes: 1 << 40,
            files: 0,
        },
    );
    golden::check(&SnapshotRecord {
        rev: 300,
        at_ms: 1_700_000_000_000,
        who: "ann".into(),
        ends: Some(86_400_000),
        held: true,
        root: Some(key()),
    });
}

#[test]
fn golden_items() {
    golden::check(&ItemRecord {
        removed: u64::MAX,
        target: key(),
        size: 1234,
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        source: SourceRecord::Registry {
            registry: "registry.test:5000".into(),
            name: "library/app".into(),
            digest: key(),
        },
        at_ms: 1_700_000_000_000,
        own: key(),
        artifact_type: "application/spdx+json".into(),
    });
    golden::check(&ReferrerRecord {
        removed: 9,
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        size: 77,
        annotations: vec![("a".into(), "b".into())],
        long: false,
    });
}

#[test]
fn golden_changes() {
    golden::check(&ChangeRecord {
        at_ms: 1_700_000_000_000,
        who: "ci".into(),
        why: "manifest.put".into(),
    });
}

#[test]
fn golden_contents() {
    golden::check(&BlobRecord {
        size: 99,
        first_seen_ms: 1_700_000_000_000,
        place: Some("sha256/ab/abcd.0011".into()),
        damaged: false,
    });
    let upload = UploadRecord {
        repo: 3,
        algorithm: 1,
        offset: 70_000,
        hash_state: vec![1, 2, 3],
        boot_id: "b".into(),
        saved_ms: 1_700_000_000_000,
        owner: "ann".into(),
    };
    golden::check(&upload);
    let owner = String::new();
    golden::check_old(1, &UploadRecord { owner, ..upload });
    golden::check(&FillRecord {
        id: [0xee; 16],
        offset: 70_000,
        hash_state: vec![1, 2, 3],
        boot_id: "b".into(),
        saved_ms: 1_700_000_000_000,
    });
    golden::check(&CondemnedRecord {
        digest: key(),
        at_ms: 1_700_000_000_000,
    });
}
