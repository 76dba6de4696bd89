//! Bytes of an upload that do not come in a request's body: a command handed over the file that has them.

use crate::blobs::{Adopted, Adopting, UploadName};
use crate::repo::Repos;
use crate::repo::error::RepoError;
use crate::repo::files::Filed;
use crate::repo::state::lock;
use crate::repo::uploads::closing::Bringer;
use crate::repo::uploads::giving_up::Over;
use crate::repo::uploads::memory::Memory;
use crate::repo::uploads::piece::Piece;
use crate::repo::uploads::sessions::Turn;
use crate::types::Digest;
use std::fs::File;
use std::sync::Arc;

/// Bytes that are taken over in one go.
const HOP: u64 = 16 << 20;

impl Repos {
    /// As [`Repos::finish_in`], of the first `len` bytes of a file, for an upload that has had none.
    pub(in crate::repo) async fn finish_from(
        &self,
        mut turn: Turn,
        source: Arc<File>,
        len: u64,
        end: (Option<Digest>, Bringer),
    ) -> Result<Option<Filed>, RepoError> {
        // Dropped before the turn: no request comes in between.
        let _over = Over::if_spared(self, turn.id);
        self.take_over(&mut turn, source, len, end.0.as_ref())
            .await?;
        let repos = self.clone();
        self.to_its_end(async move { repos.end_upload(turn, Piece::default(), 0, end).await })
            .await
    }

    /// Takes the bytes over, hop by hop. One that is given up meanwhile ends with its next hop.
    async fn take_over(
        &self,
        turn: &mut Turn,
        source: Arc<File>,
        len: u64,
        digest: Option<&Digest>,
    ) -> Result<(), RepoError> {
        self.check_chunk(turn, None, Some(len), digest).await?;
        let (repo, session) = (self.repo_of(&turn.session).await?, &turn.session);
        let name = UploadName::session(turn.id, repo, session.algorithm);
        let most = usize::try_from(len).map_or(Adopting::MEMORY, |len| len.min(Adopting::MEMORY));
        let _paid = self.0.memory.take(Memory::price(most)).await;
        let (uploads, owner) = (self.0.blobs.uploads.clone(), session.owner.clone());
        let hold = turn.hold();
        let begun = self.block(move || {
            let _until_done = hold;
            Ok(uploads.adopting(name, owner, source, len)?)
        });
        let mut adopting = begun.await?;
        loop {
            if !turn.session.is_open() {
                return Err(RepoError::UploadUnknown);
            }
            let hold = turn.hold();
            let step = self.block(move || {
                let step = adopting.step(HOP)?;
                hold.reached(step.bytes());
                Ok(step)
            });
            match step.await? {
                Adopted::Part(rest) => adopting = *rest,
                Adopted::Whole(ingest) => {
                    turn.session.offset = ingest.offset();
                    *lock(&turn.session.ingest) = Some(*ingest);
                    return Ok(());
                }
            }
        }
    }
}
