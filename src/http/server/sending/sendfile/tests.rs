use super::*;
use rustix::fs::{Advice, fadvise};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

fn file(bytes: &[u8]) -> Arc<File> {
    let file = tempfile::tempfile().expect("file");
    file.write_all_at(bytes, 0).expect("written");
    Arc::new(file)
}

async fn connection() -> (Sending, Outbox, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("address");
    let client = TcpStream::connect(addr).await.expect("connected");
    let (tcp, _) = listener.accept().await.expect("accepted");
    let (sending, outbox) = Sending::new(tcp);
    (sending, outbox, client)
}

/// As hyper writes: all that there is at once, again and again.
async fn write(io: &mut Sending, mut bufs: Vec<Bytes>) -> io::Result<()> {
    while !bufs.is_empty() {
        let slices: Vec<_> = bufs.iter().map(|b| IoSlice::new(b)).collect();
        let mut n = io.write_vectored(&slices).await?;
        while n > 0 {
            let taken = n.min(bufs[0].len());
            let _ = bufs[0].split_to(taken);
            n -= taken;
            if bufs[0].is_empty() {
                bufs.remove(0);
            }
        }
    }
    Ok(())
}

fn span(start: usize, len: usize) -> Span {
    Span {
        start: start as u64,
        len: len as u64,
    }
}

#[tokio::test]
async fn parts_come_between_bytes() {
    let bytes: Vec<u8> = (0..3 * PART).map(|n| (n % 251) as u8).collect();
    let file = file(&bytes);
    let (mut io, outbox, mut client) = connection().await;
    let reading = tokio::spawn(async move {
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.map(|_| got)
    });
    let text = Bytes::from_static(b"--");
    let long = outbox.put(&file, span(5, 3 * PART - 5));
    assert_eq!(long.len(), PART);
    let bufs = vec![
        text.clone(),
        long,
        outbox.put(&file, span(7, 9)),
        text.clone(),
    ];
    write(&mut io, bufs).await.expect("sent");
    write(&mut io, vec![outbox.put(&file, span(0, PART)), text])
        .await
        .expect("sent");
    drop(io);
    let got = reading.await.expect("ended").expect("read");
    let want = [
        b"--",
        &bytes[5..PART + 5],
        &bytes[7..16],
        b"--",
        &bytes[..PART],
        b"--",
    ]
    .concat();
    assert!(got == want);
}

#[tokio::test]
async fn what_was_copied_from_a_stand_in_is_not_sent() {
    let (mut io, outbox, mut client) = connection().await;
    let copy = outbox.put(&file(b"0123456789"), span(0, 10)).to_vec();
    assert!(io.write_all(&copy).await.is_err());
    drop(io);
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.expect("read");
    assert_eq!(got, b"");
}

#[tokio::test]
async fn a_short_file_is_an_error() {
    let (mut io, outbox, _client) = connection().await;
    let part = outbox.put(&file(b"0123456789"), span(5, 10));
    let error = write(&mut io, vec![part]).await.expect_err("too short");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_part_can_be_copied() {
    let (io, _, mut client) = connection().await;
    let part = Part {
        file: file(b"0123456789"),
        start: 2,
        len: 5,
    };
    assert_eq!(part.copy(&io.tcp).expect("sent"), 5);
    drop(io);
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.expect("read");
    assert_eq!(got, b"23456");
}

#[tokio::test]
async fn what_leaves_memory_while_the_client_waits_comes_all_the_same() {
    let bytes: Vec<u8> = (0..PART).map(|n| (n % 241) as u8).collect();
    let file = file(&bytes);
    file.sync_all().expect("synced");
    let (mut io, outbox, mut client) = connection().await;
    // More than a socket takes.
    let parts = (0..16).map(|_| outbox.put(&file, span(0, PART))).collect();
    let writing = tokio::spawn(async move { write(&mut io, parts).await });
    for _ in 0..16 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        fadvise(&file, 0, None, Advice::DontNeed).expect("forgotten");
        let mut got = vec![0; PART];
        client.read_exact(&mut got).await.expect("read");
        assert!(got == bytes);
    }
    writing.await.expect("ended").expect("sent");
}
