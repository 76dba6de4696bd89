//! `dryport serve`: open, listen, obey signals, close, in this order.

mod listen;
mod ready;

use super::exit::Failure;
use super::help::flow;
use super::init::{self, ModeFlag};
use super::output;
use super::settings::{self, DataLocation};
use crate::app::{self, App, AppError, DirState, Entered, FirstPassword, Judged};
use crate::config::{Loaded, SettingOrigin};
use crate::http::{self, Listener, control::Control};
use crate::telemetry;
use clap::Args;
use listen::{bound, listen, listen_all, raise_file_limit};
use ready::{announce, notify};
use sd_notify::NotifyState;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

/// How often a start that takes its time says so, and how long the next word may take (in microseconds).
const STILL_OPENING: Duration = Duration::from_secs(10);
const START_MICROS: u32 = 60_000_000;

const HELP: &str = "\
Runs in the foreground. SIGTERM or Ctrl-C: running transfers finish (serve.drain), uploads can go on after
the next start. SIGHUP: certificate and settings are read again.

Examples:
  dryport serve
  dryport serve --data /srv/dryport --https [::]:443
  dryport serve --mode standalone --https 0.0.0.0:8443 --http 127.0.0.1:8080";

/// Start the server; an empty data directory is made ready first
#[derive(Debug, Args)]
#[command(after_help = flow(HELP))]
pub(super) struct Serve {
    #[command(flatten)]
    pub(super) place: DataLocation,
    /// Serve HTTPS here; may be given several times [default: [::]:8443, which takes IPv4, too]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) https: Vec<SocketAddr>,
    /// Serve plain HTTP here, too: passwords and content travel readable. Off unless given
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) http: Vec<SocketAddr>,
    /// Address by which clients reach this server, for links and the token service
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
    /// What the server is for; without this, what DIR/dryport.toml says, else mirror
    #[arg(long, value_enum)]
    pub(super) mode: Option<ModeFlag>,
}

impl Serve {
    /// The flags as settings.
    pub(super) fn flags(&self) -> Vec<(String, String)> {
        let list = |key: &str, all: &[SocketAddr]| -> Vec<(String, String)> {
            all.iter()
                .map(|a| (key.to_owned(), a.to_string()))
                .collect()
        };
        let mut flags = list("listen.https", &self.https);
        flags.extend(list("listen.http", &self.http));
        flags.extend(self.url.iter().map(|url| ("url".to_owned(), url.clone())));
        flags.extend(self.mode.map(ModeFlag::flag));
        flags
    }

    fn load(&self) -> Result<Loaded, Failure> {
        self.place.load_with(self.flags())
    }

    pub(super) async fn run(mut self) -> Result<(), Failure> {
        let loaded = self.load()?;
        if loaded.origins.get("data") == Some(&SettingOrigin::Default) {
            // Root's default is another directory than that of the user whom this process may become before a reload.
            self.place.data = Some(loaded.config.data.clone());
        }
        // Dropped last, and all lines are written.
        let _log = telemetry::init_server(&loaded.config.log.level, telemetry::json_by_default())
            .map_err(|e| Failure::usage(e.to_string()))?;
        raise_file_limit();
        let (dir, listeners) = enter(&loaded)?;
        let (app, first) = open_in_time(&dir).await?;
        let served = self.serve(&app, first.as_ref(), listeners).await;
        app.close().await;
        if served.is_ok() {
            tracing::info!("stopped");
        }
        served
    }

    async fn serve(
        &self,
        app: &App,
        first: Option<&FirstPassword>,
        listeners: Option<Vec<Listener>>,
    ) -> Result<(), Failure> {
        let config = app.config.load_full();
        let mut signals = Signals::new().map_err(Failure::failed)?;
        let listeners = match listeners {
            Some(bound) => bound,
            None => listen_all(&config)?,
        };
        let (https, plain) = (bound(&listeners, true), bound(&listeners, false));
        let control = app
            .store
            .with_room(|| Control::bind(&config.data))
            .map_err(|e| Failure::failed(format!("cannot make the control socket: {e}")))?;
        let stop = CancellationToken::new();
        let commands = tokio::spawn(control.serve(app.clone(), stop.clone()));
        let background = app.keep(&stop);
        let mut serving = tokio::spawn(http::serve(app.clone(), listeners, stop.clone()));
        announce(app, &https, &plain, first)?;
        let ended = self
            .until_stopped(app, &mut signals, &mut serving, &stop)
            .await;
        stop.cancel();
        // All end by the token; that they were cut off would matter to nobody now.
        let _ = tokio::join!(commands, background.join_all());
        match ended {
            // By the second signal.
            Err(error) if error.is_cancelled() => Ok(()),
            Err(error) => Err(Failure::failed(error)),
            Ok(()) => Ok(()),
        }
    }

    /// Waits for the listeners' end, or for a signal to end them: the first lets transfers finish, the second does not.
    async fn until_stopped<T>(
        &self,
        app: &App,
        signals: &mut Signals,
        serving: &mut JoinHandle<T>,
        stop: &CancellationToken,
    ) -> Result<T, JoinError> {
        loop {
            let heard = tokio::select! {
                ended = &mut *serving => return ended,
                heard = signals.any() => heard,
            };
            match heard {
                Heard::Reload => self.reload(app).await,
                Heard::Stop if stop.is_cancelled() => serving.abort(),
                Heard::Stop => {
                    notify(&[NotifyState::Stopping]);
                    let limit_s = app.config.load().serve.drain_seconds;
                    tracing::info!(
                        limit_s,
                        "stopping: running transfers may finish; a second signal ends them"
                    );
                    stop.cancel();
                }
            }
        }
    }

    /// SIGHUP: settings and certificate again. What is wrong is logged, and all stays as it was.
    async fn reload(&self, app: &App) {
        // systemd takes the word only together with the time (systemd.service(5), Type=notify-reload).
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(error) => {
                tracing::debug!(%error, "no monotonic clock: systemd does not hear of the reload");
            }
        }
        let done = match self.load() {
            Ok(loaded) => {
                let app = app.clone();
                let reloaded = tokio::task::spawn_blocking(move || app.reload(loaded.config)).await;
                reloaded
                    .map_err(Failure::failed)
                    .and_then(|r| r.map_err(Failure::from))
            }
            Err(failure) => Err(failure),
        };
        match done {
            Ok(restart) if restart.is_empty() => {
                tracing::info!("settings and certificate read again");
            }
            Ok(restart) => tracing::warn!(
                settings = restart.join(", "),
                "settings and certificate read again; these settings count only after a restart"
            ),
            Err(failure) => {
                tracing::error!(
                    error = failure.message,
                    "reload failed; the old settings stay in force"
                );
            }
        }
        notify(&[NotifyState::Ready]);
    }
}

/// The way into the data directory. Where it belongs to another user than root, who started this, the listeners that root
/// named are bound before: their ports may be root's. Those that the directory's own file names are its user's, and are
/// bound as that user.
fn enter(loaded: &Loaded) -> Result<(Entered, Option<Vec<Listener>>), Failure> {
    let named_by_root = settings::are_the_callers(loaded, settings::CERTIFICATE);
    let judged = Judged::new(loaded.config.clone())?;
    if !judged.changes_user() {
        let dir = judged.enter(named_by_root)?;
        // A port that is taken is found before a directory is made ready; one that is in use is told of before its ports.
        let is_empty = matches!(app::look(&dir.config.data)?, DirState::Empty);
        let listeners = is_empty.then(|| listen_all(&loaded.config)).transpose()?;
        return Ok((dir, listeners));
    }
    let of_root = |tls| settings::are_the_callers(loaded, settings::listeners(tls));
    let mut listeners = Vec::new();
    for tls in [true, false].into_iter().filter(|tls| of_root(*tls)) {
        listeners.extend(listen(&loaded.config, tls, None)?);
    }
    let dir = judged.enter(named_by_root)?;
    if let Some(user) = dir.became() {
        tracing::info!(user, data = %dir.config.data.display(), "this process is the data directory's user from here on, and no longer root");
    }
    let file = dir.config.data.join("dryport.toml");
    for tls in [true, false].into_iter().filter(|tls| !of_root(*tls)) {
        listeners.extend(listen(&loaded.config, tls, Some(&file))?);
    }
    Ok((dir, Some(listeners)))
}

/// [`open`], while systemd is told to wait: what was cut off (a compaction, an upgrade) has a start read the whole
/// database once, and one that systemd ends for that would begin at the beginning each time.
async fn open_in_time(dir: &Entered) -> Result<(App, Option<FirstPassword>), Failure> {
    let mut often = tokio::time::interval(STILL_OPENING);
    let mut opened = Box::pin(open(dir));
    loop {
        tokio::select! {
            done = &mut opened => return done,
            _ = often.tick() => notify(&[NotifyState::ExtendTimeoutUsec(START_MICROS)]),
        }
    }
}

/// The data directory, made ready if it is empty, and the first administrator's password if one was made now.
async fn open(dir: &Entered) -> Result<(App, Option<FirstPassword>), Failure> {
    let config = &dir.config;
    let app = match app::look(&config.data)? {
        DirState::Foreign => return Err(AppError::Foreign(config.data.clone()).into()),
        DirState::Empty => {
            tracing::info!(dir = %config.data.display(), mode = %config.mode, "the data directory is empty: making it ready");
            init::create(dir.clone(), "dryport serve").await?
        }
        DirState::Ours => {
            let dir = dir.clone();
            let opened = tokio::task::spawn_blocking(move || App::open(dir, "dryport serve"));
            opened.await.map_err(Failure::failed)??
        }
    };
    match app
        .first_account("admin", None, output::to_terminal())
        .await
    {
        Ok(first) => Ok((app, first)),
        Err(error) => {
            app.close().await;
            Err(error.into())
        }
    }
}

/// What the outside tells a running server.
struct Signals {
    hup: Signal,
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hup: signal(SignalKind::hangup())?,
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    async fn any(&mut self) -> Heard {
        tokio::select! {
            _ = self.hup.recv() => Heard::Reload,
            _ = self.term.recv() => Heard::Stop,
            _ = self.int.recv() => Heard::Stop,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Heard {
    Reload,
    Stop,
}
