//! Questions that go round, against servers that answer, are silent, or lie.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::packet::{AttributeList, Code};
use crate::reply::server::answer;

fn secret(server: usize) -> SharedSecret {
    SharedSecret::new(format!("secret{server}").into_bytes()).unwrap()
}

fn client(servers: usize) -> Client {
    Client::new(Settings {
        secrets: (0..servers).map(secret).collect(),
        timeout: Duration::from_secs(1),
        tries: 3,
        dead: Duration::from_secs(60),
        patience: Duration::from_secs(30),
    })
}

fn access() -> Question {
    Question::Access { attributes: AttributeList::new(), password: None }
}

/// Random enough to make authenticators differ.
fn fill() -> impl FnMut(&mut [u8]) {
    let mut state = 0u8;
    move |octets: &mut [u8]| {
        for octet in octets {
            state = state.wrapping_mul(5).wrapping_add(17);
            *octet = state;
        }
    }
}

fn outputs(client: &mut Client) -> Vec<Output> {
    std::iter::from_fn(|| client.pop()).collect()
}

fn sends(client: &mut Client) -> Vec<(usize, u16, Vec<u8>)> {
    let send = |output| match output {
        Output::Send { server, lane, octets } => Some((server, lane, octets)),
        _ => None,
    };
    outputs(client).into_iter().filter_map(send).collect()
}

/// Runs the clock until nothing is due any more before `until`; tells who was sent to, when (ms), and how it ended.
fn run(
    client: &mut Client,
    until: Duration,
    mut deaf: impl FnMut(usize) -> bool,
) -> (Vec<usize>, Vec<Output>) {
    let (mut asked, mut rest, mut fill) = (Vec::new(), Vec::new(), fill());
    let mut now = Duration::ZERO;
    loop {
        while let Some(output) = client.pop() {
            match output {
                Output::Send { server, lane, octets } => {
                    asked.push(server);
                    if !deaf(server) {
                        let reply =
                            answer(&octets, Code::AccessAccept, &AttributeList::new(), true, &secret(server));
                        client.received(now, server, lane, &reply);
                    }
                }
                other => rest.push(other),
            }
        }
        match client.next_wakeup().filter(|at| *at <= until) {
            Some(at) => now = at,
            None => return (asked, rest),
        }
        client.timer(now, &mut fill);
    }
}

#[test]
fn the_same_datagram_goes_out_three_times_then_the_next_server_has_its_turn() {
    let mut client = client(2);
    let ticket = client.ask(Duration::ZERO, access(), None, &mut fill()).unwrap();
    let mut fill = fill();
    let mut seen = Vec::new();
    let mut moments = Vec::new();
    for _ in 0..4 {
        seen.extend(sends(&mut client));
        let at = client.next_wakeup().unwrap();
        moments.push(at.as_millis());
        client.timer(at, &mut fill);
    }
    let (first, second) = (&seen[0], &seen[3]);
    assert!(seen[..3].iter().all(|send| send == first) && first.0 == 0 && second.0 == 1);
    assert_ne!(first.2[4..20], second.2[4..20], "a fresh authenticator");
    for (moment, least, most) in [(0, 900, 1100), (1, 2700, 3300), (2, 6300, 7700), (3, 7200, 8800)] {
        assert!((least..=most).contains(&moments[moment]), "{moments:?}");
    }
    let reply = answer(&second.2, Code::AccessAccept, &AttributeList::new(), true, &secret(1));
    let now = Duration::from_secs(9);
    client.received(now, 1, second.1, &reply);
    let answered =
        |output: &Output| matches!(output, Output::Answered { ticket: of, server: 1, .. } if *of == ticket);
    assert!(outputs(&mut client).iter().any(answered));
    assert!(client.is_dead(0, now) && !client.is_dead(1, now) && client.under_way() == 0);
    assert_eq!((client.counts().retransmitted, client.counts().failovers), (3, 1));
}

#[test]
fn the_dead_are_asked_last_and_probed_until_they_are_back() {
    let mut client = client(2);
    client.ask(Duration::ZERO, access(), None, &mut fill()).unwrap();
    let mut probes = 0;
    let (asked, rest) = run(&mut client, Duration::from_secs(40), |server| {
        if server == 0 {
            probes += 1;
        }
        server == 0 && probes < 6
    });
    assert_eq!(asked, [0, 0, 0, 1, 0, 0, 0], "three tries, the other server, three probes");
    assert!(
        matches!(
            rest[..],
            [Output::Dead { server: 0 }, Output::Answered { server: 1, .. }, Output::Alive { server: 0 }]
        ),
        "{rest:?}"
    );
    assert_eq!(client.next_wakeup(), None);
}

#[test]
fn when_all_are_silent_it_ends_and_says_so_once() {
    let mut client = client(3);
    client.ask(Duration::ZERO, access(), None, &mut fill()).unwrap();
    let (asked, rest) = run(&mut client, Duration::from_secs(25), |_| true);
    let questions: Vec<_> = asked.into_iter().take(9).collect();
    assert_eq!(questions.iter().collect::<HashSet<_>>().len(), 3);
    assert_eq!(rest.iter().filter(|output| matches!(output, Output::Unanswered { .. })).count(), 1);
    assert_eq!(client.counts().unanswered, 1);
}

#[test]
fn patience_ends_before_the_servers_do() {
    let settings = Settings { patience: Duration::from_secs(10), ..client(8).settings };
    let mut client = Client::new(settings);
    client.ask(Duration::ZERO, access(), None, &mut fill()).unwrap();
    let (asked, rest) = run(&mut client, Duration::from_secs(20), |_| true);
    assert!(
        asked.iter().all(|server| *server < 2)
            && rest.iter().any(|output| matches!(output, Output::Unanswered { .. }))
    );
}

#[test]
fn a_conversation_stays_with_its_server() {
    let mut client = client(3);
    client.ask(Duration::ZERO, access(), Some(2), &mut fill()).unwrap();
    let (asked, rest) = run(&mut client, Duration::from_secs(8), |_| true);
    assert_eq!(asked.iter().take(3).collect::<Vec<_>>(), [&2, &2, &2]);
    assert!(matches!(rest[..], [Output::Dead { server: 2 }, Output::Unanswered { .. }]));
}

#[test]
fn what_is_not_believed_changes_nothing() {
    let mut client = client(1);
    let ticket = client.ask(Duration::ZERO, access(), None, &mut fill()).unwrap();
    let [(_, lane, octets)] = &sends(&mut client)[..] else { panic!() };
    let none = AttributeList::new();
    let (good, unsigned) = (
        answer(octets, Code::AccessAccept, &none, true, &secret(0)),
        answer(octets, Code::AccessAccept, &none, false, &secret(0)),
    );
    let other = answer(octets, Code::AccessAccept, &none, true, &secret(7));
    let now = Duration::from_millis(100);
    for bad in [&unsigned[..], &other, &good[..19], &[], &[2]] {
        client.received(now, 0, *lane, bad);
    }
    client.received(now, 0, lane + 1, &good);
    client.received(now, 5, *lane, &good);
    assert!(!outputs(&mut client).iter().any(|output| matches!(output, Output::Answered { .. })));
    let Counts { unsigned, forged, malformed, unmatched, .. } = client.counts();
    assert_eq!((unsigned, forged, malformed, unmatched), (1, 1, 3, 2));
    client.received(now, 0, *lane, &good);
    assert!(matches!(outputs(&mut client)[..], [Output::Answered { ticket: of, .. }] if of == ticket));
    client.received(now, 0, *lane, &good);
    assert!(outputs(&mut client).is_empty(), "an answer counts once");
}

#[test]
fn every_question_has_an_identifier_of_its_own_until_there_are_too_many() {
    let mut client = client(1);
    let mut fill = fill();
    for _ in 0..MAX_PENDING {
        client.ask(Duration::ZERO, access(), None, &mut fill).unwrap();
    }
    let ways: HashSet<_> =
        sends(&mut client).into_iter().map(|(_, lane, octets)| (lane, octets[1])).collect();
    assert_eq!(ways.len(), MAX_PENDING);
    assert!(ways.iter().all(|(lane, _)| *lane < MAX_LANES));
    assert_eq!(client.ask(Duration::ZERO, access(), None, &mut fill), Err(Refusal::TooMany));
    assert_eq!(
        super::Client::new(Settings { secrets: vec![], ..client.settings.clone() }).ask(
            Duration::ZERO,
            access(),
            None,
            &mut fill
        ),
        Err(Refusal::NoServer)
    );
}

#[test]
fn what_is_forgotten_leaves_nothing() {
    let mut client = client(1);
    let ticket = client.ask(Duration::ZERO, access(), None, &mut fill()).unwrap();
    client.forget(ticket);
    assert!(client.next_wakeup().is_none() && client.slots.is_empty() && client.under_way() == 0);
}

proptest! {
    /// Whatever servers do, every question ends exactly once and nothing is left behind.
    #[test]
    fn every_question_ends_once(servers in 1usize..4, questions in 1usize..20, deaf in proptest::collection::vec(any::<bool>(), 400)) {
        let mut client = client(servers);
        let mut fill = fill();
        for _ in 0..questions {
            client.ask(Duration::ZERO, access(), None, &mut fill).unwrap();
        }
        let mut deaf = deaf.into_iter().cycle();
        let (_, rest) = run(&mut client, Duration::from_secs(1000), |_| deaf.next().unwrap_or(false));
        let ended = rest.iter().filter(|output| matches!(output, Output::Answered { .. } | Output::Unanswered { .. }));
        prop_assert_eq!(ended.count(), questions);
        prop_assert!(client.pending.is_empty() && client.slots.is_empty() && client.timers.is_empty());
    }
}
