//! What a CA may sign for: its name constraints (RFC 5280 section 4.2.1.10). Chooses them for a new CA, reads those of one
//! that exists and compares names with them; writes no file.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use x509_parser::prelude::{GeneralName, GeneralSubtree, NameConstraints};

/// Addresses that nobody on the Internet answers for: a box may get any of them without a new CA.
const PRIVATE: [(IpAddr, u8); 9] = [
    (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), 12),
    (IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0)), 10),
    (IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), 7),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
];

/// The names and addresses of a CA's name constraints. Other kinds of names (of people, of URLs) are none of a server's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::tls) struct Constraints {
    permitted: Subtrees,
    excluded: Subtrees,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Subtrees {
    /// Each with every name under it.
    names: Vec<String>,
    nets: Vec<Net>,
}

/// Addresses that agree with this one where the mask has ones; both are of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tls) struct Net {
    pub(in crate::tls) address: IpAddr,
    pub(in crate::tls) mask: IpAddr,
}

impl Constraints {
    /// For a new CA: private addresses, localhost, what people `named`, the public addresses that were `found` on the
    /// machine, and the domain of each name of it.
    pub(in crate::tls) fn for_machine(
        host: &str,
        found: &BTreeSet<String>,
        named: &[String],
    ) -> Self {
        let mut permitted = Subtrees {
            names: vec!["localhost".to_owned()],
            nets: PRIVATE.map(|(ip, bits)| Net::of(ip, bits)).to_vec(),
        };
        let mut trees = BTreeSet::new();
        for (name, is_named) in found
            .iter()
            .map(|name| (name, false))
            .chain(named.iter().map(|name| (name, true)))
        {
            match name.parse::<IpAddr>() {
                Ok(ip) if permitted.hold(ip) => {}
                Ok(ip) => permitted.nets.push(Net::of(ip, 128)),
                // A constraint has no wildcards: it holds for what is under it anyhow.
                Err(_) if is_named => drop(trees.insert(bare(name).to_owned())),
                Err(_) => drop(trees.insert(domain(name).to_owned())),
            }
        }
        if host != "localhost" {
            // How the machine is found by multicast DNS (RFC 6762).
            let first = host.split('.').next().unwrap_or(host);
            trees.insert(format!("{first}.local"));
        }
        let is_covered = |name: &String| trees.iter().any(|n| n != name && is_under(name, n));
        let trees = trees.iter().filter(|name| !is_covered(name));
        let trees = trees.filter(|name| !is_under(name, "localhost"));
        permitted.names.extend(trees.cloned());
        Self {
            permitted,
            excluded: Subtrees::default(),
        }
    }

    /// Those of a certificate.
    pub(in crate::tls) fn of(found: &NameConstraints<'_>) -> Self {
        let read = |list: &Option<Vec<GeneralSubtree<'_>>>| {
            let mut trees = Subtrees::default();
            for tree in list.iter().flatten() {
                trees.read(&tree.base);
            }
            trees
        };
        Self {
            permitted: read(&found.permitted_subtrees),
            excluded: read(&found.excluded_subtrees),
        }
    }

    /// Whether the CA may sign for this host name or address. Where addresses of one family only are permitted, those of the
    /// other are not: some clients would take them, most refuse the whole certificate.
    pub(in crate::tls) fn permits(&self, name: &str) -> bool {
        let (permitted, excluded) = (&self.permitted, &self.excluded);
        if let Ok(ip) = name.parse() {
            return (permitted.nets.is_empty() || permitted.hold(ip)) && !excluded.hold(ip);
        }
        (permitted.names.is_empty() || permitted.cover(name))
            && !excluded.cover(name)
            && !excluded.cover(bare(name))
    }

    /// Host names, each with all under it; empty: any that is not excluded.
    pub(in crate::tls) fn names(&self) -> &[String] {
        &self.permitted.names
    }

    /// Networks; empty: any that is not excluded.
    pub(in crate::tls) fn nets(&self) -> &[Net] {
        &self.permitted.nets
    }

    /// What is excluded from these, as text.
    pub(in crate::tls) fn exceptions(&self) -> Vec<String> {
        let nets = self.excluded.nets.iter().map(Net::text);
        self.excluded.names.iter().cloned().chain(nets).collect()
    }
}

impl Subtrees {
    fn read(&mut self, base: &GeneralName<'_>) {
        match base {
            GeneralName::DNSName(name) => self.names.push(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => self.nets.extend(Net::read(bytes)),
            _ => {}
        }
    }

    fn hold(&self, ip: IpAddr) -> bool {
        self.nets.iter().any(|net| net.holds(ip))
    }

    fn cover(&self, name: &str) -> bool {
        self.names.iter().any(|tree| is_under(name, tree))
    }
}

impl Net {
    /// The network of an address; at most all of its bits count.
    fn of(ip: IpAddr, bits: u8) -> Self {
        let bits = u32::from(bits);
        let mask = match ip {
            IpAddr::V4(_) => Ipv4Addr::from_bits(!u32::MAX.checked_shr(bits).unwrap_or(0)).into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(!u128::MAX.checked_shr(bits).unwrap_or(0)).into(),
        };
        Self { address: ip, mask }
    }

    /// An address and its mask in one (RFC 5280).
    fn read(bytes: &[u8]) -> Option<Self> {
        let (address, mask) = bytes.split_at_checked(bytes.len() / 2)?;
        let read = |half: &[u8]| {
            let v4 = <[u8; 4]>::try_from(half).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(half).map(IpAddr::from))
                .ok()
        };
        Some(Self {
            address: read(address)?,
            mask: read(mask)?,
        })
    }

    fn holds(&self, ip: IpAddr) -> bool {
        match (self.address, self.mask, ip) {
            (IpAddr::V4(a), IpAddr::V4(m), IpAddr::V4(ip)) => a & m == ip & m,
            (IpAddr::V6(a), IpAddr::V6(m), IpAddr::V6(ip)) => a & m == ip & m,
            _ => false,
        }
    }

    /// `10.0.0.0/8`, and the address alone where all bits count.
    pub(in crate::tls) fn text(&self) -> String {
        let (ones, zeros, all) = match self.mask {
            IpAddr::V4(m) => (m.to_bits().leading_ones(), m.to_bits().trailing_zeros(), 32),
            IpAddr::V6(m) => (
                m.to_bits().leading_ones(),
                m.to_bits().trailing_zeros(),
                128,
            ),
        };
        match ones {
            ones if ones == all => self.address.to_string(),
            ones if ones + zeros == all => format!("{}/{ones}", self.address),
            _ => format!("{} with mask {}", self.address, self.mask),
        }
    }
}

/// A name without the star that stands for one label.
fn bare(name: &str) -> &str {
    name.strip_prefix("*.").unwrap_or(name)
}

/// Whether a name is the tree's own or lies under it; a tree with a leading dot holds only what is under it.
fn is_under(name: &str, tree: &str) -> bool {
    match name.to_ascii_lowercase().strip_suffix(tree) {
        None => false,
        Some(_) if tree.is_empty() => true,
        Some(rest) if tree.starts_with('.') => !rest.is_empty(),
        Some(rest) => rest.is_empty() || rest.ends_with('.'),
    }
}

/// The domain that a machine's name lies in, so that a box beside it or a new name of it needs no new CA. It is the name
/// itself where that has no domain, or one under which strangers have names: `com`, `co.uk`, any top-level name.
fn domain(name: &str) -> &str {
    let Some((_, parent)) = name.split_once('.') else {
        return name;
    };
    let suffix = psl::suffix(name.as_bytes()).map_or(0, |s| s.as_bytes().len());
    if parent.len() > suffix { parent } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(host: &str, found: &[&str], named: &[&str]) -> Constraints {
        let found = found.iter().map(|n| (*n).to_owned()).collect();
        let named: Vec<String> = named.iter().map(|n| (*n).to_owned()).collect();
        Constraints::for_machine(host, &found, &named)
    }

    #[test]
    fn the_domain_of_a_name_belongs_to_its_owner() {
        for (name, want) in [
            ("reg.site.example", "site.example"),
            ("a.b.site.example", "b.site.example"),
            ("reg.example", "reg.example"),
            ("reg.corp", "reg.corp"),
            ("box", "box"),
            ("reg.firm.co.uk", "firm.co.uk"),
            ("firm.co.uk", "firm.co.uk"),
            ("co.uk", "co.uk"),
            ("me.github.io", "me.github.io"),
            ("localhost", "localhost"),
            ("box.local", "box.local"),
            ("box.firm.local", "firm.local"),
        ] {
            assert_eq!(domain(name), want, "{name}");
        }
    }

    #[test]
    fn what_a_new_ca_may_sign() {
        let may = machine(
            "reg.site.example",
            &[
                "reg.site.example",
                "localhost",
                "8.8.4.4",
                "10.0.0.5",
                "2001:db8::5",
                "::1",
            ],
            &[
                "mirror.other.example",
                "*.apps.example",
                "1.2.3.4",
                "x.site.example",
            ],
        );
        for yes in [
            "localhost",
            "a.localhost",
            "reg.site.example",
            "new.site.example",
            "site.example",
            "*.site.example",
            "mirror.other.example",
            "apps.example",
            "*.apps.example",
            "b.apps.example",
            "reg.local",
            "REG.Site.Example",
            "8.8.4.4",
            "1.2.3.4",
            "2001:db8::5",
            "10.255.0.1",
            "172.31.0.1",
            "192.168.9.9",
            "127.9.9.9",
            "169.254.1.1",
            "100.127.255.255",
            "fd00::1",
            "fe80::1",
            "::1",
        ] {
            assert!(may.permits(yes), "{yes}");
        }
        for no in [
            "example",
            "other.example",
            "evilsite.example",
            "*.example",
            "local",
            "x.local",
            "com",
            "8.8.8.8",
            "1.2.3.5",
            "172.32.0.1",
            "100.128.0.1",
            "2001:db8::6",
            "::2",
            "::",
            "0.0.0.0",
            "::ffff:10.0.0.1",
            "",
        ] {
            assert!(!may.permits(no), "{no}");
        }
        // Nothing is said twice.
        assert_eq!(
            may.names(),
            [
                "localhost",
                "apps.example",
                "mirror.other.example",
                "reg.local",
                "site.example"
            ]
        );
        assert_eq!(may.nets().len(), PRIVATE.len() + 3);
        let bare = machine("localhost", &["localhost", "127.0.0.1"], &[]);
        assert_eq!(bare.names(), ["localhost"]);
    }

    #[test]
    fn constraints_of_others() {
        let tree = |base| GeneralSubtree { base };
        let read = |permitted: Vec<GeneralName<'static>>, excluded: Vec<GeneralName<'static>>| {
            Constraints::of(&NameConstraints {
                permitted_subtrees: Some(permitted.into_iter().map(tree).collect()),
                excluded_subtrees: Some(excluded.into_iter().map(tree).collect()),
            })
        };
        // Only one family: the other is out for most clients. A leading dot: only what is under it.
        let four = read(
            vec![
                GeneralName::IPAddress(&[10, 0, 0, 0, 255, 0, 0, 0]),
                GeneralName::DNSName(".Site.example"),
            ],
            vec![GeneralName::DNSName("no.site.example")],
        );
        assert!(four.permits("10.1.1.1") && four.permits("a.site.example"));
        for no in [
            "::1",
            "11.0.0.1",
            "site.example",
            "x.no.site.example",
            "*.no.site.example",
        ] {
            assert!(!four.permits(no), "{no}");
        }
        assert_eq!(four.exceptions(), ["no.site.example"]);
        // Only names are limited: addresses are not. Nonsense holds for nothing.
        let names = read(
            vec![
                GeneralName::DNSName("a.example"),
                GeneralName::IPAddress(&[1]),
            ],
            vec![],
        );
        assert!(names.permits("8.8.8.8") && !names.permits("b.example"));
        assert!(read(vec![GeneralName::DNSName("")], vec![]).permits("any.example"));
        let odd = read(
            vec![GeneralName::IPAddress(&[10, 0, 0, 1, 255, 0, 0, 255])],
            vec![],
        );
        assert!(odd.permits("10.9.9.1") && !odd.permits("10.9.9.2"));
        assert_eq!(odd.nets()[0].text(), "10.0.0.1 with mask 255.0.0.255");
    }

    #[test]
    fn networks_as_text() {
        let text: Vec<String> = PRIVATE
            .iter()
            .map(|(ip, bits)| Net::of(*ip, *bits).text())
            .collect();
        assert_eq!(
            text,
            [
                "10.0.0.0/8",
                "172.16.0.0/12",
                "192.168.0.0/16",
                "127.0.0.0/8",
                "169.254.0.0/16",
                "100.64.0.0/10",
                "fc00::/7",
                "fe80::/10",
                "::1"
            ]
        );
    }
}
