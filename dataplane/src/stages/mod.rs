//! The stages of the path, one per file, and what they hand to each other. Their order stands in `path.rs`.
//!
//! A stage is a function `one(packet, state, out)`, or `run(packets, state, out)` where a whole burst is needed: each packet
//! ends in exactly one place — a later stage, the sink, or a drop that the caller counts. A packet's type says what is known
//! about it at that point. Whether the next stage is called at once or gathers a burst first is said in `path.rs`.

pub(crate) mod classify;
pub(crate) mod classify6;
pub(crate) mod encap;
pub(crate) mod encap6;
pub(crate) mod esp_in_accept;
pub(crate) mod esp_in_lookup;
pub(crate) mod esp_in_open;
pub(crate) mod esp_in_replay;
pub(crate) mod esp_out_seal;
pub(crate) mod esp_out_seq;
pub(crate) mod esp_out_seq6;
mod facts;
pub(crate) mod forward;
pub(crate) mod forward6;
mod fragment;
mod fragment6;
pub(crate) mod icmp_error;
pub(crate) mod icmp_error6;
pub(crate) mod ike_out;
mod ike_out6;
pub(crate) mod local;
pub(crate) mod local6;
pub(crate) mod lookaside;
pub(crate) mod natt;
pub(crate) mod neighbour;
pub(crate) mod neighbour6;
pub(crate) mod path_mtu6;
pub(crate) mod pmtu;
pub(crate) mod pmtu6;
pub(crate) mod policy_in;
pub(crate) mod policy_in6;
pub(crate) mod policy_out;
pub(crate) mod policy_out6;
pub(crate) mod punt;
pub(crate) mod reassemble;
pub(crate) mod route;
pub(crate) mod route6;
mod state;
mod state6;

use std::net::{Ipv4Addr, Ipv6Addr};

use arrayvec::ArrayVec;
use causeway_shared::config::PortRole;
use causeway_shared::counters::Drop;
use causeway_shared::net::{icmp, icmp6};

pub(crate) use facts::{Facts, Facts6};
pub(crate) use state::State;
use state6::State6;

use crate::path::{Ingress, Outer, PortId, Queues};

/// Most packets that wait for a stage; enough for a burst in which every packet is cut into eight.
pub(crate) const QUEUE: usize = 256;

/// An Ethernet frame as received.
pub(crate) struct Frame<B> {
    pub port: PortId,
    pub buffer: B,
}

/// A packet to us from a client; the buffer starts behind the outer IP header (`natt`, `punt`: at the UDP header;
/// `esp_in_lookup`: at the ESP header).
pub(crate) struct FromPeer<B> {
    pub buffer: B,
    pub outer: Outer,
}

/// A fragment of a packet to us from outside; the buffer starts at the IP header.
pub(crate) struct Fragmented<B> {
    pub buffer: B,
}

/// ESP for one of our SAs; the buffer starts at the ESP header.
pub(crate) struct EspIn<B> {
    pub buffer: B,
    pub outer: Outer,
    /// Where the SA lies in the table.
    pub place: u32,
    /// The 64-bit number; a guess until the ICV proves it.
    pub sequence: u64,
}

/// A checked packet that came out of an SA, or goes into one: IPv4, or as [`InSa6`].
pub(crate) struct InSa<B, F = Facts> {
    pub buffer: B,
    pub place: u32,
    pub ingress: Ingress,
    pub facts: F,
}

/// A checked clear packet: IPv4, or as [`Clear6`].
pub(crate) struct Clear<B, F = Facts> {
    pub buffer: B,
    pub ingress: Ingress,
    pub facts: F,
}

/// A checked clear packet to a client: IPv4, or as [`ToClient6`].
pub(crate) struct ToClient<B, F = Facts> {
    pub buffer: B,
    pub ingress: Ingress,
    pub facts: F,
    /// Names the SA that it leaves by.
    pub inbound_spi: u32,
}

/// [`InSa`] of IPv6.
pub(crate) type InSa6<B> = InSa<B, Facts6>;
/// [`Clear`] of IPv6.
pub(crate) type Clear6<B> = Clear<B, Facts6>;
/// [`ToClient`] of IPv6.
pub(crate) type ToClient6<B> = ToClient<B, Facts6>;

/// ESP to a client, with its sequence number.
pub(crate) struct EspOut<B> {
    pub buffer: B,
    /// Where the SA lies in the table.
    pub place: u32,
    pub sequence: u64,
    /// The inner packet's TOS or traffic class.
    pub tos: u8,
    /// Octets of the inner packet.
    pub inner_len: u16,
}

/// An IPv4 packet that leaves by a port of this side.
pub(crate) struct Leaving<B> {
    pub buffer: B,
    pub role: PortRole,
    pub ingress: Ingress,
    pub destination: Ipv4Addr,
}

/// An IPv6 packet that leaves by a port of this side.
pub(crate) struct Leaving6<B> {
    pub buffer: B,
    pub role: PortRole,
    /// The port that the destination is a neighbour of, where routes cannot tell.
    pub port: Option<PortId>,
    pub ingress: Ingress,
    pub destination: Ipv6Addr,
    /// What the path there is known to let through, octets.
    pub mtu: u16,
}

/// An IPv6 packet already counted as dropped, about which its sender is to hear.
pub(crate) struct Refused6<B> {
    pub buffer: B,
    pub ingress: Ingress,
    pub error: icmp6::Error,
}

/// A packet already counted as dropped, about which its sender is to hear.
pub(crate) struct Refused<B> {
    pub buffer: B,
    pub ingress: Ingress,
    pub error: icmp::Error,
}

/// A bounded queue in front of a stage. All its memory is there from the start.
pub(crate) struct Queue<T> {
    items: Box<Burst<T>>,
    /// Stands in while a stage empties the other one, because what it sends may come round to itself.
    spare: Option<Box<Burst<T>>>,
}

/// What waited for a stage.
pub(crate) type Burst<T> = ArrayVec<T, QUEUE>;

impl<T> Queue<T> {
    pub fn new() -> Queue<T> {
        Queue { items: Box::default(), spare: Some(Box::default()) }
    }

    /// Takes all that waits; give it back emptied with [`Queue::restore`].
    #[inline(always)]
    pub fn take(&mut self) -> Option<Box<Burst<T>>> {
        self.spare.take().map(|spare| std::mem::replace(&mut self.items, spare))
    }

    /// Gives back what [`Queue::take`] took.
    #[inline(always)]
    pub fn restore(&mut self, mut emptied: Box<Burst<T>>) {
        if self.items.is_empty() {
            std::mem::swap(&mut self.items, &mut emptied);
        }
        self.spare = Some(emptied);
    }

    #[inline(always)]
    pub fn push(&mut self, item: T) -> Result<(), Drop> {
        self.items.try_push(item).map_err(|_| Drop::NoBuffer)
    }

    /// Forgets everything; how much it was.
    pub fn clear(&mut self) -> usize {
        self.items.drain(..).count()
    }
}

/// Where a stage's packets go: a method for each stage, made in `path.rs`.
pub(crate) struct Out<'a, B, S, P> {
    pub queues: &'a mut Queues<B>,
    pub sink: &'a mut S,
    pub probe: &'a mut P,
}
