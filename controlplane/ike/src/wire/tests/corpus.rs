//! Messages that strongSwan sent (`testdata/corpus`: `raw` as on the wire, `plain` decrypted with the first payload's type
//! in front): each is read, written again the same, and agrees with the parser of the `ipsec-parser` crate.

use std::path::{Path, PathBuf};

use ipsec_parser::{IkePayloadType, IkeV2PayloadContent, parse_ikev2_header, parse_ikev2_payload_list};

use crate::wire::*;

fn files(folder: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/corpus").join(folder);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn decrypted_chains_are_read_and_written_the_same() {
    let files = files("plain");
    assert!(files.len() > 200);
    for (path, octets) in files {
        let (first, chain) = octets.split_first().unwrap();
        let payloads = parse_payloads(*first, chain).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert_eq!(emit_payloads(&payloads).unwrap(), (*first, chain.to_vec()), "{path:?}");
    }
}

#[test]
fn captured_datagrams_are_read_and_clear_ones_written_the_same() {
    let files = files("raw");
    assert!(files.len() > 100);
    let (mut clear, mut encrypted) = (0, 0);
    for (path, octets) in files {
        match Incoming::parse(&octets).unwrap_or_else(|error| panic!("{path:?}: {error}")) {
            Incoming::Clear(message) => {
                clear += 1;
                assert_eq!(message.emit_clear().unwrap(), octets, "{path:?}");
                rules::check(&message, false).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            }
            Incoming::Encrypted(message) => {
                encrypted += 1;
                assert_ne!(message.header.exchange, ExchangeType::IkeSaInit, "{path:?}");
            }
            Incoming::Fragment(_) => panic!("{path:?}: no fragment was captured"),
        }
    }
    assert!(clear >= 16 && encrypted >= 100, "{clear} {encrypted}");
}

/// The exchange and direction of a decrypted chain stand in its file's name.
#[test]
fn captured_messages_obey_the_payload_rules() {
    for (path, octets) in files("plain") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let exchange = match name.rsplit('-').nth(1).unwrap() {
            "auth" => ExchangeType::IkeAuth,
            "child" => ExchangeType::CreateChildSa,
            "info" => ExchangeType::Informational,
            other => panic!("{other}"),
        };
        let header = Header::new(IkeSpi(1), IkeSpi(2), exchange, true, name.ends_with("resp"), 1);
        let (first, chain) = octets.split_first().unwrap();
        let message = Message::new(header, parse_payloads(*first, chain).unwrap());
        rules::check(&message, true).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    }
}

#[test]
fn another_parser_reads_the_same() {
    for (path, octets) in files("plain") {
        let (first, chain) = octets.split_first().unwrap();
        compare(&parse_payloads(*first, chain).unwrap(), *first, chain, &path);
    }
    for (path, octets) in files("raw") {
        let ours = Incoming::parse(&octets).unwrap();
        let (rest, theirs) = parse_ikev2_header(&octets).unwrap();
        let header = ours.header();
        assert_eq!(header.initiator_spi.0, theirs.init_spi, "{path:?}");
        assert_eq!(header.responder_spi.0, theirs.resp_spi, "{path:?}");
        assert_eq!(header.exchange.number(), theirs.exch_type.0, "{path:?}");
        assert_eq!(header.message_id, theirs.msg_id, "{path:?}");
        assert_eq!(header.from_initiator, theirs.flags & 0x08 != 0, "{path:?}");
        assert_eq!(header.is_response, theirs.flags & 0x20 != 0, "{path:?}");
        if let Incoming::Clear(message) = ours {
            compare(&message.payloads, theirs.next_payload.0, rest, &path);
        }
    }
}

fn compare(ours: &[Payload], first: u8, chain: &[u8], path: &Path) {
    let (rest, theirs) = parse_ikev2_payload_list(chain, IkePayloadType(first)).unwrap();
    assert!(rest.is_empty());
    let Ok(theirs) = theirs else {
        // It wants four octets more of a Delete payload than one for the IKE SA has.
        assert!(ours.contains(&Payload::Delete(Delete::Ike)), "{path:?}: the other parser refuses it");
        return;
    };
    // Its list begins with a dummy that holds the first type.
    let theirs: Vec<_> = theirs.iter().skip(1).map(|payload| &payload.content).collect();
    assert_eq!(ours.len(), theirs.len(), "{path:?}");
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!(same(ours, theirs), "{path:?}: {ours:?} is not {theirs:?}");
    }
}

fn same(ours: &Payload, theirs: &IkeV2PayloadContent<'_>) -> bool {
    match (ours, theirs) {
        (Payload::Sa(ours), IkeV2PayloadContent::SA(theirs)) => {
            ours.proposals.len() == theirs.len()
                && ours.proposals.iter().zip(theirs).all(|(ours, theirs)| {
                    let transforms = ours.transforms.iter().zip(&theirs.transforms);
                    ours.number == theirs.proposal_num
                        && ours.protocol.number() == theirs.protocol_id.0
                        && ours.spi == theirs.spi.unwrap_or_default()
                        && ours.transforms.len() == theirs.transforms.len()
                        && transforms.clone().all(|(a, b)| a.kind.number() == b.transform_type.0)
                        && transforms.clone().all(|(a, b)| a.id == b.transform_id)
                })
        }
        (Payload::Ke(ours), IkeV2PayloadContent::KE(theirs)) => {
            ours.group == theirs.dh_group.0 && ours.data == theirs.kex_data
        }
        (Payload::IdI(ours), IkeV2PayloadContent::IDi(theirs))
        | (Payload::IdR(ours), IkeV2PayloadContent::IDr(theirs)) => {
            ours.identity.id_type() == theirs.id_type.0 && ours.body()[4..] == *theirs.ident_data
        }
        (Payload::Cert(ours), IkeV2PayloadContent::Certificate(theirs)) => {
            ours.encoding.number() == theirs.cert_encoding.0 && ours.data == theirs.cert_data
        }
        (Payload::CertReq(ours), IkeV2PayloadContent::CertificateRequest(theirs)) => {
            ours.encoding.number() == theirs.cert_encoding.0 && ours.data == theirs.ca_data
        }
        (Payload::Auth(ours), IkeV2PayloadContent::Authentication(theirs)) => {
            // The other parser takes the three reserved octets for data, and so misses the last three.
            ours.method.number() == theirs.auth_method.0
                && theirs.auth_data.get(3..) == ours.data.get(..ours.data.len() - 3)
        }
        (Payload::Nonce(ours), IkeV2PayloadContent::Nonce(theirs)) => ours.as_bytes() == theirs.nonce_data,
        (Payload::Notify(ours), IkeV2PayloadContent::Notify(theirs)) => {
            ours.kind.number() == theirs.notify_type.0
                && ours.spi == theirs.spi.unwrap_or_default()
                // The other parser counts the generic header once too often, and so misses the last four.
                && ours.data.get(..ours.data.len().saturating_sub(4)) == Some(theirs.notify_data.unwrap_or_default())
        }
        (Payload::Delete(ours), IkeV2PayloadContent::Delete(theirs)) => match ours {
            Delete::Ike => theirs.protocol_id.0 == 1 && theirs.num_spi == 0,
            Delete::Esp(spis) => {
                // Here, too, it counts the generic header twice, and misses the last SPI.
                let octets: Vec<u8> = spis.iter().flat_map(|spi| spi.to_be_bytes()).collect();
                theirs.protocol_id.0 == 3
                    && usize::from(theirs.num_spi) == spis.len()
                    && octets.get(..octets.len() - 4) == Some(theirs.spi)
            }
            Delete::Ah(_) => false,
        },
        (Payload::Vendor(ours), IkeV2PayloadContent::VendorID(theirs)) => ours == theirs.vendor_id,
        (Payload::TsI(ours), IkeV2PayloadContent::TSi(theirs))
        | (Payload::TsR(ours), IkeV2PayloadContent::TSr(theirs)) => {
            ours.len() == theirs.ts.len()
                && ours.iter().zip(&theirs.ts).all(|(ours, theirs)| match ours {
                    TrafficSelector::Range(range) => {
                        let (first, last) = match range.addresses {
                            AddressRange::Ipv4(a, b) => (a.octets().to_vec(), b.octets().to_vec()),
                            AddressRange::Ipv6(a, b) => (a.octets().to_vec(), b.octets().to_vec()),
                        };
                        range.protocol == theirs.ip_proto_id
                            && range.first_port == theirs.start_port
                            && range.last_port == theirs.end_port
                            && first == theirs.start_addr
                            && last == theirs.end_addr
                    }
                    TrafficSelector::Unknown { .. } => false,
                })
        }
        // The other parser does not look into these.
        (Payload::Cp(_) | Payload::Eap(_), IkeV2PayloadContent::Unknown(_)) => true,
        _ => false,
    }
}

/// Every prefix of every message, and every octet changed: refused or read, never a panic. A prefix is never taken for
/// the whole.
#[test]
fn damaged_messages_never_panic() {
    for (path, octets) in files("plain") {
        let (first, chain) = octets.split_first().unwrap();
        for end in 0..chain.len() {
            assert!(parse_payloads(*first, &chain[..end]).is_err(), "{path:?} cut at {end}");
        }
        let mut damaged = chain.to_vec();
        for at in 0..chain.len() {
            for flip in [0x01, 0x80, 0xff] {
                damaged[at] ^= flip;
                if let Ok(payloads) = parse_payloads(*first, &damaged) {
                    assert!(emit_payloads(&payloads).is_ok());
                }
                damaged[at] ^= flip;
            }
        }
    }
}

#[test]
fn damaged_datagrams_never_panic() {
    for (path, octets) in files("raw").into_iter().filter(|(path, _)| path.to_str().unwrap().contains("init"))
    {
        for end in 0..octets.len() {
            let mut cut = octets[..end].to_vec();
            assert!(Incoming::parse(&cut).is_err(), "{path:?} cut at {end}");
            // With the header's length put right, the payloads are what ends early.
            if let Some(length) = cut.get_mut(24..28) {
                length.copy_from_slice(&u32::try_from(end).unwrap().to_be_bytes());
                assert!(Incoming::parse(&cut).is_err(), "{path:?} cut at {end}");
            }
        }
        let mut damaged = octets.clone();
        for at in 0..octets.len() {
            for flip in [0x01, 0x80, 0xff] {
                damaged[at] ^= flip;
                if let Ok(Incoming::Clear(message)) = Incoming::parse(&damaged) {
                    assert!(message.emit_clear().is_ok());
                }
                damaged[at] ^= flip;
            }
        }
    }
}
