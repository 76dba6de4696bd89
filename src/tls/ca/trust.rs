//! The text of `dryport trust`: the CA, what it may sign for, and how each client is told of it.

use super::constraints::{Constraints, Net};

/// The text for a CA and the host and port under which clients reach this server.
pub(in crate::tls) fn text(
    ca_pem: &str,
    fingerprint: &str,
    constraints: Option<&Constraints>,
    (host, port): (&str, u16),
) -> String {
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    let bracketed = if plain.contains(':') {
        format!("[{plain}]")
    } else {
        plain.to_owned()
    };
    // Clients look under the name that people type, which has no port where it is 443.
    let address = if port == 443 {
        bracketed.clone()
    } else {
        format!("{bracketed}:{port}")
    };
    TEMPLATE
        .replace("{ca}", ca_pem.trim_end())
        .replace("{fingerprint}", fingerprint)
        .replace("{scope}", &scope(constraints))
        .replace("{address}", &address)
        .replace("{host}", &bracketed)
}

/// What the CA may sign for, in words.
fn scope(constraints: Option<&Constraints>) -> String {
    let Some(found) = constraints else {
        return "This CA may sign for any name: who trusts it trusts this server's tls/ca.key with every site.\n\
                A new CA is limited to this machine's names and to private addresses (tls.ca_constraints)."
            .to_owned();
    };
    let nets: Vec<String> = found.nets().iter().map(Net::text).collect();
    let list = |of: &[String], any: &str| match of {
        [] => any.to_owned(),
        of => of.join(", "),
    };
    let except = match found.exceptions() {
        none if none.is_empty() => String::new(),
        some => format!("\n  but not for {}", some.join(", ")),
    };
    format!(
        "Clients take it for these names and what is under them, and for these addresses, and for no others (Java: for\n\
         any; Java does not look at what a trusted CA may sign for):\n  {}\n  {}{except}",
        list(found.names(), "any name"),
        list(&nets, "any address")
    )
}

/// What to say where the certificate is not Dryport's own.
pub(in crate::tls) fn own_text(fingerprint: &str) -> String {
    format!(
        "This server uses a certificate of your own (tls.cert), so there is no Dryport CA to trust.\n\
         Clients must trust whoever issued it.\n\nSHA-256 fingerprint of the certificate:\n  {fingerprint}\n"
    )
}

const TEMPLATE: &str = r#"{ca}

SHA-256 fingerprint of this CA:
  {fingerprint}

{scope}

Save the certificate above as dryport-ca.crt on each client (or on the server:
`dryport trust --pem > dryport-ca.crt`, then copy it). Compare the fingerprint on the client:
  openssl x509 -in dryport-ca.crt -noout -fingerprint -sha256

Then tell each program that it may trust it:

docker (no restart)
  sudo install -D -m 644 dryport-ca.crt /etc/docker/certs.d/{address}/ca.crt

podman, buildah, skopeo, CRI-O (no restart)
  sudo install -D -m 644 dryport-ca.crt /etc/containers/certs.d/{address}/ca.crt

containerd (no restart; its config.toml must set config_path = "/etc/containerd/certs.d"
for the registry of the CRI plugin; ctr needs --hosts-dir /etc/containerd/certs.d)
  sudo install -D -m 644 dryport-ca.crt /etc/containerd/certs.d/dryport-ca.crt
  write to /etc/containerd/certs.d/{address}/hosts.toml:
    server = "https://{address}"
    [host."https://{address}"]
      capabilities = ["pull", "resolve", "push"]
      ca = "/etc/containerd/certs.d/dryport-ca.crt"

apt
  sudo install -D -m 644 dryport-ca.crt /etc/apt/dryport-ca.crt
  write to /etc/apt/apt.conf.d/50dryport:
    Acquire::https::{host}::CAInfo "/etc/apt/dryport-ca.crt";

dnf, yum
  sudo install -D -m 644 dryport-ca.crt /etc/pki/dryport-ca.crt
  add to the repository's section in /etc/yum.repos.d/:
    sslcacert=/etc/pki/dryport-ca.crt

The whole system (crane, oras, helm, curl and most others follow it; restart docker and containerd after it)
  Debian, Ubuntu, Alpine:
    sudo install -m 644 dryport-ca.crt /usr/local/share/ca-certificates/dryport.crt && sudo update-ca-certificates
  RHEL, Fedora, Rocky, Alma:
    sudo install -m 644 dryport-ca.crt /etc/pki/ca-trust/source/anchors/dryport.crt && sudo update-ca-trust
  SUSE:
    sudo install -m 644 dryport-ca.crt /etc/pki/trust/anchors/dryport.crt && sudo update-ca-certificates

One command only: most programs take SSL_CERT_FILE=dryport-ca.crt from the environment; curl takes --cacert.
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_filled() {
        let out = text("PEM\n", "AA:BB", None, ("reg.example", 8443));
        assert!(out.contains("any name"));
        assert!(out.contains("/etc/docker/certs.d/reg.example:8443/ca.crt"));
        assert!(out.contains("Acquire::https::reg.example::CAInfo"));
        assert!(!out.contains('{'));
        assert!(text("", "", None, ("::1", 443)).contains("server = \"https://[::1]\""));
    }
}
