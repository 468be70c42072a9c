//! What the fuzz target `anyconnect` does with its input, for the target and for the test that replays its seeds.
//!
//! The first octet chooses the parser. What was understood must be written and understood again the same.

use causeway_eap::anyconnect::framing::{Content, Frame};
use causeway_eap::anyconnect::message::{ClientMessage, GatewayMessage};
use causeway_eap::anyconnect::{pkcs7, xml};

/// Whether the octets were understood.
pub fn anyconnect(octets: &[u8]) -> bool {
    let Some((choice, octets)) = octets.split_first() else { return false };
    match choice % 5 {
        0 => frame(octets),
        1 => xml::parse(octets).is_ok(),
        2 => client(octets),
        3 => gateway(octets),
        _ => chain(octets),
    }
}

fn frame(octets: &[u8]) -> bool {
    let Ok(frame) = Frame::decode(octets) else { return false };
    let again = match &frame {
        Frame::Request { identifier, content: Content::AnyConnect(tlvs) } => tlvs.encode_request(*identifier),
        Frame::Response { identifier, content: Content::AnyConnect(tlvs) } => {
            tlvs.encode_response(*identifier)
        }
        _ => return true,
    };
    let again = again.expect("what was read can be written");
    assert_eq!(Frame::decode(&again).as_ref(), Ok(&frame));
    true
}

fn client(octets: &[u8]) -> bool {
    let Ok(read) = ClientMessage::read(octets) else { return false };
    // A document may say what ours cannot: then it is not written, but neither is it a panic.
    if let Ok(document) = read.message.write() {
        let again = ClientMessage::read(document.as_bytes());
        assert!(again.is_ok(), "our own document: {:?}: {document}", again.err());
    }
    true
}

fn gateway(octets: &[u8]) -> bool {
    let Ok(read) = GatewayMessage::read(octets) else { return false };
    if let Ok(document) = read.message.write() {
        let again = GatewayMessage::read(document.as_bytes());
        assert!(again.is_ok(), "our own document: {:?}: {document}", again.err());
    }
    true
}

fn chain(octets: &[u8]) -> bool {
    let Ok(certificates) = pkcs7::parse(octets) else { return false };
    if let Ok(written) = pkcs7::write(&certificates) {
        assert_eq!(pkcs7::parse(&written).ok(), Some(certificates));
    }
    true
}
