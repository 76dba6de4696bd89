//! `dryport trust`.

use super::exit::Failure;
use super::help::flow;
use super::output::{self, OutputFormat};
use super::session::CommandSession;
use super::settings::{self, DataLocation};
use crate::app::Judged;
use crate::app::ops::{FaultKind, ServerTrust};
use clap::Args;

/// Print the server's CA certificate and how clients come to trust it
#[derive(Debug, Args)]
#[command(after_help = flow("Example:\n  dryport trust --pem > dryport-ca.crt"))]
pub(super) struct Trust {
    #[command(flatten)]
    pub(super) place: DataLocation,
    /// Print the CA certificate alone
    #[arg(long, conflicts_with = "json")]
    pub(super) pem: bool,
    #[command(flatten)]
    pub(super) format: OutputFormat,
}

impl Trust {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let loaded = self.place.load()?;
        let named_by_root = settings::are_the_callers(&loaded, settings::CERTIFICATE);
        let dir = Judged::new(loaded.config)?.enter(named_by_root)?;
        let view = match CommandSession::running(&dir).await? {
            Some(server) => server.quick(ServerTrust {}).await?,
            None => tokio::task::spawn_blocking(move || crate::app::trust(&dir))
                .await
                .map_err(Failure::failed)??,
        };
        if self.format.json {
            return output::json(&view);
        }
        match &view.ca_pem {
            _ if !self.pem => output::print(&view.text),
            Some(pem) => output::print(pem),
            None => Err(Failure::new(
                FaultKind::State,
                "this server uses your own certificate (tls.cert); the CA to trust is the one that signed it",
            )),
        }
    }
}
