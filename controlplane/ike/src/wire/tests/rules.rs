//! The payload rules, exchange by exchange.

use crate::ident::Identity;
use crate::wire::*;

fn payload(kind: PayloadType) -> Payload {
    let selectors = || vec![TrafficSelector::Range(TsRange::any_ipv4())];
    let identification = || Identification::new(Identity::Fqdn("a".to_owned()));
    match kind {
        PayloadType::Sa => Payload::Sa(Sa { proposals: vec![] }),
        PayloadType::Ke => Payload::Ke(Ke { group: 19, data: vec![0; 64] }),
        PayloadType::IdI => Payload::IdI(identification()),
        PayloadType::IdR => Payload::IdR(identification()),
        PayloadType::Cert => Payload::Cert(Cert::x509(&[])),
        PayloadType::CertReq => Payload::CertReq(CertReq::x509(&[])),
        PayloadType::Auth => Payload::Auth(Auth { method: AuthMethod::SharedKey, data: vec![] }),
        PayloadType::Nonce => Payload::Nonce(Nonce::new(vec![0; 16]).unwrap()),
        PayloadType::Notify => Payload::Notify(Notify::new(NotifyType::InitialContact)),
        PayloadType::Delete => Payload::Delete(Delete::Ike),
        PayloadType::Vendor => Payload::Vendor(vec![]),
        PayloadType::TsI => Payload::TsI(selectors()),
        PayloadType::TsR => Payload::TsR(selectors()),
        PayloadType::Cp => Payload::Cp(Configuration { kind: CfgType::Request, attributes: vec![] }),
        PayloadType::Eap => Payload::Eap(vec![]),
        other => Payload::Unknown { number: other.number(), body: vec![] },
    }
}

fn check(
    exchange: ExchangeType,
    is_response: bool,
    kinds: &[PayloadType],
    more: &[Payload],
) -> Result<(), WireError> {
    let header = Header::new(IkeSpi(1), IkeSpi(2), exchange, !is_response, is_response, 1);
    let payloads = kinds.iter().map(|kind| payload(*kind)).chain(more.iter().cloned()).collect();
    rules::check(&Message::new(header, payloads), exchange != ExchangeType::IkeSaInit)
}

#[test]
fn table_of_legal_and_illegal_messages() {
    use ExchangeType::{CreateChildSa, IkeAuth, IkeSaInit, Informational};
    use PayloadType::{Auth, Cert, CertReq, Cp, Delete, Eap, IdI, IdR, Ke, Nonce, Sa, TsI, TsR, Vendor};
    let unexpected = |kind| Err(WireError::Unexpected(kind));
    let missing = |kind| Err(WireError::Missing(kind));
    type Row<'a> = (ExchangeType, bool, &'a [PayloadType], Result<(), WireError>);
    let table: &[Row<'_>] = &[
        (IkeSaInit, false, &[Sa, Ke, Nonce, Vendor, PayloadType::Notify], Ok(())),
        (IkeSaInit, false, &[Sa, Ke, Nonce, Cp], Ok(())),
        (IkeSaInit, false, &[Sa, Ke, Nonce, PayloadType::Unknown(77)], Ok(())),
        (IkeSaInit, false, &[Ke, Nonce], missing(Sa)),
        (IkeSaInit, false, &[Sa, Nonce], missing(Ke)),
        (IkeSaInit, false, &[Sa, Ke], missing(Nonce)),
        (IkeSaInit, false, &[Sa, Ke, Nonce, Nonce], unexpected(Nonce)),
        (IkeSaInit, false, &[Sa, Sa, Ke, Nonce], unexpected(Sa)),
        (IkeSaInit, false, &[Sa, Ke, Nonce, IdI], unexpected(IdI)),
        (IkeSaInit, false, &[Sa, Ke, Nonce, Auth], unexpected(Auth)),
        (IkeSaInit, false, &[Sa, Ke, Nonce, CertReq], unexpected(CertReq)),
        (IkeSaInit, true, &[Sa, Ke, Nonce, CertReq], Ok(())),
        (IkeAuth, false, &[IdI, Cert, Cert, CertReq, IdR, Auth, Cp, Sa, TsI, TsR], Ok(())),
        (IkeAuth, false, &[Eap], Ok(())),
        (IkeAuth, false, &[Auth], Ok(())),
        (IkeAuth, false, &[IdI, IdI], unexpected(IdI)),
        (IkeAuth, false, &[Auth, Auth], unexpected(Auth)),
        (IkeAuth, false, &[Eap, Eap], unexpected(Eap)),
        (IkeAuth, false, &[Ke], unexpected(Ke)),
        (IkeAuth, false, &[Delete], unexpected(Delete)),
        (IkeAuth, false, &[IdI, Sa, TsI], missing(TsR)),
        (IkeAuth, false, &[IdI, Sa, TsR], missing(TsI)),
        (IkeAuth, true, &[IdR, Cert, Auth, Cp, Sa, TsI, TsR], Ok(())),
        (IkeAuth, true, &[IdI], unexpected(IdI)),
        (CreateChildSa, false, &[Sa, Nonce, Ke], Ok(())),
        (CreateChildSa, false, &[Sa, Nonce, TsI, TsR], Ok(())),
        (CreateChildSa, false, &[Sa, TsI, TsR], missing(Nonce)),
        (CreateChildSa, false, &[Nonce], missing(Sa)),
        (CreateChildSa, true, &[Sa, Nonce, Ke, Ke], unexpected(Ke)),
        (CreateChildSa, true, &[Sa, Nonce, Auth], unexpected(Auth)),
        (Informational, false, &[], Ok(())),
        (Informational, false, &[Delete, Delete, Cp], Ok(())),
        (Informational, true, &[Delete], Ok(())),
        (Informational, false, &[Sa], unexpected(Sa)),
        (ExchangeType::IkeIntermediate, false, &[Ke, PayloadType::Notify], Ok(())),
        (ExchangeType::IkeIntermediate, true, &[Ke], Ok(())),
        (ExchangeType::IkeIntermediate, false, &[], missing(Ke)),
        (ExchangeType::IkeIntermediate, false, &[Ke, Ke], unexpected(Ke)),
        (ExchangeType::IkeIntermediate, false, &[Ke, Sa], unexpected(Sa)),
        (ExchangeType::IkeFollowupKe, false, &[Ke], Ok(())),
        (ExchangeType::IkeFollowupKe, true, &[], missing(Ke)),
        (ExchangeType::Unknown(99), false, &[], Err(WireError::BadValue { what: "exchange type" })),
    ];
    for (exchange, is_response, kinds, expected) in table {
        assert_eq!(
            check(*exchange, *is_response, kinds, &[]),
            *expected,
            "{exchange} {is_response} {kinds:?}"
        );
    }
}

#[test]
fn a_response_with_an_error_may_lack_the_rest_a_request_may_not() {
    let error = Payload::Notify(Notify::new(NotifyType::NoProposalChosen));
    let cookie = Payload::Notify(Notify::new(NotifyType::Cookie));
    for notify in [error, cookie] {
        let more = [notify];
        assert_eq!(check(ExchangeType::IkeSaInit, true, &[], &more), Ok(()));
        assert_eq!(check(ExchangeType::CreateChildSa, true, &[], &more), Ok(()));
        assert!(check(ExchangeType::IkeSaInit, false, &[], &more).is_err());
        assert!(check(ExchangeType::CreateChildSa, false, &[], &more).is_err());
    }
    let status = [Payload::Notify(Notify::new(NotifyType::FragmentationSupported))];
    assert!(check(ExchangeType::IkeSaInit, true, &[], &status).is_err());
}

#[test]
fn encryption_is_required_after_ike_sa_init_and_impossible_in_it() {
    let message = |exchange, kinds: &[PayloadType]| {
        let header = Header::new(IkeSpi(1), IkeSpi(2), exchange, true, false, 1);
        Message::new(header, kinds.iter().map(|kind| payload(*kind)).collect())
    };
    let auth = message(ExchangeType::IkeAuth, &[PayloadType::IdI]);
    assert_eq!(rules::check(&auth, false), Err(WireError::NotEncrypted(PayloadType::IdI)));
    let empty = message(ExchangeType::Informational, &[]);
    assert_eq!(rules::check(&empty, false), Err(WireError::NotEncrypted(PayloadType::None)));
    let init = message(ExchangeType::IkeSaInit, &[PayloadType::Sa, PayloadType::Ke, PayloadType::Nonce]);
    assert_eq!(rules::check(&init, true), Err(WireError::Unexpected(PayloadType::Sk)));
}
