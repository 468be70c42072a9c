//! Commands of the control plane as steps on workers, and the acknowledgement when the last step has taken effect.
//!
//! Enters: commands, and reports of workers. Leaves: instructions and acknowledgements. No thread, clock or queue here.
//!
//! Commands that touch different SAs and addresses run at the same time, up to [`MAX_IN_FLIGHT`]. A command that touches
//! what another one under way touches waits for it, and so does everything behind it: their effects keep the order in
//! which they were given. An SA that was installed but cannot be selected is taken out again: a refused command
//! changes nothing.

use std::collections::HashMap;

use arrayvec::ArrayVec;
use causeway_shared::sa::{InnerAddresses, IpPrefix, Ipv4Prefix, Ipv6Prefix, SaPair, slot_of_spi};
use causeway_shared::wire::{AckStatus, Action, Command};
use causeway_shm::SaStats;

use crate::handoff::Instruction;
use crate::path::{Operation, PoolMap, Tables, Watcher, WorkerSa, owner_of_spi};

/// Most commands under way at once.
pub const MAX_IN_FLIGHT: usize = 64;
/// Most instructions that a step of a command has for one worker: an inner address of each family.
pub const FAMILIES: usize = 2;

/// What a call wants done.
#[derive(Default)]
pub struct Todo {
    /// For workers, in this order.
    pub instructions: Vec<(u16, Instruction)>,
    /// For the control plane: command and status.
    pub acknowledgements: Vec<(u64, AckStatus)>,
}

/// What the manager knows of the tables, and the commands under way.
pub struct Executor {
    workers: u16,
    sa_capacity: u32,
    /// Installed SAs by slot.
    installed: HashMap<u32, InstalledSa>,
    /// Which SA packets to an inner address (IPv6: into a prefix) leave by.
    selected: HashMap<IpPrefix, u32>,
    pools: Vec<IpPrefix>,
    under_way: Vec<UnderWay>,
    next_ticket: u64,
}

#[derive(Clone, Copy)]
struct InstalledSa {
    inbound_spi: u32,
    inner: InnerAddresses,
}

/// Which SA packets to a client's inner address of each family leave by.
type Selected = ArrayVec<(IpPrefix, Option<u32>), FAMILIES>;

struct UnderWay {
    ticket: u64,
    command_id: u64,
    touches: Touches,
    /// Reports still to come for the present step.
    outstanding: u16,
    /// The first failure, or `Done`.
    status: AckStatus,
    step: Step,
}

/// What a command must have to itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Touches {
    Everything,
    Sa { slot: u32, inner: InnerAddresses },
}

/// The step under way, with what the next one needs.
enum Step {
    /// The SA goes to its owner; if `select`, it is selected next.
    Install { sa: InstalledSa, select: bool },
    /// Every worker points the addresses at the SA; before they pointed at `previous`. `fresh`: the SA was installed by the
    /// same command and goes out again if this fails.
    Select { sa: InstalledSa, previous: Selected, fresh: bool },
    /// Every worker points the addresses back at what they were; a fresh SA is removed next.
    Unselect { sa: InstalledSa, fresh: bool },
    /// Every worker forgets the addresses; the SA is removed next.
    Clear { sa: InstalledSa },
    /// The last step: the owner takes the SA out.
    Remove { sa: InstalledSa },
    /// The last step: an address moves.
    Move,
    /// The last step: a pool is added.
    Pool(IpPrefix),
    /// The last step: a watch begins or ends.
    Watch,
    /// The last step: all tables are exchanged.
    RemoveAll,
}

impl Executor {
    /// An executor over empty tables.
    pub fn new(workers: u16, sa_capacity: u32) -> Executor {
        Executor {
            workers,
            sa_capacity,
            installed: HashMap::new(),
            selected: HashMap::new(),
            pools: Vec::new(),
            under_way: Vec::with_capacity(MAX_IN_FLIGHT),
            next_ticket: 0,
        }
    }

    /// Commands under way.
    pub fn in_flight(&self) -> usize {
        self.under_way.len()
    }

    /// SAs installed.
    pub fn installed(&self) -> usize {
        self.installed.len()
    }

    /// Begins a command; gives it back if it must wait for commands under way.
    pub fn submit(&mut self, command: Command, todo: &mut Todo) -> Option<Command> {
        let touches = self.touches(&command.action);
        let free = self.under_way.len() < MAX_IN_FLIGHT
            && self.under_way.iter().all(|other| !touches.conflict(other.touches));
        if !free {
            return Some(command);
        }
        let Command { id, action } = command;
        let begun = match action {
            Action::InstallSa(pair) => self.install(id, touches, &pair, todo),
            Action::SelectOutbound { inbound_spi } => self.select_outbound(id, touches, inbound_spi, todo),
            Action::RemoveSa { inbound_spi } => self.remove(id, touches, inbound_spi, todo),
            Action::MovePeer { inbound_spi, local_outer, peer_outer, encapsulation } => {
                self.find(inbound_spi).map(|_| {
                    let operation =
                        Operation::MovePeer { inbound_spi, local_outer, peer_outer, encapsulation };
                    let ticket = self.begin(id, touches, Step::Move);
                    self.instruct_owner(ticket, inbound_spi, operation, None, todo);
                })
            }
            Action::AddPool6 { pool, .. } => self.add_pool6(id, touches, pool, todo),
            Action::AddPool(range) => self.add_pool(id, touches, range, todo),
            Action::RemoveAll => {
                let ticket = self.begin(id, touches, Step::RemoveAll);
                let (capacity, workers) = (self.sa_capacity, self.workers);
                self.instruct_all(ticket, todo, || Operation::RemoveAll(Tables::new(capacity, workers)));
                Ok(())
            }
            Action::Watch(watch) => {
                let ticket = self.begin(id, touches, Step::Watch);
                self.instruct_all(ticket, todo, || Operation::Watch(Watcher::new(&watch)));
                Ok(())
            }
            Action::Unwatch { id: watch } => {
                let ticket = self.begin(id, touches, Step::Watch);
                self.instruct_all(ticket, todo, || Operation::Unwatch { id: watch });
                Ok(())
            }
            // Nothing else is under way when a barrier is reached.
            Action::Barrier => Err(AckStatus::Done),
        };
        if let Err(status) = begun {
            todo.acknowledgements.push((id, status));
        }
        None
    }

    /// Takes a worker's report; goes on with the next step when it was the last one awaited.
    pub fn complete(&mut self, ticket: u64, status: AckStatus, todo: &mut Todo) {
        let Some(place) = self.under_way.iter().position(|command| command.ticket == ticket) else { return };
        let Some(command) = self.under_way.get_mut(place) else { return };
        if command.status == AckStatus::Done {
            command.status = status;
        }
        command.outstanding = command.outstanding.saturating_sub(1);
        if command.outstanding == 0 {
            let command = self.under_way.swap_remove(place);
            self.next_step(command, todo);
        }
    }

    fn touches(&self, action: &Action) -> Touches {
        let sa = |inbound_spi: u32, inner: Option<InnerAddresses>| {
            let slot = slot_of_spi(inbound_spi, self.sa_capacity);
            let known = self.installed.get(&slot).map(|sa| sa.inner);
            Touches::Sa { slot, inner: inner.or(known).unwrap_or(InnerAddresses { v4: None, v6: None }) }
        };
        match action {
            Action::InstallSa(pair) => sa(pair.inbound_spi, Some(pair.peer_inner)),
            Action::SelectOutbound { inbound_spi }
            | Action::RemoveSa { inbound_spi }
            | Action::MovePeer { inbound_spi, .. } => sa(*inbound_spi, None),
            Action::AddPool(_)
            | Action::AddPool6 { .. }
            | Action::RemoveAll
            | Action::Barrier
            | Action::Watch(_)
            | Action::Unwatch { .. } => Touches::Everything,
        }
    }

    fn find(&self, inbound_spi: u32) -> Result<InstalledSa, AckStatus> {
        self.installed
            .get(&slot_of_spi(inbound_spi, self.sa_capacity))
            .filter(|sa| sa.inbound_spi == inbound_spi)
            .copied()
            .ok_or(AckStatus::NoSuchSa)
    }

    fn install(
        &mut self,
        id: u64,
        touches: Touches,
        pair: &SaPair,
        todo: &mut Todo,
    ) -> Result<(), AckStatus> {
        let slot = slot_of_spi(pair.inbound_spi, self.sa_capacity);
        if let Some(there) = self.installed.get(&slot) {
            let same = there.inbound_spi == pair.inbound_spi;
            return Err(if same { AckStatus::AlreadyInstalled } else { AckStatus::SlotInUse });
        }
        let operation = Operation::Install(WorkerSa::new(pair)?);
        let sa = InstalledSa { inbound_spi: pair.inbound_spi, inner: pair.peer_inner };
        let statistics = SaStats {
            inbound_spi: pair.inbound_spi,
            outbound_reserved_end: pair.first_outbound_sequence,
            highest_inbound_sequence: pair.highest_inbound_sequence,
            ..SaStats::default()
        };
        self.installed.insert(slot, sa);
        let ticket = self.begin(id, touches, Step::Install { sa, select: pair.outbound_selected });
        self.instruct_owner(ticket, pair.inbound_spi, operation, Some(statistics), todo);
        Ok(())
    }

    fn select_outbound(
        &mut self,
        id: u64,
        touches: Touches,
        inbound_spi: u32,
        todo: &mut Todo,
    ) -> Result<(), AckStatus> {
        let sa = self.find(inbound_spi)?;
        self.select(id, touches, sa, false, todo);
        Ok(())
    }

    fn remove(
        &mut self,
        id: u64,
        touches: Touches,
        inbound_spi: u32,
        todo: &mut Todo,
    ) -> Result<(), AckStatus> {
        let sa = self.find(inbound_spi)?;
        let its: Selected = prefixes(sa.inner)
            .filter(|inner| self.selected.get(inner) == Some(&inbound_spi))
            .map(|inner| (inner, None))
            .collect();
        if its.is_empty() {
            self.take_out(id, touches, sa, AckStatus::Done, todo);
        } else {
            self.remember(&its);
            let ticket = self.begin(id, touches, Step::Clear { sa });
            self.point_all_at(ticket, &its, todo);
        }
        Ok(())
    }

    fn add_pool(
        &mut self,
        id: u64,
        touches: Touches,
        range: Ipv4Prefix,
        todo: &mut Todo,
    ) -> Result<(), AckStatus> {
        // A control plane that attached again declares its pools again.
        if self.pools.contains(&range.into()) {
            return Err(AckStatus::Done);
        }
        let mut maps = (0..self.workers).map(|_| PoolMap::new(range)).collect::<Result<Vec<_>, _>>()?;
        let ticket = self.begin(id, touches, Step::Pool(range.into()));
        for worker in 0..self.workers {
            let Some(map) = maps.pop() else { break };
            self.instruct(ticket, worker, Operation::AddPool(map), None, todo);
        }
        Ok(())
    }

    fn add_pool6(
        &mut self,
        id: u64,
        touches: Touches,
        range: Ipv6Prefix,
        todo: &mut Todo,
    ) -> Result<(), AckStatus> {
        if self.pools.contains(&range.into()) {
            return Err(AckStatus::Done);
        }
        let ticket = self.begin(id, touches, Step::Pool(range.into()));
        self.instruct_all(ticket, todo, || Operation::AddPool6(range));
        Ok(())
    }

    fn next_step(&mut self, command: UnderWay, todo: &mut Todo) {
        let UnderWay { command_id: id, touches, status, step, .. } = command;
        let done = status == AckStatus::Done;
        match step {
            Step::Install { sa, select: true } if done => return self.select(id, touches, sa, true, todo),
            Step::Install { sa, .. } if !done => self.forget(sa),
            Step::Select { sa, previous, fresh } if !done => {
                self.remember(&previous);
                let ticket = self.begin_failed(id, touches, Step::Unselect { sa, fresh }, status);
                return self.point_all_at(ticket, &previous, todo);
            }
            Step::Unselect { sa, fresh: true } | Step::Clear { sa } => {
                return self.take_out(id, touches, sa, status, todo);
            }
            Step::Remove { sa } => self.forget(sa),
            Step::Pool(range) if done => self.pools.push(range),
            Step::RemoveAll => {
                self.installed.clear();
                self.selected.clear();
                self.pools.clear();
            }
            Step::Install { .. }
            | Step::Select { .. }
            | Step::Unselect { .. }
            | Step::Move
            | Step::Watch
            | Step::Pool(_) => {}
        }
        todo.acknowledgements.push((id, status));
    }

    fn select(&mut self, id: u64, touches: Touches, sa: InstalledSa, fresh: bool, todo: &mut Todo) {
        let wanted: Selected = prefixes(sa.inner).map(|inner| (inner, Some(sa.inbound_spi))).collect();
        let previous = wanted.iter().map(|(inner, _)| (*inner, self.selected.get(inner).copied())).collect();
        self.remember(&wanted);
        let ticket = self.begin(id, touches, Step::Select { sa, previous, fresh });
        self.point_all_at(ticket, &wanted, todo);
    }

    fn take_out(&mut self, id: u64, touches: Touches, sa: InstalledSa, status: AckStatus, todo: &mut Todo) {
        let ticket = self.begin_failed(id, touches, Step::Remove { sa }, status);
        let operation = Operation::Remove { inbound_spi: sa.inbound_spi };
        self.instruct_owner(ticket, sa.inbound_spi, operation, None, todo);
    }

    fn forget(&mut self, sa: InstalledSa) {
        self.installed.remove(&slot_of_spi(sa.inbound_spi, self.sa_capacity));
    }

    fn begin(&mut self, command_id: u64, touches: Touches, step: Step) -> u64 {
        self.begin_failed(command_id, touches, step, AckStatus::Done)
    }

    /// Begins a step of a command that has failed already, if `status` says so: what it undoes does not hide why.
    fn begin_failed(&mut self, command_id: u64, touches: Touches, step: Step, status: AckStatus) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.under_way.push(UnderWay { ticket, command_id, touches, outstanding: 0, status, step });
        ticket
    }

    /// Notes what workers are going to be told.
    fn remember(&mut self, selected: &Selected) {
        for (inner, inbound_spi) in selected {
            match inbound_spi {
                Some(spi) => self.selected.insert(*inner, *spi),
                None => self.selected.remove(inner),
            };
        }
    }

    fn point_all_at(&mut self, ticket: u64, selected: &Selected, todo: &mut Todo) {
        for &(inner, inbound_spi) in selected {
            self.instruct_all(ticket, todo, || match inner {
                IpPrefix::V4(inner) => Operation::SetOutbound { inner: inner.address, inbound_spi },
                IpPrefix::V6(inner) => Operation::SetOutbound6 { inner, inbound_spi },
            });
        }
    }

    fn instruct_all(&mut self, ticket: u64, todo: &mut Todo, mut operation: impl FnMut() -> Operation) {
        for worker in 0..self.workers {
            self.instruct(ticket, worker, operation(), None, todo);
        }
    }

    fn instruct_owner(
        &mut self,
        ticket: u64,
        inbound_spi: u32,
        operation: Operation,
        statistics: Option<SaStats>,
        todo: &mut Todo,
    ) {
        let owner = owner_of_spi(inbound_spi, self.sa_capacity, self.workers);
        self.instruct(ticket, owner, operation, statistics, todo);
    }

    fn instruct(
        &mut self,
        ticket: u64,
        worker: u16,
        operation: Operation,
        statistics: Option<SaStats>,
        todo: &mut Todo,
    ) {
        if let Some(command) = self.under_way.iter_mut().find(|command| command.ticket == ticket) {
            command.outstanding += 1;
        }
        todo.instructions.push((worker, Instruction { ticket, operation, statistics }));
    }
}

/// A client's inner addresses, as what outbound look-up finds.
fn prefixes(inner: InnerAddresses) -> impl Iterator<Item = IpPrefix> {
    let v4 = inner.v4.map(|address| IpPrefix::V4(Ipv4Prefix { address, length: 32 }));
    v4.into_iter().chain(inner.v6.map(IpPrefix::V6))
}

impl Touches {
    fn conflict(self, other: Touches) -> bool {
        match (self, other) {
            (Touches::Sa { slot: a, inner: x }, Touches::Sa { slot: b, inner: y }) => {
                a == b || prefixes(x).any(|x| prefixes(y).any(|y| x == y))
            }
            (Touches::Everything, _) | (_, Touches::Everything) => true,
        }
    }
}

#[cfg(test)]
mod tests;
