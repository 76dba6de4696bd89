//! What can be done about a failure, told apart from how it is asked for: one surface names a command, another a page.

/// What whoever runs this server can do. A surface says it in the words of its own people.
///
/// The rows of jobs keep these words: one that was written is never renamed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// Let this mirror take what is attached to its images.
    TakeAttachments(String),
    /// Give a quota more room.
    RaiseQuota,
    /// Let a quota keep more history.
    RaiseHistory,
    /// Keep the history of this repository longer.
    KeepHistory(String),
    /// Let one client have more unfinished uploads.
    AllowUploads,
    /// Delete the snapshots as well.
    WithSnapshots,
    /// See which quotas there are.
    ListQuotas,
    /// See which users there are.
    ListUsers,
    /// Have the data checked.
    Check,
    /// Have the data repaired.
    Repair,
    /// Give this account a new password.
    SetPassword(String),
    /// Remove this account and add it again, after a look at what it may do.
    RemakeAccount(String),
    /// Add this account again.
    AddAccount(String),
    /// Trust the certificate of this server (host and port), or the CA that issued it.
    TrustCertificate(String),
    /// Log in to this server (host and port).
    LogIn(String),
    /// Correct the login that is kept for this server (host and port).
    CorrectLogin(String),
    /// Let this token service (host and port) have the credentials.
    TrustRealm(String),
    /// Go to this host (and port) although it is on the inside.
    AllowHost(String),
    /// Ask this server (host and port) without TLS.
    PlainHttp(String),
    /// Choose another name for the copy.
    ChooseTarget,
    /// Take some platforms of the image alone.
    ChoosePlatforms,
    /// Do without the platforms that the image lacks.
    LackPlatforms,
    /// Take some platforms of the image alone, or let a copy use more memory.
    RaiseMirrorMemory,
    /// Keep longer what was fetched and is not yet visible.
    LengthenLease,
    /// Take the name out of those that the certificate is to have.
    ChangeCertificateNames,
    /// Serve with a certificate of one's own.
    OwnCertificate,
    /// Upgrade the database without a copy of it.
    UpgradeWithoutCopy,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_rows_keep_stay_as_they_are() {
        for (word, remedy) in [
            (r#""choose_target""#, Remedy::ChooseTarget),
            (r#""choose_platforms""#, Remedy::ChoosePlatforms),
            (r#""lack_platforms""#, Remedy::LackPlatforms),
            (r#""raise_mirror_memory""#, Remedy::RaiseMirrorMemory),
            (r#""lengthen_lease""#, Remedy::LengthenLease),
            (r#""raise_quota""#, Remedy::RaiseQuota),
            (r#""raise_history""#, Remedy::RaiseHistory),
            (r#""check""#, Remedy::Check),
            (
                r#"{"take_attachments":"a/b"}"#,
                Remedy::TakeAttachments("a/b".into()),
            ),
            (
                r#"{"trust_certificate":"r.example"}"#,
                Remedy::TrustCertificate("r.example".into()),
            ),
            (
                r#"{"log_in":"r.example"}"#,
                Remedy::LogIn("r.example".into()),
            ),
            (
                r#"{"correct_login":"r.example"}"#,
                Remedy::CorrectLogin("r.example".into()),
            ),
            (
                r#"{"trust_realm":"auth.example"}"#,
                Remedy::TrustRealm("auth.example".into()),
            ),
            (
                r#"{"allow_host":"10.0.0.1:5000"}"#,
                Remedy::AllowHost("10.0.0.1:5000".into()),
            ),
            (
                r#"{"plain_http":"r.example"}"#,
                Remedy::PlainHttp("r.example".into()),
            ),
        ] {
            assert_eq!(serde_json::to_string(&remedy).expect("json"), word);
            assert_eq!(
                serde_json::from_str::<Remedy>(word).expect("a remedy"),
                remedy
            );
        }
    }
}
