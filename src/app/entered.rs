//! The door to a data directory: nothing below it is touched before it was judged, and before a process that root started
//! has become the user it belongs to.

use super::{AppError, options};
use crate::config::Config;
use crate::datadir::{self, DirError, SafeDir};
use crate::tls::OwnPem;

/// A data directory that was judged; this process is still who it was.
#[derive(Debug)]
pub struct Judged {
    config: Config,
    standing: SafeDir,
}

/// A data directory that this process may use, as the user that it now is. Every way into the directory asks for one.
#[derive(Debug, Clone)]
pub struct Entered {
    /// The settings it is used with.
    pub config: Config,
    /// One's own certificate, read by root before.
    pub(super) given: Option<OwnPem>,
    /// Whose the directory is.
    owner: u32,
    /// Whether this process was another user before.
    changed: bool,
    /// Whether what is wrong with its folders is told of by a check.
    pub(super) for_check: bool,
}

impl Judged {
    /// Looks at the directory of `config` without changing anything; refuses one that others can write.
    pub fn new(config: Config) -> Result<Self, AppError> {
        let standing = datadir::judge(&config.data)?;
        Ok(Self { config, standing })
    }

    /// Whether [`Judged::enter`] makes this process another user's: what only root may open is to be opened before.
    pub fn changes_user(&self) -> bool {
        self.standing.is_other
    }

    /// Makes a process of root that of the directory's owner, for good, if that is another user. With `certificate`
    /// one's own certificate and key are read before, as root; not where the directory's owner names them, for who can write
    /// the directory must not choose what root reads.
    pub fn enter(self, certificate: bool) -> Result<Entered, AppError> {
        let Self { config, standing } = self;
        let changed = standing.is_other;
        let mut given = None;
        if changed {
            if certificate && let Some((cert, key)) = options::own_certificate(&config) {
                given = Some(OwnPem::read(&cert, &key)?);
            }
            datadir::become_user(&standing.owner, &config.data)?;
            if let Err(e) = config.data.read_dir() {
                return Err(AppError::Dir(DirError::Unreachable {
                    path: config.data,
                    uid: standing.owner.uid,
                    why: e.to_string(),
                }));
            }
        }
        standing.shut(&config.data)?;
        Ok(Entered {
            config,
            given,
            owner: standing.owner.uid,
            changed,
            for_check: false,
        })
    }
}

impl Entered {
    /// The same without listeners, for a process that serves nobody. It then makes no CA, which may sign only for the names
    /// that are in the configuration when it is made: the first start of the server does, or [`super::trust`].
    #[must_use]
    pub fn without_listeners(mut self) -> Self {
        self.config.listen.https.clear();
        self
    }

    /// For a check: it opens a directory in which something else has the name of a folder, and tells of that.
    #[must_use]
    pub fn for_check(mut self) -> Self {
        self.for_check = true;
        self
    }

    /// The user to whom the directory belongs.
    pub fn owner(&self) -> u32 {
        self.owner
    }

    /// That user, for people, if this process was another one before.
    pub fn became(&self) -> Option<String> {
        self.changed.then(|| datadir::name_of(self.owner))
    }
}
