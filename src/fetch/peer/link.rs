//! Where a list goes on: a `Link` is followed at the upstream that sent it, and nowhere else.

use super::{Peer, PeerAsk};
use crate::fetch::client::SmallAnswer;
use crate::fetch::error::FetchError;
use crate::fetch::realm::same_origin;
use crate::fetch::wire::shown;

/// Whether the target of a link (RFC 8288 section 3.1) of this answer is at the host that answered: the same scheme, host and
/// port.
pub fn same_host(answer: &SmallAnswer, link: &str) -> bool {
    let to = answer.url.join(link);
    to.is_ok_and(|to| same_origin(&answer.url, &to))
}

impl Peer {
    /// What to ask for the next page of a list, by the target of the answer's link. [`FetchError::Redirect`] where it leads to
    /// another host or out of the repository.
    pub fn next_page(
        &self,
        ask: &PeerAsk,
        answer: &SmallAnswer,
        link: &str,
    ) -> Result<PeerAsk, FetchError> {
        let refuse = |why: &str| FetchError::Redirect {
            url: shown(&answer.url),
            why: format!("its next page is {why}"),
        };
        let to = answer.url.join(link);
        let to = to.map_err(|_| refuse("no address"))?;
        if !same_origin(&answer.url, &to) {
            return Err(refuse("at another host"));
        }
        let path = to.path().strip_prefix("/v2/").unwrap_or_default();
        let mut ways = self.inner.ways.iter();
        let rest = ways.find_map(|way| {
            let rest = path.strip_prefix(&*way.line.url.prefix)?;
            rest.strip_prefix(&*ask.name)?.strip_prefix('/')
        });
        let rest = rest.ok_or_else(|| refuse("not of the same repository"))?;
        let next = PeerAsk {
            rest: match to.query() {
                Some(query) => format!("{rest}?{query}"),
                None => rest.to_owned(),
            },
            ..ask.clone()
        };
        next.check()?;
        Ok(next)
    }
}
