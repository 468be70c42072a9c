//! What the data plane should hold, what it was told, and what it has acknowledged. No I/O, no clock of its own.
//!
//! Enters: changes wanted by IKE (install, select, move, remove), acknowledgements, the data plane's coming and going.
//! Leaves: commands in an order that loses no packet, and outcomes for the driver. The queue holds SPIs that differ
//! from what was told, each at most once, so it never outgrows the SA table and back-pressure loses nothing; after a
//! data-plane restart the same comparison tells everything again (architecture §5).
//!
//! Long because what is wanted and what was told are one table: every step that changes one of them looks at the other.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use causeway_shared::config::{Pool, Range6};
use causeway_shared::sa::{Encapsulation, InnerAddresses, Ipv4Prefix, SaPair};
use causeway_shared::wire::{AckStatus, Action, Command};

/// Commands told but not acknowledged; above it nothing more is told until acknowledgements come.
pub const MAX_OUTSTANDING: usize = 512;

/// Installs whose asker still waits; above it installs are refused, and IKE answers TEMPORARY_FAILURE or retries.
pub const MAX_WAITING_INSTALLS: usize = 8192;

/// How long an install may take before its asker is told that it failed.
pub const INSTALL_DEADLINE: Duration = Duration::from_secs(5);

/// Outbound sequence numbers left out on top of the block the dead data plane had reserved.
pub const SEQUENCE_MARGIN: u64 = 64;

/// What the driver waits for an install by.
pub type Ticket = u64;

/// How far an SA's sequence numbers had come when its data plane died.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SequenceState {
    /// Every outbound number below this may have been used.
    pub outbound_reserved_end: u64,
    /// Highest inbound number that was accepted.
    pub highest_inbound: u64,
}

/// Why an install was refused at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// The SPI is in the ledger already.
    #[error("an SA with this SPI exists")]
    Duplicate,
    /// Too many installs wait.
    #[error("{MAX_WAITING_INSTALLS} installs wait for the data plane")]
    Busy,
}

/// What came of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The data plane has the SA.
    Installed {
        /// The asker's ticket.
        ticket: Ticket,
        /// The SA.
        inbound_spi: u32,
    },
    /// The data plane refused the SA, or did not answer in time. The ledger removes it by itself.
    InstallFailed {
        /// The asker's ticket.
        ticket: Ticket,
        /// The SA.
        inbound_spi: u32,
        /// What the data plane said; `None` when it did not answer.
        status: Option<AckStatus>,
    },
    /// The data plane holds nothing under this SPI any more: its slot may rest.
    Gone {
        /// The SA.
        inbound_spi: u32,
    },
    /// An SA of an earlier run is installed anew: its data plane had died, too. It receives nothing (see
    /// [`Ledger::restore`]) and is to be rekeyed.
    Renewed {
        /// The SA.
        inbound_spi: u32,
    },
    /// An SA that was in use could not be installed again after a data-plane restart.
    Lost {
        /// The SA.
        inbound_spi: u32,
    },
    /// A command other than an install was refused: a bug on one of the two sides, counted.
    CommandRefused {
        /// What the data plane said.
        status: AckStatus,
    },
}

/// The push side of the command ring, as the ledger sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// The command is in the ring.
    Yes,
    /// The ring is full; it will be tried again.
    Full,
}

/// What a data plane is told of a pool, one family at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoolRange {
    /// Addresses.
    V4(Ipv4Prefix),
    /// Prefixes, one for each client.
    V6(Range6),
}

impl PoolRange {
    /// Both families of the configuration's pools.
    pub fn of(pools: &[Pool]) -> Vec<PoolRange> {
        let v4 = pools.iter().filter_map(|pool| pool.range).map(PoolRange::V4);
        v4.chain(pools.iter().filter_map(|pool| pool.range6).map(PoolRange::V6)).collect()
    }

    fn action(self) -> Action {
        match self {
            PoolRange::V4(pool) => Action::AddPool(pool),
            PoolRange::V6(Range6 { prefix, client_length }) => {
                Action::AddPool6 { pool: prefix, client_length }
            }
        }
    }
}

/// The ledger.
#[derive(Default)]
pub struct Ledger {
    entries: HashMap<u32, Entry>,
    /// SPIs whose entry may differ from what was told.
    dirty: VecDeque<u32>,
    /// Commands for no single SA, told before any SA's.
    global: VecDeque<Action>,
    outstanding: HashMap<u64, Outstanding>,
    /// Waiting installs in order of their deadline.
    install_deadlines: VecDeque<(Duration, u32, Ticket)>,
    waiting: usize,
    /// Which SA packets to an inner address leave by.
    selected: HashMap<IpAddr, u32>,
    /// The same as far as the data plane was told.
    told_selected: HashMap<IpAddr, u32>,
    pools: Vec<PoolRange>,
    next_command_id: u64,
    attached: bool,
}

struct Entry {
    /// What is wanted; its peer address and selection follow every change.
    pair: Box<SaPair>,
    wanted: bool,
    queued: bool,
    /// The removal was told; only its acknowledgement is missing.
    removing: bool,
    waiter: Option<Ticket>,
    /// It is of an earlier run, and this data plane's answer about it is to come.
    restored: bool,
    told: Option<Told>,
}

/// What the data plane was last told about an SA.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Told {
    selected: bool,
    local_outer: IpAddr,
    peer_outer: IpAddr,
    encapsulation: Encapsulation,
}

enum Outstanding {
    Install(u32),
    Remove(u32),
    /// The removal of an SA that the data plane may have, and nobody else.
    Orphan,
    Other,
}

impl Ledger {
    /// An empty ledger; `pools` are declared to every data plane that comes.
    pub fn new(pools: Vec<PoolRange>) -> Ledger {
        Ledger { pools, ..Ledger::default() }
    }

    /// Wants `pair` installed; the outcome carries `ticket`.
    ///
    /// # Errors
    /// When the SPI is known already, or too many installs wait.
    pub fn install(&mut self, now: Duration, pair: SaPair, ticket: Ticket) -> Result<(), Refused> {
        let spi = pair.inbound_spi;
        if self.entries.contains_key(&spi) {
            return Err(Refused::Duplicate);
        }
        if self.waiting >= MAX_WAITING_INSTALLS {
            return Err(Refused::Busy);
        }
        if pair.outbound_selected {
            self.take_selection(pair.peer_inner, spi);
        }
        let entry = Entry {
            pair: Box::new(pair),
            wanted: true,
            queued: false,
            removing: false,
            waiter: Some(ticket),
            restored: false,
            told: None,
        };
        self.entries.insert(spi, entry);
        self.waiting += 1;
        self.install_deadlines.push_back((now.saturating_add(INSTALL_DEADLINE), spi, ticket));
        self.mark(spi);
        Ok(())
    }

    /// Wants an SA of an earlier run. A data plane that has it goes on with it as it is. Another one gets it as it is described
    /// here: with a first outbound number above all that may have been used, and as highest inbound number one that no
    /// packet had reached, so that nothing can be replayed; [`Outcome::Renewed`] tells.
    pub fn restore(&mut self, pair: SaPair) {
        let spi = pair.inbound_spi;
        if pair.outbound_selected {
            self.take_selection(pair.peer_inner, spi);
        }
        let entry = Entry {
            pair: Box::new(pair),
            wanted: true,
            queued: false,
            removing: false,
            waiter: None,
            restored: true,
            told: None,
        };
        self.entries.insert(spi, entry);
        self.mark(spi);
    }

    /// Wants packets to the SA's inner address to leave by it. Unknown SPIs are ignored: the SA has just died.
    pub fn select_outbound(&mut self, inbound_spi: u32) {
        let Some(entry) = self.entries.get_mut(&inbound_spi).filter(|entry| entry.wanted) else { return };
        entry.pair.outbound_selected = true;
        let inner = entry.pair.peer_inner;
        self.take_selection(inner, inbound_spi);
        self.mark(inbound_spi);
    }

    /// Wants the SA's packets to go from and to other outer addresses: ours and the peer's, of one family.
    pub fn move_peer(
        &mut self,
        inbound_spi: u32,
        (local_outer, peer_outer): (IpAddr, IpAddr),
        encapsulation: Encapsulation,
    ) {
        let Some(entry) = self.entries.get_mut(&inbound_spi).filter(|entry| entry.wanted) else { return };
        entry.pair.local_outer = local_outer;
        entry.pair.peer_outer = peer_outer;
        entry.pair.encapsulation = encapsulation;
        self.mark(inbound_spi);
    }

    /// The data plane itself has noticed that the peer moved, and sends there already.
    pub fn peer_has_moved(&mut self, inbound_spi: u32, peer_outer: IpAddr, encapsulation: Encapsulation) {
        let Some(entry) = self.entries.get_mut(&inbound_spi) else { return };
        entry.pair.peer_outer = peer_outer;
        entry.pair.encapsulation = encapsulation;
        if let Some(told) = &mut entry.told {
            (told.peer_outer, told.encapsulation) = (peer_outer, encapsulation);
        }
    }

    /// Wants the SA gone. [`Outcome::Gone`] follows when it is.
    pub fn remove(&mut self, inbound_spi: u32) {
        let Some(entry) = self.entries.get_mut(&inbound_spi) else { return };
        entry.wanted = false;
        if entry.waiter.take().is_some() {
            self.waiting = self.waiting.saturating_sub(1);
        }
        for inner in addresses(entry.pair.peer_inner) {
            if self.selected.get(&inner) == Some(&inbound_spi) {
                self.selected.remove(&inner);
                self.restore_selection(inner, inbound_spi);
            }
        }
        self.mark(inbound_spi);
    }

    /// A data plane is there: it is told to forget everything, then everything that is wanted. Ids go on from
    /// `first_command_id`.
    ///
    /// For the first one of a run, see [`Ledger::adopt`].
    pub fn attach(&mut self, first_command_id: u64) {
        self.next_command_id = first_command_id;
        self.attached = true;
        self.global.clear();
        self.global.push_back(Action::RemoveAll);
        self.global.extend(self.pools.iter().copied().map(PoolRange::action));
        let mut spis: Vec<u32> = self.entries.keys().copied().collect();
        spis.sort_unstable();
        for spi in spis {
            self.mark(spi);
        }
    }

    /// The first data plane of this run is there; it may have kept running since an earlier one. Of what it may hold, what
    /// nobody wants is removed; then everything that is wanted is told.
    pub fn adopt(&mut self, first_command_id: u64, holds: impl IntoIterator<Item = u32>) {
        self.attach(first_command_id);
        if self.entries.is_empty() {
            return;
        }
        self.global.pop_front();
        let orphans = holds.into_iter().filter(|spi| !self.entries.contains_key(spi));
        let remove = orphans.map(|inbound_spi| Action::RemoveSa { inbound_spi });
        self.global.extend(remove);
    }

    /// Something for no SA, to be told before any SA's; nothing while no data plane is attached.
    pub fn order(&mut self, action: Action) {
        if self.attached {
            self.global.push_back(action);
        }
    }

    /// The data plane is gone. `sequence` says from the old segment how far an SA had come; an SA that was told but
    /// has no such record cannot be installed again, because a repeated IV would break its cipher.
    pub fn detach(&mut self, sequence: impl Fn(u32) -> Option<SequenceState>) -> Vec<Outcome> {
        self.attached = false;
        self.outstanding.clear();
        self.global.clear();
        self.told_selected.clear();
        let mut lost = Vec::new();
        for (spi, entry) in &mut self.entries {
            let was_told = entry.told.take().is_some();
            entry.removing = false;
            if !was_told {
                continue;
            }
            // Without a record, only an install that was never acknowledged can have sealed nothing.
            let record = sequence(*spi);
            if let Some(state) = record {
                entry.advance(state);
            }
            if !entry.wanted || (record.is_none() && entry.waiter.is_none()) || entry.sequence_used_up() {
                lost.push(*spi);
            }
        }
        let mut outcomes = Vec::new();
        for spi in lost {
            if let Some(entry) = self.entries.get(&spi).filter(|entry| entry.wanted) {
                outcomes.push(match entry.waiter {
                    Some(ticket) => Outcome::InstallFailed { ticket, inbound_spi: spi, status: None },
                    None => Outcome::Lost { inbound_spi: spi },
                });
            }
            self.remove(spi);
        }
        self.settle_detached(&mut outcomes);
        outcomes
    }

    /// Tells what there is to tell, in order, until `push` says the ring is full or too much is unacknowledged.
    /// Returns SAs that went away without the data plane ever hearing of them.
    pub fn tell(&mut self, mut push: impl FnMut(&Command) -> Pushed) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        if !self.attached {
            self.settle_detached(&mut outcomes);
        }
        while self.attached && self.outstanding.len() < MAX_OUTSTANDING {
            if let Some(action) = self.global.front() {
                let command = Command { id: self.next_command_id, action: action.clone() };
                if push(&command) == Pushed::Full {
                    break;
                }
                let orphan = matches!(command.action, Action::RemoveSa { .. });
                self.global.pop_front();
                self.sent(if orphan { Outstanding::Orphan } else { Outstanding::Other });
                continue;
            }
            let Some(spi) = self.dirty.front().copied() else { break };
            match self.entries.get(&spi).and_then(Entry::difference) {
                Some(action) => {
                    let command = Command { id: self.next_command_id, action };
                    if push(&command) == Pushed::Full {
                        break;
                    }
                    self.note_told(spi, &command.action);
                }
                None => {
                    self.dirty.pop_front();
                    if let Some(entry) = self.entries.get_mut(&spi) {
                        entry.queued = false;
                        if !entry.wanted && entry.told.is_none() {
                            // Never told: nobody will acknowledge, so it goes at once.
                            self.entries.remove(&spi);
                            outcomes.push(Outcome::Gone { inbound_spi: spi });
                        }
                    }
                }
            }
        }
        outcomes
    }

    /// Takes an acknowledgement. An id that is not outstanding gives `None`.
    pub fn acknowledged(&mut self, command_id: u64, status: AckStatus) -> Option<Outcome> {
        match self.outstanding.remove(&command_id)? {
            Outstanding::Install(spi) => self.install_answered(spi, status),
            Outstanding::Remove(spi) => {
                self.entries.remove(&spi);
                Some(Outcome::Gone { inbound_spi: spi })
            }
            Outstanding::Orphan => None,
            Outstanding::Other if status == AckStatus::Done => None,
            Outstanding::Other => Some(Outcome::CommandRefused { status }),
        }
    }

    /// Fails installs whose deadline has passed.
    pub fn expire(&mut self, now: Duration) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        while let Some((deadline, spi, ticket)) = self.install_deadlines.front().copied() {
            let waits = self.entries.get(&spi).is_some_and(|entry| entry.waiter == Some(ticket));
            if waits && now < deadline {
                break;
            }
            self.install_deadlines.pop_front();
            if waits {
                outcomes.push(Outcome::InstallFailed { ticket, inbound_spi: spi, status: None });
                self.remove(spi);
            }
        }
        outcomes
    }

    /// When [`Ledger::expire`] is next due.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.install_deadlines.front().map(|(deadline, ..)| *deadline)
    }

    /// Whether something waits for the ring to drain.
    pub fn has_backlog(&self) -> bool {
        self.attached && !(self.dirty.is_empty() && self.global.is_empty())
    }

    /// Commands told and not yet acknowledged.
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Whether an acknowledgement of this command is still to come.
    pub fn is_outstanding(&self, command_id: u64) -> bool {
        self.outstanding.contains_key(&command_id)
    }

    /// SAs that are wanted.
    pub fn wanted(&self) -> usize {
        self.entries.values().filter(|entry| entry.wanted).count()
    }

    /// The SAs the ledger knows, wanted or not.
    pub fn spis(&self) -> impl Iterator<Item = u32> + '_ {
        self.entries.keys().copied()
    }

    /// What is wanted of this SA.
    pub fn pair(&self, inbound_spi: u32) -> Option<&SaPair> {
        self.entries.get(&inbound_spi).filter(|entry| entry.wanted).map(|entry| &*entry.pair)
    }

    /// Whether the ledger still knows this SPI, wanted or not.
    pub fn knows(&self, inbound_spi: u32) -> bool {
        self.entries.contains_key(&inbound_spi)
    }

    fn install_answered(&mut self, spi: u32, status: AckStatus) -> Option<Outcome> {
        let entry = self.entries.get_mut(&spi)?;
        let waiter = entry.waiter.take();
        if waiter.is_some() {
            self.waiting = self.waiting.saturating_sub(1);
        }
        let restored = std::mem::take(&mut entry.restored);
        if status == AckStatus::Done {
            let renewed = restored.then_some(Outcome::Renewed { inbound_spi: spi });
            return waiter.map(|ticket| Outcome::Installed { ticket, inbound_spi: spi }).or(renewed);
        }
        if status == AckStatus::AlreadyInstalled && restored {
            entry.kept();
            self.mark(spi);
            return None;
        }
        // The data plane has it not: nothing needs to be removed there, unless a removal is under way already.
        let wanted = entry.wanted;
        if wanted {
            entry.told = None;
            self.remove(spi);
        }
        match waiter {
            Some(ticket) => Some(Outcome::InstallFailed { ticket, inbound_spi: spi, status: Some(status) }),
            None if wanted => Some(Outcome::Lost { inbound_spi: spi }),
            None => None,
        }
    }

    fn note_told(&mut self, spi: u32, action: &Action) {
        let Some(entry) = self.entries.get_mut(&spi) else { return };
        let (current, inner) = (entry.current(), entry.pair.peer_inner);
        match action {
            Action::RemoveSa { .. } => {
                for inner in addresses(inner) {
                    if self.told_selected.get(&inner) == Some(&spi) {
                        self.told_selected.remove(&inner);
                    }
                }
                // Stays in the ledger until the removal is acknowledged: its slot is not free before that.
                entry.removing = true;
                self.sent(Outstanding::Remove(spi));
            }
            Action::InstallSa(_) => {
                entry.told = Some(current);
                if current.selected {
                    self.told_selected.extend(addresses(inner).map(|inner| (inner, spi)));
                }
                self.sent(Outstanding::Install(spi));
            }
            Action::SelectOutbound { .. } => {
                if let Some(told) = &mut entry.told {
                    told.selected = true;
                }
                self.told_selected.extend(addresses(inner).map(|inner| (inner, spi)));
                self.sent(Outstanding::Other);
            }
            Action::MovePeer { .. } => {
                if let Some(told) = &mut entry.told {
                    *told = Told { selected: told.selected, ..current };
                }
                self.sent(Outstanding::Other);
            }
            Action::AddPool(_)
            | Action::AddPool6 { .. }
            | Action::RemoveAll
            | Action::Barrier
            | Action::Watch(_)
            | Action::Unwatch { .. } => self.sent(Outstanding::Other),
        }
    }

    fn sent(&mut self, what: Outstanding) {
        self.outstanding.insert(self.next_command_id, what);
        self.next_command_id = self.next_command_id.wrapping_add(1);
    }

    /// Makes `spi` the one SA that `inner` is reached by; the data plane does the same by itself. Another SA that keeps one of its
    /// addresses is still selected.
    fn take_selection(&mut self, inner: InnerAddresses, spi: u32) {
        for address in addresses(inner) {
            let Some(before) = self.selected.insert(address, spi).filter(|before| *before != spi) else {
                continue;
            };
            let Some(entry) = self.entries.get_mut(&before) else { continue };
            if addresses(entry.pair.peer_inner).any(|address| self.selected.get(&address) == Some(&before)) {
                continue;
            }
            entry.pair.outbound_selected = false;
            if let Some(told) = &mut entry.told {
                told.selected = false;
            }
        }
    }

    /// `gone` was selected and goes. If that was never told, the data plane still uses the one before.
    fn restore_selection(&mut self, inner: IpAddr, gone: u32) {
        let Some(before) = self.told_selected.get(&inner).copied().filter(|before| *before != gone) else {
            return;
        };
        if let Some(entry) = self.entries.get_mut(&before).filter(|entry| entry.wanted) {
            entry.pair.outbound_selected = true;
            if let Some(told) = &mut entry.told {
                told.selected = true;
            }
            self.selected.insert(inner, before);
        }
    }

    fn mark(&mut self, spi: u32) {
        if let Some(entry) = self.entries.get_mut(&spi)
            && !entry.queued
        {
            entry.queued = true;
            self.dirty.push_back(spi);
        }
    }

    /// With no data plane, what is not wanted is gone at once, and the rest is told when one comes.
    fn settle_detached(&mut self, outcomes: &mut Vec<Outcome>) {
        for spi in std::mem::take(&mut self.dirty) {
            let Some(entry) = self.entries.get_mut(&spi) else { continue };
            entry.queued = false;
            if !entry.wanted {
                self.entries.remove(&spi);
                outcomes.push(Outcome::Gone { inbound_spi: spi });
            }
        }
    }
}

impl Entry {
    fn current(&self) -> Told {
        Told {
            selected: self.pair.outbound_selected,
            local_outer: self.pair.local_outer,
            peer_outer: self.pair.peer_outer,
            encapsulation: self.pair.encapsulation,
        }
    }

    /// The next command that brings the data plane nearer to what is wanted.
    fn difference(&self) -> Option<Action> {
        let inbound_spi = self.pair.inbound_spi;
        let Some(told) = self.told else {
            return self.wanted.then(|| Action::InstallSa(self.pair.clone()));
        };
        if !self.wanted {
            return (!self.removing).then_some(Action::RemoveSa { inbound_spi });
        }
        let current = self.current();
        if told != (Told { selected: told.selected, ..current }) {
            let Told { local_outer, peer_outer, encapsulation, .. } = current;
            return Some(Action::MovePeer { inbound_spi, local_outer, peer_outer, encapsulation });
        }
        (current.selected && !told.selected).then_some(Action::SelectOutbound { inbound_spi })
    }

    /// The data plane goes on with it: its numbers are its own, and it may send to where it has seen the peer last. Which SA it
    /// sends by is told again.
    fn kept(&mut self) {
        self.pair.first_outbound_sequence = 1;
        self.pair.highest_inbound_sequence = 0;
        if let Some(told) = &mut self.told {
            told.selected = false;
        }
    }

    fn advance(&mut self, state: SequenceState) {
        let next = state.outbound_reserved_end.saturating_add(SEQUENCE_MARGIN);
        self.pair.first_outbound_sequence = self.pair.first_outbound_sequence.max(next);
        self.pair.highest_inbound_sequence = self.pair.highest_inbound_sequence.max(state.highest_inbound);
    }

    fn sequence_used_up(&self) -> bool {
        let last = if self.pair.esn { u64::MAX } else { u64::from(u32::MAX) };
        self.pair.first_outbound_sequence >= last
    }
}

/// One key for each family: of IPv6 the first address of the client's prefix.
fn addresses(inner: InnerAddresses) -> impl Iterator<Item = IpAddr> {
    let v4 = inner.v4.map(IpAddr::V4);
    v4.into_iter().chain(inner.v6.map(|prefix| IpAddr::V6(prefix.address)))
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
