//! Memory for parts of files on their way to clients: how much of it there is, and who waits for some. Must not read: what
//! comes into it is for `pieces` to say.

use crate::types::Span;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

/// One read: large enough that neither the call nor a hop to a blocking thread shows.
pub const CHUNK: usize = 512 * 1024;
/// Chunks of that size that all answers together may hold; those that find none left get along with small ones, each once
/// the last has been taken. So clients that take nothing cost little, and never stop others.
pub const CHUNKS: usize = 48;
/// A small chunk.
pub const SMALL: usize = 16 * 1024;
/// Memory of chunks that is kept for the next ones: it would have to be cleared each time.
const SPARES: usize = 8;
/// Leave to hold so many chunks.
pub static SENDING: Semaphore = Semaphore::const_new(CHUNKS);
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// See [`Chunk::pause`].
pub type Pause = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A turn of the others.
pub fn a_turn() -> Pause {
    Box::pin(tokio::task::yield_now())
}

/// A part of a file on its way, and the leave to hold so many bytes.
pub struct Chunk {
    bytes: Vec<u8>,
    len: usize,
    leave: Option<SemaphorePermit<'static>>,
    /// Dropped with the chunk, for who waits for that.
    gone: Option<oneshot::Sender<()>>,
}

impl Chunk {
    /// Room for the begin of a span: for all that one read may have, or little. `bytes` is never shorter than `len`.
    pub fn new(span: Span) -> Self {
        // The end of a span is small without leave, too, and needs none.
        let leave = (span.len > SMALL as u64)
            .then(|| SENDING.try_acquire().ok())
            .flatten();
        let most = if leave.is_some() { CHUNK } else { SMALL };
        let len = usize::try_from(span.len).map_or(most, |len| len.min(most));
        let bytes = match &leave {
            Some(_) => {
                let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
                spare.unwrap_or_else(|| vec![0; CHUNK])
            }
            None => vec![0; len],
        };
        Self {
            bytes,
            len,
            leave,
            gone: None,
        }
    }

    /// Small pieces that were put together without leave: at most [`SMALL`] bytes.
    pub fn of(bytes: Vec<u8>) -> Self {
        Self {
            len: bytes.len(),
            bytes,
            leave: None,
            gone: None,
        }
    }

    /// What to wait for between this chunk and the next: [`a_turn`], as a client that takes as fast as it is given
    /// would else keep the thread for itself; or that a small one is gone.
    pub fn pause(&mut self) -> Pause {
        if self.leave.is_some() {
            return a_turn();
        }
        let (gone, wait) = oneshot::channel();
        self.gone = Some(gone);
        Box::pin(async {
            // Nothing is ever sent: it ends when the chunk is dropped.
            let _ = wait.await;
        })
    }

    /// How many bytes it is for.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Where they go.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if self.leave.is_some() {
            let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
            if spare.len() < SPARES {
                spare.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}
