//! Stored rows: a damaged row must be told from a whole one, and never read as something that writes back different.

use dryport::auth::Account;
use dryport::jobs::record::{JobLineRecord, JobRecord, ScheduleRecord};
use dryport::repo::StageRecord;
use dryport::repo::rows::keys;
use dryport::repo::rows::record::{
    BlobRecord, ChangeRecord, CondemnedRecord, FillRecord, ItemRecord, QuotaRecord, ReferrerRecord,
    RepoRecord, SnapshotRecord, UploadRecord, UsageRecord,
};
use dryport::store::feed::FeedRecord;
use dryport::store::key::{Key, Parts};
use dryport::store::record::{RECORD_LIMIT, Record};
use dryport::upstream::UpstreamRecord;

/// A record of any type: what decodes, encodes to bytes that decode to the same, no longer than before.
pub fn record(data: &[u8]) {
    same::<Account>(data);
    same::<BlobRecord>(data);
    same::<ChangeRecord>(data);
    same::<CondemnedRecord>(data);
    same::<FeedRecord>(data);
    same::<ItemRecord>(data);
    same::<JobLineRecord>(data);
    same::<JobRecord>(data);
    same::<QuotaRecord>(data);
    same::<ReferrerRecord>(data);
    same::<RepoRecord>(data);
    same::<ScheduleRecord>(data);
    same::<SnapshotRecord>(data);
    same::<StageRecord>(data);
    same::<UploadRecord>(data);
    same::<UpstreamRecord>(data);
    same::<FillRecord>(data);
    same::<UsageRecord>(data);
}

fn same<R: Record + PartialEq + std::fmt::Debug>(data: &[u8]) {
    let Ok(record) = R::from_bytes(data) else {
        return;
    };
    let Ok(bytes) = record.to_bytes() else {
        // Only a record that no version of this program could have written is refused (an upgrade may add bytes).
        assert!(data.len() + 16 > RECORD_LIMIT, "{}: {record:?}", R::NAME);
        return;
    };
    assert!(bytes.len() <= RECORD_LIMIT);
    assert!(
        data[0] < R::VERSION || bytes.len() <= data.len(),
        "{}",
        R::NAME
    );
    let again = R::from_bytes(&bytes);
    assert_eq!(again.ok().as_ref(), Some(&record), "{}", R::NAME);
    assert!(
        R::from_bytes(&[&bytes[..], &[0]].concat()).is_err(),
        "{}",
        R::NAME
    );
}

/// Keys of every shape: what is read out of one, put together again, is the key (or its beginning, where the reader
/// looks no further).
pub fn key(data: &[u8]) {
    let (from, to) = Key::new().raw(data).range();
    assert_eq!(from, data);
    assert!(to.is_empty() || (from < to && !to.starts_with(data)));
    let head = {
        let mut parts = Parts(data);
        parts.u64().zip(parts.u8()).zip(parts.u8())
    };
    if let Some(((id, class), past)) = head {
        let start = || Key::new().u64(id).u8(class).u8(past);
        if let Some((tag, rev)) = keys::text_of_item(data) {
            assert!(data.starts_with(&start().text(tag).not_u64(rev.0).done()));
        }
        if let Some((digest, rev)) = keys::manifest_of_item(data) {
            assert!(data.starts_with(&start().raw(digest.as_key()).not_u64(rev.0).done()));
        }
    }
    if let Some((id, class, rest)) = keys::ref_head(data) {
        let digest = Parts(data).digest().expect("its first part");
        let start = keys::refs(&digest).u64(id.0).u8(class);
        assert_eq!(start.raw(rest).done(), data);
        if let Some((parent, rev)) = keys::parent_of(rest) {
            assert!(rest.starts_with(&Key::new().raw(parent.as_key()).u64(rev.0).done()));
        }
        if let Some((tag, rev)) = keys::text_of_ref(rest) {
            assert!(rest.starts_with(&Key::new().text(tag).u64(rev.0).done()));
        }
    }
    if let Some((artifact_type, digest)) = keys::referrer_parts(data) {
        let end = Key::new().text(artifact_type).raw(digest.as_key()).done();
        assert!(data.windows(end.len()).any(|w| w == end));
    }
    if let Some(rev) = keys::added_of_referrer(data) {
        assert!(data.ends_with(&Key::new().not_u64(rev.0).done()));
    }
    if let Some((at, kind, what)) = keys::due_parts(data) {
        assert_eq!(keys::due(at, kind, what), data);
    }
}
