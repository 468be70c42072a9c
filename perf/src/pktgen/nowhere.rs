//! A sink that swallows everything, for paths over buffers on the heap.

use causeway_dataplane::buffer::HeapBuffer;
use causeway_dataplane::path::PortId;
use causeway_dataplane::sink::{Full, Handoff, Punt, SaStatistics, Sink};
use causeway_shared::wire::Event;

/// Where nothing leaves.
pub struct Nowhere;

impl Sink<HeapBuffer> for Nowhere {
    fn tx(&mut self, _port: PortId, _frame: HeapBuffer) {}

    fn handoff(&mut self, _worker: u16, item: Handoff<HeapBuffer>) -> Result<(), Handoff<HeapBuffer>> {
        Err(item)
    }

    fn punt(&mut self, _datagram: Punt<'_>) -> Result<(), Full> {
        Ok(())
    }

    fn event(&mut self, _event: Event) -> Result<(), Full> {
        Ok(())
    }

    fn reserve_sequence(&mut self, _slot: u32, _block_end: u64) {}

    fn sa_statistics(&mut self, _slot: u32, _statistics: SaStatistics) {}
}
