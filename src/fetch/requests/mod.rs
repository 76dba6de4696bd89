//! Requests as they go out: redirects and tries, files that are sent, and large bodies that go on where they broke.

pub(super) mod download;
pub(super) mod put;
pub(super) mod redirect;
pub(super) mod retry;
pub(super) mod send;
