//! Opening, making and replacing a file of the data directory: links are never followed, nothing waits for whoever holds
//! the other end of a pipe, and only a regular file is read or written.

use rustix::fs::OFlags;
use std::fs::{DirBuilder, File, FileType, Metadata, OpenOptions, Permissions};
use std::io::{Error, ErrorKind, Read as _, Result, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
    PermissionsExt as _,
};
use std::path::{Path, PathBuf};

/// Flags of every opening: no link as the last name, no wait for a pipe's other end, no terminal taken.
pub const NO_WAIT: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// Opens a regular file that is there, for reading.
pub fn read(path: &Path) -> Result<File> {
    open(path, OpenOptions::new().read(true), false)
}

/// The text of a regular file that is there.
pub fn read_text(path: &Path) -> Result<String> {
    let mut text = String::new();
    read(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Opens a file for reading and writing. A new one gets mode 0600, whatever the umask; one that is there must be a regular
/// file with no other name, or what is written here would change something elsewhere.
pub fn open_own(path: &Path) -> Result<File> {
    match create(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            open(path, OpenOptions::new().read(true).write(true), true)
        }
        other => other,
    }
}

/// Whether anything has this name, be it a link that leads nowhere. An error where this process may not look: that is not
/// the same as nothing.
pub fn is_there(path: &Path) -> Result<bool> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Removes a regular file with no other name; fine if there is none.
#[expect(
    clippy::disallowed_methods,
    reason = "files beside the content, of whoever calls"
)]
pub fn remove_own(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
        Ok(about) => check(&about, true)?,
    }
    std::fs::remove_file(path)
}

/// Refuses a name that something else than a regular file has: a rename would put an end to it.
pub fn may_replace(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(about) => check(&about, false),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Puts bytes in place, whole or not at all and durable, with the given mode whatever the umask. What has the name must be
/// a regular file, or nothing.
#[expect(
    clippy::disallowed_methods,
    reason = "keys, certificates and settings are no content: blobs has no part in them"
)]
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    may_replace(path)?;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let young = PathBuf::from(name);
    // Left by a process that was ended half way.
    let at_young = |e: Error| Error::new(e.kind(), format!("{}: {e}", young.display()));
    remove_own(&young).map_err(at_young)?;
    let mut file = create(&young).map_err(at_young)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()?;
    std::fs::rename(&young, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// Makes a folder for its owner alone, whatever the umask; `false` if it is there. A link in its place is an error.
pub fn make_folder(path: &Path) -> Result<bool> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            std::fs::set_permissions(path, Permissions::from_mode(0o700))?;
            Ok(true)
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            let about = path.symlink_metadata()?;
            if about.is_dir() {
                Ok(false)
            } else {
                Err(strange(about.file_type(), "folder"))
            }
        }
        Err(e) => Err(e),
    }
}

/// What a thing is, with its article.
pub fn what(is: FileType) -> &'static str {
    if is.is_symlink() {
        "a symbolic link"
    } else if is.is_dir() {
        "a folder"
    } else if is.is_fifo() {
        "a pipe"
    } else if is.is_socket() {
        "a socket"
    } else if is.is_file() {
        "a file"
    } else {
        "a device"
    }
}

/// The error for something that has the name of a `wanted` thing and is another.
pub fn strange(is: FileType, wanted: &str) -> Error {
    let follows = if is.is_symlink() {
        ", and none is followed here"
    } else {
        ""
    };
    let is = what(is);
    Error::new(
        ErrorKind::InvalidInput,
        format!(
            "it is {is}{follows}; a {wanted} was expected. See who put it there, and move it away"
        ),
    )
}

fn create(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(path).map_err(|e| denied(path, e))?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

fn open(path: &Path, options: &mut OpenOptions, alone: bool) -> Result<File> {
    // Before it is opened: to open a device may do something.
    check(&path.symlink_metadata()?, alone)?;
    let options = options.custom_flags(NO_WAIT.bits().cast_signed());
    let file = options.open(path).map_err(|e| denied(path, e))?;
    check(&file.metadata()?, alone)?;
    Ok(file)
}

fn check(about: &Metadata, alone: bool) -> Result<()> {
    if !about.is_file() {
        return Err(strange(about.file_type(), "file"));
    }
    if alone && about.nlink() > 1 {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "it has {} names (hard links), so that what is written here would change the others. See who linked it; a copy in its place (cp, then mv) has one name",
                about.nlink()
            ),
        ));
    }
    Ok(())
}

/// Says whose the file is where that is why it cannot be opened.
fn denied(path: &Path, error: Error) -> Error {
    let us = rustix::process::geteuid().as_raw();
    match path.symlink_metadata() {
        Ok(about) if error.kind() == ErrorKind::PermissionDenied && about.uid() != us => {
            let (theirs, ours) = (super::name_of(about.uid()), super::name_of(us));
            let path = path.display();
            Error::new(
                error.kind(),
                format!(
                    "{error}: it belongs to {theirs}, this process is {ours}. Give it back with: chown {us} '{path}'"
                ),
            )
        }
        _ => error,
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test makes files of its own")]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_one_name_are_written_and_no_link_is_followed() {
        let top = tempfile::tempdir().expect("temp");
        let at = |name: &str| top.path().join(name);
        std::fs::write(at("outside"), b"theirs").expect("written");
        std::os::unix::fs::symlink(at("outside"), at("link")).expect("linked");
        std::os::unix::fs::symlink(at("nowhere"), at("dangling")).expect("linked");
        std::fs::hard_link(at("outside"), at("twin")).expect("linked");
        std::fs::create_dir(at("folder")).expect("made");
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), fifo, 0o600.into(), 0).expect("made");
        for name in ["link", "dangling", "twin", "folder", "pipe"] {
            let error = open_own(&at(name)).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}: {error}");
            assert!(
                make_folder(&at(name)).is_ok() == (name == "folder"),
                "{name}"
            );
            if name != "twin" {
                assert!(read(&at(name)).is_err(), "{name}");
                assert!(replace(&at(name), b"new", 0o600).is_err(), "{name}");
            }
        }
        assert!(!is_there(&at("nowhere")).unwrap());
        assert_eq!(read_text(&at("twin")).expect("read"), "theirs");
        // A name of its own comes with the rename.
        replace(&at("twin"), b"new", 0o640).expect("replaced");
        assert_eq!(read_text(&at("outside")).expect("read"), "theirs");
        assert_eq!(at("twin").metadata().expect("there").mode() & 0o777, 0o640);
        open_own(&at("twin")).expect("one name");
    }

    #[test]
    fn what_was_planted_for_a_replacement_is_named() {
        let top = tempfile::tempdir().expect("temp");
        let (path, young) = (top.path().join("key"), top.path().join("key.new"));
        std::fs::write(&young, b"half").expect("written");
        replace(&path, b"whole", 0o600).expect("a leftover is in nobody's way");
        let outside = top.path().join("outside");
        std::fs::write(&outside, b"theirs").expect("written");
        std::os::unix::fs::symlink(&outside, &young).expect("linked");
        let error = replace(&path, b"other", 0o600).expect_err("planted");
        assert!(error.to_string().contains("key.new"), "{error}");
        assert_eq!(read_text(&outside).expect("read"), "theirs");
        assert_eq!(read_text(&path).expect("read"), "whole");
    }
}
