//! Repositories of an upstream: what is not here comes through, once, verified, and while it comes; what is here is served
//! whatever becomes of the upstream.

mod away;
mod blobs;
mod hostile;
mod lists;
mod names;
mod tags;

use std::time::{Duration, Instant};

use crate::harness::Reply;
use crate::harness::fake::{Ask, Fake};
use crate::harness::{Server, run, run_ok, text_of};

/// A server with an upstream that tests bend.
pub struct World {
    pub fake: Fake,
    pub server: Server,
}

impl World {
    /// An upstream `far` with the prefix `far.example`, and these further arguments.
    pub async fn start(more: &[&str]) -> Self {
        let world = Self {
            fake: Fake::start(),
            server: Server::start().await,
        };
        world.add("far", "far.example", world.fake.port, more);
        world
    }

    /// Adds another upstream.
    pub fn add(&self, name: &str, prefix: &str, port: u16, more: &[&str]) {
        add_upstream(&self.server, (name, prefix), port, more);
    }

    /// Changes the upstream.
    pub fn set(&self, more: &[&str]) {
        let dir = self.server.dir();
        let output = run(&[&["upstream", "set", "--data", &dir, "far"], more].concat());
        assert!(output.status.success(), "{}", text_of(&output));
    }

    /// GET of this below the repository `far.example/team/app`, by anybody.
    pub async fn get(&self, rest: &str) -> Reply {
        self.server.anonymous().get(&path(rest)).await
    }

    /// What was asked for since the last call, as `METHOD rest-of-the-path`.
    pub fn asked(&self) -> Vec<String> {
        let short = |ask: Ask| {
            let rest = ask
                .path
                .split_once("/team/app/")
                .map(|(_, rest)| rest.to_owned());
            format!("{} {}", ask.method, rest.unwrap_or(ask.path))
        };
        self.fake.asked().into_iter().map(short).collect()
    }

    /// Whether the repository is there, to who may see all.
    pub fn is_made(&self) -> bool {
        let dir = self.server.dir();
        run(&["repo", "show", "--data", &dir, "far.example/team/app"])
            .status
            .success()
    }
}

/// Adds an upstream of this name and prefix, on a port of this machine.
pub fn add_upstream(server: &Server, (name, prefix): (&str, &str), port: u16, more: &[&str]) {
    let (dir, url) = (server.dir(), format!("http://127.0.0.1:{port}"));
    let mut args = vec!["upstream", "add", "--data", &dir, name];
    args.extend(["--url", &url, "--prefix", prefix]);
    args.extend(more);
    run_ok(&args);
}

pub fn path(rest: &str) -> String {
    format!("/v2/far.example/team/app/{rest}")
}

/// How long something took.
pub async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    (work.await, begun.elapsed())
}
