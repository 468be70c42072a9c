//! Properties: what is written is read back, what is read is written the same, and nothing panics.

use proptest::prelude::*;

use super::strategies::{identity, message, octets, payload};
use crate::crypto::{Role, SystemRandom};
use crate::ident::Identity;
use crate::wire::tests::fragments::keys;
use crate::wire::*;

proptest! {
    #[test]
    fn a_payload_survives_the_wire(payload in payload()) {
        let (first, octets) = emit_payloads(std::slice::from_ref(&payload)).unwrap();
        prop_assert_eq!(first, payload.payload_type().number());
        prop_assert_eq!(parse_payloads(first, &octets), Ok(vec![payload]));
    }

    #[test]
    fn a_message_survives_the_wire(message in message()) {
        let datagram = message.emit_clear().unwrap();
        let Incoming::Clear(parsed) = Incoming::parse(&datagram).unwrap() else { panic!("not clear") };
        prop_assert_eq!(parsed, message);
    }

    #[test]
    fn an_identity_survives_the_wire_and_its_text_is_printable(identity in identity()) {
        let mut octets = Vec::new();
        identity.emit(&mut octets);
        prop_assert_eq!(Identity::parse(identity.id_type(), &octets), Ok(identity.clone()));
        prop_assert!(!identity.to_string().chars().any(char::is_control));
        prop_assert!(identity.matches(&identity));
    }

    #[test]
    fn a_message_survives_sealing(message in message(), suite in 0..3usize) {
        let keys = keys(suite);
        let (mut sealer, _) = keys.ends(Role::Initiator).unwrap();
        let (_, opener) = keys.ends(Role::Responder).unwrap();
        let datagram = message.seal(&mut sealer, &mut SystemRandom).unwrap();
        let Incoming::Encrypted(encrypted) = Incoming::parse(&datagram).unwrap() else { panic!("not encrypted") };
        prop_assert_eq!(encrypted.open(&opener), Ok(message));
    }

    #[test]
    fn any_octets_are_read_without_panic(first: u8, octets in octets(400)) {
        if let Ok(payloads) = parse_payloads(first, &octets) {
            // What was understood can be written, and is understood again.
            let (first, again) = emit_payloads(&payloads).unwrap();
            prop_assert_eq!(parse_payloads(first, &again), Ok(payloads));
        }
    }

    #[test]
    fn any_datagram_is_read_without_panic(mut datagram in proptest::collection::vec(any::<u8>(), 28..300), next: u8) {
        let length = u32::try_from(datagram.len()).unwrap().to_be_bytes();
        datagram[16] = next;
        datagram[17] = 0x20;
        datagram[24..28].copy_from_slice(&length);
        let (_, opener) = keys(0).ends(Role::Responder).unwrap();
        match Incoming::parse(&datagram) {
            Ok(Incoming::Encrypted(encrypted)) => prop_assert_eq!(encrypted.open(&opener).err(), Some(OpenError::Integrity)),
            Ok(Incoming::Fragment(fragment)) => prop_assert!(fragment.open(&opener).is_err()),
            Ok(Incoming::Clear(_)) | Err(_) => {}
        }
    }
}
