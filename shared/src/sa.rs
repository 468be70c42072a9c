//! The description of one Child SA pair (inbound + outbound) that the control plane hands to the data plane.
//!
//! Enters: what IKE negotiated (RFC 7296 §2.17 keys, RFC 4303 parameters). Leaves: one value that a worker can install.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use crate::prefix::{IpPrefix, Ipv4Prefix, Ipv6Prefix, NotAPrefix};

/// ESP transform suites that the data plane implements (RFC 4106, RFC 7634, RFC 3602 with RFC 4868).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
#[serde(rename_all = "kebab-case")]
pub enum EspSuite {
    /// AES-128-GCM with a 16-octet ICV (RFC 4106).
    Aes128Gcm16 = 1,
    /// AES-256-GCM with a 16-octet ICV (RFC 4106).
    Aes256Gcm16 = 2,
    /// AES-128-CBC with HMAC-SHA2-256-128.
    Aes128CbcSha256 = 3,
    /// AES-192-CBC with HMAC-SHA2-256-128.
    Aes192CbcSha256 = 4,
    /// AES-256-CBC with HMAC-SHA2-256-128.
    Aes256CbcSha256 = 5,
    /// AES-128-CBC with HMAC-SHA2-384-192.
    Aes128CbcSha384 = 6,
    /// AES-192-CBC with HMAC-SHA2-384-192.
    Aes192CbcSha384 = 7,
    /// AES-256-CBC with HMAC-SHA2-384-192.
    Aes256CbcSha384 = 8,
    /// AES-128-CBC with HMAC-SHA2-512-256.
    Aes128CbcSha512 = 9,
    /// AES-192-CBC with HMAC-SHA2-512-256.
    Aes192CbcSha512 = 10,
    /// AES-256-CBC with HMAC-SHA2-512-256.
    Aes256CbcSha512 = 11,
    /// ChaCha20-Poly1305 with a 16-octet ICV (RFC 7634).
    ChaCha20Poly1305 = 12,
}

impl EspSuite {
    /// Every suite, in order of its number.
    pub const ALL: [EspSuite; 12] = [
        EspSuite::Aes128Gcm16,
        EspSuite::Aes256Gcm16,
        EspSuite::Aes128CbcSha256,
        EspSuite::Aes192CbcSha256,
        EspSuite::Aes256CbcSha256,
        EspSuite::Aes128CbcSha384,
        EspSuite::Aes192CbcSha384,
        EspSuite::Aes256CbcSha384,
        EspSuite::Aes128CbcSha512,
        EspSuite::Aes192CbcSha512,
        EspSuite::Aes256CbcSha512,
        EspSuite::ChaCha20Poly1305,
    ];

    /// The suite with this number, if there is one.
    pub fn from_number(number: u8) -> Option<EspSuite> {
        Self::ALL.into_iter().find(|s| *s as u8 == number)
    }

    /// Whether the suite is an AEAD (AES-GCM, ChaCha20-Poly1305): no integrity key, a salt, an IV of 8 octets.
    pub fn is_aead(self) -> bool {
        matches!(self, EspSuite::Aes128Gcm16 | EspSuite::Aes256Gcm16 | EspSuite::ChaCha20Poly1305)
    }

    /// Octets of the cipher key, without the salt.
    pub fn cipher_key_len(self) -> usize {
        use EspSuite::*;
        match self {
            Aes128Gcm16 | Aes128CbcSha256 | Aes128CbcSha384 | Aes128CbcSha512 => 16,
            Aes192CbcSha256 | Aes192CbcSha384 | Aes192CbcSha512 => 24,
            Aes256Gcm16 | Aes256CbcSha256 | Aes256CbcSha384 | Aes256CbcSha512 | ChaCha20Poly1305 => 32,
        }
    }

    /// Octets of the salt that follows the cipher key in KEYMAT (RFC 4106 §8.1, RFC 7634 §2); 0 for CBC.
    pub fn salt_len(self) -> usize {
        if self.is_aead() { 4 } else { 0 }
    }

    /// Octets of the integrity key (RFC 4868 §2.1.1: the hash's output length); 0 for an AEAD.
    pub fn integrity_key_len(self) -> usize {
        use EspSuite::*;
        match self {
            Aes128Gcm16 | Aes256Gcm16 | ChaCha20Poly1305 => 0,
            Aes128CbcSha256 | Aes192CbcSha256 | Aes256CbcSha256 => 32,
            Aes128CbcSha384 | Aes192CbcSha384 | Aes256CbcSha384 => 48,
            Aes128CbcSha512 | Aes192CbcSha512 | Aes256CbcSha512 => 64,
        }
    }

    /// Octets of the ICV at the packet's end.
    pub fn icv_len(self) -> usize {
        if self.is_aead() { 16 } else { self.integrity_key_len() / 2 }
    }

    /// Octets of the explicit IV.
    pub fn iv_len(self) -> usize {
        if self.is_aead() { 8 } else { 16 }
    }

    /// Alignment of payload + padding + trailer (RFC 4303 §2.4: 4; CBC: the block).
    pub fn pad_align(self) -> usize {
        if self.is_aead() { 4 } else { 16 }
    }

    /// The name operators and strongSwan's proposals use, e.g. `aes256gcm16` or `aes256-sha384`.
    pub fn name(self) -> &'static str {
        use EspSuite::*;
        match self {
            Aes128Gcm16 => "aes128gcm16",
            Aes256Gcm16 => "aes256gcm16",
            Aes128CbcSha256 => "aes128-sha256",
            Aes192CbcSha256 => "aes192-sha256",
            Aes256CbcSha256 => "aes256-sha256",
            Aes128CbcSha384 => "aes128-sha384",
            Aes192CbcSha384 => "aes192-sha384",
            Aes256CbcSha384 => "aes256-sha384",
            Aes128CbcSha512 => "aes128-sha512",
            Aes192CbcSha512 => "aes192-sha512",
            Aes256CbcSha512 => "aes256-sha512",
            ChaCha20Poly1305 => "chacha20poly1305",
        }
    }
}

impl fmt::Display for EspSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Longest cipher key in octets.
pub const MAX_CIPHER_KEY: usize = 32;
/// Octets of a salt.
pub const SALT_LEN: usize = 4;
/// Longest integrity key in octets.
pub const MAX_INTEGRITY_KEY: usize = 64;

/// Keys of one direction; the suite says how many octets of each array count. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct EspKeys {
    /// Cipher key, left-aligned.
    pub cipher: [u8; MAX_CIPHER_KEY],
    /// Salt of an AEAD; zero for CBC.
    pub salt: [u8; SALT_LEN],
    /// Integrity key, left-aligned; zero for an AEAD.
    pub integrity: [u8; MAX_INTEGRITY_KEY],
}

impl EspKeys {
    /// Takes one direction's share of KEYMAT in RFC 7296 §2.17 order: cipher key, salt, integrity key.
    ///
    /// Returns `None` when `keymat` has not exactly [`keymat_len`] octets.
    pub fn from_keymat(suite: EspSuite, keymat: &[u8]) -> Option<EspKeys> {
        if keymat.len() != keymat_len(suite) {
            return None;
        }
        let (cipher, rest) = keymat.split_at_checked(suite.cipher_key_len())?;
        let (salt, integrity) = rest.split_at_checked(suite.salt_len())?;
        let mut keys =
            EspKeys { cipher: [0; MAX_CIPHER_KEY], salt: [0; SALT_LEN], integrity: [0; MAX_INTEGRITY_KEY] };
        keys.cipher.get_mut(..cipher.len())?.copy_from_slice(cipher);
        keys.salt.get_mut(..salt.len())?.copy_from_slice(salt);
        keys.integrity.get_mut(..integrity.len())?.copy_from_slice(integrity);
        Some(keys)
    }
}

impl fmt::Debug for EspKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EspKeys(..)")
    }
}

/// Octets of KEYMAT that one direction of `suite` takes.
pub fn keymat_len(suite: EspSuite) -> usize {
    suite.cipher_key_len() + suite.salt_len() + suite.integrity_key_len()
}

/// How ESP is carried between the two outer addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encapsulation {
    /// IP protocol 50.
    Esp,
    /// UDP on both ports (RFC 3948).
    Udp {
        /// Our port, normally 4500.
        local_port: u16,
        /// The peer's port as we see it, after its NAT.
        peer_port: u16,
    },
}

/// One traffic selector of RFC 7296 §3.13.1: an inclusive range of addresses of one family.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Selector {
    /// IP protocol, 0 for any.
    pub protocol: u8,
    /// First address.
    pub first: IpAddr,
    /// Last address, of the same family.
    pub last: IpAddr,
    /// First port; 0 with `last_port` 65535 means any.
    pub first_port: u16,
    /// Last port.
    pub last_port: u16,
}

/// What of the inner network is a client's: an address of one family, or one of each (dual stack).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct InnerAddresses {
    /// Its IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 prefix: one address (/128), or all that lies in it.
    pub v6: Option<Ipv6Prefix>,
}

impl InnerAddresses {
    /// The one address that is meant by `address`.
    pub fn of(address: IpAddr) -> InnerAddresses {
        match address {
            IpAddr::V4(address) => InnerAddresses { v4: Some(address), v6: None },
            IpAddr::V6(address) => InnerAddresses { v4: None, v6: Some(Ipv6Prefix::host(address)) },
        }
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }
}

impl From<Ipv4Addr> for InnerAddresses {
    fn from(address: Ipv4Addr) -> InnerAddresses {
        InnerAddresses::of(address.into())
    }
}

/// Most selectors a Child SA may have in one direction.
pub const MAX_SELECTORS: usize = 16;

/// Lifetime limits that the data plane watches; 0 means none. Time limits belong to the control plane.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SaLimits {
    /// Octets after which `SoftExpired` is sent.
    pub soft_bytes: u64,
    /// Octets after which the SA is no longer used.
    pub hard_bytes: u64,
    /// Packets after which `SoftExpired` is sent.
    pub soft_packets: u64,
    /// Packets after which the SA is no longer used.
    pub hard_packets: u64,
}

/// One Child SA: an inbound and an outbound ESP SA in tunnel mode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SaPair {
    /// SPI that the peer puts on packets to us: table slot in the low bits, generation above.
    pub inbound_spi: u32,
    /// SPI that we put on packets to the peer.
    pub outbound_spi: u32,
    /// The session that this SA belongs to.
    pub session_id: u64,
    /// Algorithms, the same in both directions.
    pub suite: EspSuite,
    /// Extended sequence numbers (RFC 4303 §2.2.1).
    pub esn: bool,
    /// Keys of packets from the peer.
    pub inbound_keys: EspKeys,
    /// Keys of packets to the peer.
    pub outbound_keys: EspKeys,
    /// Our outer address, of the peer's family.
    pub local_outer: IpAddr,
    /// The peer's outer address.
    pub peer_outer: IpAddr,
    /// How ESP travels.
    pub encapsulation: Encapsulation,
    /// The client's inner addresses: what outbound look-up finds the SA by.
    pub peer_inner: InnerAddresses,
    /// Selectors of the peer's side: an inbound packet's inner source must match one. At most [`MAX_SELECTORS`].
    pub peer_selectors: Vec<Selector>,
    /// Selectors of our side: an inbound packet's inner destination must match one. At most [`MAX_SELECTORS`].
    pub local_selectors: Vec<Selector>,
    /// Replay window in packets, 0 (off) to [`MAX_REPLAY_WINDOW`].
    pub replay_window: u32,
    /// Sequence number of the first outbound packet; above 1 when an SA is installed again after a crash.
    pub first_outbound_sequence: u64,
    /// Highest inbound sequence number already taken; everything up to it is a replay. 0 for a new SA.
    pub highest_inbound_sequence: u64,
    /// Byte and packet limits.
    pub limits: SaLimits,
    /// Whether outbound look-up of `peer_inner` finds this SA at once. A rekeyed SA starts `false` until
    /// `SelectOutbound` (the old SA goes on sending until the peer is known to have the new one).
    pub outbound_selected: bool,
}

/// Largest replay window in packets.
pub const MAX_REPLAY_WINDOW: u32 = 4096;

/// Lowest SPI that may be used (RFC 4303 §2.1 reserves 0 to 255).
pub const MIN_SPI: u32 = 256;

/// The table slot that an inbound SPI names, for a table of `capacity` slots (a power of two).
#[inline]
pub fn slot_of_spi(inbound_spi: u32, capacity: u32) -> u32 {
    inbound_spi & (capacity.wrapping_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suite_lengths_follow_the_rfcs() {
        for (suite, keymat, icv, iv) in [
            (EspSuite::Aes128Gcm16, 20, 16, 8),
            (EspSuite::Aes256Gcm16, 36, 16, 8),
            (EspSuite::ChaCha20Poly1305, 36, 16, 8),
            (EspSuite::Aes128CbcSha256, 48, 16, 16),
            (EspSuite::Aes192CbcSha384, 72, 24, 16),
            (EspSuite::Aes256CbcSha512, 96, 32, 16),
        ] {
            assert_eq!((keymat_len(suite), suite.icv_len(), suite.iv_len()), (keymat, icv, iv), "{suite}");
        }
        for suite in EspSuite::ALL {
            assert_eq!(EspSuite::from_number(suite as u8), Some(suite));
            assert!(EspKeys::from_keymat(suite, &vec![1; keymat_len(suite)]).is_some());
            assert!(EspKeys::from_keymat(suite, &vec![1; keymat_len(suite) + 1]).is_none());
        }
    }
}
