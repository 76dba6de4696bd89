//! `audit-verify`.

use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::audit::AuditVerified;
use crate::auth::Action;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Computes the chain of the audit trail again: rows that were changed, removed or put in between are found.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditVerify {
    /// A hash of the chain that the log told of once (64 hexadecimal digits): it must still be in the chain.
    #[serde(default)]
    pub anchor: Option<String>,
}

impl Operation for AuditVerify {
    type Reply = AuditVerified;

    const SPEC: Spec = Spec::new("audit-verify", Verb::Read, "/audit/verify", Action::AuditRead)
        .about("Computes the chain of the audit trail again, and tells of rows that were changed, removed or put in between");

    async fn run(self, ctx: &Ctx) -> Result<AuditVerified, Fault> {
        let is_hash = |text: &String| {
            text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        if let Some(anchor) = self.anchor.as_ref().filter(|anchor| !is_hash(anchor)) {
            let shown: String = anchor.chars().take(80).collect();
            return Err(Fault::usage(format!(
                "\"{shown}\" is no hash: it has 64 hexadecimal digits"
            )));
        }
        Ok(ctx.app.audit.verify(self.anchor).await?)
    }
}
