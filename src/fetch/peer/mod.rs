//! One upstream of a cache, asked on behalf of many who wait: its addresses in order, circuit breakers, budgets, requests
//! beside late ones, blobs at a pace, and what is counted of all that. A failure is told soon rather than tried again.
//!
//! Knows names and paths of the distribution protocol only to put them together; must know nothing of what is kept here.

mod breaker;
mod budget;
mod download;
mod hedge;
mod line;
mod link;
mod standing;
mod turns;

#[cfg(test)]
mod tests;

pub use download::PeerDownload;
pub use link::same_host;
pub use standing::{AddressCounters, BreakerState, PeerCounters, PeerStanding};

pub(super) use hedge::{Trace, race};
pub(super) use line::PeerLine;

use super::FetchOptions;
use super::client::{FetchClient, SmallAnswer};
use super::error::FetchError;
use super::wire::Lookup;
use budget::Bucket;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use turns::{Turn, Turns};

/// No wait for a connection is longer, with the look-up of the name and with TLS.
const CONNECT: Duration = Duration::from_secs(2);
/// The longest wait for the first byte of an answer if nothing else is said.
const FIRST_BYTE: Duration = Duration::from_secs(30);
/// So long a small answer may take at most, and the first answer of a large one, besides what its limit gives it.
const SLOWEST: Duration = Duration::from_mins(2);
/// A small answer has a second more for so many bytes of its limit.
const SLOW_BYTES: u64 = 8192;
/// At once may come what this time allows of a limited bandwidth.
const BURST: Duration = Duration::from_millis(250);

/// An address of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerUrl {
    /// `HOST` or `HOST:PORT`, an IPv6 address in brackets.
    pub host: String,
    /// Whether it is spoken to without TLS.
    pub is_plain: bool,
    /// What comes before each name, with a slash at its end; empty for none.
    pub prefix: String,
}

impl fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_plain { "http" } else { "https" };
        let prefix = self.prefix.trim_end_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        write!(f, "{scheme}://{}{slash}{prefix}", self.host)
    }
}

/// How an upstream is asked.
#[derive(Debug, Clone)]
pub struct PeerOptions {
    /// Its addresses, at least one: the next is asked where one cannot be reached.
    pub urls: Vec<PeerUrl>,
    /// How each is talked to. `connect_timeout` is 2 s at most, `first_byte` 30 s if it is not set; `plain_http`, `tries`
    /// and `backoff` mean nothing.
    pub fetch: FetchOptions,
    /// Most requests a second; 0 is no limit.
    pub requests_per_second: u32,
    /// Most bytes a second of all downloads together; 0 is no limit.
    pub bytes_per_second: u64,
    /// Whether a second request goes out beside one for a token or a manifest that is late.
    pub hedge: bool,
}

/// What is asked of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAsk {
    /// The repository's name there, as in paths and in the scope of tokens, without the address' prefix.
    pub name: String,
    /// What of it: `manifests/latest`, `blobs/DIGEST`, `tags/list?n=100`.
    pub rest: String,
    /// The `Accept` header.
    pub accept: String,
}

impl PeerAsk {
    /// Refuses what would be another path once it is part of a URL.
    fn check(&self) -> Result<(), FetchError> {
        let path = self.rest.split('?').next().unwrap_or_default();
        let parts = self.name.split('/').chain(path.split('/'));
        let mut all = [&self.name, &self.rest].into_iter().flat_map(|s| s.bytes());
        let is_path = !parts
            .into_iter()
            .any(|part| matches!(part, "" | "." | ".."))
            && !self.name.contains(['?', '%'])
            && all.all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'#'));
        is_path.then_some(()).ok_or_else(|| {
            let what = format!("{:?}", self.shown());
            FetchError::Options(format!("{what} is nothing that a registry is asked for"))
        })
    }

    fn target(&self, at: &PeerUrl) -> String {
        format!("/v2/{}{}/{}", at.prefix, self.name, self.rest)
    }

    fn scope(&self, at: &PeerUrl) -> String {
        format!("repository:{}{}:pull", at.prefix, self.name)
    }

    /// Without a query.
    fn shown(&self) -> String {
        let path = self.rest.split('?').next().unwrap_or_default();
        format!("/{}/{path}", self.name)
    }

    fn is_manifest(&self) -> bool {
        self.rest.starts_with("manifests/")
    }
}

/// One upstream; cheap to clone. Connects at the first request, and keeps its connections.
#[derive(Clone)]
pub struct Peer {
    inner: Arc<Inside>,
}

struct Inside {
    ways: Vec<Way>,
    bytes: Bucket,
    read_timeout: Duration,
}

/// One address, and how it is asked.
struct Way {
    number: usize,
    client: FetchClient,
    line: Arc<PeerLine>,
}

impl Peer {
    /// An upstream as its operator describes it. An error if it has no address, or something of it cannot be used.
    pub fn new(options: PeerOptions) -> Result<Self, FetchError> {
        Self::with_lookup(options, &Lookup::system())
    }

    /// As [`Peer::new`], with another way from names to addresses.
    fn with_lookup(options: PeerOptions, lookup: &Lookup) -> Result<Self, FetchError> {
        let PeerOptions { urls, fetch, .. } = options;
        if urls.is_empty() {
            return Err(FetchError::Options(
                "the upstream has no address".to_owned(),
            ));
        }
        let second = Duration::from_secs(1);
        let rate = u64::from(options.requests_per_second);
        let requests = Arc::new(Bucket::new(rate, second));
        let way = |(number, url): (usize, PeerUrl)| {
            let own = FetchOptions {
                plain_http: url.is_plain,
                connect_timeout: fetch.connect_timeout.min(CONNECT),
                first_byte: fetch.first_byte.or(Some(FIRST_BYTE)),
                tries: 1,
                ..fetch.clone()
            };
            let line = PeerLine::new(url.clone(), requests.clone(), options.hedge);
            let line = Arc::new(line);
            let client = FetchClient::on_line(&url.host, own, lookup, line.clone())?;
            Ok(Way {
                number,
                client,
                line,
            })
        };
        let ways = urls.into_iter().enumerate().map(way);
        let inner = Inside {
            ways: ways.collect::<Result<_, FetchError>>()?,
            bytes: Bucket::new(options.bytes_per_second, BURST),
            read_timeout: fetch.read_timeout,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// HEADs what is asked for. An answer may be anything but 429 and 5xx.
    pub async fn head(&self, ask: &PeerAsk) -> Result<SmallAnswer, FetchError> {
        self.small(ask, None).await
    }

    /// GETs what is asked for into memory, at most `limit` bytes. An answer may be anything but 429 and 5xx.
    pub async fn get(&self, ask: &PeerAsk, limit: u64) -> Result<SmallAnswer, FetchError> {
        self.small(ask, Some(limit)).await
    }

    /// How it fares now.
    pub fn standing(&self) -> PeerStanding {
        let now = Instant::now();
        let ways = self.inner.ways.iter();
        let all: Vec<_> = ways.map(|way| way.line.standing(now)).collect();
        PeerStanding::of(&all)
    }

    /// What was counted since the start.
    pub fn counters(&self) -> PeerCounters {
        let now = Instant::now();
        let ways = self.inner.ways.iter();
        PeerCounters {
            addresses: ways.map(|way| way.line.counters(now)).collect(),
        }
    }

    async fn small(&self, ask: &PeerAsk, limit: Option<u64>) -> Result<SmallAnswer, FetchError> {
        ask.check()?;
        let mut turns = Turns::new(&self.inner.ways);
        loop {
            let turn = turns.next()?;
            match self.at(&turn, ask, limit, turns.until).await {
                Ok(answer) => return Ok(answer),
                Err(error) => turns.failed(&turn, error)?,
            }
        }
    }

    /// Asks one address; and another, or the same by another connection, if it is late.
    async fn at(
        &self,
        turn: &Turn<'_>,
        ask: &PeerAsk,
        limit: Option<u64>,
        until: Instant,
    ) -> Result<SmallAnswer, FetchError> {
        let way = turn.way;
        let trace = Arc::new(Trace::new(until));
        let first = Box::pin(way.small(ask, limit, &trace));
        let answer = if limit.is_none() || ask.is_manifest() {
            let beside = || {
                let other = self.beside(way);
                let trace = Arc::new(Trace::new(until));
                Box::pin(async move { other.small(ask, limit, &trace).await })
            };
            race(first, way.line.is_late(&trace), beside).await?
        } else {
            first.await?
        };
        // What was not asked for by name is not waited for either.
        let _ = self.pace(answer.body.len());
        Ok(answer)
    }

    /// Who is asked where `way` is late.
    fn beside<'a>(&'a self, way: &'a Way) -> &'a Way {
        let now = Instant::now();
        let mut others = self.inner.ways.iter();
        let other = others.find(|other| other.number != way.number && other.line.is_free(now));
        other.unwrap_or(way)
    }

    /// Takes so many bytes out of the bandwidth; the wait for them.
    fn pace(&self, bytes: usize) -> Duration {
        let taken = self
            .inner
            .bytes
            .take(bytes as u64, Instant::now(), Duration::MAX);
        taken.unwrap_or_default()
    }

    /// Returns when so many bytes may have come.
    async fn paid(&self, bytes: usize) {
        let wait = self.pace(bytes);
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }
}

impl Way {
    async fn small(
        &self,
        ask: &PeerAsk,
        limit: Option<u64>,
        trace: &Arc<Trace>,
    ) -> Result<SmallAnswer, FetchError> {
        let url = &self.line.url;
        let (target, scope) = (ask.target(url), ask.scope(url));
        let client = self.client.traced(trace);
        let most = SLOWEST + Duration::from_secs(limit.unwrap_or(0) / SLOW_BYTES);
        let answer = async {
            match limit {
                None => client.head(&target, &ask.accept, &scope).await,
                Some(limit) => client.get(&target, &ask.accept, &scope, limit).await,
            }
        };
        let answer = in_time(most, url, answer).await?;
        self.line
            .received(answer.coded.as_ref().unwrap_or(&answer.body).len());
        // Of those that may pass the client makes errors itself.
        if answer.status >= 500 {
            return answer.check();
        }
        Ok(answer)
    }
}

/// What comes within this time; else an error: what drips would keep who waits for it.
async fn in_time<T>(
    most: Duration,
    url: &PeerUrl,
    answer: impl Future<Output = Result<T, FetchError>>,
) -> Result<T, FetchError> {
    let answer = tokio::time::timeout(most, answer).await;
    answer.unwrap_or_else(|_| {
        Err(FetchError::Body {
            url: url.to_string(),
            why: format!("the answer was not whole after {} s", most.as_secs()),
        })
    })
}
