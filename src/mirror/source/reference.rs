//! The sources that people type: `docker://HOST/NAME[:TAG][@DIGEST]`, with docker's own abbreviations.

use crate::mirror::MirrorError;
use crate::types::{Digest, Reference, RepoName, Tag};
use std::net::Ipv6Addr;
use std::str::FromStr;

/// One image at one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceImage {
    registry: String,
    name: RepoName,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

/// How Docker Hub is called by people, and where its API is.
const HUB: &str = "docker.io";
const HUB_API: &str = "registry-1.docker.io";

impl SourceImage {
    /// The registry as people call it: `docker.io`, `HOST` or `HOST:PORT`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Where its API is.
    pub fn api_host(&self) -> &str {
        if self.registry == HUB {
            HUB_API
        } else {
            &self.registry
        }
    }

    /// The repository's name over there.
    pub fn name(&self) -> &RepoName {
        &self.name
    }

    /// The tag to set here: the one given, or `latest` where neither tag nor digest was.
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// What to ask the registry for: the digest if one was given, else the tag.
    pub fn reference(&self) -> Result<Reference, MirrorError> {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Ok(Reference::Digest(*digest)),
            (None, Some(tag)) => Ok(Reference::Tag(tag.clone())),
            (None, None) => Err(MirrorError::Usage(
                "the source names neither a tag nor a digest".to_owned(),
            )),
        }
    }

    /// The repository's name here unless another is asked for: `HOST/NAME`, `HOST-PORT/NAME` for a port.
    pub fn default_target(&self) -> Result<RepoName, MirrorError> {
        let host = self.registry.replace(['[', ']'], "").replace(':', "-");
        format!("{host}/{}", self.name)
            .parse()
            .map_err(MirrorError::Name)
    }
}

impl FromStr for SourceImage {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, MirrorError> {
        let usage = |why: String| {
            MirrorError::Usage(format!(
                "\"{text}\" names no image: {why}; write docker://HOST/NAME[:TAG] or ...@DIGEST"
            ))
        };
        let rest = text
            .strip_prefix("docker://")
            .ok_or_else(|| usage("it does not start with docker://".to_owned()))?;
        let (rest, digest) = match rest.split_once('@') {
            None => (rest, None),
            Some((rest, digest)) => (
                rest,
                Some(digest.parse::<Digest>().map_err(|e| usage(e.to_string()))?),
            ),
        };
        let (host, path) = match rest.split_once('/') {
            Some((host, path)) if is_host(host) => (host.to_ascii_lowercase(), path),
            _ => (HUB.to_owned(), rest),
        };
        if !is_plain_host(&host) {
            return Err(usage(format!(
                "\"{host}\" is no host name or address with an optional port"
            )));
        }
        let host = match host.as_str() {
            "index.docker.io" | HUB_API => HUB.to_owned(),
            _ => host,
        };
        let (path, tag) = match path.split_once(':') {
            None => (path, None),
            Some((path, tag)) => (
                path,
                Some(tag.parse::<Tag>().map_err(|e| usage(e.to_string()))?),
            ),
        };
        let name = if host == HUB && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        let name = name.parse::<RepoName>().map_err(|e| usage(e.to_string()))?;
        let tag = match (tag, digest) {
            (None, None) => Some("latest".parse::<Tag>().map_err(|e| usage(e.to_string()))?),
            (tag, _) => tag,
        };
        Ok(Self {
            registry: host,
            name,
            tag,
            digest,
        })
    }
}

/// Docker's rule: the first component is a host if it has a dot or a port, or is `localhost`.
fn is_host(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':']) || text.bytes().any(|b| b.is_ascii_uppercase())
}

/// `NAME[:PORT]`, `ADDRESS[:PORT]` or `[IPV6][:PORT]` and nothing else: the rest of what a URL may hold there (a query, a
/// fragment, a user) would ask another registry, or another path of it, than the one named.
fn is_plain_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (text, "0"),
    };
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let named = match host.strip_prefix('[') {
        Some(v6) => v6
            .strip_suffix(']')
            .is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok()),
        None => host.strip_suffix('.').unwrap_or(host).split('.').all(label),
    };
    named && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Remedy;

    /// Source; API host; default target; tag (`-`: none); what is asked for. `DIGEST` stands for one.
    const SOURCES: &str = "
        docker://alpine registry-1.docker.io docker.io/library/alpine latest latest
        docker://a/b:1 registry-1.docker.io docker.io/a/b 1 1
        docker://docker.io/alpine:3 registry-1.docker.io docker.io/library/alpine 3 3
        docker://index.docker.io/x/y registry-1.docker.io docker.io/x/y latest latest
        docker://localhost/x localhost localhost/x latest latest
        docker://localhost:5000/x/y:z localhost:5000 localhost-5000/x/y z z
        docker://Quay.IO/a/b quay.io quay.io/a/b latest latest
        docker://quay.io/a/b@DIGEST quay.io quay.io/a/b - DIGEST
        docker://quay.io/a/b:v1@DIGEST quay.io quay.io/a/b v1 DIGEST";

    #[test]
    fn sources() {
        let table = SOURCES.replace("DIGEST", &format!("sha256:{}", "a".repeat(64)));
        let rows = table.lines().filter(|line| !line.trim().is_empty());
        for row in rows {
            let cells: Vec<&str> = row.split_whitespace().collect();
            let source: SourceImage = cells[0].parse().expect(row);
            let target = source.default_target().expect(row);
            let reference = source.reference().expect(row).to_string();
            let tag = source.tag().map_or("-", Tag::as_str);
            let got = [source.api_host(), target.as_str(), tag, &reference];
            assert_eq!(got, cells[1..], "{row}");
        }
    }

    #[test]
    fn not_sources() {
        for bad in [
            "",
            "alpine",
            "oci://x/y",
            "docker://",
            "docker://quay.io/",
            "docker://quay.io/A",
            "docker://a/b:",
            "docker://a/b@sha256:1",
            "docker://a/b:x:y",
            "docker://quay.io/../x",
            "docker://u@quay.io/x",
            "docker://a.b#c/x",
            "docker://a.b?c/x",
            "docker://a b.c/x",
            "docker://../x",
            "docker://a.b:+80/x",
            "docker://[a.b]/x",
        ] {
            assert!(bad.parse::<SourceImage>().is_err(), "{bad}");
        }
        let v6: SourceImage = "docker://[::1]:5000/x".parse().expect("valid");
        assert_eq!(v6.api_host(), "[::1]:5000");
        let error = v6.default_target().expect_err("no name");
        assert_eq!(error.remedy(), Some(Remedy::ChooseTarget), "{error}");
    }
}
