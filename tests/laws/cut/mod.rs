//! A push that its client breaks off leaves nothing: its name is not there or means what it meant before, and once their time
//! is over nothing of its bytes stays.
//!
//! Owns the law and its promises. What `mutants` has breaks one of them each, so that the law is known to see it.

mod mutants;

use super::kinds::{Files, Images, Kind, Request};
use crate::core::quota::exact::on_disk;
use crate::harness::broken::begun;
use crate::harness::clock::pass;
use crate::harness::damage::check;
use crate::harness::{Server, run_ok};
use std::time::Duration;

/// Their bytes are different ones; some lie in the database, some in files.
const NUMBERS: [u64; 3] = [1, 2, 3];

/// Longer than anything of a push that was not ended is kept.
const LONG: Duration = Duration::from_hours(72);

/// Where the bytes of pushes are.
const FOLDERS: [&str; 2] = ["blobs", "uploads"];

/// What the law promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promise {
    /// A name that was never put whole means nothing.
    NewMeansNothing,
    /// A name goes on to mean what it meant before.
    OldMeansTheSame,
    /// Files and bytes are as many as before, once the time of what was cut off is over.
    NothingStays,
    /// A deep check finds nothing.
    NothingIsDamaged,
}

/// A promise that was not kept, and what was seen.
#[derive(Debug)]
struct Broken {
    promise: Promise,
    how: String,
}

type Kept = Result<(), Broken>;

fn holds(promise: Promise, it: bool, how: impl FnOnce() -> String) -> Kept {
    if it {
        Ok(())
    } else {
        let how = how();
        Err(Broken { promise, how })
    }
}

/// A push that was cut off.
struct Cut<'a> {
    name: &'a str,
    number: u64,
    /// What came of the body of its last request.
    came: &'a [u8],
}

/// The program under the law. Beside what the binary does, a mutant does something wrong.
trait Program {
    /// A push was cut off.
    async fn was_cut<K: Kind>(&self, _kind: &K, _server: &Server, _cut: &Cut<'_>) {}

    /// The time of all that was cut off of a name, with these numbers, is over.
    async fn time_is_over<K: Kind>(&self, _: &K, _: &mut Server, _name: &str, _number: u64) {}
}

/// The binary as it is.
struct Built;

impl Program for Built {}

/// Sends a request but for the rest of its body.
fn send_part(server: &Server, request: &Request, sent: usize) {
    let Request {
        method,
        path,
        media_type,
        body,
    } = request;
    drop(begun(server, method, path, media_type, body, sent));
}

/// One server, one kind, one program.
struct Trial<'a, K, P> {
    kind: &'a K,
    program: &'a P,
    server: Server,
}

impl<K: Kind, P: Program> Trial<'_, K, P> {
    /// Puts a name with this number, once for each of its requests and some lengths at which that is cut.
    async fn cut_each(&self, name: &str, number: u64) {
        let count = self.kind.requests(name, number).len();
        for last in 0..count {
            for part in 0..4 {
                let requests = self.kind.requests(name, number);
                for whole in &requests[..last] {
                    let media_type = [("content-type", whole.media_type)];
                    let admin = self.server.admin();
                    let done = admin.send(whole.method, &whole.path, &media_type, &whole.body);
                    done.await.expect(201);
                }
                let body = &requests[last].body;
                let sent = (body.len() * part / 3).min(body.len() - 1);
                send_part(&self.server, &requests[last], sent);
                let came = &body[..sent];
                let cut = Cut { name, number, came };
                self.program.was_cut(self.kind, &self.server, &cut).await;
            }
        }
    }

    async fn is_nothing(&self, name: &str) -> Kept {
        let anyone = self.server.anonymous();
        let got = anyone.get(&self.kind.path(name, None)).await;
        let how = || format!("{name} is {} with {} bytes", got.status, got.body.len());
        holds(Promise::NewMeansNothing, got.status == 404, how)
    }

    async fn is_still(&self, name: &str, number: u64) -> Kept {
        let anyone = self.server.anonymous();
        let got = anyone.get(&self.kind.path(name, None)).await;
        let is_it = got.status == 200
            && got.body == self.kind.bytes(number)
            && self.kind.is_whole(&anyone, number, None).await;
        let how = || format!("{name} is {} with {} bytes", got.status, got.body.len());
        holds(Promise::OldMeansTheSame, is_it, how)
    }

    /// The time of what was cut off passes, and the collector comes.
    async fn wait_and_collect(&mut self, name: &str, number: u64) {
        pass(&mut self.server, LONG).await;
        let over = self.program;
        over.time_is_over(self.kind, &mut self.server, name, number)
            .await;
        run_ok(&["gc", "--purge-history", "--data", &self.server.dir()]);
    }

    fn takes(&self, before: (usize, u64)) -> Kept {
        let now = on_disk(&self.server, &FOLDERS);
        let how = || format!("{now:?} files and bytes in place of {before:?}");
        holds(Promise::NothingStays, now == before, how)
    }
}

/// The law, for one kind of repository. What is cut off are puts with these numbers.
async fn leaves_nothing<K: Kind, P: Program>(kind: &K, program: &P, numbers: &[u64]) -> Kept {
    let server = Server::start().await;
    kind.make(&server);
    let mut trial = Trial {
        kind,
        program,
        server,
    };
    for number in numbers {
        trial.cut_each("new", *number).await;
    }
    trial.is_nothing("new").await?;
    trial.wait_and_collect("new", numbers[0]).await;
    trial.is_nothing("new").await?;
    trial.takes((0, 0))?;

    assert!(kind.put(&trial.server.admin(), "old", 7).await);
    let before = on_disk(&trial.server, &FOLDERS);
    trial.cut_each("old", 2).await;
    trial.is_still("old", 7).await?;
    trial.wait_and_collect("old", 2).await;
    trial.is_still("old", 7).await?;
    trial.takes(before)?;
    let (code, report) = check(&trial.server.data(), &["--deep"]);
    let how = || format!("{}", report["kinds"]);
    holds(Promise::NothingIsDamaged, code == 0, how)
}

#[tokio::test]
async fn a_cut_push_of_an_image_leaves_nothing() {
    leaves_nothing(&Images, &Built, &NUMBERS).await.unwrap();
}

#[tokio::test]
async fn a_cut_upload_of_a_file_leaves_nothing() {
    leaves_nothing(&Files, &Built, &NUMBERS).await.unwrap();
}
