//! Who asks, as the audit trail tells of it, and the trail's work while a server runs.
//!
//! Owns the way from principals to initiators. The rows are `audit`'s.

use super::App;
use super::ops::{OPERATOR, without_login};
use crate::audit::{Accounts, Act, Audit, AuditError, EVERY, Initiator};
use crate::auth::{Auth, Principal, UserName};
use crate::jobs::Claimed;
use std::net::IpAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

impl Accounts for Auth {
    async fn identity(&self, name: &str) -> (u64, Vec<String>) {
        match name.parse::<UserName>() {
            Ok(name) => self.described(&Principal::User(Arc::new(name))).await,
            Err(_) => (0, Vec::new()),
        }
    }
}

impl App {
    /// Who asks, over which way: an address is none for the control socket.
    pub async fn initiator(
        &self,
        principal: &Principal,
        address: Option<IpAddr>,
        agent: &str,
        request: &str,
    ) -> Initiator {
        let (account_id, roles) = self.auth.described(principal).await;
        let account = match principal {
            Principal::Anonymous => String::new(),
            Principal::User(name) => name.as_str().to_owned(),
            Principal::Operator => OPERATOR.to_owned(),
        };
        Initiator {
            account_id,
            account,
            roles,
            address,
            agent: agent.to_owned(),
            request: request.to_owned(),
        }
    }

    /// What a job does, for who asked for it.
    pub(super) async fn act_of(&self, job: &Claimed) -> Arc<Act> {
        let (account_id, roles) = match job.who.as_str() {
            OPERATOR => self.auth.described(&Principal::Operator).await,
            name => self.auth.identity(name).await,
        };
        let by = Initiator {
            account_id,
            account: job.who.clone(),
            roles,
            request: format!("job-{}", job.id),
            ..Initiator::default()
        };
        Arc::new(Act::new(&by, &job.kind, &without_login(&job.spec)))
    }

    /// Brings the audit trail up to now, whoever waits for it.
    pub(super) async fn turn_audit(&self) {
        let app = self.clone();
        let turn = tokio::spawn(async move { app.audit.turn(&app.auth).await });
        if let Ok(Err(error)) = turn.await {
            told(&error);
        }
    }
}

impl App {
    /// Writes what was gathered and not written yet.
    pub(super) async fn flush_audit(&self) {
        if let Err(error) = self.audit.flush(&self.auth).await {
            told(&error);
        }
    }
}

fn told(error: &AuditError) {
    if Audit::is_told(error) {
        tracing::warn!(%error, "the audit trail is brought up to now later");
    }
}

/// Keeps the trail until `stop`, and brings it up to then.
pub(super) async fn keep(app: App, stop: CancellationToken) {
    loop {
        if let Err(error) = app.audit.keep(&app.auth).await {
            told(&error);
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    app.turn_audit().await;
}
