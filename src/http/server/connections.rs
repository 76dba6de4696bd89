//! Which connections are there, and which one goes when there are too many.
//!
//! Owns the limits of connections, by address and in all, and knows of each connection whether it is at work. An idle
//! one (without a request: between two, in its handshake, or slow to send a head) is worth least: it goes first, the
//! longest idle before the others. New ones are closed only if their address has its share and none of its own is
//! idle; else, if nothing is idle at all, they wait. For others only what was idle for a second goes: one that has just
//! been let in has not had the time to ask yet, and one that asked a moment ago will ask again. Only after a second of
//! waiting for that may one of the latter go, too: so whoever asks often keeps its place before those that never ask, and
//! yet nobody keeps a place by asking often.

use crate::auth::net;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Idle connections that go at once, at most: so looking for them is rare.
const AT_ONCE: usize = 64;
/// Who was let in stays for so long without asking for anything, whoever wants to come in; and who has asked stays for so
/// long after that, unless who wants to come in has waited as long.
const GRACE: Duration = Duration::from_secs(1);
/// After a look that found no idle one, the next look is not sooner.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// One connection.
pub struct Link {
    net: IpAddr,
    start: Instant,
    /// Requests under way.
    requests: AtomicUsize,
    /// Those of them whose answer is on its way: all that is left is the client's.
    sending: AtomicUsize,
    /// When something last moved, in ms after `start`.
    moved: AtomicU64,
    /// A request has come.
    asked: AtomicBool,
    /// The file that is set aside for it is in use.
    file: AtomicBool,
    go: Notify,
}

impl Link {
    fn new(net: IpAddr) -> Self {
        Self {
            net,
            start: Instant::now(),
            requests: AtomicUsize::new(0),
            sending: AtomicUsize::new(0),
            moved: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            file: AtomicBool::new(false),
            go: Notify::new(),
        }
    }

    /// Something was received or sent.
    pub fn touch(&self) {
        self.moved
            .store(self.start.elapsed().as_millis() as u64, Relaxed);
    }

    /// How long nothing has moved.
    pub fn still(&self) -> Duration {
        let moved = Duration::from_millis(self.moved.load(Relaxed));
        self.start.elapsed().saturating_sub(moved)
    }

    /// Something moved just now: it was let in, its handshake ended, or a request did.
    fn is_lately_moved(&self) -> bool {
        self.still() < GRACE
    }

    /// It was let in just now and has not asked for anything yet.
    fn is_fresh(&self) -> bool {
        !self.asked.load(Relaxed) && self.is_lately_moved()
    }

    /// No request is under way.
    pub fn is_idle(&self) -> bool {
        self.requests.load(Relaxed) == 0
    }

    /// Every request under way waits for the client to take its answer.
    pub fn is_waiting(&self) -> bool {
        self.requests.load(Relaxed) == self.sending.load(Relaxed)
    }

    /// Waits until the connection is to go.
    pub async fn told_to_go(&self) {
        self.go.notified().await;
    }
}

/// A request under way on a connection, until dropped.
pub struct Use {
    link: Arc<Link>,
    sending: AtomicBool,
}

impl Use {
    /// A request has come.
    pub fn begin(link: &Arc<Link>) -> Self {
        link.requests.fetch_add(1, Relaxed);
        link.asked.store(true, Relaxed);
        link.touch();
        Self {
            link: Arc::clone(link),
            sending: AtomicBool::new(false),
        }
    }

    /// Takes the file that is set aside for the connection; false if another request has it.
    pub fn take_file(&self) -> bool {
        !self.link.file.swap(true, Relaxed)
    }

    /// The file is set aside again.
    pub fn give_back_file(&self) {
        self.link.file.store(false, Relaxed);
    }

    /// The answer is on its way.
    pub fn answered(&self) {
        if !self.sending.swap(true, Relaxed) {
            self.link.sending.fetch_add(1, Relaxed);
        }
        self.link.touch();
    }

    /// Something was received or sent.
    pub fn touch(&self) {
        self.link.touch();
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.link.touch();
        if *self.sending.get_mut() {
            self.link.sending.fetch_sub(1, Relaxed);
        }
        self.link.requests.fetch_sub(1, Relaxed);
    }
}

/// All connections; there are never more than `most` of them for long.
pub struct Connections {
    most: usize,
    table: Mutex<Table>,
    left: Notify,
}

#[derive(Default)]
struct Table {
    next: u64,
    links: HashMap<u64, Arc<Link>>,
    /// Connections of each address, without those that were told to go.
    nets: HashMap<IpAddr, Net>,
}

#[derive(Default)]
struct Net {
    links: usize,
    /// No idle one was found at that time.
    looked: Option<Instant>,
}

/// A connection's entry, until dropped.
pub struct ConnectionEntry {
    all: Arc<Connections>,
    number: u64,
    /// The connection.
    pub link: Arc<Link>,
}

impl Connections {
    /// `most` connections in all.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            table: Mutex::default(),
            left: Notify::new(),
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().links.len()
    }

    /// What one address may have of `asked`.
    pub fn share(&self, asked: usize) -> usize {
        asked.min(self.most - self.most / 4).max(1)
    }

    /// Takes up a new connection of an address that may have `share` of them. If that is used up the longest idle of
    /// its own go; `None`: none is idle, and the new one is to be closed.
    pub fn enter(self: &Arc<Self>, address: IpAddr, share: usize) -> Option<ConnectionEntry> {
        let net = net(address);
        let mut table = self.lock();
        if table.nets.get(&net).is_some_and(|n| n.links >= share) && !table.thin_out(net) {
            return None;
        }
        let link = Arc::new(Link::new(net));
        let number = table.next;
        table.next += 1;
        table.links.insert(number, Arc::clone(&link));
        table.nets.entry(net).or_default().links += 1;
        Some(ConnectionEntry {
            all: Arc::clone(self),
            number,
            link,
        })
    }

    /// Waits until there are not too many, with `newcomer` among them; idle ones are sent away for that.
    pub async fn room(&self, newcomer: &Link) {
        let begin = Instant::now();
        loop {
            // It waits, and is not idle.
            newcomer.touch();
            let left = self.left.notified();
            {
                let mut table = self.lock();
                if table.links.len() <= self.most {
                    return;
                }
                let long = begin.elapsed() >= GRACE;
                table.send_away(|link| {
                    let stays = if long {
                        link.is_fresh()
                    } else {
                        link.is_lately_moved()
                    };
                    !stays && !std::ptr::eq(link, newcomer)
                });
            }
            // Idle ones may also come to be while nobody leaves.
            let _ = tokio::time::timeout(LOOK_EVERY, left).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Sends idle connections of an address away, if it has some.
    fn thin_out(&mut self, net: IpAddr) -> bool {
        let looked = self.nets.get(&net).and_then(|n| n.looked);
        if looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return false;
        }
        let found = self.send_away(|link| link.net == net);
        if let Some(entry) = self.nets.get_mut(&net) {
            entry.looked = (!found).then(Instant::now);
        }
        found
    }

    /// Tells the longest idle of some connections to go; false if none is idle.
    fn send_away(&mut self, which: impl Fn(&Link) -> bool) -> bool {
        let idle = self.links.iter().filter(|(_, l)| l.is_idle() && which(l));
        let mut idle: Vec<_> = idle.map(|(number, l)| (l.still(), *number)).collect();
        let some = idle.len().div_ceil(8).min(AT_ONCE);
        idle.sort_unstable_by(|a, b| b.cmp(a));
        for (_, number) in idle.iter().take(some) {
            if let Some(link) = self.links.remove(number) {
                link.go.notify_one();
                self.forget(link.net);
            }
        }
        some > 0
    }

    fn forget(&mut self, net: IpAddr) {
        if let Some(entry) = self.nets.get_mut(&net) {
            entry.links -= 1;
            if entry.links == 0 {
                self.nets.remove(&net);
            }
        }
    }
}

impl Drop for ConnectionEntry {
    fn drop(&mut self) {
        let mut table = self.all.lock();
        if table.links.remove(&self.number).is_some() {
            table.forget(self.link.net);
        }
        drop(table);
        self.all.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
