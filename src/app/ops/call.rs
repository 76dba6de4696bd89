//! How an operation is performed: the one place where its right is looked up and where the log keeps what came of it.

use super::ctx::Ctx;
use super::fault::{Fault, FaultKind};
use super::{Concerns, Operation, Reach, Spec};
use crate::audit::{Act, AuditOutcome, Cause, Ended};
use crate::auth::{Action, Resource};
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::Instant;
use utoipa::openapi::{RefOr, Schema};

/// Fields whose values stand in no message.
const SECRET: [&str; 3] = ["password", "login", "job.login"];

/// Fields whose values the audit trail does not keep, wherever they stand.
const LEFT_OUT: [&str; 5] = ["password", "login", "logins", "ca_pem", "file"];

/// Stands for the login in a URL.
const LOGIN_LEFT_OUT: &str = "(login left out)@";

/// The schemas of a type: its own, and those of the types that it names.
#[derive(Clone)]
pub struct Schemas {
    /// Its own.
    pub own: RefOr<Schema>,
    /// The others, by name.
    pub named: Vec<(String, RefOr<Schema>)>,
}

/// A row of the table: an operation without its types.
pub struct Declared {
    spec: fn() -> Spec,
    input: fn() -> Schemas,
    reply: fn() -> Schemas,
    read: fn(Value) -> Result<Value, Fault>,
    read_query: fn(&str) -> Result<Value, Fault>,
    call: for<'a> fn(&'a Ctx, Value) -> BoxFuture<'a, Result<Value, Fault>>,
}

impl Declared {
    /// The row of an operation.
    pub(super) const fn of<O: Operation>() -> Self {
        Self {
            spec: || O::SPEC,
            input: schemas::<O>,
            reply: schemas::<O::Reply>,
            read: |input| written(&read::<O>(input)?),
            read_query: |query| {
                let read = serde_urlencoded::from_str::<O>(query);
                written(&read.map_err(|e| Fault::usage(e.to_string()))?)
            },
            call: |ctx, input| Box::pin(call::<O>(ctx, input)),
        }
    }

    /// What the operation is.
    pub fn spec(&self) -> Spec {
        (self.spec)()
    }

    /// The schemas of its input.
    pub fn input(&self) -> Schemas {
        (self.input)()
    }

    /// The schemas of its reply.
    pub fn reply(&self) -> Schemas {
        (self.reply)()
    }

    /// An input in JSON as the operation reads it, with what it leaves out.
    ///
    /// # Errors
    /// [`FaultKind::Usage`] where the input is not of its form.
    pub fn read(&self, input: Value) -> Result<Value, Fault> {
        (self.read)(input)
    }

    /// The same of an input in a query: its fields, form-encoded.
    ///
    /// # Errors
    /// [`FaultKind::Usage`] where the input is not of its form.
    pub fn read_query(&self, query: &str) -> Result<Value, Fault> {
        (self.read_query)(query)
    }

    /// Performs it on an input in JSON.
    ///
    /// # Errors
    /// [`FaultKind::Usage`] where the input is not of its form; else those of [`perform`].
    pub async fn call(&self, ctx: &Ctx, input: Value) -> Result<Value, Fault> {
        (self.call)(ctx, input).await
    }
}

fn schemas<T: utoipa::ToSchema>() -> Schemas {
    let mut named = Vec::new();
    T::schemas(&mut named);
    Schemas {
        own: T::schema(),
        named,
    }
}

fn read<O: Operation>(input: Value) -> Result<O, Fault> {
    serde_path_to_error::deserialize(input).map_err(|error| {
        let place = match error.path().to_string() {
            path if path == "." => String::new(),
            path => format!("{path}: "),
        };
        // The parser's message may quote the value.
        if SECRET.iter().any(|field| place.starts_with(field)) {
            return Fault::usage(format!("{place}this is not of its form"));
        }
        Fault::usage(format!("{place}{}", error.into_inner()))
    })
}

fn written(value: &impl Serialize) -> Result<Value, Fault> {
    serde_json::to_value(value).map_err(Fault::failed)
}

async fn call<O: Operation>(ctx: &Ctx, input: Value) -> Result<Value, Fault> {
    written(&perform(read::<O>(input)?, ctx).await?)
}

/// Performs an operation: looks the caller's right up, does it, and logs what came of it.
///
/// # Errors
/// [`FaultKind::Denied`] to a caller without the right; else those of the operation.
pub async fn perform<O: Operation>(operation: O, ctx: &Ctx) -> Result<O::Reply, Fault> {
    let (spec, begun, concerns) = (O::SPEC, Instant::now(), operation.concerns());
    let permitted = permit(&spec, &concerns, ctx).await;
    let done = if permitted.is_ok() && !operation.changes() {
        Box::pin(operation.run(ctx)).await
    } else {
        let audited = Audited::of(&spec, &concerns, shown(&operation), ctx).await;
        let done = match permitted {
            Ok(()) => audited.cause.clone().of(operation.run(ctx)).await,
            Err(fault) => Err(fault),
        };
        audited.ended(done.as_ref().err(), ctx).await;
        done
    };
    let (who, requester) = (ctx.who(), ctx.requester());
    let from = requester.address.map(|address| address.to_string());
    let (from, request) = (from.unwrap_or_default(), &requester.request);
    let ms = begun.elapsed().as_millis() as u64;
    match &done {
        Ok(_) => tracing::info!(
            command = spec.name,
            who,
            from,
            request,
            ms,
            "operation done"
        ),
        Err(fault) => {
            tracing::info!(command = spec.name, who, from, request, ms, kind = ?fault.kind, error = %fault, "operation failed");
        }
    }
    done
}

/// An operation that changes something or was refused, as the audit trail tells of it.
struct Audited {
    act: Arc<Act>,
    cause: Arc<Cause>,
    resource: String,
}

impl Audited {
    async fn of(spec: &Spec, concerns: &Concerns, input: String, ctx: &Ctx) -> Self {
        let requester = ctx.requester();
        let (agent, request) = (&requester.agent, &requester.request);
        let principal = &requester.grant.principal;
        let by = ctx
            .app
            .initiator(principal, requester.address, agent, request);
        let act = Act::new(&by.await, spec.name, &input);
        let act = Arc::new(act);
        let resource = match concerns {
            Concerns::Server | Concerns::Each => "server".to_owned(),
            Concerns::Repo(name) => name.to_string(),
            Concerns::Below(prefix) => format!("{prefix}*"),
        };
        let cause = act.cause();
        Self {
            act,
            cause,
            resource,
        }
    }

    /// Writes what came of it, unless the change has its row.
    async fn ended(&self, fault: Option<&Fault>, ctx: &Ctx) {
        let audit = &ctx.app.audit;
        let outcome = match fault {
            None => AuditOutcome::Success,
            Some(fault) if fault.kind == FaultKind::Denied => AuditOutcome::Denied,
            Some(_) => AuditOutcome::Error,
        };
        let end = Ended {
            resource: self.resource.clone(),
            outcome,
            status: 0,
            error: fault.map_or_else(String::new, |fault| without_login(&fault.message)),
        };
        if fault.is_some() {
            audit.note(&self.act, &end);
        } else if !self.cause.is_told()
            && let Err(error) = audit.write(&self.act, &end).await
        {
            tracing::error!(%error, "an operation that was done has no row in the audit trail");
        }
    }
}

/// The fields of an operation as JSON, without what must not be kept.
fn shown(operation: &impl Serialize) -> String {
    let mut fields = serde_json::to_value(operation).unwrap_or_default();
    leave_out(&mut fields);
    fields.to_string()
}

fn leave_out(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if LEFT_OUT.contains(&name.as_str()) && !value.is_null() {
                    *value = Value::from("(left out)");
                } else {
                    leave_out(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(leave_out),
        Value::String(text) => *text = without_login(text),
        _ => {}
    }
}

/// A text without the logins that addresses in it may hold (RFC 3986 section 3.2.1), whether they are well written or not: what
/// stands before an `@` and has a colon in it, if no digest follows.
pub(in crate::app) fn without_login(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        let (before, after) = rest.split_at(at);
        let begins = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | ',' | '(');
        let word = before.rfind(begins).map_or(0, |at| at + 1);
        let start = match before[word..].find("://") {
            Some(scheme) => word + scheme + 3,
            None => word,
        };
        let is_digest = after.starts_with("@sha256:") || after.starts_with("@sha512:");
        if before[start..].contains(':') && !is_digest {
            kept.push_str(&before[..start]);
            kept.push_str(LOGIN_LEFT_OUT);
        } else {
            kept.push_str(before);
            kept.push('@');
        }
        rest = &after[1..];
    }
    kept.push_str(rest);
    kept
}

async fn permit(spec: &Spec, concerns: &Concerns, ctx: &Ctx) -> Result<(), Fault> {
    if spec.reach == Reach::Control && !ctx.is_operator() {
        return Err(denied(spec));
    }
    let (action, resource) = match concerns {
        Concerns::Server => (spec.action, Resource::Server),
        Concerns::Repo(name) => (spec.action, Resource::Repo(name)),
        Concerns::Below(prefix) => (spec.action, Resource::Below(prefix)),
        Concerns::Each => (Action::Catalog, Resource::Server),
    };
    if ctx.may(action, resource).await? {
        return Ok(());
    }
    Err(denied(spec))
}

fn denied(spec: &Spec) -> Fault {
    Fault::new(
        FaultKind::Denied,
        format!(
            "this account may not do this: it needs the right {} there, which an administrator can give it",
            spec.action.name()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_login_of_an_address_is_kept() {
        for (text, kept) in [
            ("a@b c:d", "a@b c:d"),
            ("ann:pw@quay.io/x:1", "(login left out)@quay.io/x:1"),
            (
                "docker://u:p/w@host/x@sha256:00",
                "docker://(login left out)@host/x@sha256:00",
            ),
            ("host:5000/a@sha256:00", "host:5000/a@sha256:00"),
            (
                "\"s\":\"https://é:ü@h\"",
                "\"s\":\"https://(login left out)@h\"",
            ),
            ("team/app@june", "team/app@june"),
        ] {
            assert_eq!(without_login(text), kept);
        }
    }

    #[test]
    fn what_the_trail_keeps_of_an_input_has_no_secrets() {
        let shown = shown(&json!({
            "name": "ann", "password": "pw", "none": null, "login": null,
            "job": {"login": {"user": "u", "password": "pw"}, "source": "docker://u:pw@a.example/b:1"},
            "logins": {"a": "pw"},
            "list": ["see https://u:p@b.example and http://c.example/d@sha256:00"],
        }));
        assert_eq!(
            serde_json::from_str::<Value>(&shown).unwrap(),
            json!({
                "name": "ann", "password": "(left out)", "none": null, "login": null,
                "job": {"login": "(left out)", "source": "docker://(login left out)@a.example/b:1"},
                "logins": "(left out)",
                "list": ["see https://(login left out)@b.example and http://c.example/d@sha256:00"],
            })
        );
    }
}
