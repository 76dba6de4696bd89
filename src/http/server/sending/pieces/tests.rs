use super::*;
use crate::http::server::limits::many_ranges::RangeLeave;
use crate::http::server::sending::chunk::{CHUNK, CHUNKS};
use crate::http::server::sending::sendfile::PART;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use rustix::fs::{Advice, fadvise};
use std::io::Write as _;
use std::time::Duration;

/// Larger than what one read has, three times, and not a multiple of it.
const LEN: usize = 3 * CHUNK + 4321;
/// One test takes all leave.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn of(file: &Arc<File>) -> BodyContent {
    BodyContent::File {
        file: Arc::clone(file),
        len: file.metadata().expect("length").len(),
        outbox: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_memory_and_from_the_disk() {
    let bytes: Vec<u8> = (0..LEN).map(|n| (n % 251) as u8).collect();
    let mut file = tempfile::tempfile().expect("file");
    file.write_all(&bytes).expect("written");
    file.sync_all().expect("synced");
    let file = Arc::new(file);
    let spans = [(0, LEN), (7, CHUNK), (CHUNK - 5, SMALL + 10), (LEN - 3, 3)];
    for (start, len) in spans {
        for cold in [false, true] {
            if cold {
                fadvise(&file, 0, None, Advice::DontNeed).expect("forgotten");
            }
            let content = of(&file);
            let text = || BodyPiece::Text(Bytes::from_static(b"--"));
            let span = Span {
                start: start as u64,
                len: len as u64,
            };
            let got = sent(pieces(
                content,
                BodyParts::listed([text(), BodyPiece::Span(span), text()].into()),
            ))
            .await;
            let want = [b"--", &bytes[start..start + len], b"--"].concat();
            assert!(got == want, "{len} bytes from {start}, cold: {cold}");
        }
    }
}

#[tokio::test]
async fn tiny_parts_are_joined_and_others_have_their_turn_between() {
    let spans = vec![Span { start: 3, len: 1 }; 1000];
    let mut file = tempfile::tempfile().expect("file");
    file.write_all(b"0123456789").expect("written");
    if read_cached(&file, &mut [0], 0) == 0 {
        return; // This file system does not tell what is in memory.
    }
    let in_file = BodyContent::File {
        file: Arc::new(file),
        len: 10,
        outbox: Some(Outbox::default()),
    };
    for content in [
        BodyContent::Bytes(Bytes::from_static(b"0123456789")),
        in_file,
    ] {
        let parts = (spans.clone(), RangeLeave::default());
        let parts = BodyParts::multipart(parts, 10, "text/plain", "B");
        let known = parts.len();
        let mut body = pieces(content, parts);
        let mut poll = async || {
            let poll = |cx: &mut Context<'_>| Poll::Ready(Pin::new(&mut body).poll_frame(cx));
            std::future::poll_fn(poll).await
        };
        let (mut sent, mut frames) = (Vec::new(), 0);
        loop {
            let data = match poll().await {
                Poll::Ready(Some(frame)) => frame.expect("read").into_data().expect("data"),
                Poll::Ready(None) => break,
                Poll::Pending => panic!("nothing was held"),
            };
            assert!(data.len() <= SMALL);
            frames += 1;
            sent.extend_from_slice(&data);
            if sent.len() as u64 == known {
                break;
            }
            assert!(poll().await.is_pending(), "it waits until that is gone");
        }
        assert_eq!(frames, sent.len().div_ceil(SMALL - 100));
        let text = String::from_utf8(sent).expect("text");
        assert_eq!(text.matches("bytes 3-3/10\r\n\r\n3\r\n--B").count(), 1000);
    }
}

#[tokio::test]
async fn what_the_kernel_can_send_is_put_into_the_outbox() {
    let bytes = vec![7; PART + SMALL + 2];
    let mut file = tempfile::tempfile().expect("file");
    file.write_all(&bytes).expect("written");
    file.sync_all().expect("synced");
    let file = Arc::new(file);
    if read_cached(&file, &mut [0], 0) == 0 {
        return; // This file system does not tell what is in memory.
    }
    let frames = async || {
        let content = BodyContent::File {
            file: Arc::clone(&file),
            len: bytes.len() as u64,
            outbox: Some(Outbox::default()),
        };
        let span = Span {
            start: 0,
            len: bytes.len() as u64,
        };
        let mut body = pieces(content, BodyParts::one(span));
        let mut frames = Vec::new();
        while let Some(frame) = body.frame().await {
            let data = frame.expect("read").into_data().expect("data");
            // Stand-ins are made of zeros.
            frames.push((data.len(), data[0]));
        }
        frames
    };
    assert_eq!(frames().await, [(PART, 0), (SMALL + 2, 0)]);
    let is_cached_at = |start| {
        let len = SMALL as u64;
        is_cached(&file, Span { start, len })
    };
    // The kernel may be busy with a page and keep it for now.
    for _ in 0..1000 {
        fadvise(&file, 0, None, Advice::DontNeed).expect("forgotten");
        if !is_cached_at(0) && !is_cached_at(PART as u64) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let cold = frames().await;
    assert!(cold.iter().all(|(_, byte)| *byte == 7), "{cold:?}");
}

#[tokio::test]
async fn others_have_their_turn_between_chunks() {
    let _with_leave = ALONE.lock().await;
    let mut file = tempfile::tempfile().expect("file");
    file.write_all(&vec![7; 2 * CHUNK]).expect("written");
    let span = Span {
        start: 0,
        len: 2 * CHUNK as u64,
    };
    let mut body = pieces(of(&Arc::new(file)), BodyParts::one(span));
    let mut polled = async || {
        let poll = |cx: &mut Context<'_>| Poll::Ready(Pin::new(&mut body).poll_frame(cx));
        std::future::poll_fn(poll).await.is_ready()
    };
    assert!(polled().await, "the kernel has it");
    assert!(!polled().await, "it waits a turn");
    tokio::task::yield_now().await;
    assert!(polled().await);
}

#[tokio::test]
async fn without_leave_a_chunk_waits_until_the_last_is_gone() {
    let _alone = ALONE.lock().await;
    let _all = SENDING.acquire_many(CHUNKS as u32).await.expect("open");
    let mut file = tempfile::tempfile().expect("file");
    file.write_all(&vec![7; 3 * SMALL]).expect("written");
    let file = Arc::new(file);
    for cold in [false, true] {
        if cold {
            file.sync_all().expect("synced");
            fadvise(&file, 0, None, Advice::DontNeed).expect("forgotten");
        }
        let span = Span {
            start: 0,
            len: 3 * SMALL as u64,
        };
        let content = of(&file);
        let mut body = pieces(content, BodyParts::one(span));
        let mut last = body.frame().await.expect("a chunk").expect("read");
        for _ in 1..3 {
            let early = tokio::time::timeout(Duration::from_millis(20), body.frame()).await;
            assert!(early.is_err(), "cold: {cold}");
            drop(last);
            last = body.frame().await.expect("a chunk").expect("read");
            assert_eq!(last.data_ref().map(Bytes::len), Some(SMALL));
        }
        assert!(body.frame().await.is_none());
    }
}
