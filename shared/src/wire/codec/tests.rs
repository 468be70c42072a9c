//! Round trips, tables of refusals, and arbitrary octets for all messages.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::sa::{
    EspKeys, EspSuite, InnerAddresses, Ipv4Prefix, Ipv6Prefix, MAX_REPLAY_WINDOW, MAX_SELECTORS, SaLimits,
    SaPair, Selector, keymat_len,
};
use crate::wire::{
    AckStatus, Action, COMMAND_SLOT_BYTES, CaptureOrder, Command, DATAGRAM_SLOT_BYTES, Datagram,
    EVENT_SLOT_BYTES, Event, FlowEnd, FlowKey, FlowOrder, FlowRecord, MAX_DATAGRAM, MAX_SEEN,
    OBSERVATION_SLOT_BYTES, Observation, Seen, SeenPacket, SeenRef, SlotMessage, TraceFilter, TraceOrder,
    TraceStep, TracedPacket, Watch, WatchOrder, Way,
};

fn round_trip<M: SlotMessage + PartialEq + std::fmt::Debug>(message: &M) {
    let mut slot = vec![0xee; M::SLOT_BYTES];
    let used = message.encode(&mut slot).unwrap();
    assert_eq!(M::decode(&slot[..used]).as_ref(), Ok(message));
    assert!(M::decode(&slot[..used - 1]).is_err(), "one octet short");
    let mut longer = slot[..used].to_vec();
    longer.push(0);
    assert!(M::decode(&longer).is_err(), "one octet more");
    assert!(matches!(message.encode(&mut vec![0; used - 1]), Err(SlotError::TooLong { .. })));
}

/// The whole-slot sizes are multiples of 8, as the ring needs them, and the largest messages fit.
#[test]
fn the_largest_messages_fit_their_slots() {
    for bytes in [COMMAND_SLOT_BYTES, EVENT_SLOT_BYTES, DATAGRAM_SLOT_BYTES] {
        assert_eq!(bytes % 8, 0);
    }
    round_trip(&command(Action::InstallSa(Box::new(pair()))));
    let mut largest = datagram();
    largest.payload = vec![7; MAX_DATAGRAM];
    round_trip(&largest);
    largest.payload.push(7);
    let refused = largest.encode(&mut [0; DATAGRAM_SLOT_BYTES]);
    assert_eq!(refused, Err(SlotError::TooLong { needed: MAX_DATAGRAM + 1, available: MAX_DATAGRAM }));
}

#[test]
fn a_packet_is_cut_where_it_was_asked_for_whatever_it_is_made_of() {
    let seen =
        Seen { watch: 1, time_ns: 2, inbound_spi: 300, way: Way::ToPeer, inner: false, whole_len: 3000 };
    let text: Vec<u8> = (0..3000u32).map(|number| number as u8).collect();
    for (head, snap_len, kept) in [(0, 64, 64), (28, 64, 64), (28, 20, 20), (28, u16::MAX, MAX_SEEN)] {
        let (head, tail) = text.split_at(head);
        let mut slot = [0; OBSERVATION_SLOT_BYTES];
        let used = SeenRef { seen, head, tail }.encode(&mut slot, snap_len).unwrap();
        let octets = text[..kept].to_vec();
        assert_eq!(Observation::decode(&slot[..used]), Ok(Observation::Packet(SeenPacket { seen, octets })));
    }
}

#[test]
fn descriptions_that_no_honest_writer_makes_are_refused_by_the_writer() {
    type Spoil = fn(&mut SaPair);
    let table: [(&str, Spoil); 18] = [
        ("inbound_spi", |pair| pair.inbound_spi = MIN_SPI - 1),
        ("outbound_spi", |pair| pair.outbound_spi = 0),
        ("replay_window", |pair| pair.replay_window = MAX_REPLAY_WINDOW + 1),
        ("first_outbound_sequence", |pair| pair.first_outbound_sequence = 0),
        ("local_port", |pair| pair.encapsulation = Encapsulation::Udp { local_port: 0, peer_port: 1 }),
        ("peer_port", |pair| pair.encapsulation = Encapsulation::Udp { local_port: 1, peer_port: 0 }),
        ("inbound_keys", |pair| pair.inbound_keys.salt = [1; 4]),
        ("outbound_keys", |pair| pair.outbound_keys.cipher[31] = 1),
        ("outbound_keys", |pair| pair.outbound_keys.integrity[63] = 1),
        ("peer_selectors", |pair| pair.peer_selectors.push(pair.peer_selectors[0])),
        ("local_selectors", |pair| pair.local_selectors.push(pair.local_selectors[0])),
        ("peer_selectors", |pair| pair.peer_selectors[3].first = Ipv6Addr::from_bits(u128::MAX).into()),
        ("peer_selectors", |pair| pair.peer_selectors[3].first = Ipv4Addr::UNSPECIFIED.into()),
        ("family", |pair| pair.local_outer = Ipv4Addr::LOCALHOST.into()),
        ("peer_inner", |pair| pair.peer_inner = InnerAddresses { v4: None, v6: None }),
        ("peer_inner", |pair| {
            pair.peer_inner.v6 = Some(Ipv6Prefix { address: Ipv6Addr::LOCALHOST, length: 64 })
        }),
        ("peer_inner_length", |pair| {
            pair.peer_inner.v6 = Some(Ipv6Prefix { address: Ipv6Addr::LOCALHOST, length: 129 });
        }),
        ("local_selectors", |pair| pair.local_selectors[15].first_port = 65535),
    ];
    for (field, spoil) in table {
        let mut spoilt = pair();
        spoil(&mut spoilt);
        let command = command(Action::InstallSa(Box::new(spoilt)));
        assert_eq!(command.encode(&mut [0; COMMAND_SLOT_BYTES]), Err(SlotError::Invalid(field)));
    }
}

/// Octets of an encoded message that are changed, and the answer.
#[test]
fn changed_octets_are_refused_by_the_reader_with_the_fields_name() {
    use SlotError::{Invalid, UnknownKind};
    let install = command(Action::InstallSa(Box::new(pair())));
    let select = command(Action::SelectOutbound { inbound_spi: 0x100 });
    let pool = command(Action::AddPool(Ipv4Prefix::new(Ipv4Addr::new(10, 0, 0, 0), 8).unwrap()));
    let pool6 = Ipv6Prefix::new("2001:db8::".parse().unwrap(), 32).unwrap();
    let pool6 = command(Action::AddPool6 { pool: pool6, client_length: 64 });
    let commands: [(&Command, usize, u8, SlotError); 26] = [
        (&install, 8, 0, UnknownKind(0)),
        (&install, 8, 99, UnknownKind(99)),
        (&install, 9, 1, UnknownKind(0x101)),
        (&install, 10, 1, Invalid("reserved")),
        (&install, 15, 1, Invalid("reserved")),
        (&install, 17, 0, Invalid("inbound_spi")),
        (&install, 21, 0, Invalid("outbound_spi")),
        (&install, 32, 0, Invalid("suite")),
        (&install, 32, 13, Invalid("suite")),
        (&install, 32, 1, Invalid("inbound_keys")),
        (&install, 33, 2, Invalid("esn")),
        (&install, 34, 0xff, Invalid("outbound_selected")),
        (&install, 35, 1, Invalid("reserved")),
        (&install, 39, 1, Invalid("replay_window")),
        (&install, 88, 5, Invalid("local_outer")),
        (&install, 105, 4, SlotError::Invalid("encapsulation")),
        (&install, 126, 2, Invalid("encapsulation")),
        (&install, 130, 0, Invalid("peer_inner")),
        (&install, 130, 4, Invalid("peer_inner")),
        (&install, 352, 17, Invalid("peer_selectors")),
        (&select, 17, 0, Invalid("inbound_spi")),
        (&pool, 20, 33, Invalid("pool_length")),
        (&pool, 20, 4, Invalid("pool")),
        (&pool6, 32, 129, Invalid("pool_length")),
        (&pool6, 32, 3, Invalid("pool")),
        (&pool6, 33, 31, Invalid("client_length")),
    ];
    for (message, place, value, expected) in commands {
        assert_eq!(changed(message, place, value), Err(expected), "octet {place}");
    }
    let ack = Event::Ack { command_id: 1, status: AckStatus::Done };
    let expired = Event::SoftExpired { inbound_spi: 0x100 };
    let moved = Event::PeerMoved {
        inbound_spi: 0x100,
        peer_outer: Ipv4Addr::LOCALHOST.into(),
        encapsulation: Encapsulation::Esp,
    };
    let events: [(&Event, usize, u8, SlotError); 9] = [
        (&ack, 0, 0, UnknownKind(0)),
        (&ack, 0, 7, UnknownKind(7)),
        (&ack, 2, 8, Invalid("status")),
        (&ack, 4, 1, Invalid("inbound_spi")),
        (&expired, 2, 1, Invalid("status")),
        (&expired, 5, 0, Invalid("inbound_spi")),
        (&moved, 8, 0, Invalid("peer_outer")),
        (&moved, 17, 2, Invalid("encapsulation")),
        (&moved, 18, 1, Invalid("reserved")),
    ];
    for (message, place, value, expected) in events {
        assert_eq!(changed(message, place, value), Err(expected), "octet {place}");
    }
    let datagrams: [(usize, u8, SlotError); 4] = [
        (10, 1, Invalid("local_port")),
        (13, 0, Invalid("peer_port")),
        (14, 4, SlotError::Truncated("payload")),
        (14, 2, Invalid("length")),
    ];
    for (place, value, expected) in datagrams {
        let mut message = datagram();
        message.peer_port = 0x100;
        assert_eq!(changed(&message, place, value), Err(expected), "octet {place}");
    }
}

fn changed<M: SlotMessage>(message: &M, place: usize, value: u8) -> Result<(), SlotError> {
    let mut slot = vec![0; M::SLOT_BYTES];
    let used = message.encode(&mut slot).unwrap();
    assert_ne!(slot[place], value, "the change at {place} is none");
    slot[place] = value;
    M::decode(&slot[..used]).map(|_| ())
}

#[test]
fn a_refused_command_still_has_its_id() {
    let mut slot = [0; COMMAND_SLOT_BYTES];
    let used = command(Action::Barrier).encode(&mut slot).unwrap();
    slot[8] = 99;
    assert!(Command::decode(&slot[..used]).is_err());
    assert_eq!(peek_command_id(&slot[..used]), Some(0x0102_0304));
    assert_eq!(peek_command_id(&slot[..7]), None);
}

fn command(action: Action) -> Command {
    Command { id: 0x0102_0304, action }
}

fn datagram() -> Datagram {
    let (local, peer) = (Ipv4Addr::new(192, 0, 2, 1).into(), Ipv4Addr::new(198, 51, 100, 7).into());
    Datagram { local, local_port: 4500, peer, peer_port: 1024, payload: vec![1, 2, 3] }
}

/// The largest pair: all selectors, the suite with the most unused octets.
fn pair() -> SaPair {
    let selector = Selector {
        protocol: 17,
        first: Ipv6Addr::LOCALHOST.into(),
        last: Ipv6Addr::from_bits(0xff).into(),
        first_port: 0,
        last_port: 65534,
    };
    let suite = EspSuite::Aes192CbcSha256;
    SaPair {
        inbound_spi: 0x100,
        outbound_spi: 0x100,
        session_id: 3,
        suite,
        esn: true,
        inbound_keys: keys(suite, 0x11),
        outbound_keys: keys(suite, 0x22),
        local_outer: "2001:db8::1".parse().unwrap(),
        peer_outer: "2001:db8:7::1".parse().unwrap(),
        encapsulation: Encapsulation::Udp { local_port: 4500, peer_port: 1024 },
        peer_inner: InnerAddresses {
            v4: Some(Ipv4Addr::new(10, 9, 0, 1)),
            v6: Ipv6Prefix::new("fd00::".parse().unwrap(), 64),
        },
        peer_selectors: vec![selector; MAX_SELECTORS],
        local_selectors: vec![selector; MAX_SELECTORS],
        replay_window: 64,
        first_outbound_sequence: 1,
        highest_inbound_sequence: 0,
        limits: SaLimits::default(),
        outbound_selected: true,
    }
}

fn keys(suite: EspSuite, octet: u8) -> EspKeys {
    EspKeys::from_keymat(suite, &vec![octet; keymat_len(suite)]).unwrap()
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    any_ends().prop_map(|(address, _)| address)
}

/// Two addresses of one family, the lower one first.
fn any_ends() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        any::<[u32; 2]>()
            .prop_map(|[a, b]| (Ipv4Addr::from(a.min(b)).into(), Ipv4Addr::from(a.max(b)).into())),
        any::<[u128; 2]>()
            .prop_map(|[a, b]| (Ipv6Addr::from(a.min(b)).into(), Ipv6Addr::from(a.max(b)).into())),
    ]
}

fn any_prefix6() -> impl Strategy<Value = Ipv6Prefix> {
    (any::<u128>(), 0u8..=128).prop_map(|(address, length)| Ipv6Prefix::new(address.into(), length).unwrap())
}

fn any_inner() -> impl Strategy<Value = InnerAddresses> {
    let v4 = any::<u32>().prop_map(Ipv4Addr::from);
    (proptest::option::of(v4), proptest::option::of(any_prefix6()))
        .prop_map(|(v4, v6)| InnerAddresses { v4, v6 })
        .prop_filter("one at least", |inner| !inner.is_empty())
}

fn any_spi() -> impl Strategy<Value = u32> {
    MIN_SPI..=u32::MAX
}

fn any_encapsulation() -> impl Strategy<Value = Encapsulation> {
    prop_oneof![
        Just(Encapsulation::Esp),
        (1..=u16::MAX, 1..=u16::MAX)
            .prop_map(|(local_port, peer_port)| Encapsulation::Udp { local_port, peer_port }),
    ]
}

fn any_selectors() -> impl Strategy<Value = Vec<Selector>> {
    let selector =
        (any::<u8>(), any_ends(), any::<[u16; 2]>()).prop_map(|(protocol, (first, last), mut ports)| {
            ports.sort_unstable();
            Selector { protocol, first, last, first_port: ports[0], last_port: ports[1] }
        });
    proptest::collection::vec(selector, 0..=MAX_SELECTORS)
}

prop_compose! {
    fn any_pair()(
        (inbound_spi, outbound_spi, session_id) in (any_spi(), any_spi(), any::<u64>()),
        suite in proptest::sample::select(EspSuite::ALL.to_vec()),
        (esn, outbound_selected) in any::<(bool, bool)>(),
        ((local_outer, peer_outer), peer_inner) in (any_ends(), any_inner()),
        encapsulation in any_encapsulation(),
        (peer_selectors, local_selectors) in (any_selectors(), any_selectors()),
        replay_window in 0..=MAX_REPLAY_WINDOW,
        (first_outbound_sequence, highest_inbound_sequence) in (1..=u64::MAX, any::<u64>()),
        limits in any::<[u64; 4]>(),
        octets in any::<[u8; 2]>(),
    ) -> SaPair {
        let [soft_bytes, hard_bytes, soft_packets, hard_packets] = limits;
        SaPair {
            inbound_spi, outbound_spi, session_id, suite, esn,
            inbound_keys: keys(suite, octets[0]),
            outbound_keys: keys(suite, octets[1]),
            local_outer, peer_outer, encapsulation, peer_inner, peer_selectors, local_selectors,
            replay_window, first_outbound_sequence, highest_inbound_sequence,
            limits: SaLimits { soft_bytes, hard_bytes, soft_packets, hard_packets },
            outbound_selected,
        }
    }
}

/// Our address and the peer's, of one family.
fn any_path() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        any::<[[u8; 4]; 2]>().prop_map(|[a, b]| (a.into(), b.into())),
        any::<[[u8; 16]; 2]>().prop_map(|[a, b]| (a.into(), b.into())),
    ]
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        any_pair().prop_map(|pair| Action::InstallSa(Box::new(pair))),
        any_spi().prop_map(|inbound_spi| Action::SelectOutbound { inbound_spi }),
        any_spi().prop_map(|inbound_spi| Action::RemoveSa { inbound_spi }),
        (any_spi(), any_path(), any_encapsulation()).prop_map(
            |(inbound_spi, (local_outer, peer_outer), encapsulation)| Action::MovePeer {
                inbound_spi,
                local_outer,
                peer_outer,
                encapsulation
            }
        ),
        (any::<u32>(), 0u8..=32)
            .prop_map(|(address, length)| Action::AddPool(Ipv4Prefix::new(address.into(), length).unwrap())),
        (any_prefix6(), 0u8..=128).prop_map(|(pool, longer)| Action::AddPool6 {
            pool,
            client_length: pool.length.saturating_add(longer).min(128),
        }),
        Just(Action::RemoveAll),
        Just(Action::Barrier),
        (any::<u32>(), any_watch()).prop_map(|(id, order)| Action::Watch(Watch { id, order })),
        any::<u32>().prop_map(|id| Action::Unwatch { id }),
    ]
}

fn any_watch() -> impl Strategy<Value = WatchOrder> {
    let capture = (any::<(u64, bool, bool, u32)>(), 1..=MAX_SEEN as u16, any::<[u64; 2]>()).prop_map(
        |((session_id, outer, inner, max_packets), snap_len, [max_octets, max_ms])| CaptureOrder {
            session_id,
            outer,
            inner,
            snap_len,
            max_packets,
            max_octets,
            max_ms,
        },
    );
    let address = || proptest::option::of(any_address());
    let trace = (address(), any::<Option<u32>>(), address(), any::<(u32, u64)>()).prop_map(
        |(peer, spi, inner, (packets, max_ms))| TraceOrder {
            filter: TraceFilter { peer, spi, inner },
            packets,
            max_ms,
        },
    );
    prop_oneof![
        capture.prop_map(WatchOrder::Capture),
        trace.prop_map(WatchOrder::Trace),
        (1..=u32::MAX, 1..=u32::MAX)
            .prop_map(|(active_ms, idle_ms)| WatchOrder::Flows(FlowOrder { active_ms, idle_ms })),
    ]
}

fn any_way() -> impl Strategy<Value = Way> {
    proptest::sample::select(vec![Way::FromPeer, Way::ToPeer])
}

fn any_observation() -> impl Strategy<Value = Observation> {
    let packet = (
        any::<(u32, u64, bool, u16)>(),
        any_spi(),
        any_way(),
        proptest::collection::vec(any::<u8>(), 0..=MAX_SEEN),
    )
        .prop_map(|((watch, time_ns, inner, more), inbound_spi, way, octets)| {
            let whole_len = octets.len() as u32 + u32::from(more);
            SeenPacket { seen: Seen { watch, time_ns, inbound_spi, way, inner, whole_len }, octets }
        });
    let step = ("[ -~]{0,20}", "[ -~é]{0,40}").prop_map(|(stage, did)| TraceStep { stage, did });
    let traced = (
        any::<(u32, u64)>(),
        "[ -~]{0,96}",
        proptest::collection::vec(step, 0..12),
        proptest::collection::vec("[ -~]{0,96}", 0..4),
    )
        .prop_map(|((watch, time_ns), entry, steps, left)| TracedPacket {
            watch,
            time_ns,
            entry,
            steps,
            left,
        });
    let ends = vec![FlowEnd::Idle, FlowEnd::Active, FlowEnd::Forced, FlowEnd::Displaced];
    let flow = (
        any::<(u64, u8, u16, u16)>(),
        any_ends(),
        any_way(),
        any::<[u64; 4]>(),
        proptest::sample::select(ends),
    )
        .prop_map(|((session_id, protocol, source_port, destination_port), ends, way, numbers, end)| {
            let ((source, destination), [packets, octets, first_ms, last_ms]) = (ends, numbers);
            let key =
                FlowKey { session_id, source, destination, protocol, way, source_port, destination_port };
            FlowRecord { key, packets, octets, first_ms, last_ms, end }
        });
    prop_oneof![
        packet.prop_map(Observation::Packet),
        traced.prop_map(Observation::Trace),
        flow.prop_map(Observation::Flow),
        any::<u32>().prop_map(|watch| Observation::Ended { watch }),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    let statuses = vec![
        AckStatus::Done,
        AckStatus::SlotInUse,
        AckStatus::NoSuchSa,
        AckStatus::OutOfRange,
        AckStatus::TableFull,
        AckStatus::NoSuchPool,
        AckStatus::Malformed,
        AckStatus::AlreadyInstalled,
    ];
    prop_oneof![
        (any::<u64>(), proptest::sample::select(statuses))
            .prop_map(|(command_id, status)| Event::Ack { command_id, status }),
        any_spi().prop_map(|inbound_spi| Event::SoftExpired { inbound_spi }),
        any_spi().prop_map(|inbound_spi| Event::HardExpired { inbound_spi }),
        (any_spi(), any_address(), any_encapsulation()).prop_map(
            |(inbound_spi, peer_outer, encapsulation)| Event::PeerMoved {
                inbound_spi,
                peer_outer,
                encapsulation
            }
        ),
        (any::<u32>(), any_address()).prop_map(|(spi, source)| Event::InvalidSpi { spi, source }),
        any_spi().prop_map(|inbound_spi| Event::FirstInbound { inbound_spi }),
    ]
}

prop_compose! {
    fn any_datagram()(
        (local, peer) in any_ends(),
        local_port in proptest::sample::select(vec![500u16, 4500]),
        peer_port in 1..=u16::MAX,
        payload in proptest::collection::vec(any::<u8>(), 0..2000),
    ) -> Datagram {
        Datagram { local, local_port, peer, peer_port, payload }
    }
}

/// What decodes must encode to the same octets: no two slots mean the same.
fn decoded_is_canonical<M: SlotMessage>(octets: &[u8]) {
    if let Ok(message) = M::decode(octets) {
        let mut slot = vec![0; M::SLOT_BYTES];
        let used = message.encode(&mut slot).unwrap();
        assert_eq!(&slot[..used], octets);
    }
}

proptest! {
    #[test]
    fn commands_round_trip(id in any::<u64>(), action in any_action()) {
        round_trip(&Command { id, action });
    }

    #[test]
    fn events_round_trip(event in any_event()) {
        round_trip(&event);
    }

    #[test]
    fn datagrams_round_trip(datagram in any_datagram()) {
        round_trip(&datagram);
    }

    #[test]
    fn observations_round_trip(observation in any_observation()) {
        round_trip(&observation);
    }

    #[test]
    fn arbitrary_octets_never_panic(
        octets in proptest::collection::vec(prop_oneof![any::<u8>(), 0u8..8], 0..COMMAND_SLOT_BYTES),
    ) {
        decoded_is_canonical::<Command>(&octets);
        decoded_is_canonical::<Event>(&octets);
        decoded_is_canonical::<Datagram>(&octets);
        decoded_is_canonical::<Observation>(&octets);
    }

    #[test]
    fn damaged_commands_never_panic(
        action in any_action(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut slot = [0; COMMAND_SLOT_BYTES];
        let used = Command { id: 1, action }.encode(&mut slot).unwrap();
        for (place, value) in damage {
            slot[place.index(used)] = value;
        }
        decoded_is_canonical::<Command>(&slot[..used]);
    }
}
