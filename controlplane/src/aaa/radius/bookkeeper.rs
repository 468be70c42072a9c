//! The thread that brings accounting records to a server.
//!
//! Enters: records. Leaves: acknowledged records. Each is tried until a server has it: starts and stops are on the disk before
//! they are sent and survive this process; interim records are not, the next one says the same. The queue is bounded by
//! `aaa.radius.queue`, what waits to get into it by [`INBOX`]; what finds no room is dropped and counted.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use causeway_radius::accounting::{Nas, Queue, Record, Waiting};
use causeway_radius::attribute::StatusType;
use causeway_radius::client::{Client, Output, Ticket};
use causeway_radius::request::Question;
use causeway_shared::config::{Accounting, Radius};
use tokio::sync::{mpsc, oneshot, watch};

use super::asker::{AskerStatus, fill, status_of, tell};
use super::sockets::Sockets;
use super::spool::{Spool, SpoolError};
use super::{RadiusError, nas, places, settings};
use crate::clock;

/// Records on their way from the driver to the queue.
pub const INBOX: usize = 65_536;
/// Records that servers are asked to take at once.
pub const WINDOW: usize = 64;
/// Wait after no server has taken a record.
pub const PAUSE: Duration = Duration::from_secs(5);
/// Records taken from the inbox before they are written and sent.
const BATCH: usize = 256;
/// How long a stopping daemon waits for servers; what is left is sent by the next one.
pub const FAREWELL: Duration = Duration::from_secs(2);
/// Longest wait for a round of all servers.
const PATIENCE: Duration = Duration::from_secs(60);

/// The side that makes records.
pub struct Bookkeeper {
    records: mpsc::Sender<Record>,
    finish: mpsc::Sender<oneshot::Sender<()>>,
    status: watch::Receiver<BookkeeperStatus>,
    overflown: u64,
}

/// How accounting stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BookkeeperStatus {
    /// How the servers are asked.
    pub servers: AskerStatus,
    /// Records that wait.
    pub waiting: usize,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records dropped because there were too many.
    pub dropped: u64,
    /// Of those: stops.
    pub stops_dropped: u64,
    /// Writes that the disk did not take.
    pub unwritten: u64,
}

impl BookkeeperStatus {
    /// What is wrong, with the next step.
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<_> = self.servers.problems().collect();
        if self.stops_dropped > 0 {
            problems.push(format!(
                "{} accounting stops were dropped: raise `aaa.radius.queue`, and close their sessions in the servers' books.",
                self.stops_dropped
            ));
        }
        problems
    }
}

/// What the thread works with.
struct Desk {
    client: Client,
    sockets: Sockets,
    addresses: Vec<SocketAddr>,
    queue: Queue,
    spool: Option<Spool>,
    nas: Nas,
    under_way: HashMap<Ticket, u64>,
    /// Numbers that the disk has and nobody needs.
    gone: Vec<u64>,
    /// No server answered: nothing is sent before.
    pause_until: Duration,
    status: BookkeeperStatus,
}

impl Bookkeeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// When a secret is empty, the queue's file cannot be used, or there is no thread.
    pub fn start(radius: &Radius, accounting: &Accounting) -> Result<Bookkeeper, RadiusError> {
        let places = places(radius, |server| server.accounting_port)?;
        let addresses: Vec<_> = places.iter().map(|place| place.address).collect();
        let mut queue = Queue::new(accounting.queue);
        let at = |path: &PathBuf| {
            let path = path.clone();
            move |source: SpoolError| RadiusError::Queue { path, source }
        };
        let spool = match &accounting.queue_file {
            Some(path) => {
                let spool = Spool::open(path).map_err(at(path))?;
                for record in spool.load(accounting.queue).map_err(at(path))? {
                    queue.restore(record);
                }
                Some(spool)
            }
            None => None,
        };
        if !queue.is_empty() {
            tracing::info!(records = queue.len(), "accounting records of the last run are still to be sent");
        }
        let (records, inbox) = mpsc::channel(INBOX);
        let (finish, finishes) = mpsc::channel(1);
        let (publish, status) = watch::channel(BookkeeperStatus::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(RadiusError::Thread)?;
        let client = Client::new(settings(radius, &places, PATIENCE));
        let nas = nas(radius);
        let work = move || {
            runtime.block_on(async move {
                let desk = Desk {
                    client,
                    sockets: Sockets::new(addresses.clone()),
                    addresses,
                    queue,
                    spool,
                    nas,
                    under_way: HashMap::new(),
                    gone: Vec::new(),
                    pause_until: Duration::ZERO,
                    status: BookkeeperStatus::default(),
                };
                keep(desk, inbox, finishes, publish).await;
            });
        };
        std::thread::Builder::new().name("accounting".to_owned()).spawn(work).map_err(RadiusError::Thread)?;
        Ok(Bookkeeper { records, finish, status, overflown: 0 })
    }

    /// Takes a record, or counts that there is no room for it.
    pub fn record(&mut self, record: Record) {
        if let Err(error) = self.records.try_send(record) {
            self.overflown = self.overflown.saturating_add(1);
            let record = match error {
                mpsc::error::TrySendError::Full(record) | mpsc::error::TrySendError::Closed(record) => record,
            };
            tracing::warn!(status = ?record.status, "an accounting record found no room and is lost");
        }
    }

    /// How accounting stands.
    pub fn status(&self) -> BookkeeperStatus {
        let mut status = self.status.borrow().clone();
        status.dropped = status.dropped.saturating_add(self.overflown);
        status
    }

    /// Sends what can be sent within [`FAREWELL`]. What is left is on the disk, if there is a file for it.
    pub async fn finish(self) {
        let (done, finished) = oneshot::channel();
        if self.finish.send(done).await.is_ok() {
            // An error means that the thread is gone.
            let _ = finished.await;
        }
    }
}

async fn keep(
    mut desk: Desk,
    mut inbox: mpsc::Receiver<Record>,
    mut finishes: mpsc::Receiver<oneshot::Sender<()>>,
    publish: watch::Sender<BookkeeperStatus>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut farewell: Option<(Duration, oneshot::Sender<()>)> = None;
    loop {
        desk.perform();
        desk.send();
        desk.perform();
        publish.send_replace(desk.published());
        if let Some((until, _)) = &farewell
            && inbox.is_empty()
            && (desk.queue.is_empty() || clock::now() >= *until)
        {
            desk.write(&[]);
            let left = desk.queue.len();
            if left > 0 {
                let kept = desk.spool.is_some();
                tracing::warn!(left, kept, "accounting records are not acknowledged yet");
            }
            break;
        }
        let sleep = desk.sleep(farewell.as_ref().map(|(until, _)| *until));
        tokio::select! {
            taken = inbox.recv_many(&mut batch, BATCH), if !inbox.is_closed() || !inbox.is_empty() => {
                desk.take(batch.drain(..));
                if taken == 0 {
                    return;
                }
            }
            arrival = desk.sockets.arrival() => {
                desk.client.received(clock::now(), arrival.server, arrival.lane, &arrival.octets);
            }
            Some(done) = finishes.recv(), if farewell.is_none() => {
                farewell = Some((clock::now().saturating_add(FAREWELL), done));
                desk.pause_until = Duration::ZERO;
            }
            () = tokio::time::sleep(sleep) => desk.client.timer(clock::now(), &mut fill),
        }
    }
    if let Some((_, done)) = farewell {
        // Nobody may wait any more.
        let _ = done.send(());
    }
}

impl Desk {
    /// Puts records into the queue and on the disk.
    fn take(&mut self, records: impl Iterator<Item = Record>) {
        let mut added = Vec::new();
        for record in records {
            let attributes = match record.attributes(&self.nas) {
                Ok(attributes) => attributes,
                Err(error) => {
                    tracing::error!(%error, "an accounting record cannot be sent");
                    continue;
                }
            };
            let made_at = record.at_unix_secs;
            let (number, dropped) = self.queue.push(record.status, made_at, attributes.clone());
            if record.status != StatusType::InterimUpdate {
                added.push(Waiting { number, status: record.status, made_at_unix_secs: made_at, attributes });
            }
            if let Some(dropped) = dropped {
                self.drop_record(&dropped);
            }
        }
        self.write(&added);
    }

    fn drop_record(&mut self, dropped: &Waiting) {
        self.status.dropped = self.status.dropped.saturating_add(1);
        if dropped.status == StatusType::Stop {
            self.status.stops_dropped = self.status.stops_dropped.saturating_add(1);
        }
        self.gone.push(dropped.number);
    }

    /// Brings the disk to what the queue holds, but for interim records.
    fn write(&mut self, added: &[Waiting]) {
        let gone = std::mem::take(&mut self.gone);
        let Some(spool) = &mut self.spool else { return };
        if (added.is_empty() && gone.is_empty()) || spool.write(added, &gone).is_ok() {
            return;
        }
        self.status.unwritten = self.status.unwritten.saturating_add(1);
        tracing::error!(
            "the file of accounting records takes none: what waits would be lost with this process"
        );
    }

    /// Fills the window; one at a time as long as nobody answers.
    fn send(&mut self) {
        let now = clock::now();
        if now < self.pause_until {
            return;
        }
        let window = if self.pause_until.is_zero() { WINDOW } else { 1 };
        while self.under_way.len() < window {
            let Some(record) = self.queue.take_ready() else { return };
            let number = record.number;
            let question = Question::Accounting { attributes: record.to_send(clock::unix_secs()) };
            match self.client.ask(now, question, None, &mut fill) {
                Ok(ticket) => drop(self.under_way.insert(ticket, number)),
                Err(error) => {
                    tracing::warn!(%error, "an accounting record cannot be sent now");
                    self.queue.unanswered(number);
                    self.pause_until = now.saturating_add(PAUSE);
                    return;
                }
            }
        }
    }

    fn perform(&mut self) {
        while let Some(output) = self.client.pop() {
            match output {
                Output::Send { server, lane, octets } => self.sockets.send(server, lane, &octets),
                Output::Answered { ticket, .. } => {
                    self.pause_until = Duration::ZERO;
                    let Some(number) = self.under_way.remove(&ticket) else { continue };
                    if self.queue.acknowledged(number) {
                        self.status.acknowledged = self.status.acknowledged.saturating_add(1);
                        self.gone.push(number);
                    }
                }
                Output::Unanswered { ticket } => {
                    if let Some(number) = self.under_way.remove(&ticket) {
                        self.queue.unanswered(number);
                    }
                    self.pause_until = clock::now().saturating_add(PAUSE);
                }
                other => {
                    if let Output::Alive { .. } = other {
                        self.pause_until = Duration::ZERO;
                    }
                    tell(&other, &self.addresses);
                }
            }
        }
        if self.gone.len() >= BATCH || (self.under_way.is_empty() && !self.gone.is_empty()) {
            self.write(&[]);
        }
    }

    fn sleep(&self, farewell: Option<Duration>) -> Duration {
        let waits = !self.queue.is_empty() && self.under_way.is_empty();
        let pause = Some(self.pause_until).filter(|until| waits && !until.is_zero());
        let next = [self.client.next_wakeup(), pause, farewell].into_iter().flatten().min();
        next.map_or(PATIENCE, |at| at.saturating_sub(clock::now())).min(PATIENCE)
    }

    fn published(&self) -> BookkeeperStatus {
        BookkeeperStatus {
            servers: status_of(&self.client, &self.sockets, &self.addresses),
            waiting: self.queue.len(),
            ..self.status.clone()
        }
    }
}
