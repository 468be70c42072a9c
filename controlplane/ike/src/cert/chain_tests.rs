//! Chains with intermediates: what RFC 5280 §6.1 lets an authority do, each breach with its name.

use std::net::Ipv4Addr;

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyUsagePurpose, NameConstraints, SanType, date_time_ymd,
};

use super::tests::{Authority, NOW, authority, intermediate};
use super::*;
use crate::wire::Cert;

fn root(name: &str) -> Authority {
    authority(name, vec![KeyUsagePurpose::KeyCertSign])
}

fn constrained(permitted: Vec<GeneralSubtree>, excluded: Vec<GeneralSubtree>) -> Option<NameConstraints> {
    Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded })
}

/// What is changed at the intermediate and at the leaf.
type Change = fn(&mut CertificateParams);

#[test]
fn every_wrong_chain_is_refused_by_name() {
    let same: Change = |_| ();
    let table: [(&str, Change, Change, Option<CertError>); 19] = [
        ("nothing wrong", same, same, None),
        (
            "an intermediate that has expired",
            |p| p.not_after = date_time_ymd(2029, 1, 1),
            same,
            Some(CertError::Expired),
        ),
        (
            "one that is not valid yet",
            |p| p.not_before = date_time_ymd(2031, 1, 1),
            same,
            Some(CertError::NotYetValid),
        ),
        ("one that is no authority", |p| p.is_ca = IsCa::ExplicitNoCa, same, Some(CertError::NotAnAuthority)),
        ("one that says nothing of it", |p| p.is_ca = IsCa::NoCa, same, Some(CertError::NotAnAuthority)),
        (
            "one without keyCertSign",
            |p| p.key_usages = vec![KeyUsagePurpose::CrlSign],
            same,
            Some(CertError::NotAnAuthority),
        ),
        ("pathLen 0 above a leaf", |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)), same, None),
        (
            "an intermediate for servers only",
            |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            same,
            Some(CertError::WrongUsage),
        ),
        (
            "one for clients",
            |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            same,
            None,
        ),
        (
            "a DNS name inside of what is permitted",
            |p| {
                p.name_constraints = constrained(vec![GeneralSubtree::DnsName("lab.test".to_owned())], vec![])
            },
            |p| p.subject_alt_names = vec![SanType::DnsName("a.lab.test".try_into().unwrap())],
            None,
        ),
        (
            "one outside",
            |p| {
                p.name_constraints = constrained(vec![GeneralSubtree::DnsName("lab.test".to_owned())], vec![])
            },
            |p| p.subject_alt_names = vec![SanType::DnsName("a.lab2.test".try_into().unwrap())],
            Some(CertError::NameConstraint),
        ),
        (
            "one inside and one outside",
            |p| {
                p.name_constraints = constrained(vec![GeneralSubtree::DnsName("lab.test".to_owned())], vec![])
            },
            |p| {
                p.subject_alt_names = vec![
                    SanType::DnsName("a.lab.test".try_into().unwrap()),
                    SanType::DnsName("lab.test.evil".try_into().unwrap()),
                ]
            },
            Some(CertError::NameConstraint),
        ),
        (
            "an excluded DNS name",
            |p| {
                p.name_constraints = constrained(vec![], vec![GeneralSubtree::DnsName("lab.test".to_owned())])
            },
            |p| p.subject_alt_names = vec![SanType::DnsName("a.lab.test".try_into().unwrap())],
            Some(CertError::NameConstraint),
        ),
        (
            "another than the excluded one",
            |p| {
                p.name_constraints = constrained(vec![], vec![GeneralSubtree::DnsName("lab.test".to_owned())])
            },
            |p| p.subject_alt_names = vec![SanType::DnsName("a.test".try_into().unwrap())],
            None,
        ),
        (
            "an address inside of what is permitted",
            |p| {
                p.name_constraints = constrained(
                    vec![GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([10, 0, 0, 0], 8))],
                    vec![],
                )
            },
            |p| p.subject_alt_names = vec![SanType::IpAddress(Ipv4Addr::new(10, 1, 2, 3).into())],
            None,
        ),
        (
            "an address outside",
            |p| {
                p.name_constraints = constrained(
                    vec![GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([10, 0, 0, 0], 8))],
                    vec![],
                )
            },
            |p| p.subject_alt_names = vec![SanType::IpAddress(Ipv4Addr::new(11, 1, 2, 3).into())],
            Some(CertError::NameConstraint),
        ),
        (
            "a mail address outside",
            |p| {
                p.name_constraints =
                    constrained(vec![GeneralSubtree::Rfc822Name("lab.test".to_owned())], vec![])
            },
            same,
            Some(CertError::NameConstraint),
        ),
        (
            "an excluded mail address",
            |p| {
                p.name_constraints =
                    constrained(vec![], vec![GeneralSubtree::Rfc822Name("example.test".to_owned())])
            },
            same,
            Some(CertError::NameConstraint),
        ),
        (
            "a leaf for something else",
            same,
            |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning],
            Some(CertError::WrongUsage),
        ),
    ];
    let root = root("root");
    for (what, of_intermediate, of_leaf, expected) in table {
        let between = intermediate(&root, "between", of_intermediate);
        let (leaf, _) = between.issue(of_leaf);
        let judged = root.store().verify(&[leaf, Cert::x509(&between.der)], CertUse::Client, NOW).err();
        assert_eq!(judged, expected, "{what}");
    }
}

#[test]
fn path_lengths_bound_how_deep_authorities_may_delegate() {
    for (allowed, expected) in [(0, Some(CertError::PathTooLong)), (1, None)] {
        let root = root("root");
        let upper =
            intermediate(&root, "upper", |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(allowed)));
        let lower = intermediate(&upper, "lower", |_| ());
        let (leaf, _) = lower.issue(|_| ());
        // Peers send intermediates in any order.
        for chain in [[&upper, &lower], [&lower, &upper]] {
            let chain = chain.map(|authority| Cert::x509(&authority.der));
            let certs = [std::slice::from_ref(&leaf), &chain].concat();
            assert_eq!(
                root.store().verify(&certs, CertUse::Client, NOW).err(),
                expected,
                "pathLen {allowed}"
            );
        }
    }
}

#[test]
fn any_of_several_authorities_may_have_issued_it() {
    let (first, second) = (root("first"), root("second"));
    let between = intermediate(&second, "between", |_| ());
    let store = TrustStore::from_pem([first.pem.as_str(), &second.pem].concat().as_bytes()).unwrap();
    for leaf in [&first, &second].map(|authority| authority.issue(|_| ()).0) {
        assert!(store.verify(&[leaf], CertUse::Client, NOW).is_ok());
    }
    let (leaf, _) = between.issue(|_| ());
    assert_eq!(
        store.verify(std::slice::from_ref(&leaf), CertUse::Client, NOW).err(),
        Some(CertError::UnknownIssuer)
    );
    assert!(store.verify(&[leaf.clone(), Cert::x509(&between.der)], CertUse::Client, NOW).is_ok());
    // An intermediate may be trusted itself; then nothing above it is needed.
    let pinned = TrustStore::from_pem(between.pem.as_bytes()).unwrap();
    assert!(pinned.verify(&[leaf], CertUse::Client, NOW).is_ok());
    assert_eq!(
        pinned.verify(&[second.issue(|_| ()).0], CertUse::Client, NOW).err(),
        Some(CertError::UnknownIssuer)
    );
    assert_eq!(store.cert_req().ca_hashes().count(), 2);
}
