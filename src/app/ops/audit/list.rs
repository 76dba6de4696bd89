//! `audit-list`.

use crate::app::ops::{Ctx, Fault, Operation, Spec, Verb};
use crate::audit::{AuditFilter, AuditOutcome, AuditPage, PAGE, Position};
use crate::auth::Action;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Rows of the audit trail, the oldest first: those after a place, or the newest that there are. A row is there to which all
/// that is given applies.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditList {
    /// Not before this time.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Before this time.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Of this account; `operator` for the control socket, `dryport` for the server itself.
    #[serde(default)]
    pub account: Option<String>,
    /// This action.
    #[serde(default)]
    pub action: Option<String>,
    /// On what begins with this.
    #[serde(default)]
    pub resource: Option<String>,
    /// That ended so.
    #[serde(default)]
    pub outcome: Option<AuditOutcome>,
    /// From this address.
    #[serde(default)]
    pub address: Option<String>,
    /// Of the request with this id.
    #[serde(default)]
    pub request: Option<String>,
    /// After this row: the first ones from there. Without it the newest.
    #[serde(default)]
    pub after: Option<Position>,
    /// From the oldest row on, where no place is given.
    #[serde(default)]
    pub oldest: bool,
    /// At most so many, 1 to 1000; 100 if it is not given.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
}

/// Rows of one answer where nobody says how many.
const ROWS: usize = 100;

impl Operation for AuditList {
    type Reply = AuditPage;

    const SPEC: Spec = Spec::new("audit-list", Verb::Read, "/audit", Action::AuditRead)
        .about("Rows of the audit trail: who did what, when, from where, and how it ended");

    async fn run(self, ctx: &Ctx) -> Result<AuditPage, Fault> {
        let limit = self.limit.unwrap_or(ROWS);
        if !(1..=PAGE).contains(&limit) {
            return Err(Fault::usage(format!(
                "limit: 1 to {PAGE} rows are given at once"
            )));
        }
        let ms = |time: Timestamp| u64::try_from(time.as_millisecond()).unwrap_or(0);
        let newest = self.after.is_none() && !self.oldest;
        let filter = AuditFilter {
            since_ms: self.since.map(ms),
            until_ms: self.until.map(ms),
            account: self.account,
            action: self.action,
            resource: self.resource,
            outcome: self.outcome,
            address: self.address,
            request: self.request,
        };
        ctx.app.turn_audit().await;
        Ok(ctx
            .app
            .audit
            .list(filter, self.after, limit, newest)
            .await?)
    }
}
