//! The way to the data directory: who could put another directory in its place.

use super::DirError;
use super::identity::{Identity, group_name, name_of};
use std::fs::Metadata;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

/// Links in one path at most, as in the kernel.
const LINKS: usize = 40;
const STICKY: u32 = 0o1000;

/// Walks from `/` to `dir` as the kernel does, and looks at every directory in which a name is looked up: each must belong
/// to one of `trusted`, and be writable by nobody else. The sticky bit (as of `/tmp`) lets others add names, but not take
/// away those of others; a group's right to write counts as none where `user` is in that group and no list of rights says
/// more: the groups of persons (umask 002), and the volumes of container platforms. Ends where there is nothing yet.
pub(super) fn check(dir: &Path, trusted: &[u32], user: &Identity) -> Result<(), DirError> {
    let whole = std::path::absolute(dir).map_err(|e| DirError::Look(dir.to_owned(), e))?;
    let mut rest: Vec<PathBuf> = names(&whole);
    let (mut here, mut links) = (PathBuf::from("/"), 0);
    while let Some(name) = rest.pop() {
        if name.as_os_str() == ".." {
            here.pop();
            continue;
        }
        let look = |e| DirError::Look(here.clone(), e);
        let above = here.symlink_metadata().map_err(look)?;
        directory(dir, &here, &above, trusted, user)?;
        let next = here.join(&name);
        let about = match next.symlink_metadata() {
            Ok(about) => about,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(DirError::Look(next, e)),
        };
        if !about.is_symlink() {
            here = next;
            continue;
        }
        if !trusted.contains(&about.uid()) {
            return Err(DirError::Above {
                dir: dir.to_owned(),
                path: next,
                who: name_of(about.uid()),
                why: "is a link of theirs".into(),
                remedy: "chown -h root".into(),
            });
        }
        links += 1;
        if links > LINKS {
            let why = Error::other("too many symbolic links on the way");
            return Err(DirError::Look(dir.to_owned(), why));
        }
        let target = std::fs::read_link(&next).map_err(|e| DirError::Look(next.clone(), e))?;
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        rest.extend(names(&target));
    }
    Ok(())
}

/// The names of a path, last first.
fn names(path: &Path) -> Vec<PathBuf> {
    let parts = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        _ => None,
    });
    parts.collect()
}

fn directory(
    dir: &Path,
    path: &Path,
    about: &Metadata,
    trusted: &[u32],
    user: &Identity,
) -> Result<(), DirError> {
    let refused = |who, why: &str, remedy: &str| DirError::Above {
        dir: dir.to_owned(),
        path: path.to_owned(),
        who,
        why: why.into(),
        remedy: remedy.into(),
    };
    if !trusted.contains(&about.uid()) && !is_unknown(about.uid()) {
        return Err(refused(name_of(about.uid()), "is theirs", "chown root"));
    }
    if about.mode() & STICKY != 0 {
        return Ok(());
    }
    if about.mode() & 0o002 != 0 {
        let why = "lets everybody write and has no sticky bit";
        return Err(refused("anybody".into(), why, "chmod o-w"));
    }
    let by_group = about.mode() & 0o020 != 0;
    let ours = about.gid() == 0 || user.is_in(about.gid());
    if by_group && (!ours || has_list(path)) {
        let why = "lets others write";
        return Err(refused(group_name(about.gid()), why, "chmod g-w"));
    }
    Ok(())
}

/// Whether the directory has a list of rights (POSIX ACL): the bits of its group are then the most that the list gives to
/// anybody but its owner and everybody.
fn has_list(path: &Path) -> bool {
    let mut list = [0_u8; 1024];
    match rustix::fs::lgetxattr(path, "system.posix_acl_access", &mut list[..]) {
        Ok(len) => len > 0,
        // There is one, and it is longer.
        Err(e) => e == rustix::io::Errno::RANGE,
    }
}

/// Whether the kernel does not tell whose a file is: in a user namespace all users without a number there look the same.
/// What lies above the data directory is then mostly the machine's root's.
pub(super) fn is_unknown(uid: u32) -> bool {
    let number = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let map = number("/proc/self/uid_map");
    let is_whole = map.split_whitespace().eq(["0", "0", "4294967295"]);
    !map.is_empty() && !is_whole && number("/proc/sys/kernel/overflowuid").trim() == uid.to_string()
}
