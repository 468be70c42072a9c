//! The registrar against files and a web server of the test: what is asked, how often, and how long anybody waits.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

use super::*;

/// An authority of the test and a certificate with number 7 that names `place`.
struct World {
    issuer: Issuer<'static, KeyPair>,
    seven: Issued,
}

fn world(place: Option<&str>) -> World {
    let key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(vec![]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_der = ca.self_signed(&key).unwrap().der().to_vec();
    let issuer = Issuer::new(ca, key);
    let mut leaf = CertificateParams::new(vec!["ann.test".to_owned()]).unwrap();
    leaf.serial_number = Some(SerialNumber::from(vec![7]));
    let points = place.map(|place| CrlDistributionPoint { uris: vec![place.to_owned()] });
    leaf.crl_distribution_points = points.into_iter().collect();
    let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
    World { seven: Issued::of(leaf.der(), &ca_der).unwrap(), issuer }
}

impl World {
    /// DER of a list of 2026 that was due in `next`.
    fn list(&self, serials: &[u8], next: i32) -> Vec<u8> {
        let revoked = |serial: &u8| RevokedCertParams {
            serial_number: SerialNumber::from(vec![*serial]),
            revocation_time: date_time_ymd(2024, 6, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 6, 1),
            next_update: date_time_ymd(next, 6, 1),
            crl_number: SerialNumber::from(vec![1]),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }
}

fn registrar(check: RevocationCheck, fetch: bool, wait_ms: u32) -> Registrar {
    Registrar::start(&Revocation { check, crl_files: vec![], fetch, wait_ms }).unwrap()
}

fn status(registrar: &Registrar, issued: &Issued) -> Status {
    registrar.status(issued, &[], clock::unix_secs())
}

/// A web server that answers with `body` and counts who asks.
fn serve(listener: TcpListener, status: &'static str, body: Vec<u8>) -> Arc<AtomicUsize> {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                let mut octet = [0];
                if stream.read(&mut octet).unwrap() == 0 {
                    break;
                }
                head.extend_from_slice(&octet);
            }
            count.fetch_add(1, Ordering::SeqCst);
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    asked
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[test]
fn files_revoke_and_expire_and_are_replaced() {
    let world = world(None);
    let registrar = registrar(RevocationCheck::Hard, false, 100);
    assert_eq!(status(&registrar, &world.seven), Status::Unknown(UnknownStatus::NoSource));
    for (serials, next, expected, problems) in [
        (&[7][..], 2099, Status::Revoked, 0),
        (&[8], 2099, Status::Good, 0),
        (&[8], 2025, Status::Unknown(UnknownStatus::ListExpired), 1),
        // Nobody on it is good again because its successor is late.
        (&[7], 2025, Status::Revoked, 1),
    ] {
        registrar.set_files(&[world.list(serials, next)]).unwrap();
        assert_eq!(status(&registrar, &world.seven), expected, "{serials:?} until {next}");
        assert_eq!(registrar.problems().len(), problems);
    }
    assert_eq!(
        registrar.set_files(&[world.list(&[], 2099), b"no list".to_vec()]),
        Err((1, ListError::Malformed))
    );
    assert_eq!(status(&registrar, &world.seven), Status::Revoked, "the old files stay");
    // Another authority of the same name says nothing of ours.
    registrar.set_files(&[self::world(None).list(&[7], 2099)]).unwrap();
    assert_eq!(status(&registrar, &world.seven), Status::Unknown(UnknownStatus::NoSource));
}

#[test]
fn a_list_is_fetched_once_for_many_logins() {
    for (serials, expected) in [(&[7][..], Status::Revoked), (&[], Status::Good)] {
        let (listener, address) = listener();
        let world = world(Some(&format!("http://{address}/a.crl")));
        let asked = serve(listener, "200 OK", world.list(serials, 2099));
        let registrar = registrar(RevocationCheck::Hard, true, 10_000);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(status(&registrar, &world.seven), expected));
            }
        });
        assert_eq!(status(&registrar, &world.seven), expected);
        // A login that looked just before the list came, and gets to ask just after.
        let question = Question::about(&world.seven).next().unwrap();
        assert_eq!(registrar.ask(&question, &world.seven, Instant::now()), None);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn what_does_not_count_is_not_asked_for_again_at_once() {
    let (gone, nowhere) = listener();
    drop(gone);
    let (failing, broken) = listener();
    let (lying, forged) = listener();
    let world = |address| world(Some(&format!("http://{address}/a.crl")));
    let worlds = [world(nowhere), world(broken), world(forged)];
    let asked = [
        Arc::new(AtomicUsize::new(1)),
        serve(failing, "500 Sorry", vec![]),
        serve(lying, "200 OK", self::world(None).list(&[], 2099)),
    ];
    let registrar = registrar(RevocationCheck::Soft, true, 10_000);
    for ((world, asked), why) in worlds.iter().zip(&asked).zip(["cannot connect", "500", "signature"]) {
        for _ in 0..3 {
            let Status::Unknown(UnknownStatus::NotFetched { reason, .. }) = status(&registrar, &world.seven)
            else {
                panic!("{why}: a status from nowhere");
            };
            assert!(reason.contains(why), "{reason}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{why}");
    }
}

#[test]
fn nobody_waits_longer_than_configured() {
    let (silent, address) = listener();
    let world = world(Some(&format!("http://{address}/a.crl")));
    let registrar = registrar(RevocationCheck::Hard, true, 100);
    let begun = Instant::now();
    let found = status(&registrar, &world.seven);
    assert!(matches!(found, Status::Unknown(UnknownStatus::NotFetched { .. })), "{found:?}");
    assert!(begun.elapsed() < fetch::DEADLINE, "the fetch goes on behind it");
    // Its answer counts for the next one.
    serve(silent, "200 OK", world.list(&[7], 2099));
    let end = Instant::now() + fetch::DEADLINE;
    while status(&registrar, &world.seven) != Status::Revoked {
        assert!(Instant::now() < end, "the list never came");
    }
}

#[test]
fn what_can_be_made_to_grow_is_bounded() {
    let world = world(None);
    let mut book = Book::default();
    let answer = |until| ocsp::Answer { revoked: false, until };
    for number in 0..book::MAX_ANSWERS + 10 {
        let issued = Issued { serial: number.to_be_bytes().to_vec(), ..world.seven.clone() };
        book.answered(&issued, answer(1000), 1);
    }
    assert_eq!(book.answers(), book::MAX_ANSWERS);
    // The old ones make room once they count no more.
    book.answered(&world.seven, answer(9000), 5000);
    assert_eq!((book.answers(), book.status(&world.seven, 5000)), (1, Status::Good));
    assert_eq!(book.status(&world.seven, 9001), Status::Unknown(UnknownStatus::NoSource));
    for number in 0..book::MAX_SILENT + 10 {
        let question = Question::List { place: number.to_string(), issuer_spki: vec![] };
        book.was_silent(question, String::new(), 1);
    }
    let first = Question::List { place: "0".to_owned(), issuer_spki: vec![] };
    assert!(book.silence(&first, 1).is_some() && book.silence(&first, 1 + book::SILENCE_SECS).is_none());
    let last = Question::List { place: (book::MAX_SILENT + 1).to_string(), issuer_spki: vec![] };
    assert!(book.silence(&last, 1).is_none());
}

#[test]
fn an_older_list_never_replaces_a_newer_one() {
    let world = world(None);
    let question = || Question::List { place: "http://a/".to_owned(), issuer_spki: vec![] };
    let verified = |der: &[u8]| RevocationList::from_der(der).unwrap().verify(&world.seven).unwrap();
    let mut book = Book::default();
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2023, 1, 1),
        next_update: date_time_ymd(2098, 1, 1),
        crl_number: SerialNumber::from(vec![1]),
        issuing_distribution_point: None,
        revoked_certs: vec![],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let older = params.signed_by(&world.issuer).unwrap().der().to_vec();
    let now = 1_750_000_000;
    book.fetched(question(), verified(&world.list(&[7], 2099)), &world.seven, now);
    book.fetched(question(), verified(&older), &world.seven, now);
    assert_eq!(book.status(&world.seven, now), Status::Revoked);
    assert!(book.due(now).is_empty());
    assert_eq!(book.due(now + book::REFRESH_SECS).len(), 1, "it is looked after");
}
