//! Secrets that `app` makes: the keys that sign tokens, and the first password.

use super::{AppError, data};
use std::path::Path;

/// Letters and digits that nobody mixes up when typing from a screen.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// 100 bits of chance.
const PASSWORD_LEN: usize = 20;

/// A password that nobody can guess.
pub fn new_password() -> Result<String, AppError> {
    let mut bytes = [0u8; PASSWORD_LEN];
    getrandom::fill(&mut bytes)
        .map_err(|e| AppError::Other(format!("the system gives no random numbers: {e}")))?;
    // 32 letters divide 256: every letter is equally likely.
    Ok(bytes
        .iter()
        .map(|b| char::from(ALPHABET[usize::from(b % 32)]))
        .collect())
}

/// The keys of `DIR/keys/token-*.pem`, newest (the one that signs) first; the first one is made here.
///
/// To rotate, add a newer file: what the older keys signed stays valid until they are removed.
pub fn signing_keys(dir: &Path) -> Result<Vec<String>, AppError> {
    let keys = dir.join("keys");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&keys).map_err(|e| AppError::file(&keys, e))? {
        let path = entry.map_err(|e| AppError::file(&keys, e))?.path();
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        if name
            .strip_prefix("token-")
            .is_some_and(|rest| rest.strip_suffix(".pem").is_some())
        {
            names.push(path);
        }
    }
    if names.is_empty() {
        let path = keys.join(format!("token-{:015}.pem", crate::types::wall_ms()));
        data::write_private(&path, crate::tls::new_es256_key()?.as_bytes())?;
        names.push(path);
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    let read =
        |p: &std::path::PathBuf| crate::datadir::read_text(p).map_err(|e| AppError::file(p, e));
    names.iter().map(read).collect()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test makes files of its own")]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_and_differ() {
        let (a, b) = (
            new_password().expect("random"),
            new_password().expect("random"),
        );
        assert_eq!(a.len(), 20);
        assert_ne!(a, b);
        assert!(a.bytes().all(|c| ALPHABET.contains(&c)));
    }

    #[test]
    fn the_newest_key_signs() {
        let dir = tempfile::tempdir().expect("temp");
        let keys = dir.path().join("keys");
        std::fs::create_dir(&keys).expect("made");
        for (name, text) in [
            ("token-1.pem", "old"),
            ("token-2.pem", "new"),
            ("note.txt", "no"),
        ] {
            std::fs::write(keys.join(name), text).expect("written");
        }
        assert_eq!(signing_keys(dir.path()).expect("keys"), ["new", "old"]);
    }
}
