//! What the command line says can be done about a failure.
//!
//! Owns the commands, switches and settings that are named there. Must not decide when one helps: the error says so.

use crate::types::Remedy;

/// The switches by which a command says how another server is reached. What it has none for is not advised.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "a switch each")]
pub struct Switches {
    /// Its certificate.
    ca: &'static str,
    /// That it is not checked.
    insecure: bool,
    /// A file of credentials.
    creds_file: bool,
    /// Other token services.
    realm: bool,
    /// Hosts on the inside.
    allow_host: bool,
    /// How it is asked for without TLS.
    plain: &'static str,
}

/// Those of `dryport mirror`, whose failures its job tells of later, too.
pub const MIRROR: Switches = Switches {
    ca: "--ca",
    insecure: true,
    creds_file: true,
    realm: true,
    allow_host: true,
    plain: "--plain-http",
};

/// Those of `dryport check --repair`.
pub const CHECK: Switches = Switches {
    insecure: false,
    realm: false,
    ..MIRROR
};

/// Those of `dryport push` to another server.
pub const PUSH: Switches = Switches {
    realm: false,
    allow_host: false,
    plain: "http:// in its address",
    ..MIRROR
};

/// Those of `--server`.
pub const SERVER: Switches = Switches {
    ca: "--server-ca",
    insecure: false,
    creds_file: false,
    ..PUSH
};

/// The text with what can be done, if anything.
pub fn with(text: String, remedy: Option<&Remedy>) -> String {
    with_switches(text, remedy, MIRROR)
}

/// The same for a command that has these switches.
pub fn with_switches(text: String, remedy: Option<&Remedy>, switches: Switches) -> String {
    let said = remedy.and_then(|remedy| say(remedy).or_else(|| reach(remedy, switches)));
    match said {
        // What another server said may end as a sentence does.
        Some(words) if text.ends_with(['.', '!', '?']) => format!("{text} {words}"),
        Some(words) => format!("{text}. {words}"),
        None => text,
    }
}

/// What is done here.
fn say(remedy: &Remedy) -> Option<String> {
    let words = match remedy {
        Remedy::TakeAttachments(name) => {
            return Some(format!(
                "It takes them after: dryport repo set {name} --attachments on"
            ));
        }
        Remedy::KeepHistory(name) => {
            return Some(format!(
                "Keep it longer with: dryport repo set {name} --history-keep TIME, and below a quota more of it with: dryport quota set PREFIX SIZE --history SIZE"
            ));
        }
        Remedy::SetPassword(name) => {
            return Some(format!("Set it with: dryport user passwd {name}"));
        }
        Remedy::RemakeAccount(name) => {
            return Some(format!(
                "Look at its rights with: dryport user list. Then: dryport user remove {name}, and: dryport user add {name}"
            ));
        }
        Remedy::AddAccount(name) => return Some(format!("Add it with: dryport user add {name}")),
        Remedy::RaiseQuota => "Give it more with: dryport quota set PREFIX SIZE",
        Remedy::RaiseHistory => "Give it more with: dryport quota set PREFIX SIZE --history SIZE",
        Remedy::AllowUploads => {
            "The setting limits.uploads allows more; uploads.idle says how long those without bytes are kept"
        }
        Remedy::WithSnapshots => "Say it with: --with-snapshots",
        Remedy::ListQuotas => "All are shown by: dryport quota list",
        Remedy::ListUsers => "All are shown by: dryport user list",
        Remedy::Check => "Check it with: dryport check",
        Remedy::Repair => "Repair it with: dryport check --repair",
        Remedy::ChooseTarget => "Choose another name with: --to NAME",
        Remedy::ChoosePlatforms => {
            "Take the platforms that it has alone, each with: --platform OS/ARCH"
        }
        Remedy::LackPlatforms => "Take it as it is with: --allow-missing-platform",
        Remedy::RaiseMirrorMemory => {
            "Take some of its platforms alone, each with: --platform OS/ARCH, or set mirror.memory higher"
        }
        Remedy::LengthenLease => {
            "Set blobs.lease to more than the copy takes, or take some of its platforms alone, each with: --platform OS/ARCH"
        }
        Remedy::ChangeCertificateNames => "The setting tls.names holds it",
        Remedy::OwnCertificate => {
            "The settings tls.cert and tls.key name a certificate of your own"
        }
        Remedy::UpgradeWithoutCopy => {
            "To go on without a copy, and without a way back to the older version, set store.upgrade_without_copy = true (DRYPORT_STORE__UPGRADE_WITHOUT_COPY=true for one start)"
        }
        Remedy::TrustCertificate(_)
        | Remedy::LogIn(_)
        | Remedy::CorrectLogin(_)
        | Remedy::TrustRealm(_)
        | Remedy::AllowHost(_)
        | Remedy::PlainHttp(_) => return None,
    };
    Some(words.to_owned())
}

/// What changes how another server is reached.
fn reach(remedy: &Remedy, has: Switches) -> Option<String> {
    Some(match remedy {
        Remedy::TrustCertificate(_) if has.insecure => format!(
            "Give its CA, or the certificate itself, with: {} FILE, or take any certificate with: --insecure",
            has.ca
        ),
        Remedy::TrustCertificate(_) => format!(
            "Give its CA, or the certificate itself, with: {} FILE",
            has.ca
        ),
        Remedy::LogIn(host) => {
            format!("Log in with: docker login {host}, as a user who may do this")
        }
        Remedy::CorrectLogin(host) if has.creds_file => format!(
            "Correct what docker's config.json has for {host}, or give other credentials with: --creds-file FILE"
        ),
        Remedy::CorrectLogin(host) => format!("Correct what docker's config.json has for {host}"),
        Remedy::TrustRealm(realm) if has.realm => format!("If you do, add: --realm {realm}"),
        Remedy::AllowHost(host) if has.allow_host => {
            format!("If it is right, add: --allow-host {host}")
        }
        Remedy::PlainHttp(_) => format!(
            "If that network is trusted, ask it in plain HTTP with: {}",
            has.plain
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_told_of_its_own_switches_alone() {
        let host = || "r.example:5000".to_owned();
        let said = |remedy: Remedy, has| with_switches("no".into(), Some(&remedy), has);
        let trust = Remedy::TrustCertificate(host());
        assert!(said(trust.clone(), MIRROR).starts_with("no. Give its CA"));
        assert_eq!(
            with("No.".into(), Some(&Remedy::ListUsers)),
            "No. All are shown by: dryport user list"
        );
        assert!(said(trust.clone(), MIRROR).contains("--ca FILE"));
        assert!(said(trust.clone(), PUSH).ends_with("--insecure"));
        assert!(said(trust.clone(), CHECK).ends_with("--ca FILE"));
        assert!(said(trust, SERVER).ends_with("--server-ca FILE"));
        let realm = Remedy::TrustRealm(host());
        assert!(said(realm.clone(), MIRROR).ends_with("add: --realm r.example:5000"));
        for has in [CHECK, PUSH, SERVER] {
            assert_eq!(said(realm.clone(), has), "no");
        }
        let allow = Remedy::AllowHost(host());
        assert!(said(allow.clone(), CHECK).ends_with("add: --allow-host r.example:5000"));
        assert_eq!(said(allow, PUSH), "no");
        let login = Remedy::CorrectLogin(host());
        assert!(said(login.clone(), PUSH).contains("--creds-file"));
        assert!(said(login, SERVER).ends_with("config.json has for r.example:5000"));
        let plain = Remedy::PlainHttp(host());
        assert!(said(plain.clone(), MIRROR).ends_with("--plain-http"));
        assert!(said(plain, SERVER).ends_with("http:// in its address"));
    }
}
