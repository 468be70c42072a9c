//! The tables that commands change: SAs by inbound SPI, and inner addresses to SAs.

use causeway_shared::sa::slot_of_spi;

use super::outbound::OutboundMap;
use super::worker_sa::WorkerSa;

/// Every table of a worker that commands change; exchanged whole by `RemoveAll`.
pub struct Tables {
    /// SAs that this worker owns.
    pub(crate) sas: SaTable,
    /// Which SA packets to a client leave by, whichever worker owns it.
    pub(crate) outbound: OutboundMap,
}

impl Tables {
    /// Empty tables for `sa_capacity` slots (a power of two); runs on the manager's thread.
    pub fn new(sa_capacity: u32) -> Box<Tables> {
        Box::new(Tables { sas: SaTable::new(sa_capacity), outbound: OutboundMap::new() })
    }
}

/// SAs in the slots that their inbound SPIs name: the low bits are the slot, the rest a generation that must match.
pub struct SaTable {
    slots: Box<[Option<Box<WorkerSa>>]>,
}

impl SaTable {
    /// An empty table of `capacity` slots, a power of two.
    pub fn new(capacity: u32) -> SaTable {
        SaTable { slots: (0..capacity).map(|_| None).collect() }
    }

    /// The slot that an SPI names.
    pub fn slot_of(&self, spi: u32) -> u32 {
        slot_of_spi(spi, self.slots.len() as u32)
    }

    /// The slot of the SA that has exactly this inbound SPI.
    pub fn lookup(&self, spi: u32) -> Option<u32> {
        let slot = self.slot_of(spi);
        self.get(slot).is_some_and(|sa| sa.inbound_spi() == spi).then_some(slot)
    }

    /// The SA in a slot.
    pub fn get(&self, slot: u32) -> Option<&WorkerSa> {
        self.slots.get(slot as usize)?.as_deref()
    }

    /// The SA in a slot, to be changed.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut WorkerSa> {
        self.slots.get_mut(slot as usize)?.as_deref_mut()
    }

    /// Puts an SA into its slot.
    ///
    /// # Errors
    /// Gives it back when the slot is in use.
    pub fn insert(&mut self, sa: Box<WorkerSa>) -> Result<(), Box<WorkerSa>> {
        let slot = self.slot_of(sa.inbound_spi());
        match self.slots.get_mut(slot as usize) {
            Some(place @ None) => {
                *place = Some(sa);
                Ok(())
            }
            _ => Err(sa),
        }
    }

    /// Takes the SA with this inbound SPI out.
    pub fn remove(&mut self, spi: u32) -> Option<Box<WorkerSa>> {
        let slot = self.lookup(spi)?;
        self.slots.get_mut(slot as usize)?.take()
    }
}
