//! How an operation is performed: the one place where its right is looked up and where the log keeps what came of it.

use super::ctx::Ctx;
use super::fault::{Fault, FaultKind};
use super::{Concerns, Operation, Reach, Spec};
use crate::auth::{Action, Resource};
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use std::time::Instant;
use utoipa::openapi::{RefOr, Schema};

/// Fields whose values stand in no message.
const SECRET: [&str; 3] = ["password", "login", "job.login"];

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
    let (spec, begun) = (O::SPEC, Instant::now());
    let done = match permit(&spec, &operation.concerns(), ctx).await {
        Ok(()) => operation.run(ctx).await,
        Err(fault) => Err(fault),
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
