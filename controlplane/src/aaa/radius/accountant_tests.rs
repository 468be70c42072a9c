//! Which records sessions make, and which sessions a server's request means.

use super::*;
use crate::store::{DurableId, StoredState};

fn policy(on_suspend: OnSuspend) -> Option<Accounting> {
    Some(Accounting { interim_secs: 600, on_suspend, queue: 10, queue_file: None })
}

fn record(id: &str, user: &str, class: &[&[u8]]) -> SessionRecord {
    let allowed = Authorization {
        class: class.iter().map(|class| class.to_vec()).collect(),
        by_radius: true,
        ..Authorization::default()
    };
    SessionRecord {
        id: DurableId::parse(b"rIUHKccDRiUtFTATwq").unwrap(),
        generation: 1,
        serial: 1,
        state: StoredState::Active,
        user: user.into(),
        group: String::new(),
        profile: String::new(),
        pool: String::new(),
        inner_v4: Some([10, 0, 0, 9].into()),
        inner_v6: None,
        attributes: allowed.to_stored(),
        client: vec![],
        accounting_id: id.into(),
        created_at: WallSecs(1000),
        ends_at: None,
        resumptions: 0,
        totals: Totals::default(),
    }
}

fn carried(octets: u64) -> Totals {
    Totals { in_packets: 1, in_bytes: octets, out_packets: 2, out_bytes: 2 * octets }
}

const ENDS: Ends = Ends { client: Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9))), gateway: None };

#[test]
fn a_session_tells_start_interims_and_one_stop() {
    let mut all = Accountant::new(policy(OnSuspend::Interim));
    all.open(Some(7), &record("a1", "ann", &[b"c"]));
    let start = all.up(7, None, ENDS, WallSecs(1001)).unwrap();
    assert_eq!((start.status, start.subject.class.len()), (StatusType::Start, 1));
    assert_eq!((start.subject.port, start.subject.client), (7, ENDS.client));
    assert!(all.due(WallSecs(1600), |_| carried(5)).is_empty());
    let [interim] = &all.due(WallSecs(1601), |_| carried(5))[..] else { panic!() };
    assert_eq!((interim.usage.in_octets, interim.usage.session_secs), (5, 601));
    assert_eq!(all.next_interim(), Some(WallSecs(2201)));
    let stop = all.ended(7, carried(9), TerminateCause::UserRequest, WallSecs(1700)).unwrap();
    assert_eq!(
        (stop.status, stop.cause, stop.usage.out_octets),
        (StatusType::Stop, Some(TerminateCause::UserRequest), 18)
    );
    assert!(all.ended(7, carried(9), TerminateCause::UserRequest, WallSecs(1700)).is_none());
    assert!(all.is_empty() && all.next_interim().is_none());
}

#[test]
fn a_session_that_waits_keeps_its_id_and_its_sum() {
    let mut all = Accountant::new(policy(OnSuspend::Interim));
    all.open(Some(7), &record("a1", "ann", &[]));
    all.up(7, None, ENDS, WallSecs(1000));
    let waits = all.waits(7, carried(10), WallSecs(1100)).unwrap();
    assert_eq!((waits.status, waits.reconnect_state), (StatusType::InterimUpdate, Some("inactive")));
    assert_eq!((waits.usage.in_octets, all.next_interim()), (10, None));
    let again = all.up(8, Some("a1"), ENDS, WallSecs(1200)).unwrap();
    assert_eq!((again.status, again.reconnect_state), (StatusType::InterimUpdate, Some("resumed")));
    assert_eq!((again.subject.session_id.as_str(), again.usage.in_octets), ("a1", 10));
    all.waits(8, carried(1), WallSecs(1300));
    let stop = all.given_up("a1", TerminateCause::LostCarrier, WallSecs(3000)).unwrap();
    assert_eq!((stop.usage.in_octets, stop.usage.session_secs), (11, 2000));
    assert_eq!(stop.cause, Some(TerminateCause::LostCarrier));
}

#[test]
fn a_client_that_comes_back_to_a_session_that_is_up_ends_nothing() {
    let mut all = Accountant::new(policy(OnSuspend::Interim));
    all.open(Some(7), &record("a1", "ann", &[]));
    all.up(7, None, ENDS, WallSecs(1000));
    all.up(8, Some("a1"), ENDS, WallSecs(1100));
    assert!(all.ended(7, carried(1), TerminateCause::NasRequest, WallSecs(1101)).is_none());
    assert!(all.waits(7, carried(1), WallSecs(1101)).is_none());
    assert_eq!(all.id_of(8), Some("a1"));
}

#[test]
fn where_bills_want_it_a_wait_is_a_stop_and_a_return_a_start() {
    let mut all = Accountant::new(policy(OnSuspend::Stop));
    all.open(Some(7), &record("a1", "ann", &[]));
    all.up(7, None, ENDS, WallSecs(1000));
    let stop = all.waits(7, carried(10), WallSecs(1100)).unwrap();
    assert_eq!((stop.status, stop.cause), (StatusType::Stop, Some(TerminateCause::LostCarrier)));
    assert_eq!(all.up(8, Some("a1"), ENDS, WallSecs(1200)).unwrap().status, StatusType::Start);
    all.waits(8, carried(1), WallSecs(1300));
    assert!(all.given_up("a1", TerminateCause::AdminReset, WallSecs(1400)).is_none(), "told already");
    assert!(all.is_empty());
}

#[test]
fn the_first_cause_counts_and_who_never_came_up_tells_nothing() {
    let mut all = Accountant::new(policy(OnSuspend::Interim));
    all.open(Some(7), &record("a1", "ann", &[]));
    all.up(7, None, ENDS, WallSecs(1000));
    assert!(all.given_up("a1", TerminateCause::AdminReset, WallSecs(1001)).is_none(), "it is up");
    all.blame("a1", TerminateCause::PortPreempted);
    let stop = all.ended(7, carried(0), TerminateCause::AdminReset, WallSecs(1002)).unwrap();
    assert_eq!(stop.cause, Some(TerminateCause::PortPreempted));
    all.open(Some(8), &record("a2", "ann", &[]));
    all.never_up(8);
    all.open(Some(9), &record("a3", "ann", &[]));
    assert!(all.ended(9, carried(0), TerminateCause::NasError, WallSecs(1002)).is_none());
    assert!(all.is_empty() && all.by_session.is_empty());
}

#[test]
fn a_request_means_the_sessions_that_every_value_fits() {
    let mut all = Accountant::new(None);
    for (session, id, user, class) in
        [(1, "a", "ann", &[&b"x"[..], b"y"][..]), (2, "b", "ann", &[]), (3, "c", "bob", &[b"x"])]
    {
        all.open(Some(session), &record(id, user, class));
        assert!(all.up(session, None, ENDS, WallSecs(1)).is_none(), "without accounting no record");
    }
    all.waits(3, carried(1), WallSecs(2));
    let meant = |selector: Selector| {
        let mut ids: Vec<_> = all.meant(&selector).into_iter().map(|meant| meant.accounting_id).collect();
        ids.sort();
        ids.concat()
    };
    let user = |user: &str| Selector { user: Some(user.into()), ..Selector::default() };
    assert_eq!(meant(user("ann")), "ab");
    assert_eq!(meant(user("bob")), "c");
    assert_eq!(meant(Selector { port: Some(2), ..user("ann") }), "b");
    assert_eq!(meant(Selector { class: vec![b"x".to_vec()], ..Selector::default() }), "ac");
    assert_eq!(meant(Selector { class: vec![b"x".to_vec(), b"y".to_vec()], ..Selector::default() }), "a");
    assert_eq!(meant(Selector { session_id: Some("b".into()), ..user("bob") }), "");
    assert_eq!(meant(Selector { session_id: Some("b".into()), ..Selector::default() }), "b");
    assert_eq!(meant(Selector { client: Some("192.0.2.9".into()), ..Selector::default() }), "abc");
    assert_eq!(meant(Selector { address: Some([10, 0, 0, 8].into()), ..Selector::default() }), "");
}

#[test]
fn a_request_may_mean_ipv6_by_address_or_prefix() {
    let at = |text: &str| text.parse::<Ipv6Addr>().unwrap();
    let pool = |name: &str, client_length| Pool {
        name: name.into(),
        range: None,
        range6: Some(causeway_shared::config::Range6 {
            prefix: "2001:db8:9::/48".parse().unwrap(),
            client_length,
        }),
        first: None,
        last: None,
        dns: vec![],
        subnets: vec![],
        traffic_selectors: Default::default(),
    };
    let mut all = Accountant::new(None).with_pools(&[pool("wide", 64), pool("one", 128)]);
    for (session, id, pool, inner) in [
        (1, "a", "wide", "2001:db8:9:5::1"),
        (2, "b", "one", "2001:db8:9::7"),
        (3, "c", "gone", "2001:db8::1"),
    ] {
        let own = SessionRecord { pool: pool.into(), inner_v6: Some(at(inner)), ..record(id, "ann", &[]) };
        all.open(Some(session), &own);
        all.up(session, None, ENDS, WallSecs(1));
    }
    let meant = |selector: Selector| {
        all.meant(&selector).into_iter().map(|meant| meant.accounting_id).collect::<String>()
    };
    let address = |text| Selector { address6: Some(at(text)), ..Selector::default() };
    let prefix = |text, length| Selector { prefix6: Some((at(text), length)), ..Selector::default() };
    for (selector, expected) in [
        (address("2001:db8:9:5::1"), "a"),
        (address("2001:db8:9:5:1:2:3:4"), "a"),
        (address("2001:db8:9::7"), "b"),
        (address("2001:db8:9::8"), ""),
        (address("2001:db8::1"), "c"),
        (prefix("2001:db8:9:5::", 64), "a"),
        (prefix("2001:db8:9::", 64), ""),
        (prefix("2001:db8:9::7", 128), "b"),
        (Selector { address: Some([10, 0, 0, 8].into()), ..address("2001:db8::1") }, ""),
    ] {
        assert_eq!(meant(selector.clone()), expected, "{selector:?}");
    }
}
