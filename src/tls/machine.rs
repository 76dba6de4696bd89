//! The names and addresses under which this machine may be called. Reads the system only.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// The machine's host name, or `localhost`.
pub(super) fn host_name() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_str().unwrap_or_default();
    if is_dns_name(name) {
        name.to_ascii_lowercase()
    } else {
        "localhost".to_owned()
    }
}

/// Host name, names that /etc/hosts gives to this machine, every address but link-local ones, localhost and loopback.
pub(super) fn names() -> BTreeSet<String> {
    let mut names: BTreeSet<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    let host = host_name();
    // Without a list of interfaces the fixed names remain, and the next refresh tries again.
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let own: BTreeSet<IpAddr> = interfaces
        .iter()
        .filter(|i| !i.is_link_local())
        .map(if_addrs::Interface::ip)
        .collect();
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    names.extend(hosts_names(&hosts, &own, &host));
    names.extend(own.iter().map(ToString::to_string));
    names.insert(host);
    names
}

/// Names of the lines that name this machine: by one of its addresses, or beside its host name.
fn hosts_names(hosts: &str, own: &BTreeSet<IpAddr>, host: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in hosts.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        let names: Vec<String> = words.map(str::to_ascii_lowercase).collect();
        let is_own = own.contains(&address) && !address.is_loopback();
        if is_own || names.iter().any(|name| name == host) {
            found.extend(names.into_iter().filter(|name| is_dns_name(name)));
        }
    }
    found
}

/// True for what may stand as a DNS name in a certificate.
pub(super) fn is_dns_name(name: &str) -> bool {
    let bare = name.strip_prefix("*.").unwrap_or(name);
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    bare.len() <= 253 && bare.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_file_gives_names_of_this_machine_only() {
        let hosts = "127.0.0.1 localhost\n127.0.1.1 Box.example box # us\n10.0.0.5 reg.example\n10.0.0.6 other\n";
        let own = BTreeSet::from(["10.0.0.5".parse().unwrap(), "127.0.0.1".parse().unwrap()]);
        let found: Vec<String> = hosts_names(hosts, &own, "box").into_iter().collect();
        assert_eq!(found, ["box", "box.example", "reg.example"]);
    }

    #[test]
    fn the_machine_has_names() {
        let names = names();
        assert!(names.contains("localhost") && names.contains("::1"));
        assert!(names.contains(&host_name()));
        assert!(!names.iter().any(|name| name.starts_with("fe80")));
    }
}
