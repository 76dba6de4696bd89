//! The first start: an empty directory becomes a data directory with one administrator.

use super::{App, AppError, CONFIG, DirState, Entered, INITIAL_PASSWORD, data, look, secrets};
use crate::auth::{Role, RoleGrant, UserName};
use crate::datadir;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Beside the signing keys: whose password lies in `initial-password`.
const INITIAL_USER: &str = "keys/initial-user";

/// Where the first administrator's password is.
#[derive(Clone, PartialEq, Eq)]
pub enum FirstPassword {
    /// Whoever ran the command knows it.
    Typed,
    /// To be shown on the terminal, and nowhere else.
    Show(String),
    /// In this file, until the first login.
    File(PathBuf),
}

/// Makes the data directory, writes `DIR/dryport.toml` (unless one is there) with the text given, and opens
/// it. Refuses a directory that is in use, or somebody else's. Blocks.
pub fn init(dir: Entered, file: &str, holder: &str) -> Result<App, AppError> {
    let data = &dir.config.data;
    match look(data)? {
        DirState::Ours => return Err(AppError::Already(data.clone())),
        DirState::Foreign => return Err(AppError::Foreign(data.clone())),
        DirState::Empty => {}
    }
    data::prepare(data)?;
    let path = data.join(CONFIG);
    match datadir::read(&path) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => {
            data::write_private(&path, file.as_bytes())?;
        }
        Err(e) => return Err(AppError::file(&path, e)),
    }
    App::open(dir, holder)
}

impl App {
    /// Makes the first administrator if there is no account at all (so also after a first start that was cut short);
    /// `None` if there is one. Without a `password` one is made up; it goes to the terminal if there is one, else into a
    /// file; never into the log.
    pub async fn first_account(
        &self,
        name: &str,
        password: Option<String>,
        terminal: bool,
    ) -> Result<Option<FirstPassword>, AppError> {
        if !self.auth.is_empty().await? {
            return Ok(None);
        }
        let user: UserName = name.parse()?;
        let (password, place) = if let Some(typed) = password {
            (typed, FirstPassword::Typed)
        } else {
            let made = secrets::new_password()?;
            let place = if terminal {
                FirstPassword::Show(made.clone())
            } else {
                let write = || self.initial.write(name, &made);
                FirstPassword::File(self.store.with_room(write)?)
            };
            (made, place)
        };
        let everything = RoleGrant {
            role: Role::Admin,
            prefix: String::new(),
        };
        if let Err(error) = self.auth.add(&user, &password, vec![everything]).await {
            self.initial.used(name);
            return Err(error.into());
        }
        Ok(Some(place))
    }

    /// A password was changed or its account removed: a first password of that account is void.
    pub(super) fn password_changed(&self, user: &str) {
        self.initial.used(user);
    }
}

/// The first password's file, and whose it is.
pub(super) struct Initial {
    dir: PathBuf,
    user: Mutex<Option<String>>,
}

impl Initial {
    /// What an earlier start left.
    pub(super) fn load(dir: &Path) -> Self {
        let is_left = datadir::is_there(&dir.join(INITIAL_PASSWORD)).unwrap_or(false);
        let user = is_left.then(|| {
            datadir::read_text(&dir.join(INITIAL_USER)).unwrap_or_else(|_| "admin".to_owned())
        });
        Self {
            dir: dir.to_owned(),
            user: Mutex::new(user.map(|u| u.trim().to_owned())),
        }
    }

    fn write(&self, user: &str, password: &str) -> Result<PathBuf, AppError> {
        let path = self.dir.join(INITIAL_PASSWORD);
        data::write_private(&self.dir.join(INITIAL_USER), user.as_bytes())?;
        data::write_private(&path, format!("{password}\n").as_bytes())?;
        *self.lock() = Some(user.to_owned());
        Ok(path)
    }

    /// Removes the file if it is this user's.
    #[expect(
        clippy::disallowed_methods,
        reason = "a file of `app`'s own, not of content"
    )]
    pub(super) fn used(&self, user: &str) {
        let mut waiting = self.lock();
        if waiting.as_deref() != Some(user) {
            return;
        }
        let path = self.dir.join(INITIAL_PASSWORD);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(file = %path.display(), %error, "the first password's file cannot be removed; remove it by hand");
            }
            _ => {
                *waiting = None;
                // Only a name: that it stays would do no harm.
                let _ = std::fs::remove_file(self.dir.join(INITIAL_USER));
                tracing::info!(user, "the first password's file is removed");
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        // The value is whole at any moment; a panic elsewhere does not spoil it.
        self.user
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_goes_with_its_users_first_login() {
        let top = tempfile::tempdir().expect("temp");
        data::prepare(top.path()).expect("made");
        let path = Initial::load(top.path())
            .write("root", "secret")
            .expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "secret\n");
        let later = Initial::load(top.path());
        later.used("somebody");
        assert!(path.exists());
        later.used("root");
        assert!(!path.exists());
        later.used("root");
    }
}
