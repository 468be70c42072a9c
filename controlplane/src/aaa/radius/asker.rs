//! Questions to RADIUS servers, from any thread; the thread that puts them.
//!
//! Enters: [`Question`]s. Leaves: believed answers, each to who asked. At most [`QUEUE`] wait to be put and
//! [`causeway_radius::client::MAX_PENDING`] to be answered; more are refused at once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use causeway_radius::client::{Client, Counts, Output, Refusal, Ticket};
use causeway_radius::reply::Reply;
use causeway_radius::request::Question;
use causeway_shared::config::Radius;
use tokio::sync::{mpsc, oneshot, watch};
use zeroize::Zeroizing;

use super::sockets::Sockets;
use super::{Place, RadiusError, places, settings};
use crate::clock;

/// Questions that wait to be put.
pub const QUEUE: usize = 1024;
/// Longest time between two looks at the clock.
const MAX_SLEEP: Duration = Duration::from_secs(60);

/// The asking side; cheap to clone.
#[derive(Clone)]
pub struct Asker {
    asked: mpsc::Sender<Asked>,
    status: watch::Receiver<AskerStatus>,
}

/// A believed answer.
pub struct Answer {
    /// Who gave it; its State means something to this server only.
    pub server: usize,
    /// The answer.
    pub reply: Reply,
    /// The MSK that it carries.
    pub msk: Option<Zeroizing<Vec<u8>>>,
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotAnswered {
    /// [`QUEUE`] questions wait, or the thread is gone.
    #[error("too many RADIUS questions at once")]
    Busy,
    /// It cannot be asked.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Every server was silent.
    #[error("no RADIUS server answered")]
    Silence,
}

/// How the servers of one purpose stand.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AskerStatus {
    /// What was counted.
    pub counts: Counts,
    /// Datagrams that the system did not take.
    pub unsent: u64,
    /// In order of preference.
    pub servers: Vec<ServerStatus>,
    /// Questions under way.
    pub under_way: usize,
}

impl AskerStatus {
    /// What is wrong, with the next step.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.servers.iter().filter(|server| server.dead).map(|server| {
            format!("RADIUS server {} does not answer: look at it, and at the way to it.", server.address)
        })
    }
}

/// How one server stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerStatus {
    /// Where it is.
    pub address: SocketAddr,
    /// Whether it is taken for dead.
    pub dead: bool,
}

struct Asked {
    question: Question,
    pinned: Option<usize>,
    answer: oneshot::Sender<Result<Answer, NotAnswered>>,
}

impl Asker {
    /// Starts the thread that asks the servers which take logins. `patience`: how long a login may wait for them.
    ///
    /// # Errors
    /// When a secret is empty or there is no thread.
    pub fn start(radius: &Radius, patience: Duration) -> Result<Asker, RadiusError> {
        let places = places(radius, |server| server.port)?;
        let client = Client::new(settings(radius, &places, patience));
        let (asked, questions) = mpsc::channel(QUEUE);
        let (publish, status) = watch::channel(AskerStatus::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(RadiusError::Thread)?;
        let work = move || runtime.block_on(ask(client, places, questions, publish));
        std::thread::Builder::new().name("radius".to_owned()).spawn(work).map_err(RadiusError::Thread)?;
        Ok(Asker { asked, status })
    }

    /// Asks. `pinned`: the server that has begun this conversation.
    ///
    /// # Errors
    /// When there is no answer; the wait is bounded.
    pub async fn ask(&self, question: Question, pinned: Option<usize>) -> Result<Answer, NotAnswered> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked { question, pinned, answer };
        self.asked.try_send(asked).map_err(|_| NotAnswered::Busy)?;
        answered.await.unwrap_or(Err(NotAnswered::Busy))
    }

    /// How the servers stand.
    pub fn status(&self) -> AskerStatus {
        self.status.borrow().clone()
    }
}

/// Ends when nobody can ask any more.
async fn ask(
    mut client: Client,
    places: Vec<Place>,
    mut questions: mpsc::Receiver<Asked>,
    publish: watch::Sender<AskerStatus>,
) {
    let addresses: Vec<_> = places.iter().map(|place| place.address).collect();
    let mut sockets = Sockets::new(addresses.clone());
    let mut waiting: HashMap<Ticket, oneshot::Sender<Result<Answer, NotAnswered>>> = HashMap::new();
    loop {
        perform(&mut client, &mut sockets, &mut waiting, &addresses);
        publish.send_replace(status_of(&client, &sockets, &addresses));
        let sleep = client.next_wakeup().map_or(MAX_SLEEP, |at| at.saturating_sub(clock::now()));
        tokio::select! {
            asked = questions.recv() => {
                let Some(Asked { question, pinned, answer }) = asked else { return };
                match client.ask(clock::now(), question, pinned, &mut fill) {
                    Ok(ticket) => drop(waiting.insert(ticket, answer)),
                    Err(refusal) => drop(answer.send(Err(refusal.into()))),
                }
            }
            arrival = sockets.arrival() => {
                client.received(clock::now(), arrival.server, arrival.lane, &arrival.octets);
            }
            () = tokio::time::sleep(sleep.min(MAX_SLEEP)) => client.timer(clock::now(), &mut fill),
        }
    }
}

fn perform(
    client: &mut Client,
    sockets: &mut Sockets,
    waiting: &mut HashMap<Ticket, oneshot::Sender<Result<Answer, NotAnswered>>>,
    addresses: &[SocketAddr],
) {
    while let Some(output) = client.pop() {
        match output {
            Output::Send { server, lane, octets } => sockets.send(server, lane, &octets),
            Output::Answered { ticket, server, reply } => {
                let Some(asker) = waiting.remove(&ticket) else { continue };
                let msk = client.secret(server).and_then(|secret| reply.msk(secret));
                // Whoever asked may be gone.
                let _ = asker.send(Ok(Answer { server, reply, msk }));
            }
            Output::Unanswered { ticket } => {
                if let Some(asker) = waiting.remove(&ticket) {
                    let _ = asker.send(Err(NotAnswered::Silence));
                }
            }
            other => tell(&other, addresses),
        }
    }
}

/// What operators should know of servers.
pub(super) fn tell(output: &Output, addresses: &[SocketAddr]) {
    let at = |server: usize| addresses.get(server).map(SocketAddr::to_string).unwrap_or_default();
    match output {
        Output::Disbelieved { server, why } => {
            tracing::warn!(server = %at(*server), %why, "an answer that seems to be a RADIUS server's was dropped");
        }
        Output::Dead { server } => tracing::warn!(server = %at(*server), "a RADIUS server does not answer"),
        Output::Alive { server } => tracing::info!(server = %at(*server), "a RADIUS server answers again"),
        Output::Send { .. } | Output::Answered { .. } | Output::Unanswered { .. } => {}
    }
}

/// How the servers of a client stand.
pub(super) fn status_of(client: &Client, sockets: &Sockets, addresses: &[SocketAddr]) -> AskerStatus {
    let now = clock::now();
    let server = |(server, address): (usize, &SocketAddr)| ServerStatus {
        address: *address,
        dead: client.is_dead(server, now),
    };
    AskerStatus {
        counts: client.counts(),
        unsent: sockets.unsent,
        servers: addresses.iter().enumerate().map(server).collect(),
        under_way: client.under_way(),
    }
}

/// Authenticators must not be predictable (RFC 2865 §3).
pub(super) fn fill(octets: &mut [u8]) {
    crate::driver::fill_random(octets);
}
