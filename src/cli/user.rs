//! `dryport user`.

use super::exit::Failure;
use super::help::flow;
use super::output::{self, Format};
use super::password;
use super::session::{Session, unexpected};
use super::settings::{self, Place};
use crate::app::control::{Reply, Request, Secret};
use crate::auth::{Role, RoleGrant, UserView};
use clap::{Args, Subcommand, ValueEnum};

/// Manage accounts and what they may do
#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Make an account
    #[command(after_help = flow(ADD_HELP))]
    Add(Add),
    /// List accounts and their roles
    List(List),
    /// Set a new password
    Passwd(Passwd),
    /// Give an account a role, everywhere or on the repositories under a prefix
    #[command(after_help = flow("Example:\n  dryport user grant ann --role writer --on team"))]
    Grant(Grant),
    /// Take a role away, named by the prefix that it was given on
    #[command(after_help = flow("Example:\n  dryport user revoke ann --on team"))]
    Revoke(Revoke),
    /// Remove an account
    Remove(Named),
}

const ADD_HELP: &str = "\
Roles: reader pulls and lists; writer also pushes, tags and deletes; admin does all else, too.
A prefix ends at a slash: `team` holds team/app, not teammate/app.

Example:
  printf %s \"$PASSWORD\" | dryport user add ann --password-stdin --role writer --on team";

/// Arguments of `user add`.
#[derive(Debug, Args)]
pub(super) struct Add {
    #[command(flatten)]
    pub(super) place: Place,
    /// The account's name
    pub(super) name: String,
    /// Read the password from standard input (one newline at its end is dropped); else it is asked for
    #[arg(long)]
    pub(super) password_stdin: bool,
    /// What the account may do; without this it can log in and do what anonymous people may
    #[arg(long, value_enum)]
    pub(super) role: Option<RoleFlag>,
    /// The repositories that the role is for [default: all]
    #[arg(long, value_name = "PREFIX", requires = "role")]
    pub(super) on: Option<String>,
}

/// Arguments of `user list`.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    format: Format,
}

/// Arguments of `user passwd`.
#[derive(Debug, Args)]
pub(super) struct Passwd {
    #[command(flatten)]
    place: Place,
    /// The account's name
    name: String,
    /// Read the password from standard input (one newline at its end is dropped); else it is asked for
    #[arg(long)]
    password_stdin: bool,
}

/// Arguments of `user grant`.
#[derive(Debug, Args)]
pub(super) struct Grant {
    #[command(flatten)]
    place: Place,
    /// The account's name
    name: String,
    /// What the account may do
    #[arg(long, value_enum)]
    role: RoleFlag,
    /// The repositories that the role is for [default: all]
    #[arg(long, value_name = "PREFIX")]
    on: Option<String>,
}

/// Arguments of `user revoke`.
#[derive(Debug, Args)]
pub(super) struct Revoke {
    #[command(flatten)]
    place: Place,
    /// The account's name
    name: String,
    /// The prefix that the role was given on [default: the role on all repositories]
    #[arg(long, value_name = "PREFIX")]
    on: Option<String>,
}

/// Arguments of `user remove`.
#[derive(Debug, Args)]
pub(super) struct Named {
    #[command(flatten)]
    place: Place,
    /// The account's name
    name: String,
}

/// The roles of `--role`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum RoleFlag {
    /// Pull and list
    Reader,
    /// Reader, and push, tag and delete
    Writer,
    /// Everything
    Admin,
}

impl RoleFlag {
    fn grant(self, on: Option<String>) -> RoleGrant {
        RoleGrant {
            role: match self {
                Self::Reader => Role::Reader,
                Self::Writer => Role::Writer,
                Self::Admin => Role::Admin,
            },
            prefix: on.unwrap_or_default(),
        }
    }
}

fn password(stdin: bool) -> Result<Secret, Failure> {
    if stdin {
        password::from_stdin()
    } else {
        password::ask()
    }
    .map(Secret)
}

impl UserCommand {
    fn place(&self) -> &Place {
        match self {
            Self::Add(a) => &a.place,
            Self::List(a) => &a.place,
            Self::Passwd(a) => &a.place,
            Self::Grant(a) => &a.place,
            Self::Revoke(a) => &a.place,
            Self::Remove(a) => &a.place,
        }
    }

    pub(super) async fn run(self) -> Result<(), Failure> {
        let loaded = self.place().load()?;
        let json = matches!(&self, Self::List(list) if list.format.json);
        // Read before the directory is locked: a person takes time to type.
        let (request, text) = self.request()?;
        let session = Session::open(&settings::enter(loaded)?, "user").await?;
        let reply = session.quick(request).await;
        session.close().await;
        match reply? {
            Reply::Users(users) if json => output::json(&users),
            Reply::Users(users) => output::print(&lines(&users)),
            Reply::Done => output::print(&text),
            _ => Err(unexpected()),
        }
    }

    /// What to ask for, and what to say when it is done.
    fn request(self) -> Result<(Request, String), Failure> {
        Ok(match self {
            Self::Add(Add {
                name,
                password_stdin,
                role,
                on,
                ..
            }) => {
                let text = format!("Added {name}");
                let password = password(password_stdin)?;
                let grants = role.map(|r| r.grant(on)).into_iter().collect();
                (
                    Request::UserAdd {
                        name,
                        password,
                        grants,
                    },
                    text,
                )
            }
            Self::List(_) => (Request::UserList, String::new()),
            Self::Passwd(Passwd {
                name,
                password_stdin,
                ..
            }) => {
                let text = format!("{name} has a new password");
                let password = password(password_stdin)?;
                (Request::UserPasswd { name, password }, text)
            }
            Self::Grant(Grant { name, role, on, .. }) => {
                let grant = role.grant(on);
                let text = format!("{name} is {}", role_text(&grant));
                (Request::UserGrant { name, grant }, text)
            }
            Self::Revoke(Revoke { name, on, .. }) => {
                let prefix = on.unwrap_or_default();
                let text = format!(
                    "{name} has no role of its own on {} any more",
                    place_text(&prefix)
                );
                (Request::UserRevoke { name, prefix }, text)
            }
            Self::Remove(Named { name, .. }) => {
                let text = format!("Removed {name}");
                (Request::UserRemove { name }, text)
            }
        })
    }
}

fn place_text(prefix: &str) -> String {
    if prefix.is_empty() {
        "all repositories".to_owned()
    } else {
        prefix.to_owned()
    }
}

fn role_text(grant: &RoleGrant) -> String {
    let role = match grant.role {
        Role::Reader => "reader",
        Role::Writer => "writer",
        Role::Admin => "admin",
    };
    format!("{role} on {}", place_text(&grant.prefix))
}

fn lines(users: &[UserView]) -> String {
    let row = |u: &UserView| {
        let roles: Vec<_> = u.grants.iter().map(role_text).collect();
        vec![u.name.clone(), output::time(u.created_ms), roles.join(", ")]
    };
    let rows: Vec<_> = users.iter().map(row).collect();
    output::table(&["NAME", "MADE", "ROLES"], &rows)
}
