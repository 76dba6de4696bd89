//! What every handler gets: the parsed request head, who asks, and apart from it the body as a stream.
//!
//! The body is a separate value because it may be moved along while the head is shared.

use super::Query;
use crate::auth::{Grant, Principal, net};
use crate::config::Config;
use crate::http::State;
use crate::http::caller::origin::{Caller, Peer};
use crate::http::log::access::RequestId;
use crate::http::server::connections::Use;
use crate::http::server::limits::open_files::FileLeave;
use crate::http::server::limits::{Client, ClientPlace};
use crate::http::server::sending::sendfile::Outbox;
use crate::http::surfaces::ChallengeKind;
use crate::repo::Asker;
use crate::types::Digest;
use axum::http::{HeaderMap, Method, Uri};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// The head of a request, its caller and what the caller showed.
pub struct Req {
    /// The request's id.
    pub id: RequestId,
    /// The server.
    pub state: Arc<State>,
    /// The configuration in force when the request came.
    pub config: Arc<Config>,
    /// When its head had come.
    pub start: Instant,
    /// Method.
    pub method: Method,
    /// What was asked for, as it came.
    pub uri: Uri,
    /// Headers.
    pub headers: HeaderMap,
    /// Query parameters.
    pub query: Query,
    /// The other end of the connection.
    pub peer: Peer,
    /// Who called, by which name.
    pub caller: Caller,
    /// Who asks, with the limits of the token if there is one.
    pub grant: Grant,
    /// What a refusal of its credentials asks for.
    pub challenge: ChallengeKind,
    /// The request's place among those of its client.
    pub place: Option<ClientPlace>,
    /// Its use of its connection.
    pub used: Option<Arc<Use>>,
    /// Leave to have a file open.
    pub file: Option<FileLeave>,
    /// Where its connection has the kernel send files.
    pub outbox: Option<Outbox>,
    /// The content whose bytes the answer has, once that is known.
    pub sent: OnceLock<Digest>,
}

impl Req {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// Whom limits count for.
    pub fn client(&self) -> Client {
        match &self.grant.principal {
            Principal::User(name) => Client::Account(name.as_str().into()),
            Principal::Anonymous | Principal::Operator => Client::Address(net(self.caller.ip)),
        }
    }

    /// The same; `None` for who comes through a gate without an account, since all of them have one address.
    pub fn counted(&self) -> Option<Client> {
        let client = self.client();
        (!self.caller.gate || matches!(client, Client::Account(_))).then_some(client)
    }

    /// The same for long reads of repositories.
    pub fn asker(&self) -> Option<Asker> {
        self.counted().map(|client| Asker::new(&client.to_string()))
    }

    /// The declared length of the body.
    pub fn length(&self) -> Option<u64> {
        self.header("content-length").and_then(|v| v.parse().ok())
    }
}
