//! What the command line says can be done about a failure.
//!
//! Owns the commands and settings that are named there. Must not decide when one helps: the error says so.

use crate::types::Remedy;

/// The text with what can be done, if anything.
pub fn with(text: String, remedy: Option<&Remedy>) -> String {
    match remedy {
        Some(remedy) => format!("{text}. {}", say(remedy)),
        None => text,
    }
}

fn say(remedy: &Remedy) -> String {
    match remedy {
        Remedy::TakeAttachments(name) => {
            format!("It takes them after: dryport repo set {name} --attachments on")
        }
        Remedy::RaiseQuota => "Give it more with: dryport quota set PREFIX SIZE".to_owned(),
        Remedy::RaiseHistory => {
            "Give it more with: dryport quota set PREFIX SIZE --history SIZE".to_owned()
        }
        Remedy::KeepHistory(name) => format!(
            "Keep it longer with: dryport repo set {name} --history-keep TIME, and below a quota more of it with: dryport quota set PREFIX SIZE --history SIZE"
        ),
        Remedy::AllowUploads => {
            "The setting limits.uploads allows more; uploads.idle says how long those without bytes are kept".to_owned()
        }
        Remedy::WithSnapshots => "Say it with: --with-snapshots".to_owned(),
        Remedy::ListQuotas => "All are shown by: dryport quota list".to_owned(),
        Remedy::ListUsers => "All are shown by: dryport user list".to_owned(),
        Remedy::Check => "Check it with: dryport check".to_owned(),
    }
}
