//! The kinds of repositories, as the laws see them. A new kind is one more `impl` here, and a line in each law's tests.

use crate::harness::content::{OCI_MANIFEST, bytes_of, image, noise, sha256};
use crate::harness::{Client, Server, run_ok};

const OCTETS: &str = "application/octet-stream";

/// One request of a put.
pub struct Request {
    pub method: &'static str,
    pub path: String,
    pub media_type: &'static str,
    pub body: Vec<u8>,
}

/// A kind of repository, as the laws see it: names that mean bytes.
pub trait Kind: Sync {
    /// The repository of the tests.
    const REPO: &'static str;

    /// Makes the repository, where that takes a command.
    fn make(&self, server: &Server);

    /// What a name means after it was put with this number.
    fn bytes(&self, number: u64) -> Vec<u8>;

    /// The requests that put a name, in their order.
    fn requests(&self, name: &str, number: u64) -> Vec<Request>;

    /// Puts a name; whether that was acknowledged.
    async fn put(&self, client: &Client, name: &str, number: u64) -> bool {
        for request in self.requests(name, number) {
            let media_type = [("content-type", request.media_type)];
            let done = client.maybe(request.method, &request.path, &media_type, &request.body);
            if !done
                .await
                .is_some_and(|reply| matches!(reply.status, 200 | 201))
            {
                return false;
            }
        }
        true
    }

    /// Deletes a name; whether that was acknowledged.
    async fn delete(&self, client: &Client, name: &str) -> bool;

    /// Where a name is read, now or in a snapshot.
    fn path(&self, name: &str, snapshot: Option<&str>) -> String;

    /// Whether all that the bytes of a name need is there, too.
    async fn is_whole(&self, client: &Client, number: u64, snapshot: Option<&str>) -> bool;
}

/// Images under tags.
pub struct Images;

impl Images {
    fn layer(number: u64) -> Vec<u8> {
        noise(
            1000 + number,
            900 + usize::try_from(number % 5).unwrap() * 30_000,
        )
    }
}

impl Kind for Images {
    const REPO: &'static str = "law/images";

    fn make(&self, _: &Server) {}

    fn bytes(&self, number: u64) -> Vec<u8> {
        bytes_of(&image(b"{}", &[&Self::layer(number)]))
    }

    fn requests(&self, name: &str, number: u64) -> Vec<Request> {
        let blobs = [b"{}".to_vec(), Self::layer(number)];
        let mut requests: Vec<_> = blobs
            .into_iter()
            .map(|blob| Request {
                method: "POST",
                path: format!("/v2/{}/blobs/uploads/?digest={}", Self::REPO, sha256(&blob)),
                media_type: OCTETS,
                body: blob,
            })
            .collect();
        requests.push(Request {
            method: "PUT",
            path: self.path(name, None),
            media_type: OCI_MANIFEST,
            body: self.bytes(number),
        });
        requests
    }

    async fn delete(&self, client: &Client, name: &str) -> bool {
        let path = format!("/v2/{}/manifests/{name}", Self::REPO);
        let done = client.maybe("DELETE", &path, &[], &[]).await;
        done.is_some_and(|reply| reply.status == 202)
    }

    fn path(&self, name: &str, snapshot: Option<&str>) -> String {
        match snapshot {
            Some(title) => format!("/v2/snap/{title}/{}/manifests/{name}", Self::REPO),
            None => format!("/v2/{}/manifests/{name}", Self::REPO),
        }
    }

    async fn is_whole(&self, client: &Client, number: u64, snapshot: Option<&str>) -> bool {
        let layer = Self::layer(number);
        let digest = sha256(&layer);
        let repo = match snapshot {
            Some(title) => format!("snap/{title}/{}", Self::REPO),
            None => Self::REPO.to_owned(),
        };
        let got = client.get(&format!("/v2/{repo}/blobs/{digest}")).await;
        got.status == 200 && got.body == layer
    }
}

/// Files at paths.
pub struct Files;

impl Kind for Files {
    const REPO: &'static str = "law/files";

    fn make(&self, server: &Server) {
        run_ok(&[
            "repo",
            "create",
            Self::REPO,
            "--kind",
            "file",
            "--data",
            &server.dir(),
        ]);
    }

    fn bytes(&self, number: u64) -> Vec<u8> {
        // Some are the same as others, some lie in the database and some in files.
        let seed = 5000 + number % 40;
        noise(seed, 700 + usize::try_from(number % 4).unwrap() * 40_000)
    }

    fn requests(&self, name: &str, number: u64) -> Vec<Request> {
        vec![Request {
            method: "PUT",
            path: self.path(name, None),
            media_type: OCTETS,
            body: self.bytes(number),
        }]
    }

    async fn delete(&self, client: &Client, name: &str) -> bool {
        let done = client
            .maybe("DELETE", &self.path(name, None), &[], &[])
            .await;
        done.is_some_and(|reply| reply.status == 204)
    }

    fn path(&self, name: &str, snapshot: Option<&str>) -> String {
        let at = snapshot
            .map(|title| format!("@{title}"))
            .unwrap_or_default();
        format!("/r/{}{at}/pool/{name}/file.bin", Self::REPO)
    }

    async fn is_whole(&self, _: &Client, _: u64, _: Option<&str>) -> bool {
        true
    }
}
