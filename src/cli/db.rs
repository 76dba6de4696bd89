//! `dryport db`.

use super::exit::Failure;
use super::output::{self, OutputFormat};
use super::session::CommandSession;
use super::settings::DataLocation;
use crate::app::App;
use crate::app::ops::DatabaseShow;
use crate::store::{DatabaseCopy, DatabaseStatus};
use clap::{Args, Subcommand};

/// Look at the database below the data directory
#[derive(Debug, Subcommand)]
pub(super) enum DbCommand {
    /// Show its schema, which versions of Dryport may open it, and the copies that upgrades kept
    ///
    /// It changes nothing and upgrades nothing, and also tells of a database that only a newer Dryport may open. A copy takes
    /// the place of meta.redb, with no server running and meta.redb.log removed, to go back to the version before the upgrade.
    Status(Status),
}

/// Arguments of `db status`.
#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    place: DataLocation,
    #[command(flatten)]
    format: OutputFormat,
}

impl DbCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self::Status(Status { place, format }) = self;
        let dir = place.enter()?;
        let status = if let Some(server) = CommandSession::running(&dir).await? {
            server.quick(DatabaseShow {}).await?
        } else {
            let look = move || App::database_status(&dir, "dryport db");
            let looked = tokio::task::spawn_blocking(look).await;
            looked.map_err(Failure::failed)??
        };
        if format.json {
            output::json(&status)
        } else {
            output::print(&text(&status))
        }
    }
}

fn text(status: &DatabaseStatus) -> String {
    let versions = &status.versions;
    let about = if versions.schema < status.known {
        format!("the next start upgrades it to {}", status.known)
    } else if status.writable {
        "this program may use it".to_owned()
    } else if status.readable {
        "this program may read it, and not change it: use the newer program".to_owned()
    } else {
        format!(
            "this program knows {} at most: use the newer program, or go back to a copy",
            status.known
        )
    };
    let mut lines = vec![
        format!("Schema:         {} ({about})", versions.schema),
        format!("Oldest reader:  schema {}", versions.oldest_reader),
        format!("Oldest writer:  schema {}", versions.oldest_writer),
        format!("Size:           {}", output::size(status.bytes)),
    ];
    if status.copies.is_empty() {
        lines.push("Copies:         none".to_owned());
        return lines.join("\n");
    }
    lines.push(String::new());
    let row = |copy: &DatabaseCopy| {
        vec![
            copy.file.clone(),
            copy.schema.to_string(),
            output::size(copy.bytes),
            output::time(copy.made * 1000),
        ]
    };
    let rows: Vec<_> = status.copies.iter().map(row).collect();
    lines.push(output::table(&["COPY", "SCHEMA", "SIZE", "MADE"], &rows));
    lines.join("\n")
}
