//! Operations on the control socket: where it is, and the form of a request.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The socket's path below the data directory.
pub const SOCKET: &str = "run/control.sock";

/// The path below the data directory of the socket that takes descriptors: one a connection, in one message with the token by
/// which the operation names it; the answer is one byte.
pub const FILES_SOCKET: &str = "run/files.sock";

/// Length of a descriptor's token in bytes.
pub const TOKEN: usize = 32;

/// The answer where a descriptor was taken.
pub const TAKEN: u8 = b'+';

/// One thing to do, as the socket gets it.
#[derive(Debug, Serialize, Deserialize)]
pub struct ControlRequest {
    /// The operation's name.
    #[serde(rename = "do")]
    pub name: String,
    /// Its input.
    pub input: Value,
}
