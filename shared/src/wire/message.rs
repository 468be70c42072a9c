//! What the rings carry. Declared once here; `codec.rs` turns each into a slot and back.

use std::net::IpAddr;

use super::watch::Watch;
use crate::sa::{Encapsulation, Ipv4Prefix, Ipv6Prefix, SaPair};

/// Octets of a command slot.
pub const COMMAND_SLOT_BYTES: usize = 2048;
/// Octets of an event slot.
pub const EVENT_SLOT_BYTES: usize = 64;
/// Octets of a datagram slot: the largest IKE datagram plus its addresses.
pub const DATAGRAM_SLOT_BYTES: usize = 16 * 1024;
/// Longest UDP payload that a datagram slot carries.
pub const MAX_DATAGRAM: usize = DATAGRAM_SLOT_BYTES - 64;

/// Control plane to data plane. Every command is answered by one [`Event::Ack`] with its id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// Chosen by the control plane, strictly increasing within one attachment.
    pub id: u64,
    /// What to do.
    pub action: Action,
}

/// What a command does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Installs a Child SA into the slot its inbound SPI names. Refused if the slot is in use; if it is this SA's already,
    /// nothing changes ([`AckStatus::AlreadyInstalled`]).
    InstallSa(Box<SaPair>),
    /// Makes this SA the one that packets to its inner address leave by.
    SelectOutbound {
        /// The SA.
        inbound_spi: u32,
    },
    /// Removes a Child SA, both directions; outbound look-up falls back to no SA if this one was selected.
    RemoveSa {
        /// The SA.
        inbound_spi: u32,
    },
    /// The peer's outer address changed (NAT rebinding seen by IKE, MOBIKE).
    MovePeer {
        /// The SA.
        inbound_spi: u32,
        /// Our outer address towards the peer, of its family.
        local_outer: IpAddr,
        /// New outer address.
        peer_outer: IpAddr,
        /// New encapsulation.
        encapsulation: Encapsulation,
    },
    /// Declares an address pool: outbound look-up of these addresses is an offset into an array.
    AddPool(Ipv4Prefix),
    /// Declares an IPv6 pool: each client has one prefix of this length of it, so what outbound look-up looks for is a destination's
    /// first so many bits.
    AddPool6 {
        /// All of it.
        pool: Ipv6Prefix,
        /// Length of each client's prefix: the pool's length to 128.
        client_length: u8,
    },
    /// Removes every SA and pool: a control plane that comes back to a data plane without knowing what it holds begins
    /// with this.
    RemoveAll,
    /// Watches packets.
    Watch(Watch),
    /// Ends a watch; one that is over already is no error.
    Unwatch {
        /// Its number, or [`super::ALL_WATCHES`].
        id: u32,
    },
    /// Acknowledged after every command before it has taken effect on every worker.
    Barrier,
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum AckStatus {
    /// Done.
    Done = 0,
    /// The slot already holds an SA.
    SlotInUse = 1,
    /// No SA has this SPI.
    NoSuchSa = 2,
    /// A value is out of range for this data plane (window, selectors, SPI).
    OutOfRange = 3,
    /// A table is full.
    TableFull = 4,
    /// The inner address lies in no declared pool and the overflow table is full.
    NoSuchPool = 5,
    /// The slot did not decode.
    Malformed = 6,
    /// The SA is there already and goes on as it is, with its own sequence numbers: the control plane was restarted.
    AlreadyInstalled = 7,
}

/// Data plane to control plane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Answers a command.
    Ack {
        /// The command's id.
        command_id: u64,
        /// How it ended.
        status: AckStatus,
    },
    /// A soft limit was passed: time to rekey.
    SoftExpired {
        /// The SA.
        inbound_spi: u32,
    },
    /// A hard limit was passed: the SA no longer carries traffic.
    HardExpired {
        /// The SA.
        inbound_spi: u32,
    },
    /// An authenticated packet came from a new address or port (RFC 3947 §5.2 behaviour of a NAT).
    PeerMoved {
        /// The SA.
        inbound_spi: u32,
        /// New outer address.
        peer_outer: IpAddr,
        /// New encapsulation.
        encapsulation: Encapsulation,
    },
    /// ESP with an SPI that is not ours arrived; rate-limited by the data plane.
    InvalidSpi {
        /// The SPI.
        spi: u32,
        /// Where it came from.
        source: IpAddr,
    },
    /// First authenticated packet on an SA: the peer is known to have installed it.
    FirstInbound {
        /// The SA.
        inbound_spi: u32,
    },
}

/// A UDP datagram of IKE, either way. Port 4500 datagrams carry no non-ESP marker here: the data plane strips and adds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// Our address, of the peer's family.
    pub local: IpAddr,
    /// Our port: 500 or 4500.
    pub local_port: u16,
    /// The peer's address.
    pub peer: IpAddr,
    /// The peer's port.
    pub peer_port: u16,
    /// The IKE message. At most [`MAX_DATAGRAM`] octets.
    pub payload: Vec<u8>,
}
