//! What of an upstream the operator alone may set: what runs a program here, or reads what docker keeps, and where the secrets
//! of those go.

use crate::app::ops::{Ctx, Fault, FaultKind};
use crate::upstream::CredentialSource;

/// Whether a source of credentials is the operator's to name.
pub(super) fn is_the_operators(source: &CredentialSource) -> bool {
    matches!(
        source,
        CredentialSource::Command(_) | CredentialSource::DockerConfig(_)
    )
}

/// Refuses to an account to name such a source.
pub(super) fn may_name(ctx: &Ctx, source: Option<&CredentialSource>) -> Result<(), Fault> {
    if ctx.is_operator() || !source.is_some_and(is_the_operators) {
        return Ok(());
    }
    Err(Fault::new(
        FaultKind::Denied,
        "credentials from a command or from docker's own file are set on the machine of the server alone, by its commands or in its configuration file; here they can come from its environment or from a file",
    ))
}

/// Refuses to an account to send what such a source holds elsewhere.
pub(super) fn may_lead_elsewhere(ctx: &Ctx, source: &CredentialSource) -> Result<(), Fault> {
    if ctx.is_operator() || !is_the_operators(source) {
        return Ok(());
    }
    Err(Fault::new(
        FaultKind::Denied,
        "this upstream's credentials come from a command or from docker's own file: where they are sent (addresses, proxy, CA) is changed on the machine of the server alone",
    ))
}
