//! Accounts: what is wrong with them, in the words of the report. What cannot be read is kept in `quarantine/` before it is
//! taken out.

use super::Checker;
use super::contents::blocking;
use crate::auth::{AccountFault, AuthError, FaultyAccount};
use crate::blobs::BlobError;
use crate::repo::RepoError;
use crate::repo::check::{Problem, ProblemKind};
use crate::types::{Algorithm, Digest, Remedy};

const CHANGED: &str = "it changed while it was looked at; check again";

impl Checker {
    /// Every account's row; answers how many there are.
    pub(super) async fn accounts(
        &self,
        repair: bool,
        problems: &mut Vec<Problem>,
    ) -> Result<u64, RepoError> {
        let (seen, faulty) = self.0.auth.faulty_accounts().await.map_err(failed)?;
        for account in faulty {
            problems.push(self.account(&account, repair).await?);
        }
        Ok(seen)
    }

    async fn account(&self, account: &FaultyAccount, repair: bool) -> Result<Problem, RepoError> {
        let name = &account.name;
        let (kind, what) = match &account.fault {
            AccountFault::Unreadable => {
                (ProblemKind::AccountUnreadable, "cannot be read".to_owned())
            }
            AccountFault::TooNew => {
                let text = "was written by a newer version".to_owned();
                (ProblemKind::AccountUnreadable, text)
            }
            AccountFault::Password => {
                let text = "has a password hash that cannot be read: nobody can log in";
                (ProblemKind::AccountPasswordUnreadable, text.to_owned())
            }
            AccountFault::Order => {
                let text = "has its grants in the wrong order".to_owned();
                (ProblemKind::AccountGrantsWrong, text)
            }
            AccountFault::Grant(prefix) => {
                let text = format!("has a grant that nobody could have given, on {prefix:?}");
                (ProblemKind::AccountGrantsWrong, text)
            }
        };
        let problem = Problem::new(kind, format!("account {name:?} {what}"));
        Ok(match &account.fault {
            AccountFault::TooNew => problem.how("run the version that wrote it"),
            AccountFault::Password => {
                problem.how("set it again").mended_by(Remedy::SetPassword(name.clone()))
            }
            AccountFault::Grant(_) => problem
                .how("rights are not guessed: look at those that it has, then remove the account and add it again")
                .mended_by(Remedy::RemakeAccount(name.clone())),
            AccountFault::Order if !repair => problem.how("a repair mends it").mended_by(Remedy::Repair),
            AccountFault::Order => {
                let sorted = self.0.auth.sort_grants(account).await.map_err(failed)?;
                if sorted { problem.done("mended") } else { problem.how(CHANGED) }
            }
            AccountFault::Unreadable if !repair => {
                problem.how("a repair moves its row to quarantine/; then add the account again").mended_by(Remedy::Repair)
            }
            AccountFault::Unreadable => {
                let to = self.keep(&account.row).await?;
                let dropped = self.0.auth.drop_row(account).await.map_err(failed)?;
                if dropped {
                    problem
                        .done(format!("its row was moved to {to}; add the account again"))
                        .mended_by(Remedy::AddAccount(name.clone()))
                } else {
                    problem.how(CHANGED)
                }
            }
        })
    }

    /// Keeps a row's bytes; answers where.
    async fn keep(&self, row: &[u8]) -> Result<String, RepoError> {
        let (blobs, row) = (self.0.blobs.clone(), row.to_vec());
        let kept: Result<String, BlobError> = blocking(move || {
            let digest = Digest::of(Algorithm::Sha256, &row);
            blobs.content.quarantine_bytes(&digest, &row)
        })
        .await?;
        Ok(kept?)
    }
}

fn failed(error: AuthError) -> RepoError {
    match error {
        AuthError::Store(error) => error.into(),
        other => RepoError::Task(other.to_string()),
    }
}
