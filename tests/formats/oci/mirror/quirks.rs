//! What upstreams really send, and what becomes of it: one registry with many manners, one server that mirrors from it.

use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::fake::{Answer, Ask, Fake};
use crate::harness::{Server, run, text_of};

/// The registry, the server, and a new name for each run.
pub struct World {
    pub fake: Fake,
    pub target: Server,
    names: AtomicUsize,
}

impl World {
    pub async fn start() -> Self {
        Self {
            fake: Fake::start(),
            target: Server::start().await,
            names: AtomicUsize::new(0),
        }
    }

    pub fn name(&self) -> String {
        format!("copy/{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    pub fn mirror(&self, name: &str, reference: &str, more: &[&str]) -> Output {
        let (dir, source) = (self.target.dir(), self.fake.source(reference));
        let mut args = vec!["mirror", "--data", &dir, &source, "--to", name];
        args.extend_from_slice(more);
        run(&args)
    }

    /// The status of a path below `/v2/NAME/` at the server.
    pub async fn status(&self, name: &str, path: &str) -> u16 {
        let path = format!("/v2/{name}/{path}");
        self.target.anonymous().get(&path).await.status
    }

    /// The body of a path below `/v2/NAME/` at the server.
    pub async fn body(&self, name: &str, path: &str) -> Vec<u8> {
        let path = format!("/v2/{name}/{path}");
        self.target.anonymous().get(&path).await.expect(200).body
    }
}

fn is_ranged(ask: &Ask) -> bool {
    !ask.header("range").is_empty()
}

/// What becomes of the answer that a part should have.
type Refusal = fn(Answer) -> Answer;

/// What a registry may answer to a request for a part.
fn no_ranges() -> Vec<(&'static str, Refusal)> {
    vec![
        ("416", |_| Answer::empty(416)),
        ("400", |_| Answer::empty(400)),
        ("403", |_| Answer::empty(403)),
        ("404", |_| Answer::empty(404)),
        ("405", |_| Answer::empty(405)),
        ("501", |_| Answer::empty(501)),
        ("204", |_| Answer::empty(204)),
        ("206 without Content-Range", |a| a.without("Content-Range")),
        ("206 of another part", |a| {
            a.with("Content-Range", "bytes 90000-99999/100000")
        }),
        ("206 of nothing", |a| {
            a.with("Content-Range", "bytes */100000")
        }),
        ("206 of words", |a| a.with("Content-Range", "some bytes")),
        ("206 of another length", |a| {
            a.with("Content-Range", "bytes 40000-99999/99999")
        }),
        ("206 that ends before it begins", |a| {
            a.with("Content-Range", "bytes 40000-1/100000")
        }),
        ("206 in parts", |a| {
            a.without("Content-Range")
                .with("Content-Type", "multipart/byteranges; boundary=x")
        }),
        ("206 of wrong bytes", |mut a| {
            a.body.iter_mut().for_each(|b| *b ^= 1);
            a
        }),
        ("206 coded", |a| a.with("Content-Encoding", "gzip")),
        ("200 with the rest alone", |mut a| {
            a.status = 200;
            a.without("Content-Range")
        }),
    ]
}

/// An upstream that cuts a blob once and takes no request for the rest: the image comes all the same, within the run and in
/// the run after a broken one.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_range_is_asked_for_whole() {
    let world = World::start().await;
    let image = world.fake.image("v1", "amd64", 1, 100_000);
    let layer = crate::harness::content::sha256(&image.layer);
    for (what, refusal) in no_ranges() {
        let name = world.name();
        let blob = layer.clone();
        let cut = AtomicUsize::new(0);
        world.fake.bend(move |ask, mut answer| {
            if !ask.blob(&blob) || ask.method != "GET" {
                return answer;
            }
            if is_ranged(ask) {
                return refusal(answer);
            }
            if cut.fetch_add(1, Ordering::Relaxed) == 0 {
                answer.cut = Some(40_000);
            }
            answer
        });
        world.fake.asked();
        let output = world.mirror(&name, ":v1", &[]);
        assert!(output.status.success(), "{what}: {}", text_of(&output));
        let got = world.body(&name, &format!("blobs/{layer}")).await;
        assert_eq!(got, image.layer, "{what}");
        let asked = world.fake.asked();
        assert!(
            asked.iter().any(is_ranged),
            "{what}: no range was asked for"
        );
    }
    // What an earlier run left is dropped as well.
    for (what, refusal) in no_ranges() {
        let (name, blob) = (world.name(), layer.clone());
        let answered = AtomicUsize::new(0);
        world.fake.bend(move |ask, mut answer| {
            if !ask.blob(&blob) {
                return answer;
            }
            if answered.fetch_add(1, Ordering::Relaxed) == 0 {
                answer.cut = Some(40_000);
                return answer;
            }
            Answer::empty(403)
        });
        let output = world.mirror(&name, ":v1", &[]);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{what}: {}",
            text_of(&output)
        );
        let blob = layer.clone();
        world.fake.bend(move |ask, answer| {
            if ask.blob(&blob) && is_ranged(ask) {
                return refusal(answer);
            }
            answer
        });
        let output = world.mirror(&name, ":v1", &[]);
        assert!(
            output.status.success(),
            "{what}, again: {}",
            text_of(&output)
        );
        let got = world.body(&name, &format!("blobs/{layer}")).await;
        assert_eq!(got, image.layer, "{what}, again");
    }
}

/// podman's file: entries for a namespace and for a repository, beside one for the whole registry.
#[tokio::test(flavor = "multi_thread")]
async fn the_most_specific_credentials_are_used_and_odd_tokens_read() {
    let world = World::start().await;
    let image = world.fake.image("v1", "amd64", 1, 500);
    let port = world.fake.port;
    let file = world.target.home().join("auth.json");
    let host = format!("127.0.0.1:{port}");
    // "wrong:x", "right:x" without padding
    let (wrong, right) = ("d3Jvbmc6eA==", "cmlnaHQ6eA");
    let answers = [
        "{\"token\":\"\",\"access_token\":\"good\",\"expires_in\":300.5}",
        "\u{feff}{\"token\":\"good\",\"expires_in\":\"300\"}",
        "{\"token\":null,\"access_token\":\"good\",\"expires_in\":-1}",
        "{\"access_token\":\"good\",\"expires_in\":1e999}",
    ];
    for (n, key) in ["/team/app", "/team", ""].into_iter().enumerate() {
        for answer in answers {
            let mut auths = serde_json::json!({"other.example": null});
            auths[format!("{host}/other")] = serde_json::json!({"auth": wrong});
            if n < 2 {
                auths[host.clone()] = serde_json::json!({"auth": wrong});
            }
            if n < 1 {
                auths[format!("{host}/team")] = serde_json::json!({"auth": wrong});
            }
            auths[format!("{host}{key}")] = serde_json::json!({"auth": right});
            let text = serde_json::json!({"auths": auths, "credHelpers": null});
            std::fs::write(&file, text.to_string()).unwrap();
            world.fake.bend(move |ask, ordinary| {
                let login = ask.header("authorization");
                if ask.path.starts_with("/token") {
                    return if login == "Basic cmlnaHQ6eA==" {
                        Answer::new(200, "application/json", answer)
                    } else {
                        Answer::empty(401)
                    };
                }
                if login == "Bearer good" {
                    return ordinary;
                }
                let asks = format!("Bearer realm=\"http://127.0.0.1:{port}/token\",service=\"s\"");
                Answer::empty(401).with("WWW-Authenticate", asks)
            });
            let name = world.name();
            let more = ["--creds-file", file.to_str().unwrap()];
            let output = world.mirror(&name, ":v1", &more);
            assert!(
                output.status.success(),
                "{key}, {answer}: {}",
                text_of(&output)
            );
            assert_eq!(world.body(&name, "manifests/v1").await, image.bytes);
        }
    }
    // A file that nobody wrote to is as good as none.
    world.fake.straighten();
    for text in ["", "{\"auths\":null}", "\n"] {
        std::fs::write(&file, text).unwrap();
        let more = ["--creds-file", file.to_str().unwrap()];
        let output = world.mirror(&world.name(), ":v1", &more);
        assert!(output.status.success(), "{text:?}: {}", text_of(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_with_raw_bytes_is_followed() {
    let world = World::start().await;
    let image = world.fake.image("v1", "amd64", 1, 500);
    for (raw, escaped) in [
        ("\u{e9}".as_bytes(), "%C3%A9"),
        (b"\xe9", "%E9"),
        ("\u{4e2d} \u{6587}".as_bytes(), "%E4%B8%AD%20%E6%96%87"),
    ] {
        let (raw, escaped) = (raw.to_vec(), escaped.to_owned());
        world.fake.bend(move |ask, ordinary| {
            let led = format!("?led={escaped}");
            let Some((_, blob)) = ask.path.split_once("/blobs/") else {
                return ordinary;
            };
            if let Some(digest) = blob.strip_suffix(&led) {
                assert!(!digest.is_empty());
                return ordinary;
            }
            let location = [format!("/v2/team/app/blobs/{blob}?led=").as_bytes(), &raw].concat();
            Answer::empty(307).with("Location", location)
        });
        let name = world.name();
        let output = world.mirror(&name, ":v1", &[]);
        assert!(output.status.success(), "{}", text_of(&output));
        assert_eq!(world.body(&name, "manifests/v1").await, image.bytes);
    }
}
