//! Files that a command hands over: the server reads them by descriptor and sees no user's folder.

use std::fs;
use std::os::unix::fs::chown;

use super::directory::{OWNER, as_user, is_root, mode};
use crate::harness::{Server, clean, init, run_ok, skip, text_of};

/// Whether this machine lets root have a view of its own of the file system.
fn can_hide() -> bool {
    let able = clean("unshare")
        .args([
            "-m",
            "sh",
            "-c",
            "mount --make-rprivate / && mount -t tmpfs none /mnt",
        ])
        .status()
        .is_ok_and(|status| status.success());
    if !able {
        skip("this machine gives root no mounts of its own");
    }
    able
}

/// As under `ProtectHome`, `ProtectSystem=strict` and `PrivateTmp`: the server sees nothing of the folder that a command's
/// files lie in, and needs no right to it. The command opens them, as root and as the service's user.
#[tokio::test]
async fn a_server_that_sees_no_home_directory_takes_files_from_one() {
    if !is_root() || !can_hide() {
        return;
    }
    let homes = tempfile::tempdir().unwrap();
    mode(homes.path(), 0o711);
    for (name, uid) in [("root", 0), ("service", OWNER)] {
        let own = homes.path().join(name);
        fs::create_dir(&own).unwrap();
        fs::write(own.join("tool.bin"), name).unwrap();
        mode(&own.join("tool.bin"), 0o600);
        mode(&own, 0o700);
        chown(own.join("tool.bin"), Some(uid), Some(uid)).unwrap();
        chown(&own, Some(uid), Some(uid)).unwrap();
    }
    let home = tempfile::tempdir().unwrap();
    mode(home.path(), 0o711);
    init(&home.path().join("data"), &[]);
    let data = home.path().join("data").to_str().unwrap().to_owned();
    run_ok(&["repo", "create", "files", "--kind", "file", "--data", &data]);
    let given = clean("chown")
        .args(["-R", &OWNER.to_string(), &data])
        .status();
    assert!(given.unwrap().success());
    let hide = format!(
        "mount --make-rprivate / && mount -t tmpfs none {} && exec \"$@\"",
        homes.path().display()
    );
    let under = ["unshare", "-m", "sh", "-c", &hide, "sh"];
    let server = Server::serve_under(&under, home, &[], &[]).await;
    let seen = format!("/proc/{}/root{}", server.pid(), homes.path().display());
    assert_eq!(fs::read_dir(seen).unwrap().count(), 0, "it sees the folder");
    for (name, uid) in [("root", 0), ("service", OWNER)] {
        let file = homes.path().join(name).join("tool.bin");
        let to = format!("files/{name}/");
        let args = ["push", file.to_str().unwrap(), &to, "--data", &data];
        let output = as_user(uid, &args).output().unwrap();
        assert!(output.status.success(), "{name}: {}", text_of(&output));
        let path = format!("/r/files/{name}/tool.bin");
        let got = server.anonymous().get(&path).await.expect(200);
        assert_eq!(got.body, name.as_bytes());
    }
}
