//! Which certificates are taken, without a connection.

use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use std::time::Duration;

fn made(change: impl Fn(&mut CertificateParams)) -> (CertificateDer<'static>, String) {
    let names = vec!["r.example".to_owned(), "192.0.2.1".to_owned()];
    let mut params = CertificateParams::new(names).expect("names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2030, 1, 1);
    change(&mut params);
    let key = KeyPair::generate().expect("key");
    let cert = params.self_signed(&key).expect("certificate");
    (cert.der().clone(), cert.pem())
}

fn trust(pem: &str) -> Trust {
    let named: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|der| der.expect("PEM"))
        .collect();
    let provider = Arc::new(aws_lc_rs::default_provider());
    Trust {
        others: Verifier::new_with_extra_roots(named.clone(), provider).expect("verifier"),
        named,
    }
}

fn judged(trust: &Trust, leaf: &CertificateDer<'_>, name: &str, year: u64) -> Result<(), Error> {
    let name = ServerName::try_from(name.to_owned()).expect("name");
    let now =
        UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_557_600 + 1_000_000));
    let judged = trust.verify_server_cert(leaf, &[], &name, &[], now);
    judged.map(|_| ())
}

#[test]
fn a_ca_that_is_named_is_taken_for_its_names_and_dates() {
    let (leaf, pem) = made(|_| {});
    let named = trust(&pem);
    for name in ["r.example", "192.0.2.1"] {
        judged(&named, &leaf, name, 2026).expect(name);
    }
    for name in ["s.example", "x.r.example", "192.0.2.2"] {
        let error = judged(&named, &leaf, name, 2026).expect_err(name);
        assert!(
            format!("{error:?}").contains("NotValidForName"),
            "{error:?}"
        );
    }
    for (year, says) in [(2020, "NotValidYet"), (2040, "Expired")] {
        let error = judged(&named, &leaf, "r.example", year).expect_err("date");
        assert!(format!("{error:?}").contains(says), "{error:?}");
    }
    // Another one of the same name is another one, also beside it.
    let (other, other_pem) = made(|_| {});
    judged(&named, &other, "r.example", 2026).expect_err("another");
    let both = trust(&(pem.clone() + &other_pem));
    judged(&both, &other, "r.example", 2026).expect("named");
    // Only byte for byte.
    let mut longer = leaf.to_vec();
    longer.push(0);
    judged(&named, &CertificateDer::from(longer), "r.example", 2026).expect_err("longer");
}

#[test]
fn purposes_count_and_what_is_no_ca_goes_the_usual_way() {
    for (purposes, good) in [
        (vec![], true),
        (vec![ExtendedKeyUsagePurpose::ServerAuth], true),
        (vec![ExtendedKeyUsagePurpose::Any], true),
        (vec![ExtendedKeyUsagePurpose::ClientAuth], false),
    ] {
        let (leaf, pem) = made(|params| params.extended_key_usages.clone_from(&purposes));
        let judged = judged(&trust(&pem), &leaf, "r.example", 2026);
        assert_eq!(judged.is_ok(), good, "{purposes:?}");
    }
    let (leaf, pem) = made(|params| params.is_ca = IsCa::NoCa);
    judged(&trust(&pem), &leaf, "r.example", 2026).expect("its own anchor");
    judged(&trust(&pem), &leaf, "s.example", 2026).expect_err("name");
}

#[test]
fn what_is_no_certificate_is_nothing() {
    for bad in [
        "",
        "x",
        "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
    ] {
        assert!(outward(bad.as_bytes()).is_none(), "{bad}");
    }
}
