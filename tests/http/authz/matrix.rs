//! The authorization matrix: every route x everybody who may ask x own, other and absent repositories x digests that
//! are here, only in the other repository, or nowhere.
//!
//! What must come is derived from the law in `law`. Beside status and code, three things are demanded of every
//! answer: it holds nothing of a repository that the caller may not read; it is the same, to the last header, whether
//! such a repository exists or not; and the same whether a digest exists in another repository or nowhere.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use crate::harness::Reply;
use crate::http::authz::cells::{Answer, Cell, Undo, reading};
use crate::http::authz::changes::changing;
use crate::http::authz::law::{Mode, Right, Spot, User, Verdict, Who};
use crate::http::authz::wire::{Ask, Wire, shape};
use crate::http::authz::world::{Item, World};

/// How a request names its repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Form {
    /// By its name.
    Plain,
    /// As `NAME?ns=HOST`.
    Ns,
    /// By the name of its past.
    Past,
}

/// Judges answers; failures are collected, so that one run shows them all.
pub struct Judge<'a> {
    pub world: &'a World,
    pub who: &'a Who,
    pub wire: Wire,
    pub cells: usize,
    pub failures: Vec<String>,
    turn: usize,
    shapes: HashMap<(Spot, Item, Form, String), (String, bool)>,
}

/// Cells of each mode, at the least.
const LEAST: usize = 22_000;
/// Of those who are refused everywhere, the ones that meet every cell.
const THOROUGH: [&str; 3] = [
    "expired token",
    "token for another service",
    "token of a removed user",
];

/// An address of 127.0.0.0/8 that nobody has failed to log in from.
fn fresh_address() -> Ipv4Addr {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let [_, b, c, d] = n.to_be_bytes();
    Ipv4Addr::new(127, 1 + b, c, d)
}

impl<'a> Judge<'a> {
    pub fn new(world: &'a World, who: &'a Who) -> Self {
        Self {
            world,
            who,
            wire: Wire::new(world.server.http, fresh_address()),
            cells: 0,
            failures: Vec::new(),
            turn: 0,
            shapes: HashMap::new(),
        }
    }

    /// Credentials that cost a password hash each.
    fn costly(&self) -> bool {
        self.who.auth.len() > 1
    }

    /// Whether every cell is asked, or only the telling ones: the many ways to forge a token need not meet each digest.
    pub fn thorough(&self) -> bool {
        self.who.user != User::Refused || THOROUGH.contains(&self.who.name)
    }

    /// Sends with the credentials of who asks.
    pub async fn ask(&mut self, ask: &Ask) -> Reply {
        if self.costly() {
            self.wire = Wire::new(self.world.server.http, fresh_address());
        }
        let auth = self.who.auth.get(self.turn % self.who.auth.len().max(1));
        self.turn += 1;
        self.cells += 1;
        self.wire.send(ask, auth.map(String::as_str)).await
    }

    pub fn fail(&mut self, what: &str, why: &str, reply: &Reply) {
        let mode = self.world.mode;
        let answer = crate::http::authz::wire::seen(reply);
        self.failures.push(format!(
            "{mode:?}, {}, {what}: {why}\n{answer}",
            self.who.name
        ));
    }

    /// Nothing of a repository that the caller may not read, but what the request itself said.
    pub fn no_secrets(&mut self, what: &str, asked: &str, reply: &Reply) {
        let text = crate::http::authz::wire::seen(reply);
        for (item, spot) in [(Item::InA, Spot::A), (Item::InB, Spot::B)] {
            if self.who.sees(self.world.mode, spot.name()) {
                continue;
            }
            let mut secrets = self.world.goods(item).secrets.clone();
            secrets.push(spot.name().to_owned());
            for secret in secrets {
                if text.contains(&secret) && !asked.contains(&secret) {
                    self.fail(what, &format!("it tells {secret}"), reply);
                }
            }
        }
        let open = self.world.mode == Mode::Mirror;
        if !open && reply.header("cache-control").contains("public") {
            self.fail(
                what,
                "shared caches may keep it and answer strangers with it",
                reply,
            );
        }
    }

    /// Each refusal by its form.
    fn form(&mut self, what: &str, verdict: Verdict, right: Right, head: bool, reply: &Reply) {
        let challenge = reply.header("www-authenticate").to_owned();
        let (status, code) = match verdict {
            Verdict::Go => return,
            Verdict::Login => (401, "UNAUTHORIZED"),
            Verdict::Denied => (403, "DENIED"),
            Verdict::Hidden => (404, "NAME_UNKNOWN"),
        };
        if reply.status != status || (!head && reply.code() != code) {
            self.fail(what, &format!("must be {status} {code}"), reply);
        }
        let asks = challenge.starts_with("Bearer realm=") && challenge.contains(right.word());
        if asks != (status == 401) {
            self.fail(
                what,
                "a challenge belongs to 401, and to nothing else",
                reply,
            );
        }
    }

    async fn judge(&mut self, spot: Spot, item: Item, cell: &Cell, form: Form) {
        let what = format!("{spot:?} {item:?} {} ({form:?})", cell.label);
        let (host, short) = spot.split();
        let mode = self.world.mode;
        let (meant, verdict) = match form {
            Form::Plain => (
                spot.exists(),
                self.who.verdict(mode, cell.right, spot.name()),
            ),
            Form::Past => (
                spot.exists(),
                self.who.verdict(mode, cell.right, &spot.past()),
            ),
            Form::Ns => self.who.verdict_ns(mode, spot),
        };
        // An allowed change would make the repository: what is absent has to stay so.
        if verdict == Verdict::Go && cell.right != Right::Pull && !spot.exists() {
            return;
        }
        let mut ask = cell.ask.clone();
        let query = if ask.path.contains('?') { '&' } else { '?' };
        ask.path = match form {
            Form::Plain => format!("/v2/{}/{}", spot.name(), ask.path),
            Form::Past => format!("/v2/{}/{}", spot.past(), ask.path),
            Form::Ns => format!("/v2/{short}/{}{query}ns={host}", ask.path),
        };
        if ask.path.contains("{own}") {
            let id = match self.world.sessions.get(&spot) {
                Some(_) if verdict == Verdict::Go => self.world.session(spot).await,
                Some(id) => id.clone(),
                None => "11111111111111111111111111111111".to_owned(),
            };
            ask.path = ask.path.replace("{own}", &id);
        }
        let reply = self.ask(&ask).await;
        let asked = format!("{} {}", ask.path, String::from_utf8_lossy(&ask.body));
        self.no_secrets(&what, &format!("{asked} {host}/{short}"), &reply);
        self.form(&what, verdict, cell.right, ask.method == "HEAD", &reply);
        if verdict == Verdict::Go {
            let past = form == Form::Past;
            let (status, code) = cell.let_through(self.world, self.who, item, meant, past);
            let same = code.is_empty() || ask.method == "HEAD" || reply.code() == code;
            if reply.status != status || !same {
                self.fail(&what, &format!("must be {status} {code}"), &reply);
            }
            self.undo(spot, item, cell, &reply).await;
        }
        let tag = &self.world.goods(item).tag;
        let shape = shape(&reply, &[spot.name(), short, host, tag]);
        let told = verdict == Verdict::Go && cell.holds && meant;
        self.shapes
            .insert((spot, item, form, cell.label.clone()), (shape, told));
    }

    /// Puts right what was allowed to be changed, and looks whether naming a digest has granted it.
    async fn undo(&mut self, spot: Spot, item: Item, cell: &Cell, reply: &Reply) {
        let (repo, admin) = (spot.name(), &self.world.admin);
        let changed = reply.status / 100 == 2;
        match &cell.undo {
            Undo::Fill if changed => {
                self.names_grant_nothing(spot, item).await;
                let _ = admin.delete(&format!("/v2/{repo}/manifests/one")).await;
                let _ = admin.delete(&format!("/v2/{repo}/manifests/two")).await;
                for (_, bytes) in self.world.naming(item) {
                    let digest = crate::harness::content::sha256(&bytes);
                    let _ = admin
                        .delete(&format!("/v2/{repo}/manifests/{digest}"))
                        .await;
                }
                self.world.fill(spot).await;
            }
            Undo::Remove(digest) if changed => {
                self.names_grant_nothing(spot, item).await;
                admin
                    .delete(&format!("/v2/{repo}/manifests/{digest}"))
                    .await
                    .expect(202);
            }
            Undo::Unlink(digest) if reply.status == 201 && !cell.holds => {
                admin
                    .delete(&format!("/v2/{repo}/blobs/{digest}"))
                    .await
                    .expect(202);
            }
            Undo::Session(Some(digest)) if changed => {
                admin
                    .delete(&format!("/v2/{repo}/blobs/{digest}"))
                    .await
                    .expect(202);
            }
            _ => {}
        }
    }

    /// After a push that names the item: it is shown only if it was before, its referrers in the other repository stay
    /// there, and what is named cannot be mounted from here.
    async fn names_grant_nothing(&mut self, spot: Spot, item: Item) {
        // Tokens are covered by their users, who have the same rights here.
        if item.is_in(spot) || item == Item::Nowhere || self.who.scope.is_some() {
            return;
        }
        for cell in reading(self.world, spot, item) {
            let what = format!("{spot:?} {item:?} {} after naming it", cell.label);
            let mut ask = cell.ask.clone();
            ask.path = format!("/v2/{}/{}", spot.name(), ask.path);
            let reply = self.ask(&ask).await;
            self.no_secrets(&what, &format!("{} {}", ask.path, spot.name()), &reply);
            let foreign = &self.world.goods(item).secrets[0];
            let shown = matches!(cell.answer, Answer::Manifest(_) | Answer::Blob(_));
            if (shown && reply.status != 404) || reply.text().contains(foreign) {
                self.fail(&what, "naming it has granted it", &reply);
            }
        }
        let layer = crate::harness::content::sha256(&self.world.goods(item).layer);
        let query = format!("mount={layer}&from={}", spot.name());
        let ask = Ask::new(
            "POST",
            format!("/v2/{}/blobs/uploads/?{query}", spot.name()),
        );
        let reply = self.ask(&ask).await;
        if reply.status != 202 {
            self.fail(
                &format!("{spot:?} {item:?} mount after naming it"),
                "must be 202",
                &reply,
            );
        }
    }

    /// Whole answers that may not differ by what the caller must not know.
    fn twins(&mut self) {
        let mut differ = Vec::new();
        for ((spot, item, form, label), (here, told)) in &self.shapes {
            let twin = match (spot, item) {
                // Absent repository, absent digest.
                (Spot::A, Item::InA | Item::Nowhere) => (Spot::NotA, Item::Nowhere),
                (Spot::B, Item::InB | Item::Nowhere) => (Spot::NotB, Item::Nowhere),
                // The digest of the other repository, and one that is nowhere.
                (_, Item::InA | Item::InB) => (*spot, Item::Nowhere),
                _ => continue,
            };
            let Some((there, _)) = self.shapes.get(&(twin.0, twin.1, *form, label.clone())) else {
                continue;
            };
            let sees = |s: Spot| self.who.sees(self.world.mode, s.name());
            let knows_spot = spot.exists() && twin.0 != *spot && sees(*spot);
            let knows_item =
                twin.0 == *spot && label.contains("mount") && item.home().is_some_and(sees);
            if !told && !knows_spot && !knows_item && here != there {
                differ.push(format!(
                    "{:?}, {}: {spot:?} {item:?} {label} ({form:?}) is not answered as {twin:?}:\n{here}\n-- but --\n{there}",
                    self.world.mode, self.who.name
                ));
            }
        }
        self.failures.append(&mut differ);
    }

    async fn all(&mut self) {
        for spot in Spot::ALL {
            for item in Item::ALL {
                let telling = item.is_in(spot) || (spot == Spot::NotB && item == Item::Nowhere);
                if !self.thorough() && !telling {
                    continue;
                }
                let strange = spot == Spot::A && item == Item::InB;
                for cell in reading(self.world, spot, item) {
                    self.judge(spot, item, &cell, Form::Plain).await;
                    if self.thorough() && (telling || strange || item == Item::Nowhere) {
                        self.judge(spot, item, &cell, Form::Ns).await;
                        self.judge(spot, item, &cell, Form::Past).await;
                    }
                }
                for cell in changing(self.world, spot, item) {
                    self.judge(spot, item, &cell, Form::Plain).await;
                }
            }
        }
        self.operations().await;
        self.twins();
    }
}

async fn matrix(mode: Mode) {
    let world = World::build(mode).await;
    let before = world.state().await;
    let (mut cells, mut failures) = crate::http::authz::server::server_matrix(&world).await;
    for who in &world.whos {
        let mut judge = Judge::new(&world, who);
        judge.all().await;
        cells += judge.cells;
        failures.append(&mut judge.failures);
        if world.state().await != before {
            failures.push(format!(
                "{mode:?}, {}: something was changed that should not be",
                who.name
            ));
        }
    }
    println!(
        "{mode:?}: {cells} cells, {} kinds of caller",
        world.whos.len()
    );
    assert!(cells >= LEAST, "only {cells} cells of {LEAST}");
    let count = failures.len();
    failures.truncate(40);
    assert!(count == 0, "{count} failures\n\n{}", failures.join("\n\n"));
}

#[tokio::test]
async fn the_matrix_holds_where_everybody_may_pull() {
    matrix(Mode::Mirror).await;
}

#[tokio::test]
async fn the_matrix_holds_where_accounts_are_required() {
    matrix(Mode::Standalone).await;
}
