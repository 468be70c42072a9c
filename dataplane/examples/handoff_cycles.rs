//! What it costs that a packet's SA belongs to another worker: TSC cycles per item in the rings between workers.
//!
//! `cargo run --release -p causeway-dataplane --example handoff_cycles`. Three figures, each the tenth percentile of windows of
//! one burst, so that a busy machine disturbs little: a look at rings in which nothing waits; an item pushed and taken by one
//! thread; an item pushed on one core and taken on another. The item is what the daemon hands over; the packet's own cache
//! lines, which follow it to the other core, are not part of it.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};

use causeway_dataplane::fair_rings::{FairRings, NextSender};
use causeway_dataplane::handoff::HANDOFF_SLOTS;
use causeway_dataplane::path::{Handoff, PortId};
use causeway_dpdk::{BURST, Mbuf, tsc};

const WINDOWS: usize = 20_000;

type Item = Handoff<Mbuf>;

fn main() {
    println!("{} octets an item, {BURST} items a burst, TSC cycles", size_of::<Item>());
    for senders in [2, 8, 64] {
        let rings = FairRings::<Item>::new(senders, HANDOFF_SLOTS);
        let (mut next, mut items) = (NextSender::default(), Vec::with_capacity(BURST));
        let look = tenth((0..WINDOWS).map(|_| {
            let begin = tsc();
            (0..BURST).for_each(|_| rings.take(&mut next, BURST, &mut items));
            (tsc() - begin) as f64 / BURST as f64
        }));
        println!("{senders:3} senders: a look at empty rings {look:7.1}");
    }
    println!("one thread: push and take {:7.1} an item", one_thread());
    let (push, take) = two_cores();
    println!("two cores:  push {push:7.1}, take {take:7.1} an item");
}

fn item() -> Item {
    Handoff::Neighbour { port: PortId(0), address: Ipv4Addr::LOCALHOST, mac: [2; 6] }
}

fn one_thread() -> f64 {
    let rings = FairRings::new(2, HANDOFF_SLOTS);
    let (mut next, mut items) = (NextSender::default(), Vec::with_capacity(BURST));
    tenth((0..WINDOWS).map(|_| {
        let begin = tsc();
        for _ in 0..BURST {
            assert!(rings.push(0, item()).is_ok());
        }
        rings.take(&mut next, BURST, &mut items);
        let cycles = tsc() - begin;
        assert_eq!(items.drain(..).count(), BURST);
        cycles as f64 / BURST as f64
    }))
}

/// Bursts pass from one core to another; only whole bursts count.
fn two_cores() -> (f64, f64) {
    let rings = FairRings::new(2, HANDOFF_SLOTS);
    let done = AtomicBool::new(false);
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            if let Some(core) = cores.first() {
                core_affinity::set_for_current(*core);
            }
            let mut windows = Vec::new();
            // Relaxed: the flag carries no data.
            while !done.load(Ordering::Relaxed) {
                let begin = tsc();
                let accepted = (0..BURST).filter(|_| rings.push(0, item()).is_ok()).count();
                let cycles = tsc() - begin;
                if accepted == BURST && windows.len() < 100 * WINDOWS {
                    windows.push(cycles as f64 / BURST as f64);
                }
            }
            tenth(windows.into_iter())
        });
        if let Some(core) = cores.get(1) {
            core_affinity::set_for_current(*core);
        }
        let (mut next, mut items) = (NextSender::default(), Vec::with_capacity(BURST));
        let mut windows = Vec::new();
        while windows.len() < WINDOWS {
            let begin = tsc();
            rings.take(&mut next, BURST, &mut items);
            let cycles = tsc() - begin;
            if items.drain(..).count() == BURST {
                windows.push(cycles as f64 / BURST as f64);
            }
        }
        done.store(true, Ordering::Relaxed);
        (sender.join().unwrap_or(f64::NAN), tenth(windows.into_iter()))
    })
}

fn tenth(windows: impl Iterator<Item = f64>) -> f64 {
    let mut windows: Vec<f64> = windows.collect();
    windows.sort_by(f64::total_cmp);
    windows.get(windows.len() / 10).copied().unwrap_or(f64::NAN)
}
