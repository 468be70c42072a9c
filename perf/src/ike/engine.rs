//! All clients on one socket. Enters: the two ends, how many clients, how many at once. Leaves: what came of it.
//!
//! A client's datagrams are told apart by the SPI that it chose. What stays without answer is sent again after a second, two,
//! four…; after the last login everybody says good-bye, which is not part of the measurement.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use causeway_ike::testing::{Initiator, Notable, Outgoing, TestError};
use hdrhistogram::Histogram;

use super::client::{Kind, client};
use crate::Failure;

/// First wait for an answer; doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait for a datagram before timers are looked at.
const TICK: Duration = Duration::from_millis(5);
/// How long good-byes may take.
const FAREWELL: Duration = Duration::from_secs(10);
/// Good-byes under way at once.
const FAREWELLS: usize = 50;
/// Four zero octets before IKE on the NAT port (RFC 3948 §2.2).
const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// Longest datagram.
const MAX_DATAGRAM: usize = 65_535;
/// Longest login that the histogram tells apart, microseconds.
const MAX_WAIT_US: u64 = 600_000_000;

/// The two ends.
pub struct Ends {
    /// The gateway.
    pub gateway: IpAddr,
    /// Us.
    pub local: IpAddr,
    /// The gateway's port.
    pub port: u16,
    /// The same behind NATs.
    pub natt_port: u16,
}

/// What came of it.
pub struct Outcome {
    /// Logins with a Child SA.
    pub up: u64,
    /// The others.
    pub failed: u64,
    /// From the first request to the last login's end.
    pub took: Duration,
    /// Microseconds of each login.
    pub waits: Histogram<u64>,
    /// Requests sent again.
    pub repeated: u64,
}

struct Session {
    initiator: Initiator,
    began: Instant,
    /// When its request is sent again, and how often it was.
    due: Instant,
    tries: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    LoggingIn,
    Up,
    Gone,
}

struct Engine<'a> {
    ends: &'a Ends,
    socket: UdpSocket,
    sessions: Vec<Session>,
    by_spi: HashMap<[u8; 8], usize>,
    under_way: u32,
    ended: Instant,
    outcome: Outcome,
    refused: BTreeMap<String, u64>,
}

/// Logs `clients` in, `at_once` at a time.
pub fn run(
    ends: &Ends,
    kind: &Kind,
    clients: u32,
    at_once: u32,
    within: Duration,
) -> Result<Outcome, Failure> {
    let socket = UdpSocket::bind((ends.local, 0))?;
    socket.set_read_timeout(Some(TICK))?;
    let local = socket.local_addr()?;
    let began = Instant::now();
    let waits = Histogram::new_with_bounds(1, MAX_WAIT_US, 3).map_err(std::io::Error::other)?;
    let outcome = Outcome { up: 0, failed: 0, took: Duration::ZERO, waits, repeated: 0 };
    let mut engine = Engine {
        ends,
        socket,
        sessions: Vec::new(),
        by_spi: HashMap::new(),
        under_way: 0,
        ended: began,
        outcome,
        refused: BTreeMap::new(),
    };
    let mut number = 0;
    while number < clients || engine.under_way > 0 {
        while number < clients && engine.under_way < at_once {
            engine.begin(client(kind, number, local, (ends.gateway, ends.port)).map_err(unusable)?)?;
            number += 1;
        }
        engine.step(within)?;
    }
    engine.outcome.took = engine.ended.duration_since(began);
    engine.farewell()?;
    for (why, times) in &engine.refused {
        eprintln!("{times} logins: {why}");
    }
    Ok(engine.outcome)
}

impl Engine<'_> {
    fn begin(&mut self, mut initiator: Initiator) -> Result<(), Failure> {
        let began = Instant::now();
        let first = initiator.start().map_err(unusable)?;
        if let Some(spi) = first.first().and_then(|outgoing| outgoing.bytes.first_chunk::<8>()) {
            self.by_spi.insert(*spi, self.sessions.len());
        }
        self.send(&first)?;
        let due = began + FIRST_WAIT;
        self.sessions.push(Session { initiator, began, due, tries: 0, state: State::LoggingIn });
        self.under_way += 1;
        Ok(())
    }

    /// Takes what has come, and repeats what is due.
    fn step(&mut self, within: Duration) -> Result<(), Failure> {
        let mut buffer = [0; MAX_DATAGRAM];
        match self.socket.recv_from(&mut buffer) {
            Ok((length, from)) => self.take(buffer.get(..length).unwrap_or_default(), from)?,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                self.repeat(within)?;
            }
            // Nobody listens: it may yet begin to.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn take(&mut self, datagram: &[u8], from: SocketAddr) -> Result<(), Failure> {
        let behind_nat = from.port() == self.ends.natt_port;
        let message = if behind_nat { datagram.strip_prefix(&NON_ESP_MARKER) } else { Some(datagram) };
        let Some(message) = message else { return Ok(()) };
        let Some(at) = message.first_chunk::<8>().and_then(|spi| self.by_spi.get(spi)).copied() else {
            return Ok(());
        };
        let now = Instant::now();
        let Some(session) = self.sessions.get_mut(at) else { return Ok(()) };
        let answer = session.initiator.receive(message);
        (session.due, session.tries) = (now + FIRST_WAIT, 0);
        let logging_in = session.state == State::LoggingIn;
        let notable = session.initiator.take_notable();
        let up = session.initiator.is_up() && !session.initiator.is_waiting();
        let why = notable.iter().find_map(|one| match one {
            Notable::Refused(kind) => Some(format!("{kind:?}")),
            Notable::EapFailed => Some("EAP failed".to_owned()),
            _ => None,
        });
        match (why, answer) {
            (Some(why), _) if logging_in => self.end(at, Err(why), now),
            (_, Err(error)) if logging_in => self.end(at, Err(error.to_string()), now),
            (_, Ok(answer)) => {
                if logging_in && up {
                    self.end(at, Ok(()), now);
                }
                self.send(&answer)?;
            }
            _ => {}
        }
        if notable.contains(&Notable::Down)
            && let Some(session) = self.sessions.get_mut(at)
        {
            session.state = State::Gone;
        }
        Ok(())
    }

    fn end(&mut self, at: usize, how: Result<(), String>, now: Instant) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        self.under_way -= 1;
        self.ended = now;
        match how {
            Ok(()) => {
                session.state = State::Up;
                self.outcome.up += 1;
                let wait = now.duration_since(session.began).as_micros();
                self.outcome.waits.saturating_record(u64::try_from(wait).unwrap_or(MAX_WAIT_US));
            }
            Err(why) => {
                session.state = State::Gone;
                self.outcome.failed += 1;
                *self.refused.entry(why).or_default() += 1;
            }
        }
    }

    fn repeat(&mut self, within: Duration) -> Result<(), Failure> {
        let now = Instant::now();
        let due = |session: &Session| {
            session.state != State::Gone && session.due <= now && session.initiator.is_waiting()
        };
        let due: Vec<usize> =
            self.sessions.iter().enumerate().filter(|(_, session)| due(session)).map(|(at, _)| at).collect();
        for at in due {
            let Some(session) = self.sessions.get_mut(at) else { continue };
            if session.state == State::LoggingIn && now.duration_since(session.began) > within {
                self.end(at, Err("no answer in time".to_owned()), now);
                continue;
            }
            session.tries += 1;
            session.due = now + FIRST_WAIT * 2u32.saturating_pow(session.tries);
            let again = session.initiator.retransmit();
            self.outcome.repeated += 1;
            self.send(&again)?;
        }
        Ok(())
    }

    /// Everybody says good-bye; whoever gets no answer is left.
    fn farewell(&mut self) -> Result<(), Failure> {
        let until = Instant::now() + FAREWELL;
        let mut next = 0;
        loop {
            let waiting =
                self.sessions.iter().take(next).filter(|session| session.state == State::Up).count();
            if Instant::now() > until || (next == self.sessions.len() && waiting == 0) {
                return Ok(());
            }
            let upto = self.sessions.len().min(next + FAREWELLS.saturating_sub(waiting));
            for at in next..upto {
                let Some(session) = self.sessions.get_mut(at).filter(|session| session.state == State::Up)
                else {
                    continue;
                };
                if let Ok(sent) = session.initiator.delete_ike() {
                    session.due = Instant::now() + FIRST_WAIT;
                    self.send(&sent)?;
                }
            }
            next = upto;
            self.step(FAREWELL)?;
        }
    }

    fn send(&self, datagrams: &[Outgoing]) -> Result<(), Failure> {
        for Outgoing { gateway_port, bytes, .. } in datagrams {
            let sent = if *gateway_port == self.ends.port {
                self.socket.send_to(bytes, (self.ends.gateway, self.ends.port))
            } else {
                let marked = [&NON_ESP_MARKER[..], bytes].concat();
                self.socket.send_to(&marked, (self.ends.gateway, self.ends.natt_port))
            };
            match sent {
                Err(error) if error.kind() != ErrorKind::ConnectionRefused => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

fn unusable(error: TestError) -> Failure {
    Failure::System(std::io::Error::other(format!("a client cannot begin: {error}")))
}
