//! What goes into one transaction of a list of manifests, and how a list that is too long for one is divided.
//!
//! The row changes of a manifest are estimated beforehand; what that leaves out (others that waited for it, above all) is
//! found by the transaction itself, which stores nothing then, and the list is halved. One manifest alone always fits: see
//! [`MANIFEST_ROWS`].

use crate::repo::error::RepoError;
use crate::repo::images::edit::NewManifest;
use crate::repo::images::parts;
use crate::store::StoreError;
use std::ops::Range;

/// Row changes of one transaction, about: the rest of what it may have is for what the estimate leaves out.
pub(in crate::repo) const ROWS: usize = 3500;
/// Row changes for what a manifest names: a reference for each digest, a mark for each part of an index. With
/// [`TAGS`], the two for each quota of the longest name, and those who waited for it
/// ([`WANTED_MAX`](crate::repo::rows::WANTED_MAX)), they stay within a transaction.
pub(in crate::repo) const MANIFEST_ROWS: usize = 4000;
/// Tags that one manifest gets in one transaction.
pub(in crate::repo) const TAGS: usize = 64;
/// Row changes of one tag that moves: its rows, and what asks the collector to look at what it meant.
const TAG_ROWS: usize = 7;
/// Row changes of any manifest: its own, and those of the revision.
const OWN_ROWS: usize = 30;

/// Row changes that a manifest comes to where so many quotas hold its repository.
pub(in crate::repo) fn cost(new: &NewManifest, quotas: usize) -> usize {
    let inspected = &new.inspected;
    inspected.children.len()
        + parts::rows(inspected)
        + TAG_ROWS * new.tags.len()
        + 2 * quotas
        + OWN_ROWS
}

/// Row changes of the links of all that a manifest names, where so many quotas hold its repository.
pub(in crate::repo) fn cost_of_links(new: &NewManifest, quotas: usize) -> usize {
    (3 + quotas) * new.inspected.children.len()
}

/// A transaction that manifests are put into, one after the other.
#[derive(Debug, Default)]
pub(in crate::repo) struct Filling(usize);

impl Filling {
    /// Whether one of this cost fits beside those before it; if not it is the first of the next transaction.
    pub fn takes(&mut self, cost: usize) -> bool {
        let fits = self.0 == 0 || self.0 + cost <= ROWS;
        self.0 = if fits { self.0 + cost } else { cost };
        fits
    }
}

/// Commits a list of this length, in the order given, in as many transactions as it takes: a part that touches too many
/// rows is halved. With an error, from where on nothing was committed.
pub(in crate::repo) async fn commit_in_parts<F>(
    len: usize,
    mut commit: impl FnMut(Range<usize>) -> F,
) -> Result<(), (usize, RepoError)>
where
    F: Future<Output = Result<(), RepoError>>,
{
    let whole = 0..len;
    let mut open = vec![whole];
    while let Some(part) = open.pop() {
        match commit(part.clone()).await {
            Err(RepoError::Store(StoreError::TooMany(_))) if part.len() > 1 => {
                let middle = part.start + part.len() / 2;
                open.push(middle..part.end);
                open.push(part.start..middle);
            }
            done => done.map_err(|error| (part.start, error))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn a_transaction_takes_what_fits_and_one_that_never_does() {
        let mut filling = Filling::default();
        let takes = [1000, 2500, 1, 9000, 1].map(|cost| filling.takes(cost));
        assert_eq!(takes, [true, true, false, false, false]);
        assert!(filling.takes(3499) && !filling.takes(1));
    }

    #[tokio::test]
    async fn a_list_is_halved_until_its_parts_fit_and_stays_in_order() {
        let done = RefCell::new(Vec::new());
        let commit = |most: usize, fails: usize| {
            let done = &done;
            move |part: Range<usize>| async move {
                if part.len() > most {
                    return Err(RepoError::Store(StoreError::TooMany(0)));
                }
                if part.contains(&fails) {
                    return Err(RepoError::Restless);
                }
                done.borrow_mut().extend(part);
                Ok(())
            }
        };
        let all = commit_in_parts(11, commit(3, 100)).await;
        assert!(all.is_ok());
        assert_eq!(done.take(), (0..11).collect::<Vec<_>>());
        let broken = commit_in_parts(11, commit(3, 6)).await;
        assert!(
            matches!(broken, Err((5, RepoError::Restless))),
            "{broken:?}"
        );
        assert_eq!(done.take(), (0..5).collect::<Vec<_>>());
        // One that is too large alone is told.
        let large = commit_in_parts(2, commit(0, 100)).await;
        assert!(matches!(
            large,
            Err((0, RepoError::Store(StoreError::TooMany(_))))
        ));
        assert!(commit_in_parts(0, commit(3, 100)).await.is_ok());
    }
}
