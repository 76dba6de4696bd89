//! The metadata file for reading alone, while the disk takes no writes: what redb writes to open it stays in memory.
//!
//! The file itself is never touched. What is changed here is forgotten with it: nothing may be committed but what lies
//! in the log.

use crate::store::disk::DiskFile;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What was written is kept in pieces of this many bytes.
const PIECE: u64 = 4096;

/// A file under writes that are kept in memory.
#[derive(Debug)]
pub(in crate::store) struct Frozen {
    file: File,
    over: RwLock<Over>,
}

#[derive(Debug)]
struct Over {
    /// Length as redb sees it.
    len: u64,
    /// Up to here the file's own bytes show; what lies beyond was cut off, or is new and zero.
    of_file: u64,
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl Frozen {
    /// Opens a file that is there.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = crate::datadir::read(path)?;
        let len = file.metadata()?.len();
        let over = RwLock::new(Over {
            len,
            of_file: len,
            pieces: BTreeMap::new(),
        });
        Ok(Self { file, over })
    }

    fn over(&self) -> RwLockReadGuard<'_, Over> {
        self.over.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn over_mut(&self) -> RwLockWriteGuard<'_, Over> {
        self.over.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// One piece as the file has it.
    fn original(&self, over: &Over, piece: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; PIECE as usize];
        let have = over.of_file.saturating_sub(piece * PIECE).min(PIECE) as usize;
        if let Some(part) = bytes.get_mut(..have) {
            self.file.read_exact_at(part, piece * PIECE)?;
        }
        Ok(bytes)
    }
}

/// The parts of `offset..offset + len` by piece: its number, where in it the part begins, and how long that is.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + len as u64;
    (offset / PIECE..end.div_ceil(PIECE)).map(move |piece| {
        let from = offset.max(piece * PIECE);
        let to = end.min((piece + 1) * PIECE);
        (piece, (from - piece * PIECE) as usize, (to - from) as usize)
    })
}

impl DiskFile for Frozen {
    fn len(&self) -> io::Result<u64> {
        Ok(self.over().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let over = self.over();
        if offset + out.len() as u64 > over.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let inside = offset + out.len() as u64 <= over.of_file;
        if inside && over.pieces.range(offset / PIECE..).next().is_none() {
            return self.file.read_exact_at(out, offset);
        }
        let mut rest = out;
        for (piece, from, len) in parts(offset, rest.len()) {
            let (now, after) = rest.split_at_mut(len);
            match over.pieces.get(&piece) {
                Some(bytes) => now.copy_from_slice(&bytes[from..from + len]),
                None => now.copy_from_slice(&self.original(&over, piece)?[from..from + len]),
            }
            rest = after;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut over = self.over_mut();
        over.len = len;
        if len < over.of_file {
            over.of_file = len;
            over.pieces.split_off(&len.div_ceil(PIECE));
            if let Some(last) = over.pieces.get_mut(&(len / PIECE)) {
                last[(len % PIECE) as usize..].fill(0);
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut over = self.over_mut();
        let mut rest = data;
        for (piece, from, len) in parts(offset, data.len()) {
            let (now, after) = rest.split_at(len);
            if !over.pieces.contains_key(&piece) {
                let bytes = self.original(&over, piece)?;
                over.pieces.insert(piece, bytes);
            }
            if let Some(bytes) = over.pieces.get_mut(&piece) {
                bytes[from..from + len].copy_from_slice(now);
            }
            rest = after;
        }
        over.len = over.len.max(offset + data.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_show_and_the_file_stays() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let bytes: Vec<u8> = (0..10_000_u32).map(|n| n as u8).collect();
        std::io::Write::write_all(&mut file.as_file(), &bytes).expect("written");
        let frozen = Frozen::open(file.path()).expect("opened");
        let mut wanted = bytes.clone();
        wanted[4000..4200].fill(7);
        frozen.write(4000, &[7; 200]).expect("in memory");
        frozen.set_len(12_000).expect("in memory");
        wanted.resize(12_000, 0);
        let mut seen = vec![1; 12_000];
        frozen.read(0, &mut seen).expect("read");
        assert!(seen == wanted);
        frozen.set_len(4100).expect("in memory");
        frozen.set_len(9000).expect("in memory");
        wanted[4100..].fill(0);
        frozen.read(0, &mut seen[..9000]).expect("read");
        assert!(seen[..9000] == wanted[..9000]);
        assert!(frozen.read(8999, &mut [0; 2]).is_err());
        assert!(std::fs::read(file.path()).expect("read") == bytes);
    }
}
