//! What an attacker on the path can make of a datagram: parts of it, altered copies, noise, repetitions.
//!
//! Enters: a datagram on its way to the gateway, and those seen before. Leaves: datagrams that nobody with a key has made.
//! Each of them must leave the gateway as it was, whatever state its sessions are in.

use crate::rng::Rng;

/// Datagrams remembered for repetition.
const MAX_SEEN: usize = 64;
/// Octets of the IKE header.
const HEADER_OCTETS: usize = 28;
const EXCHANGE_OCTET: usize = 18;
const IKE_SA_INIT: u8 = 34;
/// What a header's alteration touches: first payload, version, exchange, flags, message ID, length.
const HEADER_FIELDS: std::ops::Range<usize> = 16..HEADER_OCTETS;

/// An attacker.
pub struct Attacker {
    rng: Rng,
    seen: Vec<Vec<u8>>,
}

/// One attack.
pub struct Attack {
    /// The datagram.
    pub bytes: Vec<u8>,
    /// What was done.
    pub how: &'static str,
}

impl Attack {
    /// Whether it is a request that anybody may send, so that it can begin a half-open IKE SA.
    pub fn may_begin_handshake(&self) -> bool {
        self.bytes.get(EXCHANGE_OCTET) == Some(&IKE_SA_INIT)
    }
}

impl Attacker {
    /// An attacker who has seen nothing.
    pub fn new(rng: Rng) -> Attacker {
        Attacker { rng, seen: vec![] }
    }

    /// Remembers a datagram.
    pub fn see(&mut self, datagram: &[u8]) {
        if self.seen.len() < MAX_SEEN {
            self.seen.push(datagram.to_vec());
        } else {
            let index = self.rng.index(MAX_SEEN);
            self.seen[index] = datagram.to_vec();
        }
    }

    /// Makes something of a datagram that has not arrived yet; never that datagram itself.
    pub fn attack(&mut self, datagram: &[u8]) -> Attack {
        loop {
            let attack = self.try_attack(datagram);
            if attack.bytes != datagram {
                return attack;
            }
        }
    }

    fn try_attack(&mut self, datagram: &[u8]) -> Attack {
        let mut bytes = datagram.to_vec();
        let how = match self.rng.index(7) {
            0 => {
                bytes.truncate(self.rng.index(bytes.len()));
                "truncated"
            }
            1 => {
                // Truncated, with a header that admits it.
                bytes.truncate(self.rng.index(bytes.len()).max(HEADER_OCTETS));
                fix_length(&mut bytes);
                "truncated and relabelled"
            }
            2 => {
                let (index, bit) = (self.rng.index(bytes.len()), self.rng.index(8));
                bytes[index] ^= 1 << bit;
                "one bit flipped"
            }
            3 => {
                for _ in 0..self.rng.between(1, 4) {
                    let field = HEADER_FIELDS.start + self.rng.index(HEADER_FIELDS.len());
                    bytes[field] ^= self.rng.between(1, 255) as u8;
                }
                "header altered"
            }
            4 => {
                let from = self.rng.index(bytes.len()).max(HEADER_OCTETS);
                self.rng.draw(&mut bytes[from..]);
                "body overwritten"
            }
            5 => {
                bytes = vec![0; self.rng.between(1, 300) as usize];
                self.rng.draw(&mut bytes);
                "noise"
            }
            _ => {
                if !self.seen.is_empty() {
                    bytes.clone_from(&self.seen[self.rng.index(self.seen.len())]);
                }
                "repeated"
            }
        };
        Attack { bytes, how }
    }
}

/// Writes the true length into the header, so that the rest is looked at.
fn fix_length(bytes: &mut [u8]) {
    let length = (bytes.len() as u32).to_be_bytes();
    if let Some(field) = bytes.get_mut(24..HEADER_OCTETS) {
        field.copy_from_slice(&length);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_attack_occurs_and_alters_something() {
        let mut attacker = Attacker::new(Rng::new(5));
        let datagram: Vec<u8> = (0..120).collect();
        attacker.see(&[9; 60]);
        let mut ways = BTreeSet::new();
        let mut altered = 0;
        for _ in 0..500 {
            let attack = attacker.attack(&datagram);
            ways.insert(attack.how);
            altered += usize::from(attack.bytes != datagram);
        }
        assert_eq!((ways.len(), altered), (7, 500));
    }
}
