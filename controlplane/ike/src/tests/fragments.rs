//! Both fragmentations on a network that doubles, reverses and mixes: a login comes through, once; what belongs to no
//! message of the client, or is too much, is dropped and harms nobody (RFC 7383, and Cisco's payload 132).

use super::anyconnect::anyconnect_config;
use super::harness::*;
use crate::api::{Datagram, Fragmentation, Input};
use crate::cisco::{MAX_CISCO_FRAGMENTS, VendorId};
use crate::testing::*;

/// Largest IKE datagram of the client, octets: a first request of some 1,400 takes several.
const PIECE: usize = 300;
/// Where payload 132 has the fragment ID (2 octets), then the number.
const CISCO_ID: usize = 32;
const CISCO_NUMBER: usize = 34;
/// Where the SKF payload has fragment number and total (RFC 7383 §2.5).
const IETF_NUMBER: usize = 32;
const MESSAGE_ID: usize = 20;

/// What a network makes of one request.
type Network = fn(Vec<Datagram>) -> Vec<Datagram>;

fn cut_client(pki: &Pki, ietf: bool) -> Client {
    let mut config = anyconnect_config(pki).0;
    config.vendor_ids.push(VendorId::Fragmentation);
    let attributes = vec![(28_682, vec![b'x'; 900])];
    let config = InitiatorConfig { fragment: Some(PIECE), ietf_fragments: ietf, attributes, ..config };
    Client::new(config, 2)
}

fn cutting_gateway(pki: &Pki) -> Gateway {
    let mut gateway = Gateway::new(pki, 1, |config| config.fragment_size = 576);
    gateway.eap_makes_no_key = true;
    gateway
}

/// Carries a client's requests over the network; says how many datagrams the longest request took.
fn carry(client: &mut Client, gateway: &mut Gateway, first: Vec<Outgoing>, network: Network) -> usize {
    let (mut request, mut longest) = (first, 0);
    while !request.is_empty() {
        longest = longest.max(request.len());
        let datagrams = request.iter().map(|outgoing| client.datagram(outgoing)).collect();
        for datagram in network(datagrams) {
            gateway.input(Input::Datagram(datagram));
        }
        request = Vec::new();
        let answers: Vec<Datagram> = gateway.outbox.drain(..).collect();
        for answer in network(answers) {
            // A copy of an answer that was taken already means nothing to the client.
            request.extend(client.initiator.receive(&answer.bytes).unwrap_or_default());
        }
        client.notable.extend(client.initiator.take_notable());
    }
    longest
}

fn each_twice(datagrams: Vec<Datagram>) -> Vec<Datagram> {
    datagrams.into_iter().flat_map(|datagram| [datagram.clone(), datagram]).collect()
}

fn all_twice(datagrams: Vec<Datagram>) -> Vec<Datagram> {
    [datagrams.clone(), datagrams].concat()
}

fn reversed(mut datagrams: Vec<Datagram>) -> Vec<Datagram> {
    datagrams.reverse();
    datagrams
}

/// Of two copies, pieces arrive alternately from the front and from the back.
fn shuffled(datagrams: Vec<Datagram>) -> Vec<Datagram> {
    let back = reversed(datagrams.clone());
    datagrams.into_iter().zip(back).flat_map(|(front, back)| [back, front]).collect()
}

#[test]
fn a_login_in_pieces_survives_duplicates_and_any_order_and_is_done_once() {
    let pki = Pki::new();
    for ietf in [true, false] {
        for (name, network) in [
            ("each piece twice", each_twice as Network),
            ("all pieces twice", all_twice),
            ("reversed", reversed),
            ("shuffled", shuffled),
        ] {
            let (mut client, mut gateway) = (cut_client(&pki, ietf), cutting_gateway(&pki));
            let first = client.initiator.start().unwrap();
            let longest = carry(&mut client, &mut gateway, first, network);
            assert!(longest > 4, "{name}: only {longest} pieces");
            assert!(client.initiator.is_up(), "{name}, ietf {ietf}: {:?}", client.notable);
            assert_eq!(client.notable.iter().filter(|seen| **seen == Notable::Up).count(), 1);
            assert_agreement(&client, &gateway);
            assert_eq!((gateway.address_requests.len(), gateway.endpoint.established()), (1, 1), "{name}");
            let way = if ietf { Fragmentation::Ietf } else { Fragmentation::Cisco };
            assert_eq!(gateway.facts().fragmentation, way);
        }
    }
}

/// A client whose first IKE_AUTH is in pieces and has not been sent.
fn before_first_auth(pki: &Pki, ietf: bool) -> (Client, Gateway, Vec<Outgoing>) {
    let (mut client, mut gateway) = (cut_client(pki, ietf), cutting_gateway(pki));
    let init = client.initiator.start().unwrap();
    gateway.input(Input::Datagram(client.datagram(&init[0])));
    let answer = gateway.outbox.pop_front().unwrap();
    let request = client.receive(&answer);
    assert!(request.len() > 4);
    (client, gateway, request)
}

#[test]
fn pieces_that_do_not_belong_together_make_no_message_and_do_not_stop_the_right_ones() {
    let pki = Pki::new();
    type Change = fn(usize, &mut Vec<u8>);
    for (ietf, name, change) in [
        // Unauthenticated: the pieces are held, and never meet.
        (false, "two fragment IDs", (|at, bytes| bytes[CISCO_ID] ^= (at % 2) as u8) as Change),
        (false, "two message IDs", |at, bytes| bytes[MESSAGE_ID + 3] ^= (at % 2 * 6) as u8),
        (false, "a piece under another's number", |at, bytes| bytes[CISCO_NUMBER] -= u8::from(at == 2)),
        (false, "damaged within", |at, bytes| bytes[60] ^= u8::from(at == 1)),
        // Authenticated each by itself: a change is a forgery.
        (true, "two message IDs", |at, bytes| bytes[MESSAGE_ID + 3] ^= (at % 2 * 6) as u8),
        (true, "a piece under another's number", |at, bytes| bytes[IETF_NUMBER + 1] -= u8::from(at == 2)),
        (true, "another total", |at, bytes| bytes[IETF_NUMBER + 3] += u8::from(at == 1)),
        (true, "damaged within", |at, bytes| bytes[60] ^= u8::from(at == 1)),
    ] {
        let (mut client, mut gateway, request) = before_first_auth(&pki, ietf);
        for (at, outgoing) in request.iter().enumerate() {
            let mut datagram = client.datagram(outgoing);
            change(at, &mut datagram.bytes);
            gateway.input(Input::Datagram(datagram));
        }
        assert!(gateway.outbox.is_empty(), "{name}, ietf {ietf}: an answer to a mixture");
        assert!(gateway.eap_starts.is_empty(), "{name}");
        // What was spoiled is forgotten in time, and the retransmission is good.
        gateway.advance(crate::cisco::SET_LIFETIME_MS);
        carry(&mut client, &mut gateway, request, |datagrams| datagrams);
        assert!(client.initiator.is_up(), "{name}, ietf {ietf}: {:?}", client.notable);
        assert_agreement(&client, &gateway);
    }
}

#[test]
fn a_message_that_is_too_long_is_dropped_and_the_client_goes_on() {
    let pki = Pki::new();
    for ietf in [true, false] {
        let (mut client, mut gateway, request) = before_first_auth(&pki, ietf);
        let before = dropped(&gateway);
        // The client's pieces, as if there were more of them than any message may have.
        let limit =
            if ietf { usize::from(crate::wire::MAX_FRAGMENTS) } else { usize::from(MAX_CISCO_FRAGMENTS) };
        for number in 1..=limit + 1 {
            let mut datagram = client.datagram(&request[0]);
            match ietf {
                true => {
                    datagram.bytes[IETF_NUMBER..IETF_NUMBER + 2]
                        .copy_from_slice(&(number as u16).to_be_bytes());
                    datagram.bytes[IETF_NUMBER + 2..IETF_NUMBER + 4].copy_from_slice(&u16::MAX.to_be_bytes());
                }
                false => {
                    datagram.bytes[CISCO_NUMBER] = number as u8;
                    // Never the last.
                    datagram.bytes[CISCO_NUMBER + 1] = 0;
                }
            }
            gateway.input(Input::Datagram(datagram));
        }
        assert!(gateway.outbox.is_empty());
        assert!(dropped(&gateway) > before, "ietf {ietf}");
        gateway.advance(crate::cisco::SET_LIFETIME_MS);
        carry(&mut client, &mut gateway, request, |datagrams| datagrams);
        assert!(client.initiator.is_up(), "ietf {ietf}: {:?}", client.notable);
    }
}

/// Datagrams that were dropped, for whatever reason.
fn dropped(gateway: &Gateway) -> u64 {
    let counters = gateway.endpoint.counters().iter();
    counters.filter(|(counter, _)| counter.name().starts_with("ike_drop_")).map(|(_, total)| total).sum()
}
