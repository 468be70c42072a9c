//! What the management API asks of the driver, and the bounded, deadlined way there.
//!
//! Enters: questions of API handlers, on another thread. Leaves: answers made from the driver's state between two IKE
//! messages. The queue is short and every question has a deadline, so that no API client can stall IKE and no stalled
//! driver can pile up clients (architecture §9 rule 7).

use std::sync::Arc;
use std::time::Duration;

use causeway_ike::api::IkeFacts;
use causeway_ike::policy::GatewayName;
use causeway_radius::attribute::ErrorCause;
use causeway_shared::api::{Counters, ExportedKeys, Health, InactiveSessionList, PortList, ReconnectStats};
use tokio::sync::{mpsc, oneshot};

use crate::aaa::radius::Order;
use crate::keys::Keys;
use crate::reconnect::InactivePlace;
use crate::sessions::{SaTraffic, Snapshot};

/// Questions that wait for the driver.
pub const REQUEST_QUEUE: usize = 64;

/// How long a question may take, queueing included.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(2);

/// A question.
pub enum Request {
    /// The sessions there are.
    Snapshot(oneshot::Sender<Arc<Snapshot>>),
    /// The IKE SAs of these sessions and the figures of Child SAs, by inbound SPI, in the same order.
    Traffic(Vec<u64>, Vec<u32>, oneshot::Sender<TrafficAnswer>),
    /// Every counter.
    Counters(oneshot::Sender<Counters>),
    /// The data plane's ports.
    Ports(oneshot::Sender<PortList>),
    /// How things stand.
    Health(oneshot::Sender<Health>),
    /// Begin the deletion of a session. The answer says whether there is one.
    Delete(u64, oneshot::Sender<bool>),
    /// Begin the deletion of these sessions. The answer says how many there are.
    DeleteMany(Vec<u64>, oneshot::Sender<u64>),
    /// A page of the sessions that wait for their client.
    Inactive(InactiveQuery, oneshot::Sender<InactiveSessionList>),
    /// Forget a session that waits for its client, or all of them. The answer says how many there were.
    DeleteInactive(Option<String>, oneshot::Sender<u64>),
    /// What became of attempts to come back.
    Reconnect(oneshot::Sender<ReconnectStats>),
    /// Count attempts to come back from zero again.
    ResetReconnect(oneshot::Sender<()>),
    /// The keys of a session's SAs. `None` if there is no such session.
    Keys(u64, oneshot::Sender<Option<ExportedKeys>>),
    /// What a RADIUS server orders. The answer says why not, if so.
    Order(Order, oneshot::Sender<Result<(), ErrorCause>>),
    /// Certificates and keys from files that have changed, or what is wrong with the files.
    NewKeys(Result<Keys, String>, oneshot::Sender<()>),
    /// Begin a rekey. The answer says whether there is such a session.
    Rekey(u64, Rekey, oneshot::Sender<bool>),
    /// Send a session's client to another gateway.
    Redirect(u64, GatewayName, oneshot::Sender<Redirection>),
    /// Send all new clients to another gateway, or no more.
    RedirectNewcomers(Option<GatewayName>, oneshot::Sender<()>),
}

/// Which sessions that wait for their client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InactiveQuery {
    /// Those after this place; all without one.
    pub after: Option<InactivePlace>,
    /// Most of the answer.
    pub limit: usize,
    /// Only of this user.
    pub user: Option<String>,
}

/// The figures of the Child SAs asked for.
#[derive(Clone, Debug)]
pub struct TrafficAnswer {
    /// The driver's clock: milliseconds of CLOCK_MONOTONIC.
    pub now_ms: u64,
    /// `None` where the session is gone.
    pub ike: Vec<Option<IkeFacts>>,
    /// `None` where the data plane knows nothing.
    pub figures: Vec<Option<SaTraffic>>,
}

/// What became of a session that was to be sent to another gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Redirection {
    /// Its client is being told.
    Begun,
    /// Its client has not said that it can follow.
    CannotFollow,
    /// There is no such session.
    Missing,
}

/// What to rekey.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rekey {
    /// The IKE SA.
    Ike,
    /// Every Child SA.
    Child,
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The queue is full or the deadline passed.
    #[error("the control plane is busy; try again in a few seconds")]
    Busy,
    /// The driver is gone.
    #[error("the control plane is stopping")]
    Stopping,
}

/// The asking side; cheap to clone.
#[derive(Clone)]
pub struct DriverHandle {
    requests: mpsc::Sender<Request>,
}

/// A queue to the driver: the asking side and the driver's.
pub fn request_queue() -> (DriverHandle, mpsc::Receiver<Request>) {
    let (requests, receiver) = mpsc::channel(REQUEST_QUEUE);
    (DriverHandle { requests }, receiver)
}

impl DriverHandle {
    /// Asks and waits for the answer, at most [`REQUEST_DEADLINE`].
    ///
    /// # Errors
    /// When the driver is too busy or gone.
    pub async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, NoAnswer> {
        let (sender, receiver) = oneshot::channel();
        self.requests.try_send(make(sender)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NoAnswer::Busy,
            mpsc::error::TrySendError::Closed(_) => NoAnswer::Stopping,
        })?;
        match tokio::time::timeout(REQUEST_DEADLINE, receiver).await {
            Ok(answer) => answer.map_err(|_| NoAnswer::Stopping),
            Err(_) => Err(NoAnswer::Busy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_driver_that_does_not_answer_costs_a_deadline_and_a_full_queue_nothing() {
        let (handle, mut receiver) = request_queue();
        assert_eq!(handle.ask(Request::Health).await.err(), Some(NoAnswer::Busy));
        for _ in 1..REQUEST_QUEUE {
            let (sender, _) = oneshot::channel();
            handle.requests.try_send(Request::Health(sender)).unwrap();
        }
        let before = tokio::time::Instant::now();
        assert_eq!(handle.ask(Request::Health).await.err(), Some(NoAnswer::Busy));
        assert_eq!(before.elapsed(), Duration::ZERO);
        while receiver.try_recv().is_ok() {}
        drop(receiver);
        assert_eq!(handle.ask(Request::Health).await.err(), Some(NoAnswer::Stopping));
    }
}
