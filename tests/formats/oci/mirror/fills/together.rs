//! Two runs of one image.

use std::process::{Child, Stdio};

use super::{half_way, run_kill, success, uploads};
use crate::harness::{SOON, Server, dryport, until};

#[tokio::test]
async fn two_runs_of_one_image_fetch_it_once() {
    let (world, target, first) = half_way().await;
    // One that waits can be stopped; the first goes on.
    let mut second = join(&target, &world.source("v1"), "copy").await;
    run_kill(&second);
    until("the second run ends", SOON, async || {
        second.try_wait().unwrap().is_some()
    })
    .await;
    assert_ne!(second.wait().unwrap().code(), Some(0));
    let third = join(&target, &world.source("v1"), "copy").await;
    world.hold(false);
    success(first).await;
    success(third).await;
    assert_eq!(
        world.asked(),
        1,
        "{:?}",
        world.upstream.manners.lock().unwrap().asked
    );
    world.assert_law(&target, "copy").await;
    assert!(uploads(&target).is_empty());
}

/// The same command said again, once it listens to the run that goes on.
async fn join(target: &Server, source: &str, name: &str) -> Child {
    let dir = target.dir();
    let mut command = dryport(&["mirror", "--data", &dir, source, "--to", name]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    let heard = tokio::task::spawn_blocking(move || {
        use std::io::BufRead as _;
        let mut lines = std::io::BufReader::new(stderr)
            .lines()
            .map_while(Result::ok);
        let found = lines.any(|line| line.contains("another command began this copy"));
        // The pipe must not close before the command ends.
        std::thread::spawn(move || lines.for_each(drop));
        found
    });
    assert!(heard.await.unwrap(), "it did not join the other run");
    child
}
