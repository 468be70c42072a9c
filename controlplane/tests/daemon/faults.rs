//! Faults beside IKE: a panic in one session's work ends that session only (architecture §9 rule 6); an absent data plane
//! ends none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use causeway_controlplane::link::ledger::{Refused, Ticket};
use causeway_controlplane::link::udp::UdpLink;
use causeway_controlplane::link::{EarlierTraffic, Link, LinkCounts, LinkInput, LinkStatus};
use causeway_controlplane::sessions::SaTraffic;
use causeway_ike::api::{ChildCommand, Datagram};
use causeway_ike::testing::Notable;
use causeway_shared::sa::SaPair;
use causeway_shm::CounterTable;

use crate::client::Client;
use crate::gateway::Gateway;

/// Panics once when asked for figures while armed: the endpoint asks in the middle of a liveness check. Says that it
/// carries nothing while cut.
struct Faulty {
    inner: UdpLink,
    armed: Arc<AtomicBool>,
    cut: Arc<AtomicBool>,
}

impl Link for Faulty {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }

    fn take(&mut self) -> Option<LinkInput> {
        self.inner.take()
    }

    fn transmit(&mut self, datagram: Datagram) {
        self.inner.transmit(datagram);
    }

    fn install(&mut self, now: Duration, pair: SaPair, ticket: Ticket) -> Result<(), Refused> {
        self.inner.install(now, pair, ticket)
    }

    fn restore(&mut self, pair: SaPair, traffic: EarlierTraffic) {
        self.inner.restore(pair, traffic);
    }

    fn change(&mut self, command: ChildCommand) {
        self.inner.change(command);
    }

    fn flush(&mut self, now: Duration) {
        self.inner.flush(now);
    }

    fn next_deadline(&self) -> Option<Duration> {
        self.inner.next_deadline()
    }

    fn is_settled(&self) -> bool {
        self.inner.is_settled()
    }

    fn traffic(&self, inbound_spi: u32) -> Option<SaTraffic> {
        assert!(!self.armed.swap(false, Ordering::Relaxed), "as the test wants it");
        self.inner.traffic(inbound_spi)
    }

    fn pair(&self, inbound_spi: u32) -> Option<&SaPair> {
        self.inner.pair(inbound_spi)
    }

    fn status(&self, now: Duration) -> LinkStatus {
        self.inner.status(now)
    }

    fn is_carrying(&self) -> bool {
        !self.cut.load(Ordering::Relaxed)
    }

    fn data_plane_counters(&self) -> Option<CounterTable> {
        self.inner.data_plane_counters()
    }

    fn counts(&self) -> LinkCounts {
        self.inner.counts()
    }
}

#[test]
fn a_panic_ends_one_session_only() {
    let armed = Arc::new(AtomicBool::new(false));
    let trigger = Arc::clone(&armed);
    let gateway = Gateway::start_over("panic", "[ike]\ndpd_interval_secs = 1", move |inner| Faulty {
        inner,
        armed: trigger,
        cut: Arc::default(),
    });
    let mut clients =
        [Client::psk(&gateway, "a.example").connect(), Client::psk(&gateway, "b.example").connect()];
    assert_eq!(gateway.sessions().total, 2);
    armed.store(true, Ordering::Relaxed);
    // `GET /v1/health` and `/v1/counters` ask for no figures of SAs, so only a liveness check can spring it.
    while armed.load(Ordering::Relaxed) {
        clients.iter_mut().for_each(Client::turn);
    }
    gateway.until("the session's end", |gateway| gateway.health().sessions == 1);
    assert_eq!(gateway.counter("driver_panics_caught"), 1);
    assert_eq!(gateway.health().pools["staff"].used, 1, "its address is free again");

    let alive = gateway.sessions().sessions.remove(0).user;
    let place = usize::from(alive == "b.example");
    let question = clients[place].ike.liveness().unwrap();
    clients[place].send(question);
    clients[place].until_seen(&Notable::Answered);
    Client::psk(&gateway, "c.example").connect();
    assert_eq!(gateway.sessions().total, 2);
}

#[test]
fn nobody_is_given_up_while_no_data_plane_carries() {
    let impatient = "[ike]\ndpd_interval_secs = 1\nretransmit_base_ms = 100\nretransmit_tries = 1";
    let cut = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&cut);
    let frozen = Gateway::start_over("frozen", impatient, move |inner| Faulty {
        inner,
        armed: Arc::default(),
        cut: flag,
    });
    let other = Gateway::start("running", impatient);
    // Both clients fall silent at once; only the gateway whose datagrams leave may draw a conclusion.
    let silent = [Client::psk(&frozen, "a.example").connect(), Client::psk(&other, "a.example").connect()];
    cut.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        let next = Client::psk(&other, "b.example").connect();
        other.until("the silent ones' end", |gateway| gateway.sessions().total == 0);
        drop(next);
    }
    assert_eq!(frozen.sessions().total, 1);
    cut.store(false, Ordering::Relaxed);
    frozen.until("its end", |gateway| gateway.sessions().total == 0);
    assert_eq!(frozen.counter("ike_peers_dead"), 1);
    drop(silent);
}
