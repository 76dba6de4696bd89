//! How far slow work is. A mirror run: one bar a blob and one for all on a terminal, else a line every five seconds. A
//! check: one bar on a terminal, else nothing.

use super::output::{self, count, note, size};
use super::terminal::Quiet;
use crate::gc::check::CheckProgress;
use crate::mirror::MirrorProgress;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// The state of one run, and how it is drawn.
pub(super) struct RunDisplay {
    bars: Option<MultiProgress>,
    quiet: Mutex<Option<Quiet>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    blobs: u64,
    bytes: u64,
    blobs_done: u64,
    bytes_settled: u64,
    /// Blobs under way: bytes here, and the bar.
    open: HashMap<String, (u64, Option<ProgressBar>)>,
    total: Option<ProgressBar>,
    said: String,
}

impl State {
    fn bytes_done(&self) -> u64 {
        self.bytes_settled + self.open.values().map(|(done, _)| done).sum::<u64>()
    }

    fn line(&self) -> String {
        let (done, all) = (size(self.bytes_done()), size(self.bytes));
        format!("{}/{} blobs, {done} of {all}", self.blobs_done, self.blobs)
    }

    fn settle(&mut self, digest: &str, bytes: u64) {
        if let Some((_, Some(bar))) = self.open.remove(digest) {
            bar.finish_and_clear();
        }
        self.blobs_done += 1;
        self.bytes_settled += bytes;
    }
}

impl RunDisplay {
    pub(super) fn new() -> Self {
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        Self {
            quiet: Mutex::new(bars.as_ref().and_then(|_| Quiet::interrupts())),
            bars,
            state: Mutex::default(),
        }
    }

    /// Where no terminal is, says every five seconds how far it is.
    pub(super) fn tick(self: Arc<Self>) -> JoinHandle<()> {
        tokio::spawn(async move {
            let pause = Duration::from_secs(5);
            let mut every = tokio::time::interval_at(tokio::time::Instant::now() + pause, pause);
            while self.bars.is_none() {
                every.tick().await;
                let mut state = self.state();
                let line = state.line();
                if state.blobs > 0 && line != state.said {
                    note(&line);
                    state.said = line;
                }
            }
        })
    }

    /// Takes one piece of news.
    pub(super) fn hear(&self, now: &MirrorProgress) {
        let mut state = self.state();
        // Bytes that were here before this run say nothing about its speed.
        let mut jumped = false;
        match now {
            MirrorProgress::Resolved {
                digest,
                manifests,
                blobs,
                bytes,
            } => {
                (state.blobs, state.bytes) = (*blobs, *bytes);
                self.say(&format!(
                    "{digest}: {}, {}, {}",
                    count(*manifests, "manifest"),
                    count(*blobs, "blob"),
                    size(*bytes)
                ));
                state.total = self.bars.as_ref().map(|bars| bars.add(bar(*bytes, "all")));
            }
            MirrorProgress::Blob { digest, size, done } if done == size => {
                state.settle(digest, *size);
            }
            MirrorProgress::Blob { digest, size, done } => {
                jumped = !state.open.contains_key(digest) && *done > 0;
                self.grow(&mut state, digest, *size, *done);
            }
            MirrorProgress::Skipped { digest, size } => {
                state.settle(digest, *size);
                jumped = true;
            }
            MirrorProgress::Retry { why, wait_ms } => {
                self.say(&format!(
                    "{why}; trying again in {} s",
                    wait_ms.div_ceil(1000)
                ));
            }
            MirrorProgress::Committed { .. } => {}
        }
        if let Some(total) = &state.total {
            total.set_position(state.bytes_done());
            let text = format!("{}/{} blobs", state.blobs_done, state.blobs);
            output::tell(total, &text);
            if jumped {
                total.reset_eta();
            }
        }
    }

    fn grow(&self, state: &mut State, digest: &str, size: u64, done: u64) {
        let bars = self.bars.as_ref();
        let place = state.open.entry(digest.to_owned()).or_insert_with(|| {
            let short: String = digest.chars().take(19).collect();
            let bar = bars.map(|bars| bars.insert(0, bar(size, &short)));
            if let Some(bar) = &bar {
                bar.set_position(done);
                bar.reset_eta();
            }
            (0, bar)
        });
        place.0 = done;
        if let Some(bar) = &place.1 {
            bar.set_position(done);
        }
    }

    /// Takes the bars off the screen.
    pub(super) fn finish(&self) {
        if let Some(bars) = &self.bars {
            // A terminal that cannot be cleared keeps its bars: no harm.
            let _ = bars.clear();
            // A bar that is dropped unfinished would draw itself once more.
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        drop(lock(&self.quiet).take());
    }

    fn say(&self, text: &str) {
        match &self.bars {
            Some(bars) if output::above(bars, text) => {}
            _ => note(text),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only drawn from: a half-counted number is better than none.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bar(size: u64, name: &str) -> ProgressBar {
    output::named(ProgressBar::new(size).with_style(form()), name)
}

fn form() -> ProgressStyle {
    let form = "{prefix:19} {bar:28} {binary_bytes:>11} of {binary_total_bytes:<11} {binary_bytes_per_sec:>13} {msg}";
    ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The bar of a check.
pub(super) struct Checking {
    bar: Option<ProgressBar>,
    quiet: Mutex<Option<Quiet>>,
}

impl Checking {
    /// A bar if a person looks at it.
    pub(super) fn new(json: bool) -> Self {
        let wanted = !json && std::io::stderr().is_terminal();
        let bar = wanted.then(|| ProgressBar::no_length().with_style(plain()));
        Self {
            quiet: Mutex::new(bar.as_ref().and_then(|_| Quiet::interrupts())),
            bar,
        }
    }

    /// Takes one piece of news.
    pub(super) fn hear(&self, now: &CheckProgress) {
        let Some(bar) = &self.bar else {
            return;
        };
        let blobs = format!("{}/{} blobs", now.checked_blobs, now.all_blobs);
        if now.at_rows {
            bar.set_style(plain());
            output::tell(bar, &format!("{blobs}; looking at the rows"));
        } else if now.all_bytes > 0 {
            if bar.length() != Some(now.all_bytes) {
                bar.set_style(form());
                bar.set_length(now.all_bytes);
                bar.reset_eta();
            }
            bar.set_position(now.checked_bytes);
            drop(output::named(bar.clone(), "read"));
            output::tell(bar, &blobs);
        } else {
            output::tell(bar, &blobs);
        }
        bar.tick();
    }

    /// Takes the bar off the screen.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        drop(lock(&self.quiet).take());
    }
}

fn plain() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_there_and_what_comes() {
        let shown = RunDisplay {
            bars: None,
            quiet: Mutex::default(),
            state: Mutex::default(),
        };
        let counted = || {
            let state = shown.state();
            (state.blobs_done, state.bytes_done())
        };
        let digest = |n: &str| n.to_owned();
        shown.hear(&MirrorProgress::Resolved {
            digest: digest("a"),
            manifests: 1,
            blobs: 3,
            bytes: 600,
        });
        shown.hear(&MirrorProgress::Skipped {
            digest: digest("b"),
            size: 100,
        });
        shown.hear(&MirrorProgress::Blob {
            digest: digest("c"),
            size: 200,
            done: 50,
        });
        shown.hear(&MirrorProgress::Blob {
            digest: digest("c"),
            size: 200,
            done: 150,
        });
        assert_eq!(counted(), (1, 250));
        shown.hear(&MirrorProgress::Blob {
            digest: digest("c"),
            size: 200,
            done: 200,
        });
        shown.hear(&MirrorProgress::Blob {
            digest: digest("d"),
            size: 300,
            done: 300,
        });
        assert_eq!(counted(), (3, 600));
    }
}
