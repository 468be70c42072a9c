//! The executor against workers that answer by a rule: order of steps, refusals, roll-back, overlap.

use std::net::{IpAddr, Ipv4Addr};

use causeway_shared::sa::{
    Encapsulation, EspKeys, EspSuite, MAX_CIPHER_KEY, MAX_INTEGRITY_KEY, SALT_LEN, SaLimits, Selector,
};

use super::*;

const CAPACITY: u32 = 256;
const INNER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const ANY: Selector = Selector {
    protocol: 0,
    first: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    last: IpAddr::V4(Ipv4Addr::BROADCAST),
    first_port: 0,
    last_port: u16::MAX,
};

fn pair(inbound_spi: u32, inner: Ipv4Addr, outbound_selected: bool) -> Action {
    let keys =
        EspKeys { cipher: [7; MAX_CIPHER_KEY], salt: [8; SALT_LEN], integrity: [0; MAX_INTEGRITY_KEY] };
    Action::InstallSa(Box::new(SaPair {
        inbound_spi,
        outbound_spi: 0x7000,
        session_id: 1,
        suite: EspSuite::Aes256Gcm16,
        esn: false,
        inbound_keys: keys.clone(),
        outbound_keys: keys,
        local_outer: Ipv4Addr::new(192, 0, 2, 1).into(),
        peer_outer: Ipv4Addr::new(192, 0, 2, 9).into(),
        encapsulation: Encapsulation::Esp,
        peer_inner: inner.into(),
        peer_selectors: vec![ANY],
        local_selectors: vec![ANY],
        replay_window: 64,
        first_outbound_sequence: 5,
        highest_inbound_sequence: 3,
        limits: SaLimits::default(),
        outbound_selected,
    }))
}

/// Two workers that answer by a rule, in order, and a record of everything.
struct Harness {
    executor: Executor,
    todo: Todo,
    trace: Vec<String>,
    acknowledged: Vec<(u64, AckStatus)>,
    fail: Option<(&'static str, AckStatus)>,
}

impl Harness {
    fn new() -> Harness {
        Harness {
            executor: Executor::new(2, CAPACITY),
            todo: Todo::default(),
            trace: Vec::new(),
            acknowledged: Vec::new(),
            fail: None,
        }
    }

    fn submit(&mut self, id: u64, action: Action) -> bool {
        let waits = self.executor.submit(Command { id, action }, &mut self.todo).is_some();
        self.acknowledged.append(&mut self.todo.acknowledgements);
        !waits
    }

    /// Answers everything until nothing is under way.
    fn settle(&mut self) {
        while !self.todo.instructions.is_empty() {
            for (worker, instruction) in std::mem::take(&mut self.todo.instructions) {
                let name = describe(&instruction.operation);
                let status = match self.fail {
                    Some((failing, status)) if name.starts_with(failing) => status,
                    _ => AckStatus::Done,
                };
                self.trace.push(format!("{worker} {name}"));
                self.executor.complete(instruction.ticket, status, &mut self.todo);
            }
        }
        self.acknowledged.append(&mut self.todo.acknowledgements);
        assert_eq!(self.executor.in_flight(), 0);
    }

    fn run(&mut self, id: u64, action: Action) -> AckStatus {
        assert!(self.submit(id, action), "nothing is under way, so nothing waits");
        self.settle();
        let (acknowledged_id, status) = self.acknowledged.pop().unwrap();
        assert_eq!((acknowledged_id, self.acknowledged.len()), (id, 0), "one acknowledgement each");
        status
    }

    fn traced(&mut self) -> Vec<String> {
        std::mem::take(&mut self.trace)
    }
}

fn describe(operation: &Operation) -> String {
    match operation {
        Operation::Install(sa) => format!("install {:x}", sa.inbound_spi()),
        Operation::Remove { inbound_spi } => format!("remove {inbound_spi:x}"),
        Operation::SetOutbound { inner, inbound_spi: Some(spi) } => format!("point {inner} at {spi:x}"),
        Operation::SetOutbound { inner, inbound_spi: None } => format!("clear {inner}"),
        Operation::MovePeer { inbound_spi, .. } => format!("move {inbound_spi:x}"),
        Operation::SetOutbound6 { inner, inbound_spi: Some(spi) } => format!("point {inner} at {spi:x}"),
        Operation::SetOutbound6 { inner, inbound_spi: None } => format!("clear {inner}"),
        Operation::AddPool6(range) => format!("pool {range}"),
        Operation::AddPool(pool) => format!("pool {}", pool.range()),
        Operation::RemoveAll(_) => "remove all".into(),
        Operation::Watch(_) => "watch".into(),
        Operation::Unwatch { id } => format!("unwatch {id}"),
    }
}

#[test]
fn an_sa_is_installed_at_its_owner_before_anyone_points_at_it_and_taken_out_after_nobody_does() {
    let mut harness = Harness::new();
    assert_eq!(harness.run(1, pair(0x1003, INNER, true)), AckStatus::Done);
    assert_eq!(harness.traced(), ["1 install 1003", "0 point 10.9.0.1 at 1003", "1 point 10.9.0.1 at 1003"]);
    assert_eq!(harness.run(2, Action::RemoveSa { inbound_spi: 0x1003 }), AckStatus::Done);
    assert_eq!(harness.traced(), ["0 clear 10.9.0.1", "1 clear 10.9.0.1", "1 remove 1003"]);
    assert_eq!(harness.executor.installed(), 0);
}

#[test]
fn a_rekey_changes_over_and_the_old_sa_leaves_without_touching_the_address() {
    let mut harness = Harness::new();
    harness.run(1, pair(0x1002, INNER, true));
    assert_eq!(harness.run(2, pair(0x1005, INNER, false)), AckStatus::Done);
    assert_eq!(harness.run(3, Action::SelectOutbound { inbound_spi: 0x1005 }), AckStatus::Done);
    harness.traced();
    assert_eq!(harness.run(4, Action::RemoveSa { inbound_spi: 0x1002 }), AckStatus::Done);
    assert_eq!(harness.traced(), ["0 remove 1002"]);
    assert_eq!(harness.run(5, Action::RemoveSa { inbound_spi: 0x1005 }), AckStatus::Done);
    assert_eq!(harness.traced(), ["0 clear 10.9.0.1", "1 clear 10.9.0.1", "1 remove 1005"]);
}

#[test]
fn what_cannot_be_is_refused_without_asking_a_worker() {
    let mut harness = Harness::new();
    harness.run(1, pair(0x1002, INNER, true));
    harness.traced();
    for (action, status) in [
        (pair(0x2002, Ipv4Addr::new(10, 9, 0, 2), true), AckStatus::SlotInUse),
        (pair(0x1002, INNER, true), AckStatus::AlreadyInstalled),
        (Action::RemoveSa { inbound_spi: 0x2002 }, AckStatus::NoSuchSa),
        (Action::SelectOutbound { inbound_spi: 0x1004 }, AckStatus::NoSuchSa),
        (
            Action::MovePeer {
                inbound_spi: 0x1004,
                local_outer: INNER.into(),
                peer_outer: INNER.into(),
                encapsulation: Encapsulation::Esp,
            },
            AckStatus::NoSuchSa,
        ),
        (Action::Barrier, AckStatus::Done),
    ] {
        assert_eq!(harness.run(2, action), status);
    }
    assert_eq!(harness.traced(), [""; 0]);
}

#[test]
fn a_selection_that_fails_is_undone_and_its_reason_is_told() {
    let mut harness = Harness::new();
    harness.fail = Some(("point", AckStatus::NoSuchPool));
    assert_eq!(harness.run(1, pair(0x1002, INNER, true)), AckStatus::NoSuchPool);
    assert_eq!(
        harness.traced(),
        [
            "0 install 1002",
            "0 point 10.9.0.1 at 1002",
            "1 point 10.9.0.1 at 1002",
            "0 clear 10.9.0.1",
            "1 clear 10.9.0.1",
            "0 remove 1002"
        ]
    );
    assert_eq!(harness.executor.installed(), 0);
    harness.fail = None;
    assert_eq!(harness.run(2, pair(0x1002, INNER, true)), AckStatus::Done);

    harness.run(3, pair(0x1005, INNER, false));
    harness.fail = Some(("point 10.9.0.1 at 1005", AckStatus::TableFull));
    harness.traced();
    assert_eq!(harness.run(4, Action::SelectOutbound { inbound_spi: 0x1005 }), AckStatus::TableFull);
    assert_eq!(
        harness.traced()[2..],
        ["0 point 10.9.0.1 at 1002", "1 point 10.9.0.1 at 1002"],
        "the old SA goes on sending"
    );
    assert_eq!(harness.executor.installed(), 2);
}

#[test]
fn an_installation_that_the_worker_refuses_leaves_nothing() {
    let mut harness = Harness::new();
    harness.fail = Some(("install", AckStatus::OutOfRange));
    assert_eq!(harness.run(1, pair(0x1002, INNER, true)), AckStatus::OutOfRange);
    assert_eq!(harness.traced(), ["0 install 1002"]);
    assert_eq!(harness.executor.installed(), 0);
}

#[test]
fn commands_on_different_sas_overlap_and_those_on_the_same_one_wait() {
    let mut harness = Harness::new();
    assert!(harness.submit(1, pair(0x1002, INNER, true)));
    assert!(harness.submit(2, pair(0x1003, Ipv4Addr::new(10, 9, 0, 2), true)));
    assert_eq!(harness.executor.in_flight(), 2);
    assert!(!harness.submit(3, Action::RemoveSa { inbound_spi: 0x1002 }), "same SA");
    assert!(!harness.submit(3, pair(0x1004, INNER, false)), "same address");
    assert!(!harness.submit(3, Action::Barrier), "everything before it");
    harness.settle();
    assert!(harness.acknowledged.iter().all(|(_, status)| *status == AckStatus::Done));
    assert_eq!(harness.acknowledged.len(), 2);
    assert!(harness.submit(3, Action::Barrier));
}

#[test]
fn both_families_of_a_client_are_selected_and_cleared_together() {
    let dual = |inbound_spi, inner: Ipv4Addr, inner6: &str| {
        let Action::InstallSa(mut pair) = pair(inbound_spi, inner, true) else { panic!() };
        pair.peer_inner.v6 = Some(inner6.parse().unwrap());
        Action::InstallSa(pair)
    };
    let mut harness = Harness::new();
    let pool: Ipv6Prefix = "fd00::/48".parse().unwrap();
    let action = || Action::AddPool6 { pool, client_length: 64 };
    assert_eq!(harness.run(1, action()), AckStatus::Done);
    assert_eq!(harness.run(2, action()), AckStatus::Done);
    assert_eq!(harness.traced(), ["0 pool fd00::/48", "1 pool fd00::/48"]);
    assert_eq!(harness.run(3, dual(0x1002, INNER, "fd00:0:0:1::/64")), AckStatus::Done);
    assert_eq!(
        harness.traced()[1..],
        [
            "0 point 10.9.0.1 at 1002",
            "1 point 10.9.0.1 at 1002",
            "0 point fd00:0:0:1::/64 at 1002",
            "1 point fd00:0:0:1::/64 at 1002"
        ]
    );
    // One of the two fails: both go back to what they were.
    harness.fail = Some(("point fd00:0:0:1::/64 at 1005", AckStatus::TableFull));
    assert_eq!(harness.run(4, dual(0x1005, INNER, "fd00:0:0:1::/64")), AckStatus::TableFull);
    assert_eq!(
        harness.traced()[5..],
        [
            "0 point 10.9.0.1 at 1002",
            "1 point 10.9.0.1 at 1002",
            "0 point fd00:0:0:1::/64 at 1002",
            "1 point fd00:0:0:1::/64 at 1002",
            "1 remove 1005"
        ]
    );
    harness.fail = None;
    assert_eq!(harness.run(5, Action::RemoveSa { inbound_spi: 0x1002 }), AckStatus::Done);
    assert_eq!(
        harness.traced(),
        [
            "0 clear 10.9.0.1",
            "1 clear 10.9.0.1",
            "0 clear fd00:0:0:1::/64",
            "1 clear fd00:0:0:1::/64",
            "0 remove 1002"
        ]
    );
    assert!(harness.submit(6, dual(0x1003, INNER, "fd00:0:0:2::/64")));
    assert!(!harness.submit(7, dual(0x1004, Ipv4Addr::new(10, 9, 0, 9), "fd00:0:0:2::/64")), "same prefix");
    harness.settle();
}

#[test]
fn the_commands_under_way_are_bounded() {
    let mut harness = Harness::new();
    for number in 0..MAX_IN_FLIGHT as u32 {
        assert!(
            harness.submit(
                u64::from(number),
                pair(0x1000 + number, Ipv4Addr::from(0x0a00_0000 + number), false)
            )
        );
    }
    assert!(!harness.submit(99, pair(0x1000 + MAX_IN_FLIGHT as u32, INNER, false)));
    harness.settle();
    assert_eq!(harness.executor.installed(), MAX_IN_FLIGHT);
}

#[test]
fn pools_go_to_every_worker_once_and_remove_all_forgets_everything() {
    let mut harness = Harness::new();
    let pool: Ipv4Prefix = "10.9.0.0/24".parse().unwrap();
    assert_eq!(harness.run(1, Action::AddPool(pool)), AckStatus::Done);
    assert_eq!(harness.traced(), ["0 pool 10.9.0.0/24", "1 pool 10.9.0.0/24"]);
    assert_eq!(harness.run(2, Action::AddPool(pool)), AckStatus::Done);
    assert_eq!(harness.traced(), [""; 0], "declared again after an attachment");
    harness.run(3, pair(0x1002, INNER, true));
    harness.traced();
    assert_eq!(harness.run(4, Action::RemoveAll), AckStatus::Done);
    assert_eq!(harness.traced(), ["0 remove all", "1 remove all"]);
    assert_eq!(harness.run(5, Action::RemoveSa { inbound_spi: 0x1002 }), AckStatus::NoSuchSa);
    assert_eq!(harness.run(6, Action::AddPool(pool)), AckStatus::Done);
    assert_eq!(harness.traced().len(), 2);
}
