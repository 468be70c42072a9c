//! The inbound direction of an SA as a packet meets it: window, counters, the peer's whereabouts, the selectors' common
//! case and the key, side by side in the table's cache lines. RFC 4303 §3.4.

use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr};

use causeway_shared::sa::{Encapsulation, SaPair};

use super::fast_selector::FastSelector;
use super::{HOT_OCTETS, ReplayWindow, Ring};
use crate::crypto::InboundKey;
use crate::sink::Outer;

/// The peer may move: the SA runs over UDP, to our NAT-T port.
const FOLLOWS: u8 = 1;
/// The SA may carry no more packets.
const OVER: u8 = 2;
/// Its figures wait to be published.
pub(super) const TOUCHED: u8 = 4;

/// Hot part of the inbound direction.
#[repr(C, align(64))]
pub struct Inbound {
    pub(super) spi: u32,
    /// Octets of the explicit IV.
    pub iv_len: u8,
    /// Octets of the ICV.
    pub icv_len: u8,
    /// Alignment of the ciphertext, a power of two.
    pub align: u8,
    pub(super) flags: u8,
    /// Which numbers were taken.
    pub window: ReplayWindow,
    /// Packets accepted.
    pub packets: u64,
    /// Inner octets of them.
    pub bytes: u64,
    /// The peer's outer address, as [`Outer::mark`] has it.
    peer: u32,
    peer_port: u16,
    local_port: u16,
    /// Packets that may follow before the limits must be looked at again.
    pub(crate) quiet: u16,
    selector: FastSelector,
    /// The key; `None` in an empty slot.
    pub(super) key: Option<InboundKey>,
    /// The numbers that the window has taken.
    pub ring: Ring,
}

const _: () = assert!(offset_of!(Inbound, ring) <= HOT_OCTETS);

impl Inbound {
    /// Of an SA that is going to be installed.
    pub(super) fn new(pair: &SaPair, key: InboundKey) -> Inbound {
        let window = ReplayWindow::new(pair.replay_window, pair.esn, pair.highest_inbound_sequence);
        Inbound {
            spi: pair.inbound_spi,
            iv_len: pair.suite.iv_len() as u8,
            icv_len: pair.suite.icv_len() as u8,
            align: pair.suite.pad_align() as u8,
            ring: window.first_ring(),
            window,
            selector: FastSelector::new(&pair.peer_selectors, &pair.local_selectors),
            key: Some(key),
            ..Inbound::vacant()
        }
    }

    /// Of a slot without SA.
    pub(super) fn vacant() -> Inbound {
        Inbound {
            spi: 0,
            iv_len: 0,
            icv_len: 0,
            align: 1,
            flags: 0,
            window: ReplayWindow::none(),
            packets: 0,
            bytes: 0,
            peer: 0,
            peer_port: 0,
            local_port: 0,
            quiet: 0,
            selector: FastSelector::none(),
            key: None,
            ring: Ring::VACANT,
        }
    }

    /// SPI of packets to us; 0 for no SA.
    #[inline(always)]
    pub fn spi(&self) -> u32 {
        self.spi
    }

    /// Whether the selectors' common case takes a packet from the peer's `peer` to our side's `local`.
    #[inline(always)]
    pub fn takes(&self, peer: Ipv4Addr, local: Ipv4Addr) -> bool {
        self.selector.takes(peer, local)
    }

    /// Whether the SA may carry no more packets.
    #[inline(always)]
    pub fn is_over(&self) -> bool {
        self.flags & OVER != 0
    }

    /// For opening; `None` for no SA.
    #[inline(always)]
    pub fn key(&self) -> Option<&InboundKey> {
        self.key.as_ref()
    }

    /// Whether an authentic packet came from elsewhere than the peer is known to be (RFC 7296 §2.23), on an SA that follows.
    #[inline(always)]
    pub fn has_moved(&self, outer: &Outer) -> bool {
        self.flags & FOLLOWS != 0
            && outer.udp.is_some_and(|(from_port, to_port)| {
                (outer.peer_mark() != self.peer || from_port != self.peer_port) && to_port == self.local_port
            })
    }

    pub(super) fn end(&mut self) {
        self.flags |= OVER;
    }

    pub(super) fn set_peer(&mut self, peer: IpAddr, encapsulation: Encapsulation) {
        self.peer = Outer::mark(peer);
        match encapsulation {
            Encapsulation::Udp { local_port, peer_port } => {
                (self.local_port, self.peer_port) = (local_port, peer_port);
                self.flags |= FOLLOWS;
            }
            Encapsulation::Esp => self.flags &= !FOLLOWS,
        }
    }
}
