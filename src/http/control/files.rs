//! Takes one descriptor from a connection: a command opens its file itself, and the server needs to see no user's folder.

use crate::app::ops::{HandedFiles, TAKEN, TOKEN};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::{Error, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

/// A command sends at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes the one message of a connection and answers it.
pub async fn take(mut stream: UnixStream, files: HandedFiles, stop: CancellationToken) {
    let received = tokio::select! {
        received = tokio::time::timeout(PATIENCE, receive(&stream)) => received,
        () = stop.cancelled() => return,
    };
    let answer = match received {
        Ok(Ok((token, file))) => {
            if files.put(token, file) {
                tokio::spawn(async move { files.forget_later().await });
                TAKEN
            } else {
                b'-'
            }
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "no descriptor came");
            return;
        }
        Err(_) => return,
    };
    // A command that went away asks for nothing.
    let _ = stream.write_all(&[answer]).await;
}

/// The token and the descriptor.
async fn receive(stream: &UnixStream) -> Result<(String, OwnedFd), Error> {
    loop {
        stream.readable().await?;
        match stream.try_io(Interest::READABLE, || message(stream)) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

fn message(stream: &UnixStream) -> Result<(String, OwnedFd), Error> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut token = [0; TOKEN];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut token)],
        &mut control,
        flags,
    )?;
    let file = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    let token = token.get(..got.bytes).filter(|token| token.len() == TOKEN);
    let token = token.and_then(|token| std::str::from_utf8(token).ok());
    match (token, file) {
        (Some(token), Some(file)) => Ok((token.to_owned(), file)),
        _ => Err(Error::other("the message has no token or no descriptor")),
    }
}
