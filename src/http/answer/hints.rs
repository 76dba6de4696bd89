//! What an answer says can be done about a failure.
//!
//! Owns the commands and settings that are named there: a client passes them on to whoever runs the server. Must not decide when
//! one helps: the error says so.

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
        // Nobody who asks over HTTP can do these.
        Remedy::WithSnapshots | Remedy::ListQuotas | Remedy::ListUsers | Remedy::Check => {
            return None;
        }
    })
}
