//! A job that runs in this process, as its callers hear it: news on the way, and how it came out.
//!
//! Owns listening. Must not run anything: that is [`super::runner`]'s.

use super::ops::{Fault, FaultKind, News, Progress};
use super::runner::{Came, Runner};
use crate::types::JobId;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

/// How a job came out.
pub(super) type End = Option<Result<Came, Fault>>;

/// A job that runs in this process.
#[derive(Clone)]
pub(super) struct Live {
    /// Ends it.
    pub stop: CancellationToken,
    /// The process ends, and the job goes on in the next one.
    pub leaves: Arc<AtomicBool>,
    /// It does not go on without who asked for it.
    pub ends_with_its_caller: bool,
    /// What it tells on the way.
    pub news: broadcast::Sender<Progress>,
    /// How it came out, once it did.
    pub end: watch::Receiver<End>,
}

/// A job that somebody listens to.
pub(super) struct Heard {
    /// The job.
    pub id: JobId,
    /// Another command had begun it.
    pub joined: bool,
    pub live: Live,
    pub news: broadcast::Receiver<Progress>,
}

impl Heard {
    /// Hears the job out, or until `gone`. Without a server the job stops with its caller.
    pub async fn out(
        mut self,
        runner: &Runner,
        news: News,
        gone: CancellationToken,
    ) -> Result<Came, Fault> {
        let mut end = self.live.end.clone();
        loop {
            let next = tokio::select! {
                biased;
                now = self.news.recv() => match now {
                    Ok(now) => Next::News(now),
                    Err(broadcast::error::RecvError::Lagged(_)) => continue,
                    Err(broadcast::error::RecvError::Closed) => Next::Over,
                },
                _ = end.wait_for(Option::is_some) => Next::Over,
                () = gone.cancelled() => Next::Gone,
            };
            match next {
                Next::News(now) => news(now),
                Next::Over => break,
                Next::Gone if runner.serves() && !self.live.ends_with_its_caller => {
                    let text = format!("the caller went away; job {} goes on", self.id);
                    return Err(Fault::new(FaultKind::Failed, text));
                }
                Next::Gone => {
                    self.live.stop.cancel();
                    break;
                }
            }
        }
        let done = end
            .wait_for(Option::is_some)
            .await
            .map(|end| (*end).clone());
        while let Ok(now) = self.news.try_recv() {
            news(now);
        }
        done.ok().flatten().unwrap_or_else(|| Err(lost()))
    }
}

/// What a listener hears next.
enum Next {
    News(Progress),
    Over,
    Gone,
}

fn lost() -> Fault {
    Fault::new(
        FaultKind::Failed,
        "the job ended without saying how; the log says why",
    )
}
