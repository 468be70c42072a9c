//! A table of malformed payload chains and the error of each.

use crate::crypto::testing::unhex;
use crate::wire::*;

#[test]
fn malformed_chains() {
    let truncated = |what| WireError::Truncated { what };
    let length = |what| WireError::BadLength { what };
    let value = |what| WireError::BadValue { what };
    // First payload's type, octets, error.
    let table: [(u8, &str, WireError); 31] = [
        (41, "00", truncated("payload chain")),
        (41, "00000003", length("payload chain")),
        (41, "00000009 00000000", truncated("payload chain")),
        (41, "29000008 00000001", truncated("payload chain")),
        (41, "00000008 00000001 00", length("payload chain")),
        (41, "00000008 00080001", truncated("Notify payload")),
        (200, "00800004", WireError::UnsupportedCritical(200)),
        (0, "00000004", length("payload chain")),
        (46, "00000004", WireError::Unexpected(PayloadType::Sk)),
        (53, "00000004", WireError::Unexpected(PayloadType::Skf)),
        (33, "00000004", truncated("SA payload")),
        // A proposal: says another follows.
        (33, "0000000c 02000008 01010000", truncated("SA payload")),
        (33, "0000000c 01000008 01010000", value("proposal")),
        // ... too short for its own header.
        (33, "0000000c 00000003 01010000", length("SA payload")),
        // ... ESP with 8-octet SPI, IKE with 4, ESP without.
        (33, "00000014 00000010 01030800 0000000000000000", length("SPI of a proposal")),
        (33, "00000010 0000000c 01010400 00000000", length("SPI of a proposal")),
        (33, "0000000c 00000008 01030000", length("SPI of a proposal")),
        // ... one transform announced, none there; none announced, one there.
        (33, "0000000c 00000008 01010001", truncated("proposal")),
        (33, "00000014 00000010 01010000 00000008 04000013", length("proposal")),
        // A transform says another follows; an attribute ends early.
        (33, "00000014 00000010 01010001 03000008 04000013", value("transform")),
        (33, "00000016 00000012 01010001 0000000a 01000014 800e", truncated("transform")),
        (34, "00000006 0013", truncated("KE payload")),
        (34, "00000008 00130000", length("KE payload")),
        (40, "00000013 000102030405060708090a0b0c0d0e", length("Nonce payload")),
        (35, "00000007 010000", truncated("ID payload")),
        (35, "0000000b 01000000 7f0000", length("identification data")),
        (42, "00000008 03040001", truncated("Delete payload")),
        (42, "0000000c 03030001 00000001", value("Delete payload")),
        (42, "00000010 01080001 0000000000000001", value("Delete payload")),
        (44, "00000008 00000000", value("TS payload")),
        (47, "0000000c 01000000 00010008", truncated("CP payload")),
    ];
    for (first, octets, expected) in table {
        assert_eq!(parse_payloads(first, &unhex(octets)), Err(expected), "{first} {octets}");
    }
}

#[test]
fn malformed_selectors() {
    let table = [
        // Addresses in the wrong order, ports in the wrong order, IPv4 too short, IPv4 too long, IPv6 too short.
        (
            "00000018 01000000 07000010 0000ffff 0a000002 0a000001",
            WireError::BadValue { what: "traffic selector" },
        ),
        (
            "00000018 01000000 07060010 00500019 0a000001 0a000002",
            WireError::BadValue { what: "traffic selector" },
        ),
        ("00000014 01000000 0700000c 0000ffff 0a000001", WireError::Truncated { what: "traffic selector" }),
        (
            "0000001c 01000000 07000014 0000ffff 0a000001 0a000002 00000000",
            WireError::BadLength { what: "traffic selector" },
        ),
        (
            "00000018 01000000 08000010 0000ffff 0a000001 0a000002",
            WireError::Truncated { what: "traffic selector" },
        ),
        (
            "00000018 02000000 07000010 0000ffff 0a000001 0a000002",
            WireError::Truncated { what: "TS payload" },
        ),
        ("0000000c 01000000 07000003", WireError::BadLength { what: "TS payload" }),
    ];
    for (octets, expected) in table {
        assert_eq!(parse_payloads(44, &unhex(octets)), Err(expected), "{octets}");
    }
}

#[test]
fn counts_are_bounded() {
    let too_many = |what, max| Err(WireError::TooMany { what, max });
    let vendors = unhex("2b000004").repeat(MAX_PAYLOADS + 1);
    assert_eq!(parse_payloads(43, &vendors), too_many("payloads", MAX_PAYLOADS));
    let proposals = unhex("02000008 01010000").repeat(MAX_PROPOSALS + 1);
    let chain =
        [&[0, 0][..], &u16::try_from(4 + proposals.len()).unwrap().to_be_bytes(), &proposals].concat();
    assert_eq!(parse_payloads(33, &chain), too_many("proposals", MAX_PROPOSALS));
    let attributes = unhex("80010001").repeat(MAX_ATTRIBUTES + 1);
    let transform = [&unhex("0000002c 01000014")[..], &attributes].concat();
    let proposal = [&unhex("00000034 01010001")[..], &transform].concat();
    let chain = [&unhex("00000038")[..], &proposal].concat();
    assert_eq!(parse_payloads(33, &chain), too_many("attributes of a transform", MAX_ATTRIBUTES));
    let spis = unhex("00000001").repeat(MAX_DELETE_SPIS + 1);
    let chain = [&unhex("0000040c 03040101")[..], &spis].concat();
    assert_eq!(parse_payloads(42, &chain), too_many("SPIs to delete", MAX_DELETE_SPIS));
    let attributes = unhex("00030000").repeat(MAX_CFG_ATTRIBUTES + 1);
    let chain = [&unhex("0000040c 01000000")[..], &attributes].concat();
    assert_eq!(parse_payloads(47, &chain), too_many("configuration attributes", MAX_CFG_ATTRIBUTES));
}

#[test]
fn headers() {
    let good = unhex("0102030405060708 1112131415161718 29 20 25 08 00000005 00000024 00000008 00000001");
    assert!(matches!(Incoming::parse(&good), Ok(Incoming::Clear(_))));
    let with = |at: usize, octet: u8| {
        let mut datagram = good.clone();
        datagram[at] = octet;
        Incoming::parse(&datagram).err()
    };
    assert_eq!(with(17, 0x30), Some(WireError::UnsupportedMajorVersion(3)));
    assert_eq!(with(17, 0x10), Some(WireError::UnsupportedMajorVersion(1)));
    assert_eq!(with(17, 0x2f), None);
    assert_eq!(with(27, 0x23), Some(WireError::BadLength { what: "IKE header" }));
    assert_eq!(with(27, 0x25), Some(WireError::BadLength { what: "IKE header" }));
    assert_eq!(Incoming::parse(&good[..27]).err(), Some(WireError::Truncated { what: "IKE header" }));
    let header = Header::parse(&good).unwrap();
    assert_eq!(header.initiator_spi.to_string(), "0102030405060708");
    assert_eq!((header.message_id, header.from_initiator, header.is_response), (5, true, false));
}

/// RFC 7296 §3.14: SK is the last payload, and nothing of weight stands before it in the clear.
#[test]
fn payloads_beside_sk() {
    let header = |next: &str, total: &str| {
        format!("0102030405060708 1112131415161718 {next} 20 23 08 00000001 {total}")
    };
    let notify_then_sk = header("29", "00000028") + "2e000008 00004000" + "29000004";
    assert!(matches!(Incoming::parse(&unhex(&notify_then_sk)), Ok(Incoming::Encrypted(_))));
    let eap_then_sk = header("30", "00000024") + "2e000004" + "29000004";
    assert_eq!(Incoming::parse(&unhex(&eap_then_sk)).err(), Some(WireError::NotEncrypted(PayloadType::Eap)));
    let sk_then_more = header("2e", "00000024") + "29000004" + "00000004";
    assert_eq!(
        Incoming::parse(&unhex(&sk_then_more)).err(),
        Some(WireError::BadLength { what: "payload chain" })
    );
}

#[test]
fn errors_become_the_right_notifies() {
    let table = [
        (WireError::UnsupportedCritical(99), NotifyType::UnsupportedCriticalPayload),
        (WireError::UnsupportedMajorVersion(3), NotifyType::InvalidMajorVersion),
        (WireError::Truncated { what: "" }, NotifyType::InvalidSyntax),
        (WireError::Missing(PayloadType::Sa), NotifyType::InvalidSyntax),
    ];
    for (error, notify) in table {
        assert_eq!(error.notify(), notify);
    }
}

/// What does not fit its length field is an error of ours, not a cut message.
#[test]
fn too_long_is_not_sent() {
    let header = Header::new(IkeSpi(1), IkeSpi(2), ExchangeType::IkeAuth, true, false, 1);
    let send = |payloads: Vec<Payload>| Message::new(header, payloads).emit_clear().err();
    let too_long = |what| Some(WireError::TooLong { what });
    assert_eq!(send(vec![Payload::Vendor(vec![0; 65_532])]), too_long("payload"));
    assert_eq!(
        send(vec![Payload::Vendor(vec![0; 40_000]), Payload::Vendor(vec![0; 40_000])]),
        too_long("message")
    );
    let mut notify = Notify::new(NotifyType::Cookie);
    notify.spi = vec![0; 256];
    assert_eq!(send(vec![Payload::Notify(notify)]), too_long("SPI of a notify"));
}
