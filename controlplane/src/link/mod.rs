//! The link to what lies below IKE: the way of its datagrams, and the data plane that holds its Child SAs.
//!
//! Enters: datagrams to send and changes of SAs, from the driver. Leaves: datagrams, the data plane's events, and what
//! became of the changes. Two implementations: [`rings`] (the appliance) and [`udp`] (plain sockets and no data plane).

pub mod ledger;
pub mod rings;
pub mod udp;

use std::future::Future;
use std::time::Duration;

use causeway_ike::api::{ChildCommand, DataPlaneEvent, Datagram};
use causeway_shared::api::Port;
use causeway_shared::sa::SaPair;
use causeway_shm::CounterTable;

pub use rings::encapsulation;

use crate::sessions::SaTraffic;
use ledger::{Outcome, Refused, SequenceState, Ticket};

/// What comes up from below.
#[derive(Debug)]
pub enum LinkInput {
    /// A datagram of IKE.
    Datagram(Datagram),
    /// The data plane reports something about an SA.
    DataPlane(DataPlaneEvent),
    /// Something came of an earlier change.
    Outcome(Outcome),
}

/// How the link stands, for the operator.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LinkStatus {
    /// Whether a data plane is attached and beats.
    pub attached: bool,
    /// Its epoch.
    pub epoch: u64,
    /// Its workers.
    pub workers: u32,
    /// What is wrong, with the next step.
    pub problems: Vec<String>,
}

/// What the link has counted since start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LinkCounts {
    /// Datagrams that could not be sent.
    pub unsent: u64,
    /// Arrived datagrams that are no IKE.
    pub not_ike: u64,
    /// Ring slots and indices of the data plane that were refused.
    pub refused_slots: u64,
    /// Acknowledgements of commands that were not outstanding.
    pub stray_acks: u64,
    /// ESP packets with an SPI that is not ours, as far as the data plane reports them.
    pub invalid_spis: u64,
    /// Data planes attached.
    pub attached: u64,
    /// Data planes lost.
    pub lost: u64,
}

/// What an SA of an earlier run has carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EarlierTraffic {
    /// Over data planes that were gone already: it counts if the last one has kept running, for that one still counts.
    pub before: SaTraffic,
    /// All of it, as last stored: it counts if that data plane is gone.
    pub total: SaTraffic,
}

/// The driver's view of what lies below. Time is CLOCK_MONOTONIC.
pub trait Link {
    /// Waits until [`Link::take`] may have something, or the link has work of its own. May be dropped at any point.
    fn ready(&mut self) -> impl Future<Output = ()>;

    /// The next input, if one is there.
    fn take(&mut self) -> Option<LinkInput>;

    /// Sends a datagram; if that is not possible it is counted, and IKE's retransmission sees to the rest.
    fn transmit(&mut self, datagram: Datagram);

    /// Wants an SA installed; an [`Outcome`] with `ticket` follows.
    ///
    /// # Errors
    /// When it is refused at once; no outcome follows then.
    fn install(&mut self, now: Duration, pair: SaPair, ticket: Ticket) -> Result<(), Refused>;

    /// Wants an SA of an earlier run, see [`Ledger::restore`](ledger::Ledger::restore). To be called before anything else.
    fn restore(&mut self, pair: SaPair, traffic: EarlierTraffic);

    /// Wants an installed SA changed or removed.
    fn change(&mut self, command: ChildCommand);

    /// Pushes on what is waiting, and lets deadlines pass.
    fn flush(&mut self, now: Duration);

    /// When [`Link::flush`] is due at the latest.
    fn next_deadline(&self) -> Option<Duration>;

    /// Whether nothing is left to tell the data plane and nothing unacknowledged.
    fn is_settled(&self) -> bool;

    /// Whether datagrams can reach anybody. While they cannot, silence says nothing about a peer.
    fn is_carrying(&self) -> bool;

    /// The figures of an SA since it was installed first, also over restarts of the data plane.
    fn traffic(&self, inbound_spi: u32) -> Option<SaTraffic>;

    /// What it has carried over data planes that are gone.
    fn earlier_traffic(&self, inbound_spi: u32) -> SaTraffic {
        let _ = inbound_spi;
        SaTraffic::default()
    }

    /// How far an SA's sequence numbers have come; `None` where nobody counts.
    fn sequence(&self, inbound_spi: u32) -> Option<SequenceState> {
        let _ = inbound_spi;
        None
    }

    /// An SA as it was wanted, with its keys; `None` where the link keeps none.
    fn pair(&self, inbound_spi: u32) -> Option<&SaPair> {
        let _ = inbound_spi;
        None
    }

    /// How the link stands.
    fn status(&self, now: Duration) -> LinkStatus;

    /// The data plane's ports; `None` where none is attached.
    fn ports(&self) -> Option<Vec<Port>> {
        None
    }

    /// The data plane's counters, summed over its threads.
    fn data_plane_counters(&self) -> Option<CounterTable>;

    /// The link's own counts.
    fn counts(&self) -> LinkCounts;
}
