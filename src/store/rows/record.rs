//! Versioned records: a version byte, then bincode (standard configuration: little-endian, variable-length integers).
//!
//! bincode lives here and only here, pinned; `reference/rust-crates.md` section 1 has the ways out. The order of
//! fields and variants is the format: append variants only, and give every change a new version with its golden file.

use crate::store::StoreError;
pub use bincode::{Decode, Encode};

/// Longest record in bytes; what is longer becomes a blob.
pub const RECORD_LIMIT: usize = 64 << 10;

// The limit binds decoding alone, and there it charges len * size_of::<T>() before it reads: the same 64 KiB would
// refuse records that were encoded rightly. It only has to stop hostile lengths.
const CONFIG: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<{ 1 << 20 }>,
> = bincode::config::standard().with_limit::<{ 1 << 20 }>();

/// Most records are no longer than this: their bytes are not moved while they are made.
const USUAL: usize = 256;

/// A record: version byte, then bincode, at most 64 KiB in all.
pub trait Record: Encode + Decode<()> + Sized {
    /// Golden file name: `tests/golden/record/NAME.vVERSION.bin`.
    const NAME: &'static str;
    /// Current version.
    const VERSION: u8;

    /// Decodes the body of an older version (see [`decode_body`]); by default none exists.
    fn upgrade(_version: u8, _body: &[u8]) -> Option<Result<Self, StoreError>> {
        None
    }

    /// Bytes to store. A record over 64 KiB is refused.
    fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::with_capacity(USUAL);
        bytes.push(Self::VERSION);
        bincode::encode_into_std_write(self, &mut bytes, CONFIG)
            .map_err(|e| unreadable(Self::NAME, &e))?;
        if bytes.len() > RECORD_LIMIT {
            return Err(StoreError::TooLarge {
                what: Self::NAME,
                len: bytes.len(),
                limit: RECORD_LIMIT,
            });
        }
        Ok(bytes)
    }

    /// Reads any known version; a newer one, trailing bytes or a wrong length are errors.
    fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        let Some((version, body)) = bytes.split_first() else {
            return Err(unreadable(Self::NAME, &"it is empty"));
        };
        if *version > Self::VERSION {
            return Err(StoreError::RecordTooNew {
                record: Self::NAME,
                found: *version,
                known: Self::VERSION,
            });
        }
        if *version == Self::VERSION {
            return decode_body(Self::NAME, body);
        }
        Self::upgrade(*version, body).unwrap_or_else(|| {
            Err(unreadable(
                Self::NAME,
                &format!("no version {version} ever existed"),
            ))
        })
    }
}

/// Decodes the body (what follows the version byte) of one version, for [`Record::upgrade`].
pub fn decode_body<T: Decode<()>>(name: &'static str, body: &[u8]) -> Result<T, StoreError> {
    match bincode::decode_from_slice(body, CONFIG) {
        Ok((value, used)) if used == body.len() => Ok(value),
        Ok((_, used)) => Err(unreadable(
            name,
            &format!("{} bytes follow its end", body.len() - used),
        )),
        Err(e) => Err(unreadable(name, &e)),
    }
}

fn unreadable(record: &'static str, detail: &dyn std::fmt::Display) -> StoreError {
    StoreError::Record {
        record,
        detail: detail.to_string(),
    }
}

/// Golden files, for the unit tests of every module that has records: see `tests/golden/record/README.md`.
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::disallowed_methods
)] // Test code, although not itself a test.
pub mod golden {
    use super::Record;
    use std::path::PathBuf;

    fn path(name: &str, version: u8) -> PathBuf {
        let file = format!("tests/golden/record/{name}.v{version}.bin");
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
    }

    /// Asserts that `sample` encodes to exactly the golden bytes of its version, and that they read back. With
    /// `DRYPORT_GOLDEN=write` in the environment a missing file is written; one that exists never is.
    pub fn check<R: Record + PartialEq + std::fmt::Debug>(sample: &R) {
        let path = path(R::NAME, R::VERSION);
        let bytes = sample.to_bytes().unwrap();
        if !path.exists() && std::env::var_os("DRYPORT_GOLDEN").is_some_and(|v| v == "write") {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        let Ok(golden) = std::fs::read(&path) else {
            panic!(
                "{} is missing: run this test once with DRYPORT_GOLDEN=write",
                path.display()
            );
        };
        assert_eq!(
            bytes,
            golden,
            "{} no longer matches: a changed record needs a new VERSION",
            R::NAME
        );
        assert_eq!(&R::from_bytes(&golden).unwrap(), sample);
    }

    /// Asserts that the golden file of an older version still reads as `expected`.
    pub fn check_old<R: Record + PartialEq + std::fmt::Debug>(version: u8, expected: &R) {
        let golden = std::fs::read(path(R::NAME, version)).unwrap();
        assert_eq!(golden[0], version);
        assert_eq!(&R::from_bytes(&golden).unwrap(), expected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreErrorKind;

    #[derive(Debug, PartialEq, Encode, Decode)]
    struct Sample {
        id: u64,
        names: Vec<String>,
        note: Option<String>,
    }

    impl Record for Sample {
        const NAME: &'static str = "sample";
        const VERSION: u8 = 2;
        fn upgrade(version: u8, body: &[u8]) -> Option<Result<Self, StoreError>> {
            (version == 1).then(|| {
                let (id, names) = decode_body(Self::NAME, body)?;
                Ok(Self {
                    id,
                    names,
                    note: None,
                })
            })
        }
    }

    fn sample() -> Sample {
        Sample {
            id: 300,
            names: vec!["a".into(), "bc".into()],
            note: Some("n".into()),
        }
    }

    #[test]
    fn golden_files_read_for_ever() {
        golden::check(&sample());
        golden::check_old(
            1,
            &Sample {
                note: None,
                ..sample()
            },
        );
    }

    #[test]
    fn many_short_texts_decode_although_they_weigh_more_in_memory() {
        let many = Sample {
            id: 1,
            names: vec!["x".into(); 20_000],
            note: None,
        };
        let bytes = many.to_bytes().unwrap();
        assert!(bytes.len() < RECORD_LIMIT);
        assert_eq!(Sample::from_bytes(&bytes).unwrap(), many);
    }

    #[test]
    fn a_record_over_the_limit_is_refused() {
        let big = Sample {
            id: 1,
            names: vec!["x".repeat(RECORD_LIMIT)],
            note: None,
        };
        assert_eq!(big.to_bytes().unwrap_err().kind(), StoreErrorKind::Refused);
    }

    #[test]
    fn wrong_bytes_are_errors_and_never_panic() {
        let good = sample().to_bytes().unwrap();
        let mut trailing = good.clone();
        trailing.push(0);
        let mut newer = good.clone();
        newer[0] = 3;
        let hostile = [&[2, 1, 253][..], &[0xff; 8]].concat();
        let kind = |b: &[u8]| Sample::from_bytes(b).unwrap_err().kind();
        assert_eq!(kind(&[]), StoreErrorKind::Damaged);
        assert_eq!(kind(&[0, 1]), StoreErrorKind::Damaged);
        assert_eq!(kind(&trailing), StoreErrorKind::Damaged);
        assert_eq!(kind(&good[..good.len() - 1]), StoreErrorKind::Damaged);
        assert_eq!(kind(&hostile), StoreErrorKind::Damaged);
        assert_eq!(kind(&newer), StoreErrorKind::TooNew);
    }
}
