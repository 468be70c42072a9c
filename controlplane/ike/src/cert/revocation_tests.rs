//! Lists made by rcgen and OCSP answers made by OpenSSL: who counts as revoked, whose word counts, and what the policy makes of
//! silence.

use std::sync::{Arc, Mutex};

use rcgen::{
    CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope, Issuer,
    KeyIdMethod, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

use super::ocsp::{self, OcspError};
use super::tests::{Authority, NOW, authority, intermediate};
use super::*;
use crate::wire::{Cert, CertEncoding};

const PLACE: &str = "http://lists.example/a.crl";

/// DER of a list of `by` with these serial numbers, of 2025-06-01, due in `next`.
fn list(by: &Authority, serials: &[u8], next: i32, scope: Option<CrlIssuingDistributionPoint>) -> Vec<u8> {
    let revoked = |serial: &u8| RevokedCertParams {
        serial_number: SerialNumber::from(vec![*serial]),
        revocation_time: date_time_ymd(2025, 6, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2025, 6, 1),
        next_update: date_time_ymd(next, 6, 1),
        crl_number: SerialNumber::from(vec![1]),
        issuing_distribution_point: scope,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let mut signer = by.params.clone();
    signer.key_usages = vec![KeyUsagePurpose::CrlSign];
    params.signed_by(&Issuer::from_params(&signer, &by.key)).unwrap().der().to_vec()
}

fn numbered(by: &Authority, serial: u8) -> Vec<u8> {
    let point = CrlDistributionPoint { uris: vec![PLACE.to_owned()] };
    let issued = by.issue(|params| {
        params.serial_number = Some(SerialNumber::from(vec![serial]));
        params.crl_distribution_points = vec![point];
    });
    issued.0.data
}

/// An authority that may sign lists.
fn signer(name: &str) -> Authority {
    authority(name, vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign])
}

#[test]
fn a_list_revokes_its_issuers_certificates_and_no_others() {
    let ca = signer("ca");
    let verified = |der: &[u8], issued: &Issued| RevocationList::from_der(der)?.verify(issued);
    let (seven, eight) = (numbered(&ca, 7), numbered(&ca, 200));
    let seven = Issued::of(&seven, &ca.der).unwrap();
    let eight = Issued::of(&eight, &ca.der).unwrap();
    assert_eq!((seven.list_places.as_slice(), seven.is_authority), (&[PLACE.to_owned()][..], false));
    let good = verified(&list(&ca, &[7, 200], 2031, None), &seven).unwrap();
    assert!(
        good.covers(&seven) && good.revokes(&seven) && good.revokes(&eight),
        "a high bit makes no difference"
    );
    assert_eq!((good.this_update(), good.next_update()), (1_748_736_000, 1_938_038_400));
    assert!(!verified(&list(&ca, &[9], 2031, None), &seven).unwrap().revokes(&seven));
    // Who has only the name cannot make one; nor can an authority whose key usage does not let it.
    let refused = |der: &[u8], issued: &Issued| verified(der, issued).err();
    assert_eq!(refused(&list(&signer("ca"), &[7], 2031, None), &seven), Some(ListError::BadSignature));
    assert_eq!(refused(&list(&signer("other"), &[7], 2031, None), &seven), Some(ListError::BadSignature));
    let weak = authority("ca", vec![KeyUsagePurpose::KeyCertSign]);
    let of_weak = Issued::of(&numbered(&weak, 7), &weak.der).unwrap();
    assert_eq!(refused(&list(&weak, &[7], 2031, None), &of_weak), Some(ListError::BadSignature));
    let mut damaged = list(&ca, &[7], 2031, None);
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(refused(&damaged, &seven), Some(ListError::BadSignature));
    // A good list of the same name but another key does not speak of ours.
    let twin = signer("ca");
    let of_twin = Issued::of(&numbered(&twin, 7), &twin.der).unwrap();
    assert!(!verified(&list(&twin, &[7], 2031, None), &of_twin).unwrap().covers(&seven));
}

#[test]
fn a_list_speaks_of_whom_its_distribution_point_names() {
    let ca = signer("ca");
    let user = Issued::of(&numbered(&ca, 7), &ca.der).unwrap();
    let between = intermediate(&ca, "between", |_| ());
    let between = Issued::of(&between.der, &ca.der).unwrap();
    assert!(between.is_authority);
    let point = |place: &str, scope| {
        let distribution_point = CrlDistributionPoint { uris: vec![place.to_owned()] };
        Some(CrlIssuingDistributionPoint { distribution_point, scope })
    };
    for (what, scope, speaks) in [
        ("its place", point(PLACE, None), (true, false)),
        ("another place", point("http://lists.example/b.crl", None), (false, false)),
        ("users", point(PLACE, Some(CrlScope::UserCertsOnly)), (true, false)),
        ("authorities", point(PLACE, Some(CrlScope::CaCertsOnly)), (false, false)),
        ("everybody", None, (true, true)),
    ] {
        let made = RevocationList::from_der(&list(&ca, &[7], 2031, scope)).unwrap().verify(&user).unwrap();
        assert_eq!((made.covers(&user), made.covers(&between)), speaks, "{what}");
    }
}

#[test]
fn what_is_no_list_is_refused() {
    let ca = signer("ca");
    let der = list(&ca, &[7], 2031, None);
    for bad in [&b"no list"[..], &der[..der.len() - 1], &[0x30], &[]] {
        assert!(RevocationList::all_from(bad).is_err());
    }
    assert_eq!(RevocationList::all_from(&der).unwrap().len(), 1);
    assert_eq!(RevocationList::all_from(ca.pem.as_bytes()).err(), Some(ListError::Malformed));
}

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!("../../testdata/ocsp/", $name)).as_slice()
    };
}

#[test]
fn answers_of_openssl_count_if_the_issuer_or_its_responder_signed_them() {
    let good = Issued::of(file!("good.cer"), file!("ca.cer")).unwrap();
    let revoked = Issued::of(file!("revoked.cer"), file!("ca.cer")).unwrap();
    assert_eq!(good.ocsp_places, ["http://192.0.2.1:8888/ocsp"]);
    assert_eq!(good.list_places, ["http://192.0.2.1/a.crl"]);
    assert_eq!(ocsp::request(&good).unwrap(), file!("good.req.der"), "the request of OpenSSL");
    let judge = |der: &[u8], issued: &Issued| ocsp::answer(der, issued, NOW).map(|answer| answer.revoked);
    for (name, der, issued, verdict) in [
        ("by the issuer", file!("good-by-issuer.der"), &good, Ok(false)),
        ("by its responder", file!("good-by-responder.der"), &good, Ok(false)),
        ("by another it has certified", file!("good-by-anybody.der"), &good, Err(OcspError::BadSignature)),
        ("by its namesake", file!("good-by-other.der"), &good, Err(OcspError::BadSignature)),
        ("an old one", file!("good-old.der"), &good, Err(OcspError::NotOfNow)),
        ("about another", file!("good-by-issuer.der"), &revoked, Err(OcspError::AnotherCertificate)),
        ("revoked", file!("revoked.der"), &revoked, Ok(true)),
        ("nothing", b"", &good, Err(OcspError::Malformed)),
        // OCSPResponse { tryLater }
        ("try later", &[0x30, 3, 0x0a, 1, 3], &good, Err(OcspError::Refused)),
    ] {
        assert_eq!(judge(der, issued), verdict, "{name}");
    }
    let before = ocsp::answer(file!("good-by-issuer.der"), &good, 1_700_000_000);
    assert_eq!(before, Err(OcspError::NotOfNow), "made later than now");
    for end in 0..file!("revoked.der").len() {
        assert!(judge(&file!("revoked.der")[..end], &revoked).is_err(), "cut to {end} octets");
    }
}

#[test]
fn a_responder_that_knows_nothing_says_so() {
    let plain =
        Issued { serial: vec![0x10, 0x04], ..Issued::of(file!("good.cer"), file!("ca.cer")).unwrap() };
    assert_eq!(ocsp::answer(file!("unknown.der"), &plain, NOW), Err(OcspError::Unknown));
}

/// Answers from a table; remembers who was asked for and what came with it.
struct Table {
    answers: Vec<(Vec<u8>, Status)>,
    asked: Mutex<Vec<(Vec<u8>, usize)>>,
}

impl StatusSource for Table {
    fn status(&self, issued: &Issued, stapled: &[&[u8]], _: u64) -> Status {
        self.asked.lock().unwrap().push((issued.serial.clone(), stapled.len()));
        let found = self.answers.iter().find(|(serial, _)| *serial == issued.serial);
        found.map_or(Status::Unknown(UnknownStatus::NoSource), |(_, status)| status.clone())
    }
}

#[test]
fn every_certificate_of_the_path_is_looked_up_and_the_policy_judges_silence() {
    let root = signer("root");
    let between =
        intermediate(&root, "between", |params| params.serial_number = Some(SerialNumber::from(vec![5])));
    let chain = [Cert::x509(&numbered(&between, 7)), Cert::x509(&between.der)];
    let staple = Cert { encoding: CertEncoding::OcspContent, data: vec![1] };
    let unknown = || Status::Unknown(UnknownStatus::NoSource);
    let silent = CertError::StatusUnknown(UnknownStatus::NoSource);
    use RevocationPolicy::{Hard, Soft};
    for (leaf, middle, soft, hard) in [
        (Status::Good, Status::Good, None, None),
        (Status::Revoked, Status::Good, Some(CertError::Revoked), Some(CertError::Revoked)),
        (Status::Good, Status::Revoked, Some(CertError::Revoked), Some(CertError::Revoked)),
        (Status::Good, unknown(), None, Some(silent.clone())),
        (unknown(), Status::Good, None, Some(silent.clone())),
        (unknown(), Status::Revoked, Some(CertError::Revoked), Some(silent.clone())),
    ] {
        for (policy, expected) in [(Soft, &soft), (Hard, &hard)] {
            let answers = vec![(vec![7], leaf.clone()), (vec![5], middle.clone())];
            let source = Arc::new(Table { answers, asked: Mutex::default() });
            let store = root.store().with_revocation(policy, source.clone());
            let certs = [chain.as_slice(), std::slice::from_ref(&staple)].concat();
            let judged = store.verify(&certs, CertUse::Client, NOW).err();
            assert_eq!(judged, *expected, "{leaf:?}, {middle:?} under {policy:?}");
            if judged.is_none() {
                assert_eq!(*source.asked.lock().unwrap(), [(vec![7], 1), (vec![5], 1)]);
            }
        }
    }
}

#[test]
fn nobody_is_asked_about_a_path_that_is_no_good() {
    let root = signer("root");
    let source = Arc::new(Table { answers: vec![], asked: Mutex::default() });
    let store = root.store().with_revocation(RevocationPolicy::Hard, source.clone());
    assert!(store.may_wait() && !root.store().may_wait());
    let stranger = Cert::x509(&numbered(&signer("root"), 7));
    assert_eq!(store.verify(&[stranger], CertUse::Client, NOW).err(), Some(CertError::BadSignature));
    let (expired, _) = root.issue(|params| params.not_after = date_time_ymd(2029, 12, 31));
    assert_eq!(store.verify(&[expired], CertUse::Client, NOW).err(), Some(CertError::Expired));
    assert!(source.asked.lock().unwrap().is_empty());
}
