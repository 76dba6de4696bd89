//! Repository names, tags, references, digests, media types, and the sources that people type.

use super::text;
use dryport::mirror::SourceImage;
use dryport::types::{
    Algorithm, AttachedTag, Digest, MediaType, Moment, Reference, RepoName, Tag, UploadId,
};

/// What no name of any kind may hold: what leads out of a folder, splits a header or a log line, or means something
/// to a URL or a shell.
fn is_harmless(name: &str) -> bool {
    let bad = |b: u8| b <= b' ' || b >= 0x7f || b"\\\"'%?#&@<>;$`*|(){}[]!,".contains(&b);
    // A tag may hold two dots, but none may begin it, so that no part of a path is "..".
    !name.bytes().any(bad) && !name.split('/').any(|part| matches!(part, "" | "." | ".."))
}

/// The name grammar of the distribution specification, written down a second time and differently: a machine that
/// walks the bytes, where the parser splits.
pub(super) fn is_repository(name: &str) -> bool {
    let mut separator = String::new();
    let mut begun = false;
    for c in name.chars() {
        match c {
            'a'..='z' | '0'..='9' => {
                let dashes = !separator.is_empty() && separator.chars().all(|c| c == '-');
                if !(dashes || matches!(separator.as_str(), "" | "." | "_" | "__" | "/")) {
                    return false;
                }
                separator.clear();
                begun = true;
            }
            '.' | '_' | '-' | '/' if begun => separator.push(c),
            _ => return false,
        }
    }
    begun && separator.is_empty() && name.len() <= 255
}

/// Names, tags, references and media types: what is accepted is of the grammar, reads back, and is never longer than
/// its limit; a name of the past means a present one.
pub fn reference(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let name = text.parse::<RepoName>();
    assert_eq!(name.is_ok(), is_repository(text), "{text:?}");
    if let Ok(name) = &name {
        assert_eq!(name.as_str(), text);
        assert!(is_harmless(text), "{text:?}");
        assert!(name.is_under("") && name.is_under(text));
        moment(name);
    }
    if let Ok(tag) = text.parse::<Tag>() {
        assert_eq!(tag.as_str(), text);
        assert!(
            text.len() <= 128 && is_harmless(text) && !text.contains(['/', ':']),
            "{text:?}"
        );
        assert!(!text.starts_with(['.', '-']), "{text:?}");
    }
    attached(text);
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string(), text);
        assert_eq!(
            matches!(reference, Reference::Digest(_)),
            text.contains(':')
        );
    }
    if let Ok(media_type) = text.parse::<MediaType>() {
        let own = media_type.as_str();
        assert!(own.len() <= 255 && own.matches('/').count() == 1, "{own:?}");
        assert!(
            own.bytes().all(|b| b.is_ascii_graphic() && b != b'"'),
            "{own:?}"
        );
        assert_eq!(own.parse::<MediaType>().ok().as_ref(), Some(&media_type));
    }
}

/// A tag of what is attached to a manifest: it is a tag, and made of just the digest whose letters it has.
fn attached(text: &str) {
    let Some(attached) = AttachedTag::read(text) else {
        return;
    };
    assert!(text.parse::<Tag>().is_ok(), "{text:?}");
    let (algorithm, rest) = text.split_once('-').expect("an algorithm");
    // Of a long digest the tag has the first half.
    let more = if algorithm == "sha512" {
        &rest[..64]
    } else {
        ""
    };
    let digest = format!("{algorithm}:{}{more}", &rest[..64]);
    let digest: Digest = digest.parse().expect("a digest");
    assert!(attached.is_of(&digest), "{text:?}");
    let list = AttachedTag::list_of(&digest);
    assert_eq!(attached.is_list(), text == list, "{text:?}");
    assert!(text.starts_with(&list), "{text:?}");
}

/// A name of the past: its time lies within the years that four digits can say, and reads back.
fn moment(name: &RepoName) {
    let Some((at, present)) = name.moment() else {
        assert_eq!(name.present().as_str(), name.as_str());
        return;
    };
    assert!(name.as_str().ends_with(&format!("/{present}")));
    match at {
        Moment::Time(at) => {
            assert_eq!(name.present().as_str(), present.as_str());
            // The end of the last second of the year 9999.
            assert!(
                at <= 253_402_300_799_999 && at % 1000 == 999,
                "{name}: {at}"
            );
        }
        Moment::Snapshot(title) => {
            assert_eq!(name.present().as_str(), name.as_str());
            assert_eq!(name.as_str(), format!("snap/{title}/{present}"));
        }
    }
}

/// Digests: one spelling each, as text and as key; hashes of algorithms and upload ids likewise.
pub fn digest(data: &[u8]) {
    if let Ok((digest, rest)) = Digest::split_key(data) {
        assert_eq!([digest.as_key(), rest].concat(), data);
        assert_eq!(Digest::from_key(digest.as_key()), Ok(digest));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(Digest::from_key(data).is_ok(), rest.is_empty());
    } else {
        assert!(Digest::from_key(data).is_err());
    }
    let Some(text) = text(data) else { return };
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
        assert_eq!(Digest::from_key(digest.as_key()), Ok(digest));
        assert_eq!(digest.as_key().len(), 1 + digest.algorithm().bytes());
        assert!(is_harmless(text), "{text:?}");
    }
    if let Ok(algorithm) = text.parse::<Algorithm>() {
        assert_eq!(algorithm.name(), text);
        assert_eq!(Algorithm::from_code(algorithm.code()), Some(algorithm));
    }
    if let Ok(id) = text.parse::<UploadId>() {
        assert_eq!(id.to_string(), text);
    }
}

/// `docker://...`: the host is a host and nothing more, the parts spell the same source again.
pub fn source(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Ok(source) = text.parse::<SourceImage>() else {
        return;
    };
    let host = source.registry();
    // Brackets and colons are an address's; everything else of a URL would send the request somewhere else.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
    assert!(
        !host.is_empty() && host.bytes().all(plain),
        "{text:?}: {host:?}"
    );
    assert_eq!(host, host.to_ascii_lowercase(), "{text:?}");
    assert!(is_repository(source.name().as_str()), "{text:?}");
    let reference = source.reference().expect("a source names something");
    assert!(source.tag().is_some() || matches!(reference, Reference::Digest(_)));
    // Docker takes a first component for a host by its dot, its colon or its capitals.
    let host = match host {
        "localhost" => host.to_owned(),
        _ if host.contains(['.', ':']) => host.to_owned(),
        _ => host.to_ascii_uppercase(),
    };
    let mut again = format!("docker://{host}/{}", source.name());
    if let Some(tag) = source.tag() {
        again = format!("{again}:{tag}");
    }
    if let Reference::Digest(digest) = reference {
        again = format!("{again}@{digest}");
    }
    assert_eq!(
        again.parse::<SourceImage>().ok().as_ref(),
        Some(&source),
        "{text:?}"
    );
    if let Ok(target) = source.default_target() {
        assert!(target.as_str().ends_with(source.name().as_str()));
    }
}
