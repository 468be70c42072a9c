//! The ledger against a model data plane: whatever the ring's size, the order of acknowledgements and the crashes,
//! both end with the same SAs, and no sequence number is used twice.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use causeway_shared::sa::{EspKeys, EspSuite, SaLimits};
use proptest::prelude::*;

use super::*;

fn pair(inbound_spi: u32, inner: u8, selected: bool) -> SaPair {
    let suite = EspSuite::Aes128Gcm16;
    let keys = EspKeys::from_keymat(suite, &[7; 20]).unwrap();
    SaPair {
        inbound_spi,
        outbound_spi: !inbound_spi,
        session_id: 1,
        suite,
        esn: true,
        inbound_keys: keys.clone(),
        outbound_keys: keys,
        local_outer: Ipv4Addr::new(192, 0, 2, 1).into(),
        peer_outer: Ipv4Addr::new(198, 51, 100, 1).into(),
        encapsulation: Encapsulation::Esp,
        peer_inner: Ipv4Addr::new(10, 0, 0, inner).into(),
        peer_selectors: Vec::new(),
        local_selectors: Vec::new(),
        replay_window: 64,
        first_outbound_sequence: 1,
        highest_inbound_sequence: 0,
        limits: SaLimits::default(),
        outbound_selected: selected,
    }
}

/// A data plane that executes commands as `message.rs` says.
#[derive(Default)]
struct Model {
    sas: BTreeMap<u32, SaPair>,
    by_inner: BTreeMap<IpAddr, u32>,
    pools: usize,
    ring: VecDeque<Command>,
    acks: VecDeque<(u64, AckStatus)>,
    last_id: u64,
}

impl Model {
    fn execute(&mut self) {
        let Some(command) = self.ring.pop_front() else { return };
        assert!(command.id > self.last_id, "ids must grow");
        self.last_id = command.id;
        let status = match command.action {
            Action::InstallSa(pair) if self.sas.contains_key(&pair.inbound_spi) => {
                AckStatus::AlreadyInstalled
            }
            Action::InstallSa(pair) => {
                if pair.outbound_selected {
                    self.by_inner.extend(addresses(pair.peer_inner).map(|inner| (inner, pair.inbound_spi)));
                }
                self.sas.insert(pair.inbound_spi, *pair);
                AckStatus::Done
            }
            Action::SelectOutbound { inbound_spi } => match self.sas.get(&inbound_spi) {
                Some(pair) => {
                    self.by_inner.extend(addresses(pair.peer_inner).map(|inner| (inner, inbound_spi)));
                    AckStatus::Done
                }
                None => AckStatus::NoSuchSa,
            },
            Action::RemoveSa { inbound_spi } => match self.sas.remove(&inbound_spi) {
                Some(_) => {
                    self.by_inner.retain(|_, spi| *spi != inbound_spi);
                    AckStatus::Done
                }
                None => AckStatus::NoSuchSa,
            },
            Action::MovePeer { inbound_spi, local_outer, peer_outer, encapsulation } => {
                match self.sas.get_mut(&inbound_spi) {
                    Some(pair) => {
                        (pair.local_outer, pair.peer_outer) = (local_outer, peer_outer);
                        pair.encapsulation = encapsulation;
                        AckStatus::Done
                    }
                    None => AckStatus::NoSuchSa,
                }
            }
            Action::AddPool(_) | Action::AddPool6 { .. } => {
                self.pools += 1;
                AckStatus::Done
            }
            Action::RemoveAll => {
                self.sas.clear();
                self.by_inner.clear();
                self.pools = 0;
                AckStatus::Done
            }
            Action::Barrier | Action::Watch(_) | Action::Unwatch { .. } => AckStatus::Done,
        };
        self.acks.push_back((command.id, status));
    }
}

fn tell(ledger: &mut Ledger, model: &mut Model, ring_slots: usize) -> Vec<Outcome> {
    ledger.tell(|command| {
        if model.ring.len() >= ring_slots {
            return Pushed::Full;
        }
        model.ring.push_back(command.clone());
        Pushed::Yes
    })
}

fn settle(ledger: &mut Ledger, model: &mut Model) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    loop {
        outcomes.extend(tell(ledger, model, 4));
        if model.ring.is_empty() && model.acks.is_empty() {
            return outcomes;
        }
        model.execute();
        while let Some((id, status)) = model.acks.pop_front() {
            outcomes.extend(ledger.acknowledged(id, status));
        }
    }
}

fn pool() -> Vec<PoolRange> {
    vec![PoolRange::V4("10.0.0.0/24".parse().unwrap())]
}

const NOW: Duration = Duration::ZERO;

#[test]
fn a_rekey_is_told_in_the_order_that_loses_no_packet() {
    let (mut ledger, mut model) = (Ledger::new(pool()), Model::default());
    ledger.attach(1);
    ledger.install(NOW, pair(1000, 1, true), 1).unwrap();
    assert_eq!(settle(&mut ledger, &mut model), [Outcome::Installed { ticket: 1, inbound_spi: 1000 }]);
    ledger.install(NOW, pair(2000, 1, false), 2).unwrap();
    settle(&mut ledger, &mut model);
    ledger.select_outbound(2000);
    ledger.remove(1000);
    tell(&mut ledger, &mut model, 9);
    let told: Vec<Action> = model.ring.iter().map(|command| command.action.clone()).collect();
    assert_eq!(told, [Action::SelectOutbound { inbound_spi: 2000 }, Action::RemoveSa { inbound_spi: 1000 }]);
    assert_eq!(settle(&mut ledger, &mut model), [Outcome::Gone { inbound_spi: 1000 }]);
    assert!(!ledger.knows(1000));
}

#[test]
fn a_data_plane_that_kept_running_loses_orphans_and_nothing_else() {
    let (mut ledger, mut model) = (Ledger::new(pool()), Model::default());
    ledger.attach(1);
    for (spi, inner) in [(1000, 1), (2000, 2), (3000, 3)] {
        ledger.install(NOW, pair(spi, inner, true), 0).unwrap();
    }
    settle(&mut ledger, &mut model);
    // The next run knows one of them, and one that the data plane has not.
    let mut ledger = Ledger::new(pool());
    let floors =
        |pair| SaPair { first_outbound_sequence: 1 << 27, highest_inbound_sequence: 1 << 27, ..pair };
    ledger.restore(floors(pair(1000, 1, true)));
    ledger.restore(floors(pair(4000, 4, true)));
    ledger.adopt(10, [1000, 2000, 3000, 9000]);
    let outcomes = settle(&mut ledger, &mut model);
    assert_eq!(outcomes, [Outcome::Renewed { inbound_spi: 4000 }]);
    assert_eq!(model.sas.keys().copied().collect::<Vec<_>>(), [1000, 4000]);
    assert_eq!(model.sas[&1000].first_outbound_sequence, 1, "it was not touched");
    assert_eq!(model.sas[&4000].highest_inbound_sequence, 1 << 27);
    assert_eq!(model.by_inner.len(), 2);
    assert_eq!((model.pools, ledger.outstanding(), ledger.has_backlog()), (2, 0, false));
    // Now that data plane dies: its own numbers count, not what was stored.
    let state = SequenceState { outbound_reserved_end: 5000, highest_inbound: 7 };
    let lost = ledger.detach(|spi| (spi == 1000).then_some(state));
    assert_eq!(lost, [Outcome::Lost { inbound_spi: 4000 }, Outcome::Gone { inbound_spi: 4000 }]);
    ledger.attach(20);
    let mut model = Model::default();
    assert_eq!(settle(&mut ledger, &mut model), []);
    let again = &model.sas[&1000];
    assert_eq!(again.first_outbound_sequence, 5000 + SEQUENCE_MARGIN);
    assert_eq!(again.highest_inbound_sequence, 7);
}

#[test]
fn a_run_that_knows_nothing_clears_the_data_plane() {
    let (mut ledger, mut model) = (Ledger::new(pool()), Model::default());
    ledger.attach(1);
    ledger.install(NOW, pair(1000, 1, true), 0).unwrap();
    settle(&mut ledger, &mut model);
    let mut ledger = Ledger::new(pool());
    ledger.adopt(10, [1000]);
    settle(&mut ledger, &mut model);
    assert!(model.sas.is_empty() && model.pools == 1);
}

#[test]
fn a_full_ring_keeps_everything_for_later() {
    let (mut ledger, mut model) = (Ledger::new(Vec::new()), Model::default());
    ledger.attach(1);
    for spi in 0..1000 {
        ledger.install(NOW, pair(1000 + spi, 1, false), u64::from(spi)).unwrap();
    }
    tell(&mut ledger, &mut model, 3);
    assert_eq!((model.ring.len(), ledger.has_backlog()), (3, true));
    let outcomes = settle(&mut ledger, &mut model);
    assert_eq!((outcomes.len(), model.sas.len(), ledger.has_backlog()), (1000, 1000, false));
}

#[test]
fn a_data_plane_that_does_not_answer_stops_the_telling_and_fails_installs_in_time() {
    let (mut ledger, mut model) = (Ledger::new(Vec::new()), Model::default());
    ledger.attach(1);
    let installs = MAX_OUTSTANDING as u32 + 10;
    for spi in 0..installs {
        ledger.install(NOW, pair(1000 + spi, 1, false), u64::from(spi)).unwrap();
    }
    tell(&mut ledger, &mut model, usize::MAX);
    assert_eq!(model.ring.len(), MAX_OUTSTANDING);
    assert!(ledger.expire(INSTALL_DEADLINE - Duration::from_millis(1)).is_empty());
    let failed = ledger.expire(INSTALL_DEADLINE);
    assert_eq!(failed.len(), installs as usize);
    assert!(failed.iter().all(|outcome| matches!(outcome, Outcome::InstallFailed { status: None, .. })));
    settle(&mut ledger, &mut model);
    assert!(model.sas.is_empty(), "late installs are taken back");
    assert_eq!(ledger.wanted(), 0);
}

#[test]
fn too_many_waiting_installs_are_refused() {
    let mut ledger = Ledger::new(Vec::new());
    for spi in 0..MAX_WAITING_INSTALLS as u32 {
        ledger.install(NOW, pair(1000 + spi, 1, false), 0).unwrap();
    }
    assert_eq!(ledger.install(NOW, pair(1, 1, false), 0), Err(Refused::Busy));
    assert_eq!(ledger.install(NOW, pair(1000, 1, false), 0), Err(Refused::Duplicate));
}

#[test]
fn a_refused_install_is_reported_and_its_slot_freed() {
    let (mut ledger, mut model) = (Ledger::new(Vec::new()), Model::default());
    ledger.attach(1);
    ledger.install(NOW, pair(1000, 1, true), 9).unwrap();
    tell(&mut ledger, &mut model, 9);
    assert_eq!(ledger.acknowledged(1, AckStatus::Done), None, "that was RemoveAll");
    let status = AckStatus::TableFull;
    assert_eq!(
        ledger.acknowledged(2, status),
        Some(Outcome::InstallFailed { ticket: 9, inbound_spi: 1000, status: Some(status) })
    );
    assert_eq!(tell(&mut ledger, &mut model, 9), [Outcome::Gone { inbound_spi: 1000 }]);
    assert_eq!(ledger.acknowledged(2, status), None, "nothing is outstanding twice");
}

#[test]
fn a_new_data_plane_gets_everything_with_higher_sequence_numbers() {
    let (mut ledger, mut model) = (Ledger::new(pool()), Model::default());
    ledger.attach(1);
    for (spi, inner) in [(1000, 1), (2000, 2), (3000, 3)] {
        ledger.install(NOW, pair(spi, inner, true), 0).unwrap();
    }
    settle(&mut ledger, &mut model);
    ledger.move_peer(
        2000,
        (Ipv4Addr::new(192, 0, 2, 1).into(), Ipv4Addr::new(203, 0, 113, 9).into()),
        Encapsulation::Udp { local_port: 4500, peer_port: 9 },
    );
    let outcomes = ledger.detach(|spi| {
        (spi != 3000).then_some(SequenceState { outbound_reserved_end: u64::from(spi), highest_inbound: 55 })
    });
    assert_eq!(outcomes, [Outcome::Lost { inbound_spi: 3000 }, Outcome::Gone { inbound_spi: 3000 }]);
    let mut second = Model::default();
    ledger.attach(1);
    settle(&mut ledger, &mut second);
    assert_eq!((second.sas.len(), second.pools), (2, 1));
    let again = &second.sas[&2000];
    assert_eq!(again.first_outbound_sequence, 2000 + SEQUENCE_MARGIN);
    assert_eq!((again.highest_inbound_sequence, again.peer_outer), (55, [203, 0, 113, 9].into()));
    assert_eq!(second.by_inner.len(), 2);
}

#[test]
fn an_sa_without_room_for_its_margin_is_not_installed_again() {
    let (mut ledger, mut model) = (Ledger::new(Vec::new()), Model::default());
    ledger.attach(1);
    let short = SaPair { esn: false, ..pair(1000, 1, true) };
    ledger.install(NOW, short, 0).unwrap();
    settle(&mut ledger, &mut model);
    let outbound_reserved_end = u64::from(u32::MAX) - SEQUENCE_MARGIN + 1;
    let outcomes = ledger.detach(|_| Some(SequenceState { outbound_reserved_end, highest_inbound: 0 }));
    assert_eq!(outcomes[0], Outcome::Lost { inbound_spi: 1000 });
}

#[derive(Clone, Debug)]
enum Step {
    Install { spi: u32, inner: u8, selected: bool },
    Select(u32),
    Remove(u32),
    Move(u32, u8),
    Rebind(u32, u8),
    Tell(usize),
    Execute,
    Acknowledge,
    Crash(u64),
    Attach,
}

fn step() -> impl Strategy<Value = Step> {
    let spi = 256u32..272;
    prop_oneof![
        4 => (spi.clone(), 0u8..4, any::<bool>()).prop_map(|(spi, inner, selected)| Step::Install { spi, inner, selected }),
        2 => spi.clone().prop_map(Step::Select),
        2 => spi.clone().prop_map(Step::Remove),
        1 => (spi.clone(), any::<u8>()).prop_map(|(spi, last)| Step::Move(spi, last)),
        1 => (spi, any::<u8>()).prop_map(|(spi, last)| Step::Rebind(spi, last)),
        4 => (1usize..4).prop_map(Step::Tell),
        4 => Just(Step::Execute),
        4 => Just(Step::Acknowledge),
        1 => (1u64..1000).prop_map(Step::Crash),
        1 => Just(Step::Attach),
    ]
}

proptest! {
    #[test]
    fn both_end_with_the_same_sas(steps in prop::collection::vec(step(), 0..300)) {
        let (mut ledger, mut model) = (Ledger::new(pool()), Model::default());
        let mut attached = false;
        let mut used = BTreeMap::<u32, u64>::new();
        let mut held = std::collections::HashSet::new();
        for step in steps {
            let mut outcomes = Vec::new();
            match step {
                Step::Install { spi, inner, selected } => {
                    if ledger.install(NOW, pair(spi, inner, selected), u64::from(spi)).is_ok() {
                        prop_assert!(held.insert(spi), "a slot was free before it was gone");
                        used.remove(&spi);
                    }
                }
                Step::Select(spi) => ledger.select_outbound(spi),
                Step::Remove(spi) => ledger.remove(spi),
                Step::Move(spi, last) => {
                    let ours = Ipv4Addr::new(192, 0, 2, 1).into();
                    ledger.move_peer(spi, (ours, Ipv4Addr::new(203, 0, 113, last).into()), Encapsulation::Esp);
                }
                Step::Rebind(spi, last) => {
                    let encapsulation = Encapsulation::Udp { local_port: 4500, peer_port: u16::from(last) };
                    let peer: IpAddr = Ipv4Addr::new(203, 0, 113, last).into();
                    if let Some(pair) = model.sas.get_mut(&spi).filter(|_| model.ring.is_empty()) {
                        (pair.peer_outer, pair.encapsulation) = (peer, encapsulation);
                        ledger.peer_has_moved(spi, peer, encapsulation);
                    }
                }
                Step::Tell(slots) => outcomes = tell(&mut ledger, &mut model, slots),
                Step::Execute => model.execute(),
                Step::Acknowledge => {
                    if let Some((id, status)) = model.acks.pop_front() {
                        outcomes.extend(ledger.acknowledged(id, status));
                    }
                }
                Step::Crash(block) if attached => {
                    attached = false;
                    // Every SA that the dead one had was used up to a block's end.
                    for (spi, pair) in &model.sas {
                        used.insert(*spi, pair.first_outbound_sequence + block);
                    }
                    outcomes = ledger.detach(|spi| {
                        model.sas.contains_key(&spi).then(|| SequenceState {
                            outbound_reserved_end: used[&spi],
                            highest_inbound: 0,
                        })
                    });
                    model = Model::default();
                }
                Step::Attach if !attached => {
                    attached = true;
                    ledger.attach(1);
                }
                Step::Crash(_) | Step::Attach => {}
            }
            for outcome in outcomes {
                if let Outcome::Gone { inbound_spi } = outcome {
                    prop_assert!(held.remove(&inbound_spi), "gone twice");
                }
                prop_assert!(!matches!(outcome, Outcome::CommandRefused { .. }), "{outcome:?}");
            }
            for (spi, pair) in &model.sas {
                if let Some(end) = used.get(spi) {
                    prop_assert!(pair.first_outbound_sequence >= *end, "a sequence number would be used again");
                }
            }
        }
        if !attached {
            ledger.attach(1);
        }
        settle(&mut ledger, &mut model);
        let wanted: BTreeMap<u32, &SaPair> =
            ledger.entries.iter().filter(|(_, entry)| entry.wanted).map(|(spi, entry)| (*spi, &*entry.pair)).collect();
        prop_assert_eq!(model.sas.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
        for (spi, pair) in &model.sas {
            prop_assert_eq!(pair.peer_outer, wanted[spi].peer_outer);
        }
        let selected: BTreeMap<IpAddr, u32> = ledger.selected.iter().map(|(k, v)| (*k, *v)).collect();
        prop_assert_eq!(&model.by_inner, &selected);
        prop_assert_eq!(model.pools, 1);
        prop_assert_eq!(ledger.entries.len(), wanted.len());
    }
}
