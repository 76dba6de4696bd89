//! Tokens that the server never issued: signed with its own key, from its data directory, or not signed as they ought.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde_json::{Value, json};

use crate::harness::Server;

/// The claims of a token.
pub fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// The server's signing key in the wrong hands.
pub struct Forge {
    key: EncodingKey,
    header: Header,
    public: Vec<u8>,
    genuine: String,
}

impl Forge {
    /// `genuine`: a token that the server issued, whose claims the forgeries vary.
    pub fn of(server: &Server, genuine: &str) -> Self {
        let keys = std::fs::read_dir(server.data().join("keys")).unwrap();
        let pem = keys
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|e| e == "pem"))
            .map(|path| std::fs::read(path).unwrap())
            .expect("a signing key");
        let key = EncodingKey::from_ec_pem(&pem).unwrap();
        let public = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        let public = DecodingKey::from_jwk(&public).unwrap();
        Self {
            key,
            header: jsonwebtoken::decode_header(genuine).unwrap(),
            public: public.try_get_as_bytes().unwrap().to_vec(),
            genuine: genuine.to_owned(),
        }
    }

    /// The genuine claims with some of them changed; null removes one.
    pub fn sign(&self, changes: &Value) -> String {
        self.sign_as(&self.header, changes)
    }

    fn changed(&self, changes: &Value) -> Value {
        let mut claims = claims(&self.genuine);
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        claims
    }

    fn sign_as(&self, header: &Header, changes: &Value) -> String {
        jsonwebtoken::encode(header, &self.changed(changes), &self.key).unwrap()
    }

    fn unsigned(&self, algorithm: &str, signature: &str) -> String {
        let header = json!({"typ": "JWT", "alg": algorithm, "kid": self.header.kid});
        let text = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
        format!(
            "{}.{}.{signature}",
            text(&header),
            text(&claims(&self.genuine))
        )
    }

    /// What must count for nothing, by name.
    pub fn bad(&self) -> Vec<(&'static str, String)> {
        let now = jsonwebtoken::get_current_timestamp();
        let genuine_signature = self.genuine.rsplit('.').next().unwrap();
        let mut unknown = self.header.clone();
        unknown.kid = Some("0123456789012345678901234567890123456789012".to_owned());
        let mut keyless = self.header.clone();
        keyless.kid = None;
        let mut symmetric = self.header.clone();
        symmetric.alg = Algorithm::HS256;
        let hs256 = jsonwebtoken::encode(
            &symmetric,
            &self.changed(&json!({})),
            &EncodingKey::from_secret(&self.public),
        );
        let stolen = self.sign(&json!({"jti": "another"}));
        let (stolen_head, _) = stolen.rsplit_once('.').unwrap();
        vec![
            (
                "expired token",
                self.sign(&json!({"exp": now - 60, "nbf": now - 400, "iat": now - 400})),
            ),
            ("token of tomorrow", self.sign(&json!({"nbf": now + 3600}))),
            (
                "token for another service",
                self.sign(&json!({"aud": "registry.example"})),
            ),
            (
                "token for a longer name of this service",
                self.sign(&json!({"aud": "127.0.0.10"})),
            ),
            ("token for no service", self.sign(&json!({"aud": null}))),
            ("token without expiry", self.sign(&json!({"exp": null}))),
            (
                "token of another issuer",
                self.sign(&json!({"iss": "elsewhere"})),
            ),
            ("token of no issuer", self.sign(&json!({"iss": null}))),
            (
                "token of another account of the name",
                self.sign(&json!({"uid": 1})),
            ),
            (
                "token of a user that never was",
                self.sign(&json!({"sub": "nobody-ever"})),
            ),
            (
                "token without a password's generation",
                self.sign(&json!({"generation": null})),
            ),
            (
                "token under an unknown key",
                self.sign_as(&unknown, &json!({})),
            ),
            ("token under no key", self.sign_as(&keyless, &json!({}))),
            ("token with algorithm none", self.unsigned("none", "")),
            (
                "token with algorithm none and a signature",
                self.unsigned("none", genuine_signature),
            ),
            ("token without a signature", self.unsigned("ES256", "")),
            ("token with the public key as HS256 secret", hs256.unwrap()),
            (
                "token with another token's signature",
                format!("{stolen_head}.{genuine_signature}"),
            ),
        ]
    }
}
