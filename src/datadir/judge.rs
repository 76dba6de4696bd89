//! Whose a data directory is, and whether anybody else can write it.

use super::identity::{Identity, group_name};
use super::{DirError, way};
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// The folders in it that must be its owner's alone. Others lie deeper, and are reached through these only.
const INSIDE: [&str; 6] = ["run", "keys", "tls", "blobs", "uploads", "quarantine"];
/// The bits that let a group and everybody write. With a POSIX ACL the group's bit is the mask: nobody whom the list names
/// may write without it.
const OTHERS: u32 = 0o022;

/// A data directory that nobody writes but its owner, root and us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafeDir {
    /// Its owner; where there is none yet, this process.
    pub owner: Identity,
    /// Whether the owner is another user than this process, which is root's.
    pub is_other: bool,
    /// It is empty, and others could write it: they must be shut out before anything is made there.
    is_open: bool,
}

/// Looks whose `dir` is, and refuses one that others can write, or put another in the place of. Changes nothing.
pub fn judge(dir: &Path) -> Result<SafeDir, DirError> {
    let ours = Identity::ours();
    let about = match dir.metadata() {
        Ok(about) => about,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            way::check(dir, &[ours.uid, 0], &ours)?;
            return Ok(SafeDir {
                owner: ours,
                is_other: false,
                is_open: false,
            });
        }
        Err(e) => return Err(DirError::Look(dir.to_owned(), e)),
    };
    if !about.is_dir() {
        let why = super::strange(about.file_type(), "folder");
        return Err(DirError::Strange(dir.to_owned(), why));
    }
    let (uid, is_other) = (about.uid(), about.uid() != ours.uid);
    if is_other && uid != 0 && ours.uid != 0 {
        return Err(DirError::Owner {
            path: dir.to_owned(),
            owner: uid,
            us: ours.uid,
        });
    }
    let is_other = is_other && ours.uid == 0;
    if is_other && way::is_unknown(uid) {
        return Err(DirError::Become {
            path: dir.to_owned(),
            uid,
            why: "whose it is has no number in this user namespace".into(),
        });
    }
    let owner = if is_other {
        Identity::of(uid, about.gid())
    } else {
        ours
    };
    way::check(dir, &[owner.uid, uid, 0], &owner)?;
    let is_open = about.mode() & OTHERS != 0;
    // A directory that was just made, with a wide umask: it is shut before it is used.
    if is_open && !(owner.uid == uid && is_empty(dir)) {
        return Err(writable(dir, &about, owner.uid));
    }
    for name in INSIDE {
        inside(dir, name, &[owner.uid, uid, 0], uid)?;
    }
    Ok(SafeDir {
        owner,
        is_other,
        is_open,
    })
}

impl SafeDir {
    /// Shuts others out of an empty directory that they could write; in what follows nothing can be put there any more.
    pub fn shut(&self, dir: &Path) -> Result<(), DirError> {
        if !self.is_open {
            return Ok(());
        }
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
            .map_err(|e| DirError::Look(dir.to_owned(), e))?;
        if is_empty(dir) {
            Ok(())
        } else {
            Err(DirError::Planted(dir.to_owned()))
        }
    }
}

fn inside(dir: &Path, name: &str, trusted: &[u32], uid: u32) -> Result<(), DirError> {
    let path = dir.join(name);
    let about = match path.symlink_metadata() {
        Ok(about) => about,
        // Who may not look may not use it either, and is told so then.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            return Ok(());
        }
        Err(e) => return Err(DirError::Look(path, e)),
    };
    if !about.is_dir() {
        let why = super::strange(about.file_type(), "folder");
        return Err(DirError::Strange(path, why));
    }
    if !trusted.contains(&about.uid()) {
        return Err(DirError::Inside {
            path,
            owner: about.uid(),
            uid,
        });
    }
    if about.mode() & OTHERS != 0 {
        return Err(writable(&path, &about, about.uid()));
    }
    Ok(())
}

/// `user` is who is to use it.
fn writable(path: &Path, about: &Metadata, user: u32) -> DirError {
    let mode = about.mode() & 0o7777;
    DirError::Writable {
        path: path.to_owned(),
        who: if mode & 0o002 != 0 {
            "anybody".into()
        } else {
            group_name(about.gid())
        },
        mode,
        remedy: if about.uid() == user {
            format!("chmod go-w '{}'", path.display())
        } else {
            let below = if mode & 0o1002 == 0o002 {
                // Below it anybody could put another directory in the place of one.
                ""
            } else {
                "; or choose a directory below it, which is then made for its user alone"
            };
            format!(
                "chown {user} '{0}' && chmod go-w '{0}'{below}",
                path.display()
            )
        },
    }
}

/// Whether nothing lies in it but what `mkfs` makes.
fn is_empty(dir: &Path) -> bool {
    dir.read_dir().is_ok_and(|mut entries| {
        entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == "lost+found"))
    })
}
