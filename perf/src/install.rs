//! What the manager would tell a worker, for the [`World`] under measurement: its clients, its neighbours, its segment.
//!
//! Enters: a world, a direction. Leaves: operations and hand-offs in the order in which they apply, and one worker's side of a
//! fresh segment. There is no control plane and nobody answers ARP, so all of it is said from here.

use causeway_dataplane::buffer::Allocator;
use causeway_dataplane::path::{Now, Operation, Path, PoolMap, PortId, WorkerSa};
use causeway_dataplane::probe::Probe;
use causeway_dataplane::sink::{Handoff, Sink};
use causeway_shared::wire::AckStatus;
use causeway_shm::{DataSide, SegmentConfig, WorkerSide, monotonic_ns};

use crate::Failure;
use crate::cell::Direction;
use crate::world::{self, Family, World};

/// The pool, without which no client has a way.
///
/// # Errors
/// What the data plane refuses.
pub fn pool(family: Family) -> Result<Operation, Failure> {
    Ok(match family {
        Family::V4 => Operation::AddPool(PoolMap::new(world::POOL).map_err(Failure::Refused)?),
        Family::V6 => Operation::AddPool6(world::POOL6),
    })
}

/// Client `n`'s SA pair, then the way to its inner address.
///
/// # Errors
/// What the data plane refuses.
pub fn client(world: &World, n: u32) -> Result<[Operation; 2], Failure> {
    let pair = world.pair(n);
    let sa = WorkerSa::new(&pair).map_err(Failure::Refused)?;
    let inbound_spi = Some(pair.inbound_spi);
    let way = match (pair.peer_inner.v4, pair.peer_inner.v6) {
        (Some(inner), _) => Operation::SetOutbound { inner, inbound_spi },
        (None, Some(inner)) => Operation::SetOutbound6 { inner, inbound_spi },
        (None, None) => return Err(Failure::Refused(AckStatus::OutOfRange)),
    };
    Ok([Operation::Install(sa), way])
}

/// Gives `path` the pool and every client of `world`.
///
/// # Errors
/// What the data plane refuses.
pub fn everyone<A: Allocator, P: Probe>(
    world: &World,
    path: &mut Path<A, P>,
    now: Now,
    sink: &mut impl Sink<A::Buffer>,
) -> Result<(), Failure> {
    apply(path, now, pool(world.inner)?, sink)?;
    clients(world, path, now, sink)
}

/// Gives `path`, which has the pool, every client of `world`.
///
/// # Errors
/// What the data plane refuses.
pub fn clients<A: Allocator, P: Probe>(
    world: &World,
    path: &mut Path<A, P>,
    now: Now,
    sink: &mut impl Sink<A::Buffer>,
) -> Result<(), Failure> {
    for n in 0..world.sas {
        for operation in client(world, n)? {
            apply(path, now, operation, sink)?;
        }
    }
    Ok(())
}

/// One operation on a path that no other thread has.
///
/// # Errors
/// What the data plane refuses.
pub fn apply<A: Allocator, P: Probe>(
    path: &mut Path<A, P>,
    now: Now,
    operation: Operation,
    sink: &mut impl Sink<A::Buffer>,
) -> Result<(), Failure> {
    done(path.apply(now, operation, sink).status)
}

/// Whether an operation was carried out.
///
/// # Errors
/// That it was not.
pub fn done(status: AckStatus) -> Result<(), Failure> {
    match status {
        AckStatus::Done => Ok(()),
        refused => Err(Failure::Refused(refused)),
    }
}

/// What ARP would say of both ports. To be repeated, since neighbours age.
pub fn neighbours<B>(direction: Direction) -> impl Iterator<Item = Handoff<B>> {
    world::roles(direction).into_iter().zip(0u16..).map(|(role, port)| Handoff::Neighbour {
        port: PortId(port),
        address: world::neighbour_of(role),
        mac: world::NEIGHBOUR_MAC,
    })
}

/// What neighbour discovery would say, likewise.
pub fn neighbours6<B>(direction: Direction) -> impl Iterator<Item = Handoff<B>> {
    world::roles(direction).into_iter().zip(0u16..).map(|(role, port)| Handoff::Neighbour6 {
        port: PortId(port),
        address: world::neighbour6_of(role),
        mac: world::NEIGHBOUR_MAC,
    })
}

/// A segment for one worker, and what that worker has of it.
///
/// # Errors
/// When it cannot be made.
pub fn segment(sa_capacity: u32) -> Result<(DataSide, WorkerSide), Failure> {
    let mut side = DataSide::create(&SegmentConfig {
        workers: 1,
        sa_capacity,
        epoch: monotonic_ns(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })?;
    let worker = side.workers.pop().ok_or(Failure::WorkerEnded)?;
    Ok((side, worker))
}
