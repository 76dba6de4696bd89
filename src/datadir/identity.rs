//! Who this process is, and becoming somebody else for good.

use super::DirError;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use std::ffi::CString;
use std::path::Path;

/// A user, with the groups that count for files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The first group.
    pub gid: u32,
    /// All groups; the first is among them.
    pub groups: Vec<u32>,
}

impl Identity {
    /// This process.
    pub fn ours() -> Self {
        let gid = rustix::process::getegid().as_raw();
        let mut groups = vec![gid];
        let more = rustix::process::getgroups().unwrap_or_default();
        groups.extend(more.into_iter().map(rustix::process::Gid::as_raw));
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid,
            groups,
        }
    }

    /// A user as the system's list of users has it. One that the list lacks, as in containers, has one group: `gid`, unless
    /// that is root's; then the one of the same number.
    pub fn of(uid: u32, gid: u32) -> Self {
        let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else {
            let gid = if gid == 0 { uid } else { gid };
            let groups = vec![gid];
            return Self { uid, gid, groups };
        };
        let first = user.gid.as_raw();
        let name = CString::new(user.name).unwrap_or_default();
        let groups = getgrouplist(&name, user.gid).unwrap_or_else(|_| vec![user.gid]);
        let mut groups: Vec<u32> = groups.into_iter().map(Gid::as_raw).collect();
        if !groups.contains(&first) {
            groups.push(first);
        }
        Self {
            uid,
            gid: first,
            groups,
        }
    }

    /// Whether files of this group are open to the user.
    pub fn is_in(&self, gid: u32) -> bool {
        self.groups.contains(&gid)
    }
}

/// A user's name and number, for people.
pub fn name_of(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => format!("{} (user {uid})", user.name),
        _ => format!("user {uid}"),
    }
}

/// A group's name and number, for people.
pub(super) fn group_name(gid: u32) -> String {
    match Group::from_gid(Gid::from_raw(gid)) {
        Ok(Some(group)) => format!("the group {} ({gid})", group.name),
        _ => format!("the group {gid}"),
    }
}

/// Makes this process, which is root's, the one of another user: groups, then group, then user, each real, effective and
/// saved, in every thread (the C library's calls see to that; the kernel's own change one thread only). It cannot go back,
/// which is tried. `dir` is for the errors.
pub fn become_user(who: &Identity, dir: &Path) -> Result<(), DirError> {
    let failed = |what: &str, why: &dyn std::fmt::Display| DirError::Become {
        path: dir.to_owned(),
        uid: who.uid,
        why: format!("{what}: {why}"),
    };
    let groups: Vec<Gid> = who.groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(who.uid), Gid::from_raw(who.gid));
    nix::unistd::setgroups(&groups).map_err(|e| failed("groups", &e))?;
    nix::unistd::setresgid(gid, gid, gid).map_err(|e| failed("group", &e))?;
    nix::unistd::setresuid(uid, uid, uid).map_err(|e| failed("user", &e))?;
    let is_other = nix::unistd::getresuid()
        .is_ok_and(|now| (now.real, now.effective, now.saved) == (uid, uid, uid));
    if !is_other || nix::unistd::seteuid(Uid::from_raw(0)).is_ok() {
        return Err(failed("user", &"the system lets it become root again"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_their_groups() {
        let ours = Identity::ours();
        assert!(ours.is_in(ours.gid));
        let root = Identity::of(0, 0);
        assert_eq!((root.uid, root.gid), (0, 0));
        // Nobody has this number.
        let unknown = 3_123_456_789;
        assert_eq!(Identity::of(unknown, 77).groups, [77]);
        assert_eq!(Identity::of(unknown, 0).groups, [unknown]);
        assert_eq!(name_of(unknown), "user 3123456789");
    }
}
