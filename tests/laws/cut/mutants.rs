//! Programs that do not keep the law of cut pushes, on purpose: the binary, and beside it one thing that it must not do.
//!
//! Owns the mutants and which promise each breaks. What a mutant does wrong it does from outside: by requests of its own, by
//! files in the data directory, and by rows of a database that no server has open.

use super::{Cut, Files, Images, Kind, Program, Promise, leaves_nothing};
use crate::harness::Server;
use crate::harness::content::{noise, sha256};
use crate::harness::damage::Rows;
use dryport::repo::rows::keys::{self, Name};
use dryport::store::Table;
use dryport::types::Rev;

/// What a mutant does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    /// A push that was cut off is ended as if all of it had come.
    Ends,
    /// A push that was cut off is ended when the program starts again.
    EndsLater,
    /// What a name meant is replaced by what was cut off.
    Replaces,
    /// The same, when the program starts again.
    ReplacesLater,
    /// What a name meant is taken away before the new bytes are all there.
    RemovesFirst,
    /// The bytes that came stay in a file that nothing names.
    Keeps,
    /// The same, of a name that is there already.
    KeepsBesideOld,
    /// A row of the name that was to come stays.
    LeavesARow,
}

impl Wrong {
    const ALL: [Self; 8] = [
        Self::Ends,
        Self::EndsLater,
        Self::Replaces,
        Self::ReplacesLater,
        Self::RemovesFirst,
        Self::Keeps,
        Self::KeepsBesideOld,
        Self::LeavesARow,
    ];

    const fn breaks(self) -> Promise {
        match self {
            Self::Ends | Self::EndsLater => Promise::NewMeansNothing,
            Self::Replaces | Self::ReplacesLater | Self::RemovesFirst => Promise::OldMeansTheSame,
            Self::Keeps | Self::KeepsBesideOld => Promise::NothingStays,
            Self::LeavesARow => Promise::NothingIsDamaged,
        }
    }
}

impl Program for Wrong {
    async fn was_cut<K: Kind>(&self, kind: &K, server: &Server, cut: &Cut<'_>) {
        let (admin, is_new) = (server.admin(), cut.name == "new");
        match self {
            Self::Ends if is_new => assert!(kind.put(&admin, cut.name, cut.number).await),
            Self::Replaces if !is_new => assert!(kind.put(&admin, cut.name, cut.number).await),
            // Of the cuts after the first it is gone already.
            Self::RemovesFirst if !is_new => drop(kind.delete(&admin, cut.name).await),
            Self::Keeps if is_new => keep(server, cut.came),
            Self::KeepsBesideOld if !is_new => keep(server, cut.came),
            _ => {}
        }
    }

    async fn time_is_over<K: Kind>(&self, kind: &K, server: &mut Server, name: &str, number: u64) {
        match (self, name) {
            (Self::EndsLater, "new") | (Self::ReplacesLater, "old") => {
                assert!(kind.put(&server.admin(), name, number).await);
            }
            (Self::LeavesARow, "old") => {
                server.kill();
                leave_a_row(server, K::REPO);
                server.restart().await;
            }
            _ => {}
        }
    }
}

fn keep(server: &Server, bytes: &[u8]) {
    std::fs::write(server.data().join("uploads").join(sha256(bytes)), bytes).unwrap();
}

/// A reference of a name to bytes that never came whole.
fn leave_a_row(server: &Server, repo: &str) {
    let rows = Rows::open(&server.data());
    let digest = sha256(&noise(8, 900)).parse().unwrap();
    let key = keys::item_ref(&digest, rows.repo(repo), &Name::tag("never"), Rev(1));
    rows.put(Table::Refs, &key, b"");
}

/// The law notices each mutant, and by the promise that it breaks.
async fn notices<K: Kind>(kind: &K) {
    let mut seen = Vec::new();
    for wrong in Wrong::ALL {
        let Err(broken) = leaves_nothing(kind, &wrong, &[1]).await else {
            panic!("{wrong:?} goes unnoticed");
        };
        println!("{wrong:?}: {broken:?}");
        assert_eq!(broken.promise, wrong.breaks(), "{wrong:?}: {}", broken.how);
        seen.push(broken.promise);
    }
    for promise in [
        Promise::NewMeansNothing,
        Promise::OldMeansTheSame,
        Promise::NothingStays,
        Promise::NothingIsDamaged,
    ] {
        assert!(seen.contains(&promise), "no mutant breaks {promise:?}");
    }
}

#[tokio::test]
async fn a_program_that_leaves_something_of_a_cut_push_is_noticed() {
    notices(&Images).await;
}

#[tokio::test]
async fn a_program_that_leaves_something_of_a_cut_file_is_noticed() {
    notices(&Files).await;
}
