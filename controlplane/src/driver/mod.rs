//! The driver: one task that owns the IKE endpoint, feeds it everything that happens and performs what it asks for
//! (architecture §4).
//!
//! Enters: datagrams and data-plane events from the link, ends of public-key jobs, questions of the API, the clock,
//! signals. Leaves: datagrams, changes of SAs, answers. Each source is served in small batches, so that none starves
//! another.

mod accounting;
mod answers;
mod certificate;
mod continuity;
mod convert;
mod core;
mod env;
mod guard;
mod jobs;
mod later;
mod login;
mod orders;
mod reconnect;
mod request;
mod restore;
mod ticket;

pub use self::core::{Core, Services};
pub use accounting::Accounts;
pub use convert::NotInstallable;
pub(crate) use env::fill_random;
pub use jobs::{MAX_JOBS, PublicKeyPool};
pub use later::Desk;
pub use request::{
    DriverHandle, InactiveQuery, NoAnswer, REQUEST_DEADLINE, REQUEST_QUEUE, Redirection, Rekey, Request,
    TrafficAnswer, request_queue,
};
pub use restore::restore;

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::clock;
use crate::link::Link;

/// Inputs taken from one source before the others get their turn.
pub const BATCH: usize = 64;
/// How long the data plane may take, after the last peer has answered a shutdown, to drop the last SA and send the last
/// datagram.
pub const SETTLE_DEADLINE: Duration = Duration::from_millis(500);
/// How long a shutdown may take in all, beyond what the endpoint itself waits for its peers.
pub const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// Whether the control plane is to end, and what becomes of the sessions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// It goes on.
    Not,
    /// Every client is told goodbye.
    Goodbye,
    /// The sessions stay, as after a crash: the next control plane takes them up (docs/store.md).
    Leave,
}

/// Runs the endpoint until `stop` says so and every peer has been told, or the deadlines have passed. Leaves what is still to
/// be told to RADIUS servers.
pub async fn run<L: Link>(
    mut core: Core<L>,
    mut requests: mpsc::Receiver<Request>,
    mut stop: watch::Receiver<Stop>,
) -> Option<Accounts> {
    loop {
        core.flush();
        let wake = core.time_until_wake();
        tokio::select! {
            () = core.link.ready() => {}
            done = core.jobs.ended() => core.job_ended(done),
            ended = core.desk.ended() => core.later(ended),
            Some(request) = requests.recv() => core.answer(request),
            () = tokio::time::sleep(wake) => core.timer(),
            how = stopping(&mut stop) => match how {
                Stop::Leave => return core.accounts.take(),
                _ => break,
            },
        }
        serve_batches(&mut core, &mut requests);
    }
    shut_down(core, requests).await
}

/// Whatever else is there, a bounded share of each.
fn serve_batches<L: Link>(core: &mut Core<L>, requests: &mut mpsc::Receiver<Request>) {
    for _ in 0..BATCH {
        let Some(done) = core.jobs.try_ended() else { break };
        core.job_ended(done);
    }
    for _ in 0..BATCH {
        let Some(ended) = core.desk.try_ended() else { break };
        core.later(ended);
    }
    for _ in 0..BATCH {
        let Some(input) = core.link.take() else { break };
        core.link_input(input);
    }
    while let Ok(request) = requests.try_recv() {
        core.answer(request);
    }
    core.timer_if_due();
}

async fn shut_down<L: Link>(mut core: Core<L>, mut requests: mpsc::Receiver<Request>) -> Option<Accounts> {
    requests.close();
    core.shut_down();
    let mut deadline = clock::now().saturating_add(SHUTDOWN_DEADLINE);
    let mut complete = false;
    loop {
        core.flush();
        if core.shutdown_complete() && !complete {
            complete = true;
            deadline = deadline.min(clock::now().saturating_add(SETTLE_DEADLINE));
        }
        let left = deadline.saturating_sub(clock::now());
        if (complete && core.link.is_settled() && core.desk.is_idle()) || left.is_zero() {
            return core.accounts.take();
        }
        let wake = core.time_until_wake().min(left);
        tokio::select! {
            () = core.link.ready() => {}
            done = core.jobs.ended() => core.job_ended(done),
            ended = core.desk.ended() => core.later(ended),
            () = tokio::time::sleep(wake) => core.timer(),
        }
        serve_batches(&mut core, &mut requests);
    }
}

async fn stopping(stop: &mut watch::Receiver<Stop>) -> Stop {
    // An error means that the sender is gone, which stops as well.
    stop.wait_for(|stop| *stop != Stop::Not).await.map_or(Stop::Goodbye, |stop| *stop)
}
