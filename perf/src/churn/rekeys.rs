//! The commands of a churn: every client by turns gets a new SA, and when the data plane has acknowledged it, loses its old one.
//!
//! Enters: time, acknowledgements. Leaves: commands in the segment's ring, as the control plane writes them, at a rate. A client
//! always has an SA that outbound packets find, so that not one of its packets may be lost.

use std::collections::{HashMap, VecDeque};

use causeway_dataplane::worker::Watch;
use causeway_shared::sa::SaPair;
use causeway_shared::wire::{AckStatus, Action, Command};
use causeway_shm::PushError;

use crate::plane::Plane;
use crate::world::{self, World};
use crate::{Failure, install};

/// Commands that wait for their acknowledgement at most: what the data plane has under way, and as many on the way to it.
pub const MOST_UNANSWERED: usize = 256;
/// Slots of the SA table above two per client: SAs of commands under way.
pub const SPARE_SLOTS: u32 = 1024;

/// Gives the commands.
pub struct Rekeys {
    world: World,
    /// The next SA's number: client `number % clients`, keys and SPIs of its own.
    next: u32,
    removals: VecDeque<u32>,
    unanswered: HashMap<u64, Asked>,
    /// SAs installed and removed, acknowledged.
    pub installed: u64,
    /// As above.
    pub removed: u64,
}

#[derive(Clone, Copy)]
enum Asked {
    Install(u32),
    Remove,
}

impl Rekeys {
    /// Over a data plane without SAs.
    pub fn new(world: World) -> Rekeys {
        let unanswered = HashMap::with_capacity(MOST_UNANSWERED);
        Rekeys { world, next: 0, removals: VecDeque::new(), unanswered, installed: 0, removed: 0 }
    }

    /// Every client's first SA.
    ///
    /// # Errors
    /// What the data plane refuses.
    pub fn install_everyone<W: Watch + Send + 'static>(
        &mut self,
        plane: &mut Plane<W>,
    ) -> Result<(), Failure> {
        plane.order(Action::AddPool(world::POOL))?;
        while self.next < self.world.sas || !self.unanswered.is_empty() {
            let most = (self.world.sas - self.next).min(1);
            self.go_on(plane, most)?;
        }
        self.installed = 0;
        Ok(())
    }

    /// Takes what was acknowledged and asks for at most `installs` more; how many were asked for.
    ///
    /// # Errors
    /// A refused command: none may be.
    pub fn go_on<W: Watch + Send + 'static>(
        &mut self,
        plane: &mut Plane<W>,
        installs: u32,
    ) -> Result<u32, Failure> {
        while let Some((id, status)) = plane.acknowledgement()? {
            self.answered(id, status)?;
        }
        while let Some(number) = self.removals.pop_front() {
            let inbound_spi = self.world.pair(number).inbound_spi;
            if !self.ask(plane, Action::RemoveSa { inbound_spi }, Asked::Remove)? {
                self.removals.push_front(number);
                return Ok(0);
            }
        }
        let mut asked = 0;
        while asked < installs {
            let pair = pair(&self.world, self.next);
            if !self.ask(plane, Action::InstallSa(Box::new(pair)), Asked::Install(self.next))? {
                break;
            }
            self.next = self.next.wrapping_add(1);
            asked += 1;
        }
        Ok(asked)
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.unanswered.is_empty() && self.removals.is_empty()
    }

    fn ask<W: Watch + Send + 'static>(
        &mut self,
        plane: &mut Plane<W>,
        action: Action,
        asked: Asked,
    ) -> Result<bool, Failure> {
        if self.unanswered.len() >= MOST_UNANSWERED {
            return Ok(false);
        }
        let id = plane.control.next_command_id();
        match plane.control.commands.push(&Command { id, action }) {
            Ok(()) => {}
            Err(PushError::Full) => return Ok(false),
            Err(error) => return Err(Failure::Usage(format!("the command ring: {error}"))),
        }
        self.unanswered.insert(id, asked);
        Ok(true)
    }

    fn answered(&mut self, id: u64, status: AckStatus) -> Result<(), Failure> {
        // Nothing else was asked for.
        let asked = self.unanswered.remove(&id).ok_or(Failure::WorkerEnded)?;
        install::done(status)?;
        match asked {
            Asked::Install(number) => {
                self.installed += 1;
                self.removals.extend(number.checked_sub(self.world.sas));
            }
            Asked::Remove => self.removed += 1,
        }
        Ok(())
    }
}

/// SA `number` of its client.
fn pair(world: &World, number: u32) -> SaPair {
    let of_client = world.pair(number % world.sas);
    SaPair {
        peer_inner: of_client.peer_inner,
        peer_outer: of_client.peer_outer,
        peer_selectors: of_client.peer_selectors.clone(),
        ..world.pair(number)
    }
}
