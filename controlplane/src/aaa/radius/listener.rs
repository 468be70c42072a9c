//! Where RADIUS servers ask to end or change sessions (RFC 5176).
//!
//! Enters: datagrams. Leaves: orders to the driver, answers. Only a server's address is listened to, only with that server's
//! secret; what is not believed is counted and dropped in silence. Orders are carried out one after the other, and the driver
//! has a deadline for each, so no server can pile them up.

use std::io;
use std::net::{IpAddr, SocketAddr};

use causeway_radius::SharedSecret;
use causeway_radius::attribute::ErrorCause;
use causeway_radius::dynamic::{Answers, Disbelief, Kind, Policy, Selector, verify};
use causeway_radius::packet::MAX_PACKET_OCTETS;
use causeway_shared::config::{Dynamic, Radius};
use tokio::net::UdpSocket;
use tokio::sync::watch;

use super::{Place, RadiusError, places};
use crate::clock;
use crate::driver::{DriverHandle, Request};

/// What a server wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// Which sessions.
    pub selector: Selector,
    /// What of them.
    pub kind: Kind,
}

/// What became of requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ListenerCounts {
    /// Carried out.
    pub acknowledged: u64,
    /// Refused with a reason.
    pub refused: u64,
    /// Repetitions, answered as before.
    pub repeated: u64,
    /// From an address that is no server's.
    pub strangers: u64,
    /// Without Message-Authenticator.
    pub unsigned: u64,
    /// With a wrong hash.
    pub forged: u64,
    /// Not of now, or without a date.
    pub stale: u64,
    /// No such request.
    pub malformed: u64,
}

/// How requests stand.
#[derive(Clone)]
pub struct Listener {
    counts: watch::Receiver<ListenerCounts>,
}

struct Work {
    socket: UdpSocket,
    servers: Vec<Place>,
    policy: Policy,
    nas_addresses: Vec<IpAddr>,
    nas_identifier: String,
    driver: DriverHandle,
    answers: Answers,
    counts: ListenerCounts,
    publish: watch::Sender<ListenerCounts>,
}

impl Listener {
    /// Listens, on a thread of its own. `publish`: from [`Listener::channel`].
    ///
    /// # Errors
    /// When the address cannot be listened on, a secret is empty, or there is no thread.
    pub fn start(
        radius: &Radius,
        dynamic: &Dynamic,
        driver: DriverHandle,
        publish: watch::Sender<ListenerCounts>,
    ) -> Result<(), RadiusError> {
        let at = SocketAddr::new(dynamic.listen, dynamic.port);
        let unusable = |source| RadiusError::Listen { at, source };
        let socket = std::net::UdpSocket::bind(at).map_err(unusable)?;
        socket.set_nonblocking(true).map_err(unusable)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(RadiusError::Thread)?;
        let socket = {
            let _in_runtime = runtime.enter();
            UdpSocket::from_std(socket).map_err(unusable)?
        };
        let own = radius.nas_address.into_iter().chain([dynamic.listen]);
        let work = Work {
            socket,
            // Whichever port a server has: here it is who asks.
            servers: places(radius, |_| 1)?,
            policy: Policy {
                require_signature: dynamic.require_message_authenticator,
                require_timestamp: dynamic.require_event_timestamp,
                window_secs: dynamic.window_secs,
            },
            nas_addresses: own.collect(),
            nas_identifier: radius.nas_identifier.clone(),
            driver,
            answers: Answers::default(),
            counts: ListenerCounts::default(),
            publish,
        };
        let run = move || runtime.block_on(work.run());
        std::thread::Builder::new()
            .name("radius-dynamic".to_owned())
            .spawn(run)
            .map_err(RadiusError::Thread)?;
        Ok(())
    }

    /// The counts, and where they are written.
    pub fn channel() -> (watch::Sender<ListenerCounts>, Listener) {
        let (publish, counts) = watch::channel(ListenerCounts::default());
        (publish, Listener { counts })
    }

    /// What became of requests.
    pub fn counts(&self) -> ListenerCounts {
        *self.counts.borrow()
    }
}

impl Work {
    /// Ends with the driver.
    async fn run(mut self) {
        let mut buffer = vec![0; MAX_PACKET_OCTETS + 1];
        loop {
            let received = tokio::select! {
                received = self.socket.recv_from(&mut buffer) => received,
                () = self.publish.closed() => return,
            };
            let Ok((length, source)) = received else { continue };
            let datagram = buffer.get(..length).unwrap_or_default().to_vec();
            if let Some(answer) = self.take(source, &datagram).await {
                let _: io::Result<usize> = self.socket.send_to(&answer, source).await;
            }
            self.publish.send_replace(self.counts);
        }
    }

    async fn take(&mut self, source: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
        let mut secrets =
            self.servers.iter().filter(|place| place.address.ip() == source.ip().to_canonical());
        let Some(first) = secrets.next() else {
            count(&mut self.counts.strangers);
            tracing::warn!(source = %source.ip(), "a RADIUS request from an address that is no server's was dropped");
            return None;
        };
        // Several servers may share an address, each with its own secret.
        let known: Vec<&SharedSecret> =
            std::iter::once(first).chain(secrets).map(|place| &place.secret).collect();
        let now = clock::unix_secs();
        let mut believed = Err(Disbelief::Authenticator);
        for secret in known {
            believed = verify(datagram, secret, &self.policy, now).map(|request| (request, secret.clone()));
            if believed.as_ref().err() != Some(&Disbelief::Authenticator) {
                break;
            }
        }
        let (request, secret) = match believed {
            Ok(believed) => believed,
            Err(why) => {
                count(match why {
                    Disbelief::Malformed(_) | Disbelief::Code => &mut self.counts.malformed,
                    Disbelief::Authenticator | Disbelief::Signature => &mut self.counts.forged,
                    Disbelief::Unsigned => &mut self.counts.unsigned,
                    Disbelief::Undated | Disbelief::Stale(_) => &mut self.counts.stale,
                });
                tracing::warn!(source = %source.ip(), %why, "a RADIUS server's request was dropped");
                return None;
            }
        };
        let from = (source.ip(), source.port());
        if let Some(answer) = self.answers.of(clock::now(), from, &request) {
            count(&mut self.counts.repeated);
            return Some(answer.to_vec());
        }
        let outcome = match request.wish(&self.nas_addresses, &self.nas_identifier) {
            Ok((kind, selector)) => {
                let order = Order { selector: selector.clone(), kind };
                let asked = self.driver.ask(|answer| Request::Order(order, answer)).await;
                asked.unwrap_or(Err(ErrorCause::ResourcesUnavailable))
            }
            Err(cause) => Err(cause),
        };
        count(if outcome.is_ok() { &mut self.counts.acknowledged } else { &mut self.counts.refused });
        tracing::info!(source = %source.ip(), ?outcome, "a RADIUS server's request");
        let answer = request.answer(outcome, &secret, now);
        self.answers.keep(clock::now(), from, &request, answer.clone());
        Some(answer)
    }
}

fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}
