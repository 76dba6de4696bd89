//! `dryport user`.

use super::exit::Failure;
use super::help::flow;
use super::output::{self, OutputFormat};
use super::password;
use super::session::CommandSession;
use super::settings::RegistryArgs;
use crate::app::ops::{Secret, UserAdd, UserGrant, UserList, UserPasswd, UserRemove, UserRevoke};
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
    pub(super) registry: RegistryArgs,
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
    registry: RegistryArgs,
    #[command(flatten)]
    format: OutputFormat,
}

/// Arguments of `user passwd`.
#[derive(Debug, Args)]
pub(super) struct Passwd {
    #[command(flatten)]
    registry: RegistryArgs,
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
    registry: RegistryArgs,
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
    registry: RegistryArgs,
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
    registry: RegistryArgs,
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
    fn registry(&self) -> &RegistryArgs {
        match self {
            Self::Add(a) => &a.registry,
            Self::List(a) => &a.registry,
            Self::Passwd(a) => &a.registry,
            Self::Grant(a) => &a.registry,
            Self::Revoke(a) => &a.registry,
            Self::Remove(a) => &a.registry,
        }
    }

    pub(super) async fn run(self) -> Result<(), Failure> {
        // Read before the directory is locked: a person takes time to type.
        let password = match &self {
            Self::Add(Add { password_stdin, .. }) | Self::Passwd(Passwd { password_stdin, .. }) => {
                Some(password(*password_stdin)?)
            }
            _ => None,
        };
        let session = self.registry().session("user").await?;
        let done = self.with(&session, password).await;
        session.close().await;
        done
    }

    async fn with(self, session: &CommandSession, password: Option<Secret>) -> Result<(), Failure> {
        // Read where it is needed.
        let password = password.unwrap_or_else(|| Secret(String::new()));
        let text = match self {
            Self::List(List { format, .. }) => {
                let users = session.quick(UserList {}).await?.users;
                if format.json {
                    return output::json(&users);
                }
                lines(&users)
            }
            Self::Add(Add { name, role, on, .. }) => {
                let add = UserAdd {
                    name: name.parse()?,
                    password,
                    grants: role.map(|r| r.grant(on)).into_iter().collect(),
                };
                session.quick(add).await?;
                format!("Added {name}")
            }
            Self::Passwd(Passwd { name, .. }) => {
                let passwd = UserPasswd {
                    name: name.parse()?,
                    password,
                };
                session.quick(passwd).await?;
                format!("{name} has a new password")
            }
            Self::Grant(Grant { name, role, on, .. }) => {
                let grant = role.grant(on);
                let text = format!("{name} is {}", role_text(&grant));
                let name = name.parse()?;
                session.quick(UserGrant { name, grant }).await?;
                text
            }
            Self::Revoke(Revoke { name, on, .. }) => {
                let prefix = on.unwrap_or_default();
                let revoke = UserRevoke {
                    name: name.parse()?,
                    prefix: prefix.parse()?,
                };
                session.quick(revoke).await?;
                format!(
                    "{name} has no role of its own on {} any more",
                    place_text(&prefix)
                )
            }
            Self::Remove(Named { name, .. }) => {
                let remove = UserRemove {
                    name: name.parse()?,
                };
                session.quick(remove).await?;
                format!("Removed {name}")
            }
        };
        output::print(&text)
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
