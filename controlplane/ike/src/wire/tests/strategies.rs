//! Random payloads and messages, every field within what the wire can carry.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::ident::Identity;
use crate::wire::*;

pub(super) fn octets(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=max)
}

fn attribute() -> impl Strategy<Value = Attribute> {
    let value =
        prop_oneof![any::<u16>().prop_map(AttributeValue::Short), octets(20).prop_map(AttributeValue::Long)];
    // 14 with a short value is the key length, which has a field of its own.
    (0..0x8000u16, value)
        .prop_filter("key length", |(kind, _)| *kind != 14)
        .prop_map(|(kind, value)| Attribute { kind, value })
}

fn transform() -> impl Strategy<Value = Transform> {
    (any::<u8>(), any::<u16>(), any::<Option<u16>>(), vec(attribute(), 0..3)).prop_map(
        |(kind, id, key_length_bits, other_attributes)| Transform {
            kind: TransformType::from_number(kind),
            id,
            key_length_bits,
            other_attributes,
        },
    )
}

fn proposal() -> impl Strategy<Value = Proposal> {
    let protocol_and_spi = prop_oneof![
        Just((ProtocolId::Ike, vec![])),
        vec(any::<u8>(), 8).prop_map(|spi| (ProtocolId::Ike, spi)),
        vec(any::<u8>(), 4).prop_map(|spi| (ProtocolId::Esp, spi)),
        vec(any::<u8>(), 4).prop_map(|spi| (ProtocolId::Ah, spi)),
        (4u8..).prop_flat_map(|n| octets(255).prop_map(move |spi| (ProtocolId::from_number(n), spi))),
    ];
    (any::<u8>(), protocol_and_spi, vec(transform(), 0..8))
        .prop_map(|(number, (protocol, spi), transforms)| Proposal { number, protocol, spi, transforms })
}

fn range() -> impl Strategy<Value = TsRange> {
    let v4 = any::<(u32, u32)>().prop_map(|(a, b)| AddressRange::Ipv4(a.min(b).into(), a.max(b).into()));
    let v6 = any::<(u128, u128)>().prop_map(|(a, b)| AddressRange::Ipv6(a.min(b).into(), a.max(b).into()));
    let ports = prop_oneof![
        any::<(u16, u16)>().prop_map(|(a, b)| (a.min(b), a.max(b))),
        Just((u16::MAX, 0)),
        Just((0, u16::MAX))
    ];
    (any::<u8>(), ports, prop_oneof![v4, v6]).prop_map(|(protocol, (first_port, last_port), addresses)| {
        TsRange { protocol, first_port, last_port, addresses }
    })
}

fn selectors() -> impl Strategy<Value = Vec<TrafficSelector>> {
    let unknown = (9u8.., any::<u8>(), octets(30))
        .prop_map(|(ts_type, protocol, data)| TrafficSelector::Unknown { ts_type, protocol, data });
    vec(prop_oneof![3 => range().prop_map(TrafficSelector::Range), 1 => unknown], 1..6)
}

pub(super) fn identity() -> impl Strategy<Value = Identity> {
    prop_oneof![
        any::<u32>().prop_map(|a| Identity::Ipv4(a.into())),
        any::<u128>().prop_map(|a| Identity::Ipv6(a.into())),
        "[a-z0-9.-]{1,40}".prop_map(Identity::Fqdn),
        "[a-zäß]{1,9}@[a-z.]{1,9}".prop_map(Identity::Rfc822),
        octets(100).prop_map(Identity::Dn),
        octets(100).prop_map(Identity::KeyId),
        (12u8.., octets(100)).prop_map(|(id_type, data)| Identity::Other { id_type, data }),
        // Names with what no name has.
        ("[a-z]{0,5}[\u{0} \n][a-z]{0,5}", 2u8..=3)
            .prop_map(|(name, id_type)| Identity::Other { id_type, data: name.into_bytes() }),
    ]
}

fn identification() -> impl Strategy<Value = Identification> {
    (any::<[u8; 3]>(), identity()).prop_map(|(reserved, identity)| Identification { reserved, identity })
}

fn notify() -> impl Strategy<Value = Notify> {
    (any::<u8>(), octets(8), any::<u16>(), octets(100)).prop_map(|(protocol, spi, kind, data)| Notify {
        protocol: ProtocolId::from_number(protocol),
        spi,
        kind: NotifyType::from_number(kind),
        data,
    })
}

fn delete() -> impl Strategy<Value = Delete> {
    let spis = || vec(any::<u32>(), 0..20);
    prop_oneof![Just(Delete::Ike), spis().prop_map(Delete::Esp), spis().prop_map(Delete::Ah)]
}

fn configuration() -> impl Strategy<Value = Configuration> {
    let attribute = (0..0x8000u16, octets(30))
        .prop_map(|(kind, value)| CfgAttribute { kind: CfgAttributeType::from_number(kind), value });
    (any::<u8>(), vec(attribute, 0..10))
        .prop_map(|(kind, attributes)| Configuration { kind: CfgType::from_number(kind), attributes })
}

pub(super) fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        vec(proposal(), 1..5).prop_map(|proposals| Payload::Sa(Sa { proposals })),
        (any::<u16>(), vec(any::<u8>(), 1..300)).prop_map(|(group, data)| Payload::Ke(Ke { group, data })),
        identification().prop_map(Payload::IdI),
        identification().prop_map(Payload::IdR),
        (any::<u8>(), octets(300))
            .prop_map(|(n, data)| Payload::Cert(Cert { encoding: CertEncoding::from_number(n), data })),
        (any::<u8>(), octets(300))
            .prop_map(|(n, data)| Payload::CertReq(CertReq { encoding: CertEncoding::from_number(n), data })),
        (any::<u8>(), octets(300))
            .prop_map(|(n, data)| Payload::Auth(Auth { method: AuthMethod::from_number(n), data })),
        vec(any::<u8>(), 16..=256).prop_map(|octets| Payload::Nonce(Nonce::new(octets).unwrap())),
        notify().prop_map(Payload::Notify),
        delete().prop_map(Payload::Delete),
        octets(60).prop_map(Payload::Vendor),
        selectors().prop_map(Payload::TsI),
        selectors().prop_map(Payload::TsR),
        configuration().prop_map(Payload::Cp),
        octets(300).prop_map(Payload::Eap),
        (54u8.., octets(60)).prop_map(|(number, body)| Payload::Unknown { number, body }),
    ]
}

pub(super) fn header() -> impl Strategy<Value = Header> {
    (any::<(u64, u64)>(), any::<u8>(), any::<[bool; 3]>(), any::<u32>(), 0..16u8).prop_map(
        |((i, r), exchange, [from_initiator, is_response, higher_version], message_id, minor_version)| {
            Header {
                initiator_spi: IkeSpi(i),
                responder_spi: IkeSpi(r),
                major_version: MAJOR_VERSION,
                minor_version,
                exchange: ExchangeType::from_number(exchange),
                from_initiator,
                is_response,
                higher_version,
                message_id,
            }
        },
    )
}

pub(super) fn message() -> impl Strategy<Value = Message> {
    (header(), vec(payload(), 0..8)).prop_map(|(header, payloads)| Message { header, payloads })
}
