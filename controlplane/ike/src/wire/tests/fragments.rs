//! RFC 7383: messages are split, come in any order, twice, or in two splittings, and are whole again.

use proptest::prelude::*;

use super::strategies::{message, payload};
use crate::crypto::{ExchangeValues, IkeKeys, Role, Secret, SharedSecret, SkOpener, SystemRandom};
use crate::suite::{IkeProposal, IkeSuite, Kems};
use crate::wire::*;

/// RFC 9242 §3.3.2: the same octets whether a message came whole or in pieces, and those that its sender meant.
#[test]
fn what_ike_intermediate_authenticates_does_not_depend_on_how_it_was_sent() {
    let header = Header::new(IkeSpi(1), IkeSpi(2), ExchangeType::IkeIntermediate, true, false, 1);
    let ke = |octets: usize| Payload::Ke(Ke { group: 37, data: vec![5; octets] });
    for suite in 0..3 {
        for octets in [1, 100, 1568] {
            let message = Message::new(header, vec![ke(octets), Payload::Vendor(vec![1, 2, 3])]);
            let content = message.content().unwrap();
            let [associated, inner] = content.chunks();
            let (head, sk) = associated.split_at(HEADER_LEN);
            // The header: SPIs, SK, version, exchange, flags, message ID, then a length that counts neither IV nor ICV.
            let total = u32::try_from(HEADER_LEN + 4 + inner.len()).unwrap();
            assert_eq!(head[16..24], [46, 0x20, 43, 0x08, 0, 0, 0, 1]);
            assert_eq!(head[24..], total.to_be_bytes());
            let payload_len = u16::try_from(4 + inner.len()).unwrap();
            assert_eq!(sk, [&[34, 0][..], &payload_len.to_be_bytes()].concat());
            assert_eq!(inner.len(), 4 + 4 + octets + 4 + 3);

            let (mut sealer, _) = keys(suite).ends(Role::Initiator).unwrap();
            let whole = message.seal(&mut sealer, &mut SystemRandom).unwrap();
            let Incoming::Encrypted(encrypted) = Incoming::parse(&whole).unwrap() else { panic!() };
            assert_eq!(encrypted.open_with_content(&opener(suite)).unwrap().1, content);

            let pieces = message.seal_fragments(&mut sealer, &mut SystemRandom, 400).unwrap();
            assert_eq!(pieces.len() > 1, octets > 400);
            let mut reassembly = Reassembly::new(1);
            for piece in pieces.iter().rev() {
                let Incoming::Fragment(fragment) = Incoming::parse(piece).unwrap() else { continue };
                reassembly.push(fragment.header, fragment.open(&opener(suite)).unwrap()).unwrap();
            }
            assert_eq!(reassembly.take_content(), (pieces.len() > 1).then_some(content));
        }
    }
}

/// Keys for one of three suites.
pub(super) fn keys(suite: usize) -> IkeKeys {
    let texts = ["aes256gcm16-prfsha384-ecp384", "aes128-sha256-modp2048", "aes256-sha512-ecp521"];
    let proposal: IkeProposal = texts[suite].parse().unwrap();
    let suite = IkeSuite {
        cipher: proposal.ciphers[0],
        integ: proposal.integs.first().copied(),
        prf: proposal.prfs[0],
        group: proposal.groups[0],
        kems: Kems::NONE,
    };
    let nonce = Nonce::new(vec![7; 32]).unwrap();
    let values = ExchangeValues {
        initiator_nonce: &nonce,
        responder_nonce: &nonce,
        initiator_spi: IkeSpi(1),
        responder_spi: IkeSpi(2),
    };
    IkeKeys::initial(suite, &SharedSecret::new(Secret::new(vec![1; 32])), &values).unwrap()
}

fn split(message: &Message, suite: usize, max_datagram: usize) -> Vec<Vec<u8>> {
    let (mut sealer, _) = keys(suite).ends(Role::Initiator).unwrap();
    message.seal_fragments(&mut sealer, &mut SystemRandom, max_datagram).unwrap()
}

fn opener(suite: usize) -> SkOpener {
    keys(suite).ends(Role::Responder).unwrap().1
}

/// Gives datagrams to a reassembly and returns what comes out of each.
fn feed(reassembly: &mut Reassembly, opener: &SkOpener, datagrams: &[Vec<u8>]) -> Vec<Option<Message>> {
    let mut out = Vec::new();
    for datagram in datagrams {
        let Incoming::Fragment(fragment) = Incoming::parse(datagram).unwrap() else { panic!("no fragment") };
        if !reassembly.wants(&fragment) {
            out.push(None);
            continue;
        }
        let opened = fragment.open(opener).unwrap();
        out.push(reassembly.push(fragment.header, opened).unwrap());
    }
    out
}

fn big_message() -> Message {
    let header = Header::new(IkeSpi(1), IkeSpi(2), ExchangeType::IkeAuth, true, false, 9);
    let vendor = |octet: u8| Payload::Vendor(vec![octet; 700]);
    Message::new(header, vec![vendor(1), vendor(2), vendor(3), vendor(4), vendor(5)])
}

proptest! {
    #[test]
    fn fragments_fit_and_come_together_in_any_order(
        mut message in message(),
        more in proptest::collection::vec(payload(), 3..6),
        suite in 0..3usize,
        max_datagram in 200..1300usize,
        seed: u64,
    ) {
        message.payloads.extend(more);
        let datagrams = split(&message, suite, max_datagram);
        prop_assert!(datagrams.iter().all(|datagram| datagram.len() <= max_datagram));
        if let [whole] = datagrams.as_slice() {
            let Incoming::Encrypted(encrypted) = Incoming::parse(whole).unwrap() else { panic!("not encrypted") };
            prop_assert_eq!(encrypted.open(&opener(suite)), Ok(message));
            return Ok(());
        }
        let mut order: Vec<usize> = (0..datagrams.len()).collect();
        order.sort_by_key(|index| (*index as u64).wrapping_add(1).wrapping_mul(seed | 1) % 1009);
        let shuffled: Vec<Vec<u8>> = order.iter().map(|index| datagrams[*index].clone()).collect();
        let mut reassembly = Reassembly::new(message.header.message_id);
        let out = feed(&mut reassembly, &opener(suite), &shuffled);
        let (last, before) = out.split_last().unwrap();
        prop_assert!(before.iter().all(Option::is_none));
        prop_assert_eq!(last.as_ref(), Some(&message));
    }
}

#[test]
fn repeated_fragments_are_not_wanted() {
    let message = big_message();
    let datagrams = split(&message, 0, 1000);
    let mut reassembly = Reassembly::new(9);
    let twice = [datagrams[0].clone(), datagrams[0].clone()];
    assert_eq!(feed(&mut reassembly, &opener(0), &twice), [None, None]);
    assert_eq!(feed(&mut reassembly, &opener(0), &datagrams[1..]).last(), Some(&Some(message)));
}

/// RFC 7383 §2.6: a higher total replaces what was collected, a lower one is ignored.
#[test]
fn a_finer_splitting_starts_over() {
    let message = big_message();
    let (coarse, fine) = (split(&message, 1, 1200), split(&message, 1, 500));
    assert!(coarse.len() < fine.len());
    let mut reassembly = Reassembly::new(9);
    feed(&mut reassembly, &opener(1), &coarse[..coarse.len() - 1]);
    feed(&mut reassembly, &opener(1), &fine[..1]);
    assert_eq!(feed(&mut reassembly, &opener(1), &coarse[coarse.len() - 1..]), [None]);
    assert_eq!(feed(&mut reassembly, &opener(1), &fine[1..]).last(), Some(&Some(message)));
}

#[test]
fn fragments_of_another_message_are_not_wanted() {
    let datagrams = split(&big_message(), 0, 1000);
    let Incoming::Fragment(fragment) = Incoming::parse(&datagrams[0]).unwrap() else { panic!() };
    assert!(Reassembly::new(9).wants(&fragment));
    assert!(!Reassembly::new(8).wants(&fragment));
}

#[test]
fn a_changed_fragment_number_breaks_the_icv() {
    let datagrams = split(&big_message(), 2, 1000);
    let mut changed = datagrams[0].clone();
    // Header, generic payload header, then number and total.
    changed[28 + 4 + 1] = 2;
    let Incoming::Fragment(fragment) = Incoming::parse(&changed).unwrap() else { panic!() };
    assert_eq!(fragment.number, 2);
    assert_eq!(fragment.open(&opener(2)).err(), Some(OpenError::Integrity));
}

#[test]
fn impossible_numbers_are_refused_before_any_cryptography() {
    let datagram = &split(&big_message(), 0, 1000)[0];
    for (number, total) in [(0u16, 3u16), (4, 3), (1, 0), (1, MAX_FRAGMENTS + 1), (1, u16::MAX)] {
        let mut changed = datagram.clone();
        changed[32..34].copy_from_slice(&number.to_be_bytes());
        changed[34..36].copy_from_slice(&total.to_be_bytes());
        assert!(Incoming::parse(&changed).is_err(), "{number} of {total}");
    }
}

/// A peer that holds the keys cannot make us collect more than one datagram's worth.
#[test]
fn collected_octets_are_bounded() {
    let mut reassembly = Reassembly::new(9);
    let header = big_message().header;
    let mut refused = None;
    for number in 1..=MAX_FRAGMENTS {
        let fragment = OpenedFragment {
            number,
            total: MAX_FRAGMENTS,
            first_inner: 43,
            plaintext: vec![0; 1300],
            associated: vec![],
        };
        match reassembly.push(header, fragment) {
            Ok(None) => {}
            Ok(Some(_)) => panic!("whole"),
            Err(error) => {
                refused = Some((number, error));
                break;
            }
        }
    }
    let (number, error) = refused.unwrap();
    assert!(usize::from(number) * 1300 > MAX_MESSAGE && (usize::from(number) - 1) * 1300 <= MAX_MESSAGE);
    assert_eq!(error, WireError::TooLong { what: "reassembled message" });
}

#[test]
fn a_message_that_takes_too_many_fragments_is_not_sent() {
    let (mut sealer, _) = keys(0).ends(Role::Initiator).unwrap();
    for max_datagram in [0, 28, 60, 61, 62, 70] {
        let refused = big_message().seal_fragments(&mut sealer, &mut SystemRandom, max_datagram);
        assert_eq!(refused.err(), Some(SealError::TooManyFragments), "{max_datagram}");
    }
}
