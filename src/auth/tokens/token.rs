//! Signed tokens: ES256 JWTs as docker's token specification draws them, and refresh tokens of the same make.
//!
//! A key's id is the thumbprint of its public key (RFC 7638), so it means the same key after a rotation. The algorithm
//! is ours, never the header's. Knows no accounts: whether the user is still there is asked elsewhere.

use crate::auth::{AuthError, Scope};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Who issues: the `iss` claim.
const ISSUER: &str = "dryport";
/// Seconds that two clocks may differ by.
pub(in crate::auth) const LEEWAY: u64 = 5;
/// The longest token, in bytes: it comes in a request head of 64 KiB, beside other headers.
const LONGEST: usize = 40 * 1024;
/// Life of a refresh token in seconds: 30 days.
const REFRESH_SECONDS: u64 = 30 * 24 * 3600;

/// Claims of an access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::auth) struct Access {
    pub(in crate::auth) iss: String,
    /// The user; empty for anonymous.
    pub(in crate::auth) sub: String,
    pub(in crate::auth) aud: String,
    pub(in crate::auth) exp: u64,
    pub(in crate::auth) nbf: u64,
    pub(in crate::auth) iat: u64,
    pub(in crate::auth) jti: String,
    /// Which account of that name (a name may be removed and added again); 0 for anonymous.
    pub(in crate::auth) uid: u64,
    /// The password's generation: a new password ends the token. Not named as in [`Refresh`], of which no access token
    /// may ever be taken for one, whatever service it was asked for.
    pub(in crate::auth) generation: u64,
    #[serde(rename = "access")]
    pub(in crate::auth) scopes: Vec<Scope>,
}

/// Claims of a refresh token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::auth) struct Refresh {
    pub(in crate::auth) iss: String,
    pub(in crate::auth) sub: String,
    pub(in crate::auth) aud: String,
    pub(in crate::auth) exp: u64,
    pub(in crate::auth) nbf: u64,
    pub(in crate::auth) iat: u64,
    pub(in crate::auth) jti: String,
    pub(in crate::auth) uid: u64,
    /// The password's generation: a new password ends the token.
    pub(in crate::auth) password: u64,
}

/// Whose token it is.
pub(in crate::auth) struct Subject {
    pub(in crate::auth) name: String,
    pub(in crate::auth) uid: u64,
    /// The generation of its password; 0 for anonymous.
    pub(in crate::auth) password: u64,
}

impl Access {
    pub(in crate::auth) fn new(
        subject: Subject,
        service: &str,
        scopes: Vec<Scope>,
        now: u64,
        seconds: u64,
    ) -> Result<Self, AuthError> {
        Ok(Self {
            iss: ISSUER.to_owned(),
            sub: subject.name,
            aud: service.to_owned(),
            exp: now.saturating_add(seconds),
            nbf: now,
            iat: now,
            jti: random_id()?,
            uid: subject.uid,
            generation: subject.password,
            scopes,
        })
    }
}

impl Refresh {
    pub(in crate::auth) fn new(
        subject: Subject,
        service: &str,
        now: u64,
    ) -> Result<Self, AuthError> {
        Ok(Self {
            iss: ISSUER.to_owned(),
            sub: subject.name,
            aud: Self::audience(service),
            exp: now.saturating_add(REFRESH_SECONDS),
            nbf: now,
            iat: now,
            jti: random_id()?,
            uid: subject.uid,
            password: subject.password,
        })
    }

    /// An audience that no service has: a refresh token is good for nothing else.
    pub(in crate::auth) fn audience(service: &str) -> String {
        format!("dryport-refresh/{service}")
    }
}

fn random_id() -> Result<String, AuthError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|_| AuthError::Internal("the system gives no random numbers"))?;
    Ok(crate::types::UploadId(bytes).to_string())
}

struct Key {
    id: String,
    sign: EncodingKey,
    verify: DecodingKey,
}

/// The signing keys: the first signs, all verify.
pub(in crate::auth) struct Keys(Vec<Key>);

impl Keys {
    /// Reads PKCS#8 PEM keys (NIST P-256), newest first.
    pub(in crate::auth) fn new(pems: &[String]) -> Result<Self, AuthError> {
        let keys: Result<Vec<Key>, _> = pems.iter().map(|pem| Key::read(pem)).collect();
        match keys {
            Ok(keys) if keys.is_empty() => Err(AuthError::Refused(
                "there is no key to sign tokens with".to_owned(),
            )),
            Ok(keys) => Ok(Self(keys)),
            Err(error) => Err(AuthError::Refused(format!(
                "a token signing key cannot be used: {error}; it must be a P-256 private key as PKCS#8 PEM"
            ))),
        }
    }

    /// Signs claims. A token that no request could carry is an error.
    pub(in crate::auth) fn sign(&self, claims: &impl Serialize) -> Result<String, AuthError> {
        let failed = AuthError::Internal("the token could not be signed");
        let key = self.0.first().ok_or_else(|| failed.clone())?;
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(key.id.clone());
        let token = jsonwebtoken::encode(&header, claims, &key.sign).map_err(|_| failed)?;
        if token.len() > LONGEST {
            return Err(AuthError::TokenTooLong(token.len(), LONGEST));
        }
        Ok(token)
    }

    /// Checks signature, issuer, audience and times.
    pub(in crate::auth) fn verify<C: DeserializeOwned>(
        &self,
        token: &str,
        audience: &str,
    ) -> Result<C, AuthError> {
        let malformed = AuthError::BadToken("it is malformed");
        if token.len() > LONGEST {
            return Err(malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| malformed)?;
        let key = self
            .0
            .iter()
            .find(|key| header.kid.as_ref() == Some(&key.id))
            .ok_or(AuthError::BadToken("it is signed by no key of this server"))?;
        let mut rules = Validation::new(Algorithm::ES256);
        rules.leeway = LEEWAY;
        rules.validate_nbf = true;
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&[audience]);
        rules.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        match jsonwebtoken::decode::<C>(token, &key.verify, &rules) {
            Ok(data) => Ok(data.claims),
            Err(error) => Err(AuthError::BadToken(reason(error.kind()))),
        }
    }
}

impl Key {
    fn read(pem: &str) -> Result<Self, jsonwebtoken::errors::Error> {
        let sign = EncodingKey::from_ec_pem(pem.as_bytes())?;
        let public = Jwk::from_encoding_key(&sign, Algorithm::ES256)?;
        Ok(Self {
            id: public.thumbprint(ThumbprintHash::SHA256)?,
            verify: DecodingKey::from_jwk(&public)?,
            sign,
        })
    }
}

fn reason(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "its time has not come yet",
        ErrorKind::InvalidSignature => "its signature is wrong",
        ErrorKind::InvalidAudience => "it is for another service",
        ErrorKind::InvalidIssuer => "it comes from another issuer",
        ErrorKind::InvalidAlgorithm => "it is signed with another algorithm",
        _ => "it is malformed",
    }
}

#[cfg(test)]
pub(in crate::auth) mod tests {
    use super::*;

    /// Keys made for these tests alone.
    pub(in crate::auth) const PEMS: [&str; 2] = [
        "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgqp15yO/bPXXgFQVc
z21udQ5JmnoLpgLkpiOYZ0fw8RuhRANCAAQwDopSZYSECyuEllenlAIpiG3H2CW+
gjfLxO0X56aecC0RXXtYUF1Ezk3WUER/P5BGXG3AY+Fw16CBA+Zqbyjw
-----END PRIVATE KEY-----
",
        "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgTgOjQiEp6hKa5KYI
EbW7t4vtDFp61NkmS6e9ahFa4MOhRANCAAQ2cTP6nKTuapGlaEJknXdnfW3KxSwd
TaU4QBUWbBHIArxzPbLAI7xdUU8Ja+N0d36oitJ6JhAaGg2zGergvxfH
-----END PRIVATE KEY-----
",
    ];

    fn keys(numbers: &[usize]) -> Keys {
        let pems: Vec<String> = numbers.iter().map(|n| PEMS[*n].to_owned()).collect();
        Keys::new(&pems).expect("keys")
    }

    fn access(now: u64, seconds: u64) -> Access {
        let subject = Subject {
            name: "ann".into(),
            uid: 7,
            password: 3,
        };
        let scopes = Scope::parse("repository:a/b:pull").expect("few");
        Access::new(subject, "svc", scopes, now, seconds).expect("claims")
    }

    fn now() -> u64 {
        jsonwebtoken::get_current_timestamp()
    }

    fn why(result: Result<Access, AuthError>) -> &'static str {
        match result {
            Err(AuthError::BadToken(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn round_trip_and_rotation() {
        let claims = access(now(), 300);
        let token = keys(&[0]).sign(&claims).expect("token");
        for ring in [&[0][..], &[1, 0]] {
            let read: Access = keys(ring).verify(&token, "svc").expect("valid");
            assert_eq!(read, claims);
        }
        let unknown = why(keys(&[1]).verify(&token, "svc"));
        assert_eq!(unknown, "it is signed by no key of this server");
        let first = keys(&[0]);
        assert_eq!(first.0[0].id, keys(&[1, 0]).0[1].id);
        assert_eq!(first.0[0].id.len(), 43);
    }

    #[test]
    fn times_audience_and_signature_count() {
        let ring = keys(&[0]);
        let sign = |claims: &Access| ring.sign(claims).expect("token");
        for (token, audience, want) in [
            (sign(&access(now() - 400, 300)), "svc", "it has expired"),
            (
                sign(&access(now() + 60, 300)),
                "svc",
                "its time has not come yet",
            ),
            (
                sign(&access(now(), 300)),
                "other",
                "it is for another service",
            ),
        ] {
            assert_eq!(why(ring.verify(&token, audience)), want);
        }
        let mut foreign = access(now(), 300);
        foreign.iss = "else".into();
        assert_eq!(
            why(ring.verify(&sign(&foreign), "svc")),
            "it comes from another issuer"
        );
        let token = sign(&access(now(), 300));
        let (head, signature) = token.rsplit_once('.').expect("jwt");
        let other = sign(&access(now(), 301));
        let (other_head, _) = other.rsplit_once('.').expect("jwt");
        assert_ne!(head, other_head);
        let forged = format!("{other_head}.{signature}");
        assert_eq!(why(ring.verify(&forged, "svc")), "its signature is wrong");
        for text in ["", "a", "a.b", "a.b.c", "....", &"x".repeat(50_000)] {
            assert_eq!(why(ring.verify(text, "svc")), "it is malformed");
        }
    }

    #[test]
    fn the_headers_algorithm_decides_nothing() {
        let ring = keys(&[0]);
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(ring.0[0].id.clone());
        let public = ring.0[0].verify.try_get_as_bytes().expect("bytes").to_vec();
        let secret = EncodingKey::from_secret(&public);
        let forged = jsonwebtoken::encode(&header, &access(now(), 300), &secret).expect("token");
        let refused = why(ring.verify(&forged, "svc"));
        assert_eq!(refused, "it is signed with another algorithm");
    }

    #[test]
    fn refresh_and_access_tokens_do_not_mix() {
        let ring = keys(&[0]);
        let subject = Subject {
            name: "ann".into(),
            uid: 7,
            password: 3,
        };
        let claims = Refresh::new(subject, "svc", now()).expect("claims");
        let token = ring.sign(&claims).expect("token");
        let audience = Refresh::audience("svc");
        assert_eq!(
            ring.verify::<Refresh>(&token, &audience).expect("valid"),
            claims
        );
        assert!(ring.verify::<Access>(&token, "svc").is_err());
        assert!(ring.verify::<Access>(&token, &audience).is_err());
        let mut claims = access(now(), 300);
        let token = ring.sign(&claims).expect("token");
        assert!(ring.verify::<Refresh>(&token, "svc").is_err());
        // A client may ask for any service, this one too.
        claims.aud = audience.clone();
        let token = ring.sign(&claims).expect("token");
        assert!(ring.verify::<Refresh>(&token, &audience).is_err());
    }

    #[test]
    fn bad_keys_are_refused_with_a_reason() {
        assert!(Keys::new(&[]).is_err());
        let error = Keys::new(&["no key".to_owned()]).err().expect("refused");
        assert!(error.to_string().contains("PKCS#8"), "{error}");
    }
}
