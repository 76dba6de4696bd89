//! Whether the trail is what was written: every checkpoint is computed again from its rows.
//!
//! Owns what counts as damage. Must not mend anything.

use super::view::{AuditDamage, AuditVerified, time};
use crate::audit::chain::CheckpointHash;
use crate::audit::moving;
use crate::audit::record::{AuditRecord, CheckpointRecord, HeadRecord, Position};
use crate::audit::trail;
use crate::store::record::Record as _;
use crate::store::{Get, StoreError, Table};
use std::fmt::Write as _;

/// Rows and checkpoints in memory at once.
const PAGE: usize = 1_000;
/// Damages that are told of.
const TOLD: usize = 100;

/// Checks all of it. `anchor`: a hash that the log once told of and that is to be in the chain.
pub(in crate::audit) fn verify(
    get: &impl Get,
    anchor: Option<&str>,
) -> Result<AuditVerified, StoreError> {
    let mut walk = Walk {
        get,
        found: AuditVerified::default(),
        from: trail::all_rows().0,
        bytes: 0,
    };
    let Some(head) = trail::head(get)? else {
        let rest = walk.rest()?;
        // Whoever has moved rows of the feed has written a head.
        if rest > 0 || trail::oldest_checkpoint(get)?.is_some() || moving::has_moved(get)? {
            walk.tell("the head of the trail is gone".into(), (0, 0));
        }
        if anchor.is_some() {
            walk.tell(
                "there is no chain that the given hash could be in".into(),
                (0, 0),
            );
        }
        return Ok(walk.found);
    };
    let seen = walk.checkpoints(&head, anchor)?;
    let unchained = walk.rest()?;
    walk.found.rows = walk.found.chained + unchained;
    walk.compare(&head);
    if anchor.is_some() && !seen {
        let text = "the given hash is not in the chain: the chain was written anew since the log told of it, or that \
                    part of it is older than is kept";
        walk.tell(text.into(), (0, 0));
    }
    Ok(walk.found)
}

struct Walk<'g, G> {
    get: &'g G,
    found: AuditVerified,
    /// Where the next rows begin.
    from: Vec<u8>,
    /// Bytes of the rows so far.
    bytes: u64,
}

impl<G: Get> Walk<'_, G> {
    /// Every checkpoint in order. Answers whether the anchor was met.
    fn checkpoints(&mut self, head: &HeadRecord, anchor: Option<&str>) -> Result<bool, StoreError> {
        let (mut before, mut number) = (head.start, head.gone_checkpoints);
        let is_anchor = |hash: &[u8; 32]| anchor.is_some_and(|anchor| hex(hash) == anchor);
        let mut seen = is_anchor(&before);
        let (mut from, to) = trail::all_checkpoints();
        loop {
            let checkpoints = self.get.scan(Table::Audit, &from, &to, PAGE)?;
            for row in &checkpoints {
                let Ok((at, checkpoint)) = trail::checkpoint(row) else {
                    self.tell("a checkpoint of the chain cannot be read".into(), (0, 0));
                    continue;
                };
                if checkpoint.number != number {
                    let text = format!(
                        "checkpoints {number} to {} of the chain are not there",
                        checkpoint.number
                    );
                    self.tell(text, (0, at.ms));
                }
                self.checkpoint(&before, at, &checkpoint)?;
                (before, number) = (checkpoint.hash, checkpoint.number + 1);
                seen = seen || is_anchor(&before);
            }
            match checkpoints.last() {
                Some((last, _)) if checkpoints.len() == PAGE => from = trail::after(last),
                _ => break,
            }
        }
        self.found.hash = hex(&before);
        if before != head.hash || number != head.checkpoints {
            let text = "the chain does not end as the head of the trail says: checkpoints at its end were changed or removed";
            self.tell(text.into(), (0, head.chained.ms));
        }
        Ok(seen)
    }

    /// One checkpoint and its rows.
    fn checkpoint(
        &mut self,
        before: &[u8; 32],
        at: Position,
        checkpoint: &CheckpointRecord,
    ) -> Result<(), StoreError> {
        let mut hash = CheckpointHash::after(before, checkpoint.number, checkpoint.made_ms);
        let to = trail::after(&trail::row_key(at));
        let (rows, first) = self.rows(&to, |row| hash.row(row))?;
        self.found.checkpoints += 1;
        self.found.chained += rows;
        let span = (first.unwrap_or(at.ms), at.ms);
        let (number, should) = (checkpoint.number, checkpoint.rows);
        if rows < should {
            let text = format!(
                "checkpoint {number}: {} of its {should} rows were removed",
                should - rows
            );
            self.tell(text, span);
        } else if rows > should {
            let text = format!(
                "checkpoint {number}: {} rows were put in between its {should}",
                rows - should
            );
            self.tell(text, span);
        } else if hash.end() != checkpoint.hash {
            let text = format!(
                "checkpoint {number}: one of its {should} rows, or the checkpoint, was changed"
            );
            self.tell(text, span);
        }
        Ok(())
    }

    /// The rows that are not chained yet.
    fn rest(&mut self) -> Result<u64, StoreError> {
        let to = trail::all_rows().1;
        let (rows, _) = self.rows(&to, |_| {})?;
        self.found.rows = rows;
        Ok(rows)
    }

    /// The rows up to before a key: how many, and the time of the first.
    fn rows(
        &mut self,
        to: &[u8],
        mut each: impl FnMut(&crate::store::Row),
    ) -> Result<(u64, Option<u64>), StoreError> {
        let (mut count, mut first) = (0, None);
        while self.from.as_slice() < to {
            let rows = self.get.scan(Table::Audit, &self.from, to, PAGE)?;
            for (key, value) in &rows {
                let at = trail::position(key).map_or(0, |at| at.ms);
                first.get_or_insert(at);
                if AuditRecord::from_bytes(value).is_err() {
                    self.tell("a row cannot be read".into(), (at, at));
                }
            }
            rows.iter().for_each(&mut each);
            count += rows.len() as u64;
            self.bytes += rows.iter().map(|(k, v)| trail::size(k, v)).sum::<u64>();
            match rows.last() {
                Some((last, _)) if rows.len() == PAGE => self.from = trail::after(last),
                _ => break,
            }
        }
        self.from = to.to_vec();
        Ok((count, first))
    }

    fn compare(&mut self, head: &HeadRecord) {
        self.found.gone = head.gone_rows;
        let (rows, bytes) = (self.found.rows, self.bytes);
        if (rows, bytes) != (head.rows, head.bytes) {
            let text = format!(
                "the head of the trail counts {} rows of {} bytes, and there are {rows} of {bytes}",
                head.rows, head.bytes
            );
            self.tell(text, (0, 0));
        }
    }

    fn tell(&mut self, what: String, (from, to): (u64, u64)) {
        if self.found.damage.len() >= TOLD {
            return;
        }
        let text = |ms| if ms == 0 { String::new() } else { time(ms) };
        self.found.damage.push(AuditDamage {
            what,
            from: text(from),
            to: text(to),
        });
    }
}

/// A hash as text.
pub(in crate::audit) fn hex(hash: &[u8; 32]) -> String {
    hash.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
