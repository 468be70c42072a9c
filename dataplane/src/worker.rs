//! The poll loop of one worker: its queues and mailbox in, the path in the middle, [`WorkerSink`] out.
//!
//! A turn takes at most a burst from every source of packets, so that none starves the others. What is no packet (the clock,
//! instructions, datagrams, figures for the segment) is looked at before an idle worker's every turn, and before each
//! [`LOOK_EACH`]th of a busy one: it means a reading of the clock, and words that other cores write. After start the loop allocates
//! nothing, takes no lock, logs nothing and makes no system call, but for two: the control plane's doorbell when that has
//! said that it sleeps, and the sleep of an idle worker where `dataplane.poll` is "adaptive" (`poll.rs`).

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use causeway_dpdk::{BURST, Mbuf, RxQueue};
use causeway_shared::config::Poll;
use causeway_shared::counters::{COUNTERS, Flow};
use causeway_shared::wire::{Datagram, MAX_DATAGRAM};
use causeway_shm::{Consumer, CounterBlock, Heartbeat, WorkerSide, monotonic_ns};

use crate::dpdk_buffer::PoolAllocator;
use crate::fair_rings::NextSender;
use crate::handoff::{Mailbox, Report};
use crate::path::{Now, Path, PortId};
use crate::poll::Idle;
use crate::ports::WorkerPorts;
use crate::sink::{Handoff, Sink};
use crate::worker_sink::WorkerSink;

/// Turns with packets between two looks at what is no packet: a tenth of a millisecond or two.
const LOOK_EACH: u32 = 4;
/// Instructions taken in one look.
const INSTRUCTIONS: usize = 8;
/// Datagrams of the control plane taken in one look.
const DATAGRAMS: usize = 8;
/// Time between two calls of `Path::tick`, nanoseconds.
const TICK_NS: u64 = 100_000_000;
/// Time between two copies of counters and heartbeats to the segment, nanoseconds.
const PUBLISH_NS: u64 = 10_000_000;
const NS_PER_MS: u64 = 1_000_000;

/// Watches a worker's loop, for measurements. Calls come in this order, those about instructions only in turns that look for them;
/// the daemon's [`Unwatched`] costs nothing.
pub trait Watch {
    /// A turn begins.
    #[inline(always)]
    fn turn_begins(&mut self) {}
    /// The manager's instructions come next.
    #[inline(always)]
    fn instructions_begin(&mut self) {}
    /// So many instructions were carried out.
    #[inline(always)]
    fn instructions_ended(&mut self, _followed: usize) {}
    /// The turn is over; it found something to do, or not.
    #[inline(always)]
    fn turn_ended(&mut self, _busy: bool) {}
}

/// Perhaps somebody watches.
impl<W: Watch> Watch for Option<W> {
    #[inline(always)]
    fn turn_begins(&mut self) {
        self.iter_mut().for_each(W::turn_begins);
    }

    #[inline(always)]
    fn instructions_begin(&mut self) {
        self.iter_mut().for_each(W::instructions_begin);
    }

    #[inline(always)]
    fn instructions_ended(&mut self, followed: usize) {
        self.iter_mut().for_each(|watch| watch.instructions_ended(followed));
    }

    #[inline(always)]
    fn turn_ended(&mut self, busy: bool) {
        self.iter_mut().for_each(|watch| watch.turn_ended(busy));
    }
}

/// Nobody watches.
pub struct Unwatched;

impl Watch for Unwatched {}

/// One worker; lives on its own thread.
pub struct Worker {
    index: u16,
    path: Path<PoolAllocator>,
    receive: Vec<(PortId, RxQueue)>,
    sink: WorkerSink,
    mailboxes: Arc<[Mailbox]>,
    to_send: Option<Outgoing>,
    published: Published,
    idle: Idle,
    burst: Vec<Mbuf>,
    handed: Vec<Handoff<Mbuf>>,
    frames: Vec<(PortId, Mbuf)>,
    next_senders: [NextSender; 2],
    /// The time of the last look.
    now: Now,
    turns_until_look: u32,
    next_tick_ns: u64,
    next_publish_ns: u64,
}

/// The ring of datagrams to send, and room for one of them.
struct Outgoing {
    ring: Consumer<Datagram>,
    datagram: Datagram,
}

/// What the control plane reads.
struct Published {
    counters: CounterBlock,
    heartbeat: Heartbeat,
    /// The counters as they were published last.
    last: [u64; COUNTERS],
}

impl Worker {
    /// Puts a worker together.
    pub fn new(
        path: Path<PoolAllocator>,
        ports: WorkerPorts,
        mailboxes: Arc<[Mailbox]>,
        side: WorkerSide,
        poll: Poll,
    ) -> Worker {
        let WorkerSide { index, events, punts, observations, to_send, counters, heartbeat, stats } = side;
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        Worker {
            index,
            path,
            receive: ports.receive,
            sink: WorkerSink::new(
                index,
                ports.transmit,
                mailboxes.clone(),
                events,
                punts,
                observations,
                stats,
            ),
            mailboxes,
            to_send: to_send.map(|ring| Outgoing {
                ring,
                datagram: Datagram {
                    local: Ipv4Addr::UNSPECIFIED.into(),
                    local_port: 0,
                    peer: Ipv4Addr::UNSPECIFIED.into(),
                    peer_port: 0,
                    payload: Vec::with_capacity(MAX_DATAGRAM),
                },
            }),
            published: Published { counters, heartbeat, last: [0; COUNTERS] },
            idle: Idle::new(poll),
            burst: Vec::with_capacity(BURST),
            handed: Vec::with_capacity(BURST),
            frames: Vec::with_capacity(BURST),
            next_senders: [NextSender::default(); 2],
            now: Now::default(),
            turns_until_look: 0,
            next_tick_ns: 0,
            next_publish_ns: 0,
        }
    }

    /// Polls until `stop`; then sends what it has and returns, so that its queues can be dropped.
    pub fn run(self, stop: &AtomicBool) {
        self.run_watched(stop, &mut Unwatched);
    }

    /// As [`Worker::run`], and tells `watch` what each turn is doing.
    pub fn run_watched(mut self, stop: &AtomicBool, watch: &mut impl Watch) {
        if self.index == 0 {
            let now = self.begin_turn();
            self.path.announce(now, &mut self.sink);
        }
        // Relaxed: the flag carries no data.
        while !stop.load(Ordering::Relaxed) {
            watch.turn_begins();
            let busy = self.turn(watch);
            if !busy {
                self.path.idle(&mut self.sink);
            }
            watch.turn_ended(busy);
            self.idle.after_turn(busy).take();
        }
        self.sink.flush();
        self.publish(monotonic_ns());
    }

    /// One turn; answers whether there was anything to do.
    #[inline]
    fn turn(&mut self, watch: &mut impl Watch) -> bool {
        let mut busy = false;
        if self.turns_until_look == 0 {
            busy |= self.look_around(watch);
            self.turns_until_look = LOOK_EACH;
        }
        self.turns_until_look -= 1;
        busy |= self.receive(self.now);
        busy |= self.take_handoffs(self.now);
        busy |= self.path.collect(self.now, &mut self.sink);
        busy |= self.sink.flush();
        if !busy {
            self.turns_until_look = 0;
        }
        busy
    }

    /// Looks at what is no packet; answers whether there was anything to do.
    #[inline(never)]
    fn look_around(&mut self, watch: &mut impl Watch) -> bool {
        let now = self.begin_turn();
        self.now = now;
        watch.instructions_begin();
        let followed = self.follow_instructions(now);
        watch.instructions_ended(followed);
        let busy = self.send_datagrams(now) || followed > 0;
        let now_ns = now.monotonic_ms * NS_PER_MS;
        if now_ns >= self.next_tick_ns {
            self.next_tick_ns = now_ns + TICK_NS;
            self.path.tick(now, &mut self.sink);
        }
        if now_ns >= self.next_publish_ns {
            self.next_publish_ns = now_ns + PUBLISH_NS;
            self.publish(now_ns);
        }
        busy
    }

    fn begin_turn(&mut self) -> Now {
        let now_ns = monotonic_ns();
        self.sink.set_now(now_ns);
        Now { monotonic_ms: now_ns / NS_PER_MS }
    }

    fn receive(&mut self, now: Now) -> bool {
        let mut busy = false;
        for (port, queue) in &mut self.receive {
            if queue.burst(&mut self.burst) > 0 {
                busy = true;
                self.path.receive(now, *port, &mut self.burst, &mut self.sink);
            }
        }
        busy
    }

    fn take_handoffs(&mut self, now: Now) -> bool {
        let Some(mailbox) = self.mailboxes.get(usize::from(self.index)) else { return false };
        let [next_handoffs, next_frames] = &mut self.next_senders;
        mailbox.handoffs.take(next_handoffs, BURST, &mut self.handed);
        mailbox.frames.take(next_frames, BURST, &mut self.frames);
        let busy = !self.handed.is_empty() || !self.frames.is_empty();
        if !self.handed.is_empty() {
            self.path.resume(now, &mut self.handed, &mut self.sink);
        }
        for (port, frame) in self.frames.drain(..) {
            self.sink.tx(port, frame);
        }
        busy
    }

    /// Answers how many there were.
    fn follow_instructions(&mut self, now: Now) -> usize {
        let Some(mailbox) = self.mailboxes.get(usize::from(self.index)) else { return 0 };
        // A look costs two loads; a pop from an empty queue would cost a fence.
        if mailbox.instructions.is_empty() {
            return 0;
        }
        let mut followed = 0;
        while followed < INSTRUCTIONS
            && let Some(instruction) = mailbox.instructions.pop()
        {
            if let Some(initial) = instruction.statistics {
                self.sink.stats().slot(initial.inbound_spi).begin(&initial);
            }
            let applied = self.path.apply(now, instruction.operation, &mut self.sink);
            // The manager has fewer instructions out than this queue has places, so there is room.
            let refused = mailbox.reports.push(Report { ticket: instruction.ticket, applied });
            debug_assert!(refused.is_ok());
            followed += 1;
        }
        followed
    }

    fn send_datagrams(&mut self, now: Now) -> bool {
        let Some(outgoing) = &mut self.to_send else { return false };
        let mut taken = 0;
        while taken < DATAGRAMS {
            let datagram = &mut outgoing.datagram;
            let popped = outgoing.ring.pop_ref(|next| {
                datagram.local = next.local;
                datagram.local_port = next.local_port;
                datagram.peer = next.peer;
                datagram.peer_port = next.peer_port;
                datagram.payload.clear();
                datagram.payload.extend_from_slice(next.payload);
            });
            match popped {
                Ok(None) => break,
                // A refusal is counted under its reason by the path; nobody waits for an answer here.
                Ok(Some(())) => {
                    let _ = self.path.send_datagram(now, &outgoing.datagram, &mut self.sink);
                }
                Err(_) => self.path.counters_mut().flow(Flow::MalformedSlots, 1),
            }
            taken += 1;
        }
        taken > 0
    }

    fn publish(&mut self, now_ns: u64) {
        self.sink.settle(self.path.counters_mut());
        let Published { counters, heartbeat, last } = &mut self.published;
        for (index, (now, before)) in self.path.counters().words().iter().zip(last.iter_mut()).enumerate() {
            if now != before {
                counters.add(index, now.wrapping_sub(*before));
                *before = *now;
            }
        }
        heartbeat.beat(now_ns);
    }
}
