//! The desk alone, without a data plane: bounds, orders, and files that another program reads.

use causeway_shared::wire::{Seen, TraceStep, Way};

use super::*;

const BEGAN: FileTime =
    FileTime { monotonic: Duration::from_secs(100), wall: Duration::from_secs(1_700_000_000) };

fn new_capture() -> NewCapture {
    NewCapture {
        session: "7".into(),
        side: CaptureSide::Both,
        packets: Some(3),
        octets: None,
        secs: Some(10),
        snap_len: None,
    }
}

fn desk() -> WatchDesk {
    let desk = WatchDesk::default();
    assert_eq!(desk.capture(BEGAN, 7, &new_capture()), Err(WatchError::NoDataPlane));
    assert_eq!(desk.attached(), [Action::Unwatch { id: ALL_WATCHES }]);
    desk
}

fn packet(watch: u32, len: usize) -> Observation {
    let seen = Seen {
        watch,
        time_ns: 100_250_000_001,
        inbound_spi: 300,
        way: Way::ToPeer,
        inner: true,
        whole_len: len as u32,
    };
    Observation::Packet(SeenPacket { seen, octets: vec![0x45; len] })
}

#[test]
fn a_capture_ends_when_all_workers_together_have_brought_enough() {
    let desk = desk();
    let capture = desk.capture(BEGAN, 7, &new_capture()).unwrap();
    let [Action::Watch(Watch { id, order: WatchOrder::Capture(order) })] = &desk.orders()[..] else {
        panic!()
    };
    assert_eq!((*id, order.session_id, order.max_packets, order.max_ms), (capture.id, 7, 3, 10_000));
    (0..5).for_each(|worker| desk.observe(worker % 2, packet(capture.id, 61)));
    assert_eq!(desk.orders(), [Action::Unwatch { id: capture.id }]);
    let [now] = &desk.captures(Duration::from_secs(104))[..] else { panic!() };
    assert_eq!((now.state, now.packets, now.octets, now.age_secs), (WatchState::Ended, 3, 183, 4));
    let file = desk.file(capture.id).unwrap();
    // Block after block of lengths that agree, three of them packets with their time.
    let (mut rest, mut packets) = (&file[..], 0);
    while let Some((kind, after)) = rest.split_first_chunk::<4>() {
        let len = u32::from_le_bytes(*after.first_chunk().unwrap()) as usize;
        assert_eq!(rest[len - 4..len], rest[4..8]);
        if u32::from_le_bytes(*kind) == 6 {
            let word = |place: usize| u64::from(u32::from_le_bytes(*rest[place..].first_chunk().unwrap()));
            assert_eq!((word(8), word(20), word(24)), (1, 61, 61));
            assert_eq!(word(12) << 32 | word(16), 1_700_000_000_250_000_001);
            packets += 1;
        }
        rest = &rest[len..];
    }
    assert_eq!(packets, 3);
    assert!(desk.remove_capture(capture.id) && !desk.remove_capture(capture.id));
    assert!(desk.captures(BEGAN.monotonic).is_empty());
}

#[test]
fn octets_time_and_a_lost_data_plane_end_it_too() {
    let desk = desk();
    let by_octets = desk.capture(BEGAN, 7, &NewCapture { octets: Some(100), ..new_capture() }).unwrap().id;
    let by_time = desk.capture(BEGAN, 7, &new_capture()).unwrap().id;
    let silent = desk.capture(BEGAN, 7, &new_capture()).unwrap().id;
    (0..2).for_each(|_| desk.observe(0, packet(by_octets, 61)));
    desk.observe(1, Observation::Ended { watch: by_time });
    let states =
        |now| -> Vec<_> { desk.captures(now).iter().map(|capture| (capture.id, capture.state)).collect() };
    let expected = |last| [(by_octets, WatchState::Ended), (by_time, WatchState::Ended), (silent, last)];
    assert_eq!(states(Duration::from_secs(114)), expected(WatchState::Running));
    assert_eq!(states(Duration::from_secs(116)), expected(WatchState::Interrupted));
    assert_eq!(desk.captures(BEGAN.monotonic)[0].octets, 61, "never more than asked for");

    let interrupted = desk.capture(BEGAN, 7, &new_capture()).unwrap().id;
    assert_eq!(desk.capture(BEGAN, 7, &new_capture()), Err(WatchError::Full(MAX_CAPTURES)));
    desk.detached();
    assert!(desk.orders().is_empty(), "nobody is there to be told");
    let last = desk.captures(BEGAN.monotonic).pop().unwrap();
    assert_eq!((last.id, last.state), (interrupted, WatchState::Interrupted));
}

#[test]
fn values_out_of_range_name_their_member() {
    let desk = desk();
    for (member, new) in [
        ("packets", NewCapture { packets: Some(0), ..new_capture() }),
        ("octets", NewCapture { octets: Some(MAX_CAPTURE_OCTETS + 1), ..new_capture() }),
        ("secs", NewCapture { secs: Some(MAX_WATCH_SECS + 1), ..new_capture() }),
        ("snap_len", NewCapture { snap_len: Some(63), ..new_capture() }),
    ] {
        let error = desk.capture(BEGAN, 7, &new).unwrap_err();
        assert!(error.to_string().starts_with(&format!("`{member}`")), "{error}");
    }
    let new = NewTrace { packets: Some(0), ..NewTrace::default() };
    assert!(desk.trace(BEGAN.monotonic, TraceFilter::default(), &new).is_err());
    assert!(desk.orders().is_empty());
}

#[test]
fn a_trace_collects_the_workers_words() {
    let desk = desk();
    let new = NewTrace { packets: Some(2), ..NewTrace::default() };
    let trace = desk.trace(BEGAN.monotonic, TraceFilter::default(), &new).unwrap();
    for worker in 0..3 {
        desk.observe(
            worker,
            Observation::Trace(TracedPacket {
                watch: trace.id,
                time_ns: 100_000_007_000,
                entry: "port 0".into(),
                steps: vec![TraceStep { stage: "classify".into(), did: "dropped: truncated".into() }],
                left: vec![],
            }),
        );
    }
    let told = desk.traced(BEGAN.monotonic, trace.id).unwrap();
    assert_eq!((told.state, told.packets.len()), (WatchState::Ended, 2));
    assert_eq!((told.packets[1].worker, told.packets[1].at_us), (1, 7));
    assert_eq!(told.packets[0].stages[0].did, "dropped: truncated");
    assert!(desk.remove_trace(trace.id) && desk.traced(BEGAN.monotonic, trace.id).is_none());
}
