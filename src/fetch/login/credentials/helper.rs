//! Credential helpers: programs that docker's `config.json` names (docker-credential-helpers, `get`).
//!
//! Runs them as the calling user. Their answers are secrets: nothing of them is shown but what a failed one says.

use super::{Credential, HUB_KEY, is_user};
use crate::fetch::error::FetchError;
use std::io::Write as _;
use std::process::{Command, Stdio};

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// A helper that cannot be used, and why.
pub(super) fn failed(program: &str, why: &str) -> FetchError {
    FetchError::Credentials(format!("the credential helper {program} {why}"))
}

/// What a helper says for a registry; none if it knows nothing of it.
pub(super) fn ask(program: &str, registry: &str) -> Result<Option<Credential>, FetchError> {
    let fail = |why: String| failed(program, &why);
    let server = if registry == "docker.io" {
        HUB_KEY
    } else {
        registry
    };
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| fail(format!("cannot be run: {e}")))?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that does not read answers all the same, or fails below.
        let _ = input.write_all(server.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|e| fail(format!("cannot be run: {e}")))?;
    if !output.status.success() {
        let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        let said = String::from_utf8_lossy(&said)
            .trim()
            .chars()
            .take(200)
            .collect::<String>();
        if said.contains("credentials not found") {
            return Ok(None);
        }
        return Err(fail(format!("failed: {said}")));
    }
    let answer: HelperAnswer = serde_json::from_slice(&output.stdout)
        .map_err(|_| fail("gave no JSON of Username and Secret".to_owned()))?;
    Ok(match answer.username.as_str() {
        "<token>" => Some(Credential::IdentityToken(answer.secret)),
        "" => None,
        user if !is_user(user) => {
            return Err(fail("gave a user name that holds a colon".to_owned()));
        }
        user => Some(Credential::Basic {
            user: user.to_owned(),
            password: answer.secret,
        }),
    })
}
