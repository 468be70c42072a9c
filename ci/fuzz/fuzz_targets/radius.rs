//! RADIUS datagrams from whoever sends them: parsing, answers that are checked, orders that are checked, what is granted. The first
//! octet chooses whether the packet is sealed first as a server with the secret would, so that what lies behind the hashes is
//! reached, too.
#![no_main]

use causeway_radius::SharedSecret;
use causeway_radius::dynamic::{self, Policy};
use causeway_radius::eap::eap_packet;
use causeway_radius::grant::grant;
use causeway_radius::packet::{Attributes, Packet};
use causeway_radius::reply::verify;
use causeway_radius::request::Question;
use hmac::digest::Digest;
use libfuzzer_sys::fuzz_target;

const SECRET: &[u8] = b"fuzz";
const NOW: u64 = 1_700_000_000;

fuzz_target!(|input: &[u8]| {
    let Some((choice, datagram)) = input.split_first() else { return };
    let Some(secret) = SharedSecret::new(SECRET.to_vec()) else { return };
    let mut datagram = datagram.to_vec();
    let authenticator = [7; 16];
    if choice & 1 == 1 {
        seal(&mut datagram, if choice & 2 == 2 { [0; 16] } else { authenticator });
    }
    if let Ok(packet) = Packet::parse(&datagram) {
        let octets: usize = packet.attributes().map(|(_, value)| value.len() + 2).sum();
        assert_eq!(octets + 20, packet.octets().len(), "attributes fill their packet");
    }
    let identifier = datagram.get(1).copied().unwrap_or(0);
    if let Ok(sent) = Question::Status.request(identifier, authenticator, &secret)
        && let Ok(reply) = verify(&datagram, &sent, &secret)
    {
        let _ = (reply.msk(&secret), eap_packet(reply.attributes()), grant(reply.attributes()));
    }
    let lax = Policy { require_signature: false, require_timestamp: false, window_secs: u64::MAX };
    if let Ok(request) = dynamic::verify(&datagram, &secret, &lax, NOW) {
        let outcome = request.wish(&[], "gw").map(|_| ());
        let answer = request.answer(outcome, &secret, NOW);
        assert!(Packet::parse(&answer).is_ok(), "our own answer is a packet");
    }
    let _ = grant(Attributes::of(&datagram));
});

/// Length, and the authenticator that a server's hash would be.
fn seal(datagram: &mut Vec<u8>, bound_to: [u8; 16]) {
    if datagram.len() < 20 {
        return;
    }
    datagram.truncate(4096);
    let length = u16::try_from(datagram.len()).unwrap_or(4096).to_be_bytes();
    datagram[2..4].copy_from_slice(&length);
    datagram[4..20].copy_from_slice(&bound_to);
    let hash = md5::Md5::new().chain_update(&datagram[..]).chain_update(SECRET).finalize();
    datagram[4..20].copy_from_slice(&hash);
}
