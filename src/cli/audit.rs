//! `dryport audit`.

use super::exit::Failure;
use super::output::{self, OutputFormat};
use super::session::CommandSession;
use super::settings::RegistryArgs;
use crate::app::ops::{AuditList, AuditVerify, FaultKind};
use crate::audit::{AuditOutcome, AuditPage, AuditRow, AuditVerified};
use crate::config::duration_ms;
use crate::types::visible_json;
use clap::{Args, Subcommand, ValueEnum};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Show who did what, when, from where, and how it ended
///
/// Each change has a row, and so has what was refused or failed; pulls are counted by account, address and content, minute by
/// minute. Rows are chained by hashes: `audit verify` finds one that was changed, removed or put in between.
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// List the newest rows to which all that is given applies
    List(List),
    /// Print all rows to which all that is given applies, the oldest first, for other programs
    Export(Export),
    /// Check that no row was changed, removed or put in between (exit code 4 if one was)
    Verify(Verify),
}

/// Which rows.
#[derive(Debug, Clone, Args)]
struct Filter {
    /// Not before this: 2026-12-01, 2026-12-01T10:00:00Z, or 24h for the last 24 hours
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// Of this account; operator is who runs commands on the server, dryport the server itself
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// This action, for example repo.push, snapshot-create, pull or login
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// On what begins with this, for example team/ or user:ann
    #[arg(long, value_name = "TEXT")]
    resource: Option<String>,
    /// That ended so
    #[arg(long, value_enum)]
    outcome: Option<Ended>,
    /// From this address
    #[arg(long, value_name = "IP")]
    address: Option<String>,
    /// Of the request with this id, as answers and the log have it
    #[arg(long, value_name = "ID")]
    request: Option<String>,
}

/// How a row ended.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Ended {
    Success,
    Error,
    Denied,
}

/// Arguments of `audit list`.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    filter: Filter,
    /// At most so many rows
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(flatten)]
    format: OutputFormat,
}

/// Arguments of `audit export`.
#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    filter: Filter,
    /// One JSON object a line, or comma-separated values with a line of names
    #[arg(long, value_enum, default_value_t = As::Jsonl)]
    format: As,
}

/// The form of an export.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum As {
    Jsonl,
    Csv,
}

/// Arguments of `audit verify`.
#[derive(Debug, Args)]
pub(super) struct Verify {
    #[command(flatten)]
    registry: RegistryArgs,
    /// A hash that the log told of: it must still be in the chain
    #[arg(long, value_name = "HASH")]
    anchor: Option<String>,
    #[command(flatten)]
    format: OutputFormat,
}

impl AuditCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let registry = match &self {
            Self::List(List { registry, .. })
            | Self::Export(Export { registry, .. })
            | Self::Verify(Verify { registry, .. }) => registry,
        };
        let session = registry.session("audit").await?;
        let done = self.with(&session).await;
        session.close().await;
        done
    }

    async fn with(self, session: &CommandSession) -> Result<(), Failure> {
        match self {
            Self::List(List {
                filter,
                limit,
                format,
                ..
            }) => {
                let wanted = AuditList {
                    limit: Some(limit.into()),
                    ..filter.wanted()
                };
                let rows = session.quick(wanted).await?.rows;
                if format.json {
                    return output::json(&rows);
                }
                list(&rows)
            }
            Self::Export(Export { filter, format, .. }) => export(session, &filter, format).await,
            Self::Verify(Verify { anchor, format, .. }) => {
                let found = session.quick(AuditVerify { anchor }).await?;
                verified(&found, format)
            }
        }
    }
}

impl Filter {
    fn wanted(&self) -> AuditList {
        let filter = self.clone();
        AuditList {
            since: filter.since,
            until: filter.until,
            account: filter.account,
            action: filter.action,
            resource: filter.resource,
            outcome: filter.outcome.map(|outcome| match outcome {
                Ended::Success => AuditOutcome::Success,
                Ended::Error => AuditOutcome::Error,
                Ended::Denied => AuditOutcome::Denied,
            }),
            address: filter.address,
            request: filter.request,
            ..AuditList::default()
        }
    }
}

/// A time: a date (UTC), RFC 3339, or how long ago.
fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(date) = text.parse::<Date>() {
        let day = date.to_zoned(TimeZone::UTC).map_err(|e| e.to_string())?;
        return Ok(day.timestamp());
    }
    let ago = duration_ms(text).ok().and_then(|ms| i64::try_from(ms).ok());
    let ago = ago.map(SignedDuration::from_millis);
    let time = ago.and_then(|ago| Timestamp::now().checked_sub(ago).ok());
    time.ok_or_else(|| "write 2026-12-01, 2026-12-01T10:00:00Z, or 24h for 24 hours ago".to_owned())
}

fn list(rows: &[AuditRow]) -> Result<(), Failure> {
    if rows.is_empty() {
        return output::print("No rows.");
    }
    let row = |row: &AuditRow| {
        let count = match row.count {
            1 => String::new(),
            count => format!(" ({count} times)"),
        };
        let account = match row.account.as_str() {
            "" => "(anybody)",
            name => name,
        };
        vec![
            row.time.clone(),
            account.to_owned(),
            row.address.clone(),
            row.action.clone(),
            format!("{}{count}", row.outcome.name()),
            row.resource.clone(),
        ]
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    let heads = [
        "TIME", "ACCOUNT", "ADDRESS", "ACTION", "OUTCOME", "RESOURCE",
    ];
    output::print(&output::table(&heads, &rows))
}

async fn export(session: &CommandSession, filter: &Filter, format: As) -> Result<(), Failure> {
    if matches!(format, As::Csv) {
        output::print(&csv(|writer| writer.write_record(COLUMNS))?)?;
    }
    let mut wanted = AuditList {
        oldest: true,
        limit: Some(1000),
        ..filter.wanted()
    };
    loop {
        let AuditPage { rows, next } = session.quick(wanted.clone()).await?;
        if !rows.is_empty() {
            output::print(&match format {
                As::Jsonl => lines(&rows)?,
                As::Csv => {
                    csv(|writer| rows.iter().try_for_each(|r| writer.write_record(cells(r))))?
                }
            })?;
        }
        if next.is_none() {
            return Ok(());
        }
        wanted.after = next;
    }
}

fn lines(rows: &[AuditRow]) -> Result<String, Failure> {
    let mut text = String::new();
    for row in rows {
        text.push_str(&visible_json(
            &serde_json::to_string(row).map_err(Failure::failed)?,
        ));
        text.push('\n');
    }
    Ok(text)
}

/// The columns of an export.
const COLUMNS: [&str; 16] = [
    "id",
    "time",
    "account_id",
    "account",
    "roles",
    "action",
    "resource",
    "outcome",
    "address",
    "user_agent",
    "request_id",
    "input",
    "status",
    "error",
    "duration_ms",
    "count",
];

fn cells(row: &AuditRow) -> [String; 16] {
    [
        row.id.to_string(),
        row.time.clone(),
        row.account_id.clone(),
        row.account.clone(),
        row.roles.join(" "),
        row.action.clone(),
        row.resource.clone(),
        row.outcome.name().to_owned(),
        row.address.clone(),
        row.user_agent.clone(),
        row.request_id.clone(),
        row.input.clone(),
        row.status
            .map(|status| status.to_string())
            .unwrap_or_default(),
        row.error.clone(),
        row.duration_ms.to_string(),
        row.count.to_string(),
    ]
    .map(plain)
}

/// A cell that no spreadsheet takes for a formula: clients choose some of the texts.
fn plain(cell: String) -> String {
    match cell.as_bytes().first() {
        Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r') => format!("'{cell}"),
        _ => cell,
    }
}

fn csv(
    write: impl FnOnce(&mut csv::Writer<Vec<u8>>) -> Result<(), csv::Error>,
) -> Result<String, Failure> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    write(&mut writer).map_err(Failure::failed)?;
    let bytes = writer.into_inner().map_err(Failure::failed)?;
    String::from_utf8(bytes).map_err(Failure::failed)
}

fn verified(found: &AuditVerified, format: OutputFormat) -> Result<(), Failure> {
    if format.json {
        output::json(found)?;
    } else {
        output::print(&text(found))?;
    }
    if found.damage.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        FaultKind::Damaged,
        "the audit trail is not what was written: rows were changed, removed or put in between, or the disk damaged them. \
         Keep a copy of the data directory, and compare with what was exported before",
    ))
}

fn text(found: &AuditVerified) -> String {
    let rows = output::count(found.rows, "row");
    let mut lines = vec![format!(
        "{rows}, {} of them in {} of the chain; the others are younger than some minutes.",
        found.chained,
        output::count(found.checkpoints, "checkpoint")
    )];
    if found.gone > 0 {
        let gone = output::count(found.gone, "older row");
        lines.push(format!("{gone} went as the settings say."));
    }
    if found.checkpoints > 0 {
        lines.push(format!("Last hash: {}", found.hash));
    }
    for damage in &found.damage {
        let span = match (damage.from.as_str(), damage.to.as_str()) {
            ("", "") => String::new(),
            ("", to) => format!(" (up to {to})"),
            (from, to) => format!(" ({from} to {to})"),
        };
        lines.push(format!("Damage: {}{span}", damage.what));
    }
    if found.damage.is_empty() {
        lines.push("Nothing is wrong.".to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let at = |text: &str| time(text).map(|time| time.to_string());
        assert_eq!(at("2026-12-01"), Ok("2026-12-01T00:00:00Z".into()));
        assert_eq!(
            at("2026-12-01T10:00:00+02:00"),
            Ok("2026-12-01T08:00:00Z".into())
        );
        let ago = Timestamp::now().as_second() - time("24h").unwrap().as_second();
        assert!((86_399..=86_401).contains(&ago), "{ago}");
        assert!(time("yesterday").is_err() && time("").is_err());
    }

    #[test]
    fn no_cell_is_a_formula() {
        assert_eq!(plain("=1+1".into()), "'=1+1");
        assert_eq!(plain("a=b".into()), "a=b");
    }
}
