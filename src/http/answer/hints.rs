//! What an answer says can be done about a failure.
//!
//! Owns the commands and settings that are named there, which a client passes on to whoever runs the server, and the fields of
//! its own requests. Must not decide when one helps: the error says so.

use crate::types::Remedy;

/// The text with what can be done, if anything.
pub fn with(text: String, remedy: Option<&Remedy>) -> String {
    match remedy.and_then(say) {
        Some(words) => format!("{text} ({words})"),
        None => text,
    }
}

fn say(remedy: &Remedy) -> Option<String> {
    Some(match remedy {
        Remedy::TakeAttachments(name) => format!("dryport repo set {name} --attachments on"),
        Remedy::RaiseQuota => "dryport quota set".to_owned(),
        Remedy::RaiseHistory => "dryport quota set --history".to_owned(),
        Remedy::KeepHistory(name) => {
            format!("kept longer by: dryport repo set {name} --history-keep TIME")
        }
        Remedy::AllowUploads => "settings limits.uploads and uploads.idle".to_owned(),
        Remedy::TrustCertificate(_) => "ca_pem holds its CA, or the certificate itself".to_owned(),
        Remedy::LogIn(_) | Remedy::CorrectLogin(_) => {
            "login holds the credentials for it".to_owned()
        }
        Remedy::TrustRealm(realm) => format!("if you do, name {realm} in realms"),
        Remedy::AllowHost(host) => format!("if it is right, name {host} in allow_hosts"),
        Remedy::PlainHttp(_) => "plain_http asks it without TLS".to_owned(),
        Remedy::ChooseTarget => "\"to\" holds another name".to_owned(),
        Remedy::ChoosePlatforms => "platforms holds those to take".to_owned(),
        Remedy::LackPlatforms => "allow_missing_platforms takes it as it is".to_owned(),
        Remedy::RaiseMirrorMemory => {
            "platforms holds those to take; the setting mirror.memory allows more".to_owned()
        }
        Remedy::LengthenLease => "setting blobs.lease".to_owned(),
        // Nobody who asks over HTTP can do these.
        Remedy::WithSnapshots
        | Remedy::ListQuotas
        | Remedy::ListUsers
        | Remedy::Check
        | Remedy::Repair
        | Remedy::SetPassword(_)
        | Remedy::RemakeAccount(_)
        | Remedy::AddAccount(_)
        | Remedy::ChangeCertificateNames
        | Remedy::OwnCertificate
        | Remedy::UpgradeWithoutCopy => return None,
    })
}
