//! ARP for IPv4 over Ethernet (RFC 826; announcements and probes RFC 5227).

use std::net::Ipv4Addr;

use super::ethernet::Mac;

/// Octets of a message.
pub const MESSAGE_LEN: usize = 28;

/// Hardware type 1, protocol IPv4, address lengths 6 and 4.
const PREFIX: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// What a message says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

/// An ARP message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// Request or reply.
    pub operation: Operation,
    /// Sender's Ethernet address.
    pub sender_mac: Mac,
    /// Sender's address.
    pub sender: Ipv4Addr,
    /// Target's Ethernet address; zero in a request.
    pub target_mac: Mac,
    /// Target's address.
    pub target: Ipv4Addr,
}

impl Message {
    /// Reads a message; octets behind it (Ethernet padding) are ignored. `None` if it is short or not IPv4 over
    /// Ethernet or neither request nor reply.
    pub fn parse(octets: &[u8]) -> Option<Message> {
        let rest = octets.strip_prefix(&PREFIX)?;
        let (operation, rest) = rest.split_first_chunk::<2>()?;
        let operation = match u16::from_be_bytes(*operation) {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return None,
        };
        let (sender_mac, rest) = rest.split_first_chunk::<6>()?;
        let (sender, rest) = rest.split_first_chunk::<4>()?;
        let (target_mac, rest) = rest.split_first_chunk::<6>()?;
        let target = rest.first_chunk::<4>()?;
        Some(Message {
            operation,
            sender_mac: *sender_mac,
            sender: Ipv4Addr::from(*sender),
            target_mac: *target_mac,
            target: Ipv4Addr::from(*target),
        })
    }

    /// The message's octets.
    pub fn to_bytes(self) -> [u8; MESSAGE_LEN] {
        let operation: u8 = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        let fields = PREFIX
            .into_iter()
            .chain([0, operation])
            .chain(self.sender_mac)
            .chain(self.sender.octets())
            .chain(self.target_mac)
            .chain(self.target.octets());
        let mut octets = [0; MESSAGE_LEN];
        for (to, from) in octets.iter_mut().zip(fields) {
            *to = from;
        }
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_captured_request_is_read() {
        let octets = [
            0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9, 10, 0, 0, 9, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1, 0xaa, 0xaa,
        ];
        let message = Message::parse(&octets).unwrap();
        assert_eq!(message.operation, Operation::Request);
        assert_eq!(
            (message.sender, message.target),
            (Ipv4Addr::new(10, 0, 0, 9), Ipv4Addr::new(10, 0, 0, 1))
        );
        assert_eq!(message.to_bytes()[..], octets[..MESSAGE_LEN]);
        assert_eq!(Message::parse(&octets[..27]), None);
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_alike(tail in prop::collection::vec(any::<u8>(), 0..30), operation in 0u8..4) {
            let mut octets = PREFIX.to_vec();
            octets.extend([0, operation]);
            octets.extend(tail);
            if let Some(message) = Message::parse(&octets) {
                prop_assert_eq!(&message.to_bytes()[..], &octets[..MESSAGE_LEN]);
            } else {
                prop_assert!(octets.len() < MESSAGE_LEN || !(1..=2).contains(&operation));
            }
        }
    }
}
