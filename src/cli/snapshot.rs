//! `dryport snapshot`.

use super::exit::Failure;
use super::output::{self, OutputFormat};
use super::session::CommandSession;
use super::settings::RegistryArgs;
use crate::app::ops::{
    self, SnapshotCreate, SnapshotDelete, SnapshotHold, SnapshotList, SnapshotRestore, SnapshotShow,
};
use crate::repo::{DiffItem, Difference, Restored, SnapshotView};
use clap::{Args, Subcommand};
use std::fmt::Write as _;

/// Keep what repositories show now or showed before, under a title: make, list, compare, restore and delete snapshots
#[derive(Debug, Subcommand)]
pub(super) enum SnapshotCommand {
    /// Make a snapshot of one repository, or of all that a pattern names, in one consistent cut
    Create(Create),
    /// List snapshots
    List(List),
    /// Show a snapshot with the root digest of its content
    Show(One),
    /// Show what one snapshot has otherwise than another of the same repository
    Diff(Diff),
    /// Delete a snapshot; what only it kept is freed in the background
    Delete(Titled),
    /// Forbid to delete a snapshot
    Hold(Titled),
    /// Allow again to delete a snapshot that was held
    Release(Titled),
    /// Make repositories show again what a snapshot shows, each in a new revision, all of them at once
    Restore(Restore),
}

/// Arguments of `snapshot create`.
#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    registry: RegistryArgs,
    /// The repository, for example team/app, or a pattern of names: team/*, 'docker.io/**'
    #[arg(value_name = "NAME|GLOB")]
    of: String,
    /// As of when: a time (2026-11-01T12:00:00Z or 20261101t120000z), a revision (g12) or another snapshot
    #[arg(long, value_name = "WHEN")]
    at: Option<String>,
    /// Its title; else it is the day, 2026-11-29, with a number if there is one of that day
    #[arg(long = "as", value_name = "TITLE")]
    title: Option<String>,
    /// After how much running time it ends, for example 30d; else it stays until it is deleted
    #[arg(long, value_name = "TIME", value_parser = crate::config::duration_ms)]
    expires: Option<u64>,
    /// Nobody can delete it until it is released
    #[arg(long)]
    hold: bool,
    #[command(flatten)]
    format: OutputFormat,
}

/// Arguments of `snapshot list`.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    registry: RegistryArgs,
    /// The repository; else those of all
    name: Option<String>,
    #[command(flatten)]
    format: OutputFormat,
}

/// Arguments of `snapshot restore`.
#[derive(Debug, Args)]
pub(super) struct Restore {
    #[command(flatten)]
    registry: RegistryArgs,
    /// Repository, or a pattern of names ('team/**'), and a snapshot, a revision (g12) or a time (20261101t120000z); of a
    /// pattern those are restored that have it
    #[arg(value_name = "NAME|GLOB@REF")]
    of: At,
    #[command(flatten)]
    format: OutputFormat,
}

/// Arguments of `snapshot show`.
#[derive(Debug, Args)]
pub(super) struct One {
    #[command(flatten)]
    registry: RegistryArgs,
    /// Repository, and a snapshot, a revision (g12) or a time (20261101t120000z)
    #[arg(value_name = "NAME@REF")]
    of: At,
    #[command(flatten)]
    format: OutputFormat,
}

/// Arguments of `snapshot delete`, `hold` and `release`.
#[derive(Debug, Args)]
pub(super) struct Titled {
    #[command(flatten)]
    registry: RegistryArgs,
    /// Repository and snapshot
    #[arg(value_name = "NAME@TITLE")]
    of: At,
}

/// Arguments of `snapshot diff`.
#[derive(Debug, Args)]
pub(super) struct Diff {
    #[command(flatten)]
    registry: RegistryArgs,
    /// The first one
    #[arg(value_name = "NAME@A")]
    from: At,
    /// The second one, of the same repository; NAME alone is what it shows now
    #[arg(value_name = "NAME@B")]
    to: Side,
    #[command(flatten)]
    format: OutputFormat,
    /// Print it as a document in Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

/// `NAME@REF`; both are checked by whoever does the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At {
    name: String,
    reference: String,
}

impl std::str::FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('@') {
            Some((name, reference)) if !name.is_empty() && !reference.is_empty() => Ok(Self {
                name: name.to_owned(),
                reference: reference.to_owned(),
            }),
            _ => Err(
                "write repository and snapshot as NAME@TITLE, for example team/app@2026-11-29"
                    .to_owned(),
            ),
        }
    }
}

/// `NAME@REF`, or `NAME` for its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Side {
    name: String,
    reference: Option<String>,
}

impl std::str::FromStr for Side {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains('@') && !text.is_empty() {
            return Ok(Self {
                name: text.to_owned(),
                reference: None,
            });
        }
        let At { name, reference } = text.parse()?;
        Ok(Self {
            name,
            reference: Some(reference),
        })
    }
}

impl SnapshotCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let registry = match &self {
            Self::Create(Create { registry, .. })
            | Self::List(List { registry, .. })
            | Self::Diff(Diff { registry, .. })
            | Self::Show(One { registry, .. })
            | Self::Restore(Restore { registry, .. })
            | Self::Delete(Titled { registry, .. })
            | Self::Hold(Titled { registry, .. })
            | Self::Release(Titled { registry, .. }) => registry,
        };
        let session = registry.session("snapshot").await?;
        let done = self.with(&session).await;
        session.close().await;
        done
    }

    async fn with(self, session: &CommandSession) -> Result<(), Failure> {
        match self {
            Self::Create(create) => made(session, create).await,
            Self::List(List { name, format, .. }) => list(session, name, format).await,
            Self::Show(One { of, format, .. }) => show(session, of, format).await,
            Self::Diff(diff) => differ(session, diff).await,
            Self::Restore(Restore { of, format, .. }) => restore(session, of, format).await,
            Self::Delete(Titled { of, .. }) => {
                let text = format!("Deleted {}@{}", of.name, of.reference);
                let delete = SnapshotDelete {
                    repo: of.name.parse()?,
                    title: of.reference.parse()?,
                };
                session.quick(delete).await?;
                output::print(&text)
            }
            Self::Hold(Titled { of, .. }) => hold(session, of, true).await,
            Self::Release(Titled { of, .. }) => hold(session, of, false).await,
        }
    }
}

async fn made(session: &CommandSession, create: Create) -> Result<(), Failure> {
    let is_pattern = create.of.contains('*');
    let operation = SnapshotCreate {
        of: create.of.parse()?,
        at: create.at.as_deref().map(str::parse).transpose()?,
        title: create.title.as_deref().map(str::parse).transpose()?,
        expires_ms: create.expires,
        held: create.hold,
    };
    let made = session.quick(operation).await?.snapshots;
    match made.as_slice() {
        // One repository, one object.
        [one] if create.format.json && !is_pattern => output::json(one),
        all if create.format.json => output::json(&all),
        all => {
            let line =
                |view: &SnapshotView| format!("Made {}, revision {}", titled(view), view.rev);
            let lines: Vec<_> = all.iter().map(line).collect();
            output::print(&lines.join("\n"))
        }
    }
}

/// All pages of a list.
async fn list(
    session: &CommandSession,
    name: Option<String>,
    format: OutputFormat,
) -> Result<(), Failure> {
    let repo = name.as_deref().map(str::parse).transpose()?;
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let repo = repo.clone();
        let page = session.quick(SnapshotList { repo, after }).await?;
        all.extend(page.snapshots);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if format.json {
        return output::json(&all);
    }
    let row = |view: &SnapshotView| {
        vec![
            view.name.clone(),
            view.title.clone().unwrap_or_default(),
            view.rev.to_string(),
            output::time(view.created_ms),
            view.created_by.clone(),
            state(view),
        ]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    output::print(&output::table(
        &["REPOSITORY", "TITLE", "REV", "MADE", "BY", "STATE"],
        &rows,
    ))
}

/// Held, or when it ends.
fn state(view: &SnapshotView) -> String {
    match view.ends_in_ms {
        _ if view.held => "held".to_owned(),
        Some(ms) => format!("ends in {} h", ms.div_ceil(3_600_000)),
        None => String::new(),
    }
}

fn titled(view: &SnapshotView) -> String {
    let rev = || format!("g{}", view.rev);
    format!("{}@{}", view.name, view.title.clone().unwrap_or_else(rev))
}

async fn show(session: &CommandSession, of: At, format: OutputFormat) -> Result<(), Failure> {
    let operation = SnapshotShow {
        repo: of.name.parse()?,
        reference: of.reference.parse()?,
    };
    let view = session.quick(operation).await?;
    if format.json {
        return output::json(&view);
    }
    let root = view.root.map_or_else(String::new, |root| root.to_string());
    let mut text = format!(
        "Snapshot    {}\nRevision    {}\nRoot        {root}\n",
        titled(&view),
        view.rev
    );
    if view.title.is_some() {
        let by = &view.created_by;
        let made = output::time(view.created_ms);
        let _ = writeln!(text, "Made        {made} by {by}");
        let state = state(&view);
        if !state.is_empty() {
            let _ = writeln!(text, "State       {state}");
        }
    }
    output::print(&text)
}

async fn differ(session: &CommandSession, diff: Diff) -> Result<(), Failure> {
    if diff.from.name != diff.to.name {
        return Err(Failure::usage(
            "both must be of the same repository: write NAME@A NAME@B",
        ));
    }
    let title = format!(
        "{}: {} to {}",
        diff.from.name,
        diff.from.reference,
        diff.to.reference.as_deref().unwrap_or("now")
    );
    let operation = ops::SnapshotDiff {
        repo: diff.from.name.parse()?,
        from: diff.from.reference.parse()?,
        to: diff.to.reference.as_deref().map(str::parse).transpose()?,
    };
    let found = session.quick(operation).await?;
    if diff.format.json {
        output::json(&found)
    } else if diff.markdown {
        output::print(&markdown(&title, &found))
    } else {
        output::print(&table(&found))
    }
}

fn lists(diff: &Difference) -> [(&'static str, &Vec<DiffItem>); 3] {
    [
        ("added", &diff.added),
        ("removed", &diff.removed),
        ("changed", &diff.changed),
    ]
}

fn table(diff: &Difference) -> String {
    let rows = lists(diff).into_iter().flat_map(|(what, items)| {
        items.iter().map(move |item| {
            let bytes = item.bytes.to_string();
            vec![what.to_owned(), item.name.clone(), bytes]
        })
    });
    output::table(&["CHANGE", "NAME", "BYTES"], &rows.collect::<Vec<_>>())
}

fn markdown(title: &str, diff: &Difference) -> String {
    let mut text = format!("# {title}\n");
    for (what, items) in lists(diff) {
        let _ = writeln!(text, "\n## {} {what}", items.len());
        if items.is_empty() {
            continue;
        }
        text += "\n| name | bytes |\n|---|---:|\n";
        for item in items {
            let name = item.name.replace('\\', "\\\\").replace('|', "\\|");
            let _ = writeln!(text, "| {name} | {} |", item.bytes);
        }
    }
    text
}

async fn hold(session: &CommandSession, of: At, held: bool) -> Result<(), Failure> {
    let done = if held { "Held" } else { "Released" };
    let text = format!("{done} {}@{}", of.name, of.reference);
    let operation = SnapshotHold {
        repo: of.name.parse()?,
        title: of.reference.parse()?,
        held,
    };
    session.quick(operation).await?;
    output::print(&text)
}

async fn restore(session: &CommandSession, of: At, format: OutputFormat) -> Result<(), Failure> {
    let At { name, reference } = of;
    let is_pattern = name.contains('*');
    let operation = SnapshotRestore {
        of: name.parse()?,
        reference: reference.parse()?,
    };
    let done = session.quick(operation).await?.restored;
    match done.as_slice() {
        // One repository, one object.
        [one] if format.json && !is_pattern => output::json(one),
        all if format.json => output::json(&all),
        all => {
            let line = |done: &Restored| {
                format!(
                    "{} shows again what {reference} showed: revision {}, {} restored, {} removed",
                    done.name, done.rev, done.restored, done.removed
                )
            };
            let lines: Vec<_> = all.iter().map(line).collect();
            output::print(&lines.join("\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides() {
        let at: At = "team/app@june".parse().expect("valid");
        assert_eq!(
            (at.name.as_str(), at.reference.as_str()),
            ("team/app", "june")
        );
        for bad in ["team/app", "@june", "team/app@", ""] {
            assert!(bad.parse::<At>().is_err(), "{bad}");
        }
        let now: Side = "team/app".parse().expect("valid");
        assert_eq!(now.reference, None);
    }

    #[test]
    fn a_name_breaks_no_table_of_markdown() {
        let item = |name: &str| DiffItem {
            name: name.to_owned(),
            bytes: 3,
        };
        let diff = Difference {
            added: vec![item("a|b")],
            removed: Vec::new(),
            changed: vec![item("c")],
        };
        assert_eq!(
            markdown("x: a to b", &diff),
            "# x: a to b\n\n## 1 added\n\n| name | bytes |\n|---|---:|\n| a\\|b | 3 |\n\n## 0 removed\n\n## 1 changed\n\n| name | bytes |\n|---|---:|\n| c | 3 |\n"
        );
    }
}
