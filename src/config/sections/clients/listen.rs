//! `[listen]`: where the server serves.

use crate::config::key::listeners;
use crate::config::section::section;
use std::net::SocketAddr;

section! {
    /// Where the server serves.
    pub struct ListenSettings checked by both {
        /// HTTPS.
        pub https: Vec<SocketAddr> = listeners("listen.https", "[::]:8443")
            .doc("Where to serve HTTPS. [::] takes IPv4 too. An empty list turns it off.")
            .flag("https")
            .restart(),
        /// Plain HTTP; never empty together with `https`.
        pub http: Vec<SocketAddr> = listeners("listen.http", "")
            .doc("Where to serve plain HTTP. Passwords travel readable: only behind a proxy on the same machine.")
            .flag("http")
            .restart(),
    }
}

fn both(listen: &ListenSettings) -> Result<(), String> {
    let ListenSettings { https, http } = listen;
    if https.is_empty() && http.is_empty() {
        return Err("`listen.https` and `listen.http` are both empty: nothing would be served; set one of them".to_owned());
    }
    match https.iter().find(|a| http.contains(a) && a.port() != 0) {
        Some(twice) => Err(format!(
            "{twice} stands in `listen.https` and in `listen.http`; one port serves one of them"
        )),
        None => Ok(()),
    }
}
