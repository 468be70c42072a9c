//! What the driver waits for without standing still: the store, and password checks.
//!
//! Enters: requests with what is needed to go on. Leaves: [`Ended`], one for each, in the order in which they end. The
//! store bounds what it takes; password checks are bounded by [`MAX_PASSWORD_CHECKS`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;

use causeway_eap::anyconnect::{Accepted, PasswordVerdict};
use causeway_ike::api::{JobId, Lease, SessionId};
use tokio::sync::mpsc;

use crate::aaa::{MAX_PASSWORD_CHECKS, TurnId, Turned};
use crate::continuity::Ticket;
use crate::reconnect::Write;
use crate::reconnect::attributes::Attribute;
use crate::store::handle::StoreHandle;
use crate::store::{
    Changed, Claim, Claimed, DurableId, IkeState, Rotation, SessionRecord, SessionStore, StoreError, Token,
    Tokens, WallSecs,
};
use crate::tickets::Presented;

/// Turns of EAP conversations on the threads, waiting ones included; above it, logins are refused.
pub const MAX_EAP_TURNS: usize = 4096;

/// Something that was waited for.
pub(super) enum Ended {
    /// What the store has of a session id, which a ticket named or a shared-key login.
    Fetched { job: JobId, session: SessionId, found: Box<Found>, ticket: Option<Presented> },
    /// The token of a ticket was stored, or not.
    TicketStored(TicketStored),
    /// The same after a claim that was lost.
    FetchedAgain { job: JobId, session: SessionId, requested: Vec<Attribute>, found: Box<Found> },
    /// A session was claimed, or not.
    Claimed {
        job: JobId,
        session: SessionId,
        requested: Vec<Attribute>,
        outcome: Box<Result<Claimed, StoreError>>,
    },
    /// A new session was stored, or not.
    Stored(Box<Stored>),
    /// A password was judged.
    Password { job: JobId, session: SessionId, verdict: PasswordVerdict },
    /// A certificate was judged.
    Certificate { job: JobId, session: SessionId, names: Result<Vec<String>, String> },
    /// A turn of an EAP conversation; `None` if it broke down.
    Eap { job: JobId, session: SessionId, turn: TurnId, on_thread: bool, turned: Option<Turned> },
    /// A change of the session databases.
    Written { write: Write, ticket: Ticket, outcome: Result<Changed, StoreError> },
    /// States of sessions were saved, or not.
    Saved(Saved),
}

/// A ticket whose token was stored, or not.
pub(super) struct TicketStored {
    pub(super) job: JobId,
    pub(super) session: SessionId,
    pub(super) ticket: causeway_ike::api::Ticket,
    pub(super) outcome: Result<Changed, StoreError>,
}

/// States of sessions that were saved, or not.
pub(super) struct Saved {
    pub(super) ticket: Ticket,
    pub(super) sessions: Vec<u64>,
    pub(super) outcome: Result<Changed, StoreError>,
}

/// What is saved of a session.
pub(super) enum Save {
    /// One that cannot be resumed, for the first time.
    New { record: Box<SessionRecord>, state: IkeState },
    /// Its state, in place of the one before.
    State { id: DurableId, generation: u64, state: IkeState },
    /// It has a state that cannot be gone on from.
    Forget { id: DurableId, generation: u64 },
    /// One that cannot be resumed is over.
    Remove { id: DurableId, generation: u64 },
}

/// What the store has of a session id.
pub(super) type Found = Result<Option<(SessionRecord, Option<Tokens>)>, StoreError>;

/// A new session that was stored, or not.
pub(super) struct Stored {
    pub(super) job: JobId,
    pub(super) session: SessionId,
    pub(super) lease: Lease,
    pub(super) id: DurableId,
    pub(super) token: Token,
    pub(super) requested: Vec<Attribute>,
    pub(super) outcome: Result<(), StoreError>,
}

/// Where things are waited for.
pub struct Desk {
    store: Option<StoreHandle>,
    /// Bounded by the store's queue and by [`MAX_PASSWORD_CHECKS`].
    ended: mpsc::UnboundedSender<Ended>,
    endings: mpsc::UnboundedReceiver<Ended>,
    under_way: usize,
    checks_under_way: usize,
    turns_under_way: usize,
}

impl Desk {
    /// A desk; without a store nothing is stored.
    pub fn new(store: Option<StoreHandle>) -> Desk {
        let (ended, endings) = mpsc::unbounded_channel();
        Desk { store, ended, endings, under_way: 0, checks_under_way: 0, turns_under_way: 0 }
    }

    /// The time that stored moments are in.
    pub(super) fn wall(&self) -> WallSecs {
        self.store.as_ref().map_or_else(|| WallSecs(crate::clock::unix_secs()), StoreHandle::now)
    }

    /// What is wrong with the store, with the next step.
    pub(super) fn store_problem(&self) -> Option<String> {
        self.store.as_ref()?.integrity().problem()
    }

    /// Waits for the next thing to end. May be dropped at any point.
    pub(super) async fn ended(&mut self) -> Ended {
        match self.endings.recv().await {
            Some(ended) => self.booked(ended),
            // Cannot be: this side holds a sender.
            None => std::future::pending().await,
        }
    }

    /// The next thing that has ended, if any.
    pub(super) fn try_ended(&mut self) -> Option<Ended> {
        let ended = self.endings.try_recv().ok()?;
        Some(self.booked(ended))
    }

    /// Whether nothing is waited for.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way == 0
    }

    pub(super) fn fetch(&mut self, job: JobId, session: SessionId, id: DurableId, ticket: Option<Presented>) {
        let read = self.store.as_ref().map(|store| store.read(move |store| store.get(&id)));
        self.wait(async move {
            let found = Box::new(answer(read).await);
            Ended::Fetched { job, session, found, ticket }
        });
    }

    /// Stores the token of a ticket.
    pub(super) fn rotate(
        &mut self,
        id: DurableId,
        generation: u64,
        rotation: Rotation,
        mut stored: TicketStored,
    ) {
        let rotate = move |store: &mut dyn SessionStore| store.rotate(&id, generation, &rotation);
        let change = self.store.as_ref().map(|store| store.change(rotate));
        self.wait(async move {
            stored.outcome = answer(change).await;
            Ended::TicketStored(stored)
        });
    }

    pub(super) fn fetch_again(
        &mut self,
        job: JobId,
        session: SessionId,
        requested: Vec<Attribute>,
        id: DurableId,
    ) {
        let read = self.store.as_ref().map(|store| store.read(move |store| store.get(&id)));
        self.wait(async move {
            let found = Box::new(answer(read).await);
            Ended::FetchedAgain { job, session, requested, found }
        });
    }

    pub(super) fn claim(&mut self, job: JobId, session: SessionId, requested: Vec<Attribute>, claim: Claim) {
        let change = self.store.as_ref().map(|store| store.change(move |store| store.claim(&claim)));
        self.wait(async move {
            let outcome = Box::new(answer(change).await);
            Ended::Claimed { job, session, requested, outcome }
        });
    }

    pub(super) fn put(&mut self, record: SessionRecord, tokens: Tokens, mut stored: Box<Stored>) {
        let put = move |store: &mut dyn SessionStore| store.put_new(&record, Some(&tokens));
        let change = self.store.as_ref().map(|store| store.change(put));
        self.wait(async move {
            stored.outcome = answer(change).await;
            Ended::Stored(stored)
        });
    }

    pub(super) fn write(&mut self, ticket: Ticket, write: Write) {
        let change = self.store.as_ref().map(|store| store.change(move |store| write.apply(store)));
        self.wait(async move {
            let outcome = answer(change).await;
            Ended::Written { write, ticket, outcome }
        });
    }

    /// Saves in one transaction; the first thing that goes wrong is the outcome.
    pub(super) fn save(&mut self, ticket: Ticket, saves: Vec<Save>, sessions: Vec<u64>) {
        let keep = move |store: &mut dyn SessionStore| {
            saves.iter().try_fold(Changed::Done, |all, save| {
                let one = apply_save(store, save)?;
                Ok(if all == Changed::Done { one } else { all })
            })
        };
        let change = self.store.as_ref().map(|store| store.change(keep));
        self.wait(async move {
            let outcome = answer(change).await;
            Ended::Saved(Saved { ticket, sessions, outcome })
        });
    }

    /// Judges a password on `threads`. Returns whether there is room for it.
    pub(super) fn check(
        &mut self,
        threads: &rayon::ThreadPool,
        job: JobId,
        session: SessionId,
        check: impl FnOnce() -> Option<Accepted> + Send + 'static,
    ) -> bool {
        self.spawn(threads, move || {
            let verdict = match catch_unwind(AssertUnwindSafe(check)) {
                Ok(Some(accepted)) => PasswordVerdict::Accepted(accepted),
                Ok(None) => PasswordVerdict::Refused,
                Err(_) => PasswordVerdict::Unavailable,
            };
            Ended::Password { job, session, verdict }
        })
    }

    /// Judges a certificate on `threads`. Returns whether there is room for it.
    pub(super) fn verify(
        &mut self,
        threads: &rayon::ThreadPool,
        job: JobId,
        session: SessionId,
        verify: impl FnOnce() -> Result<Vec<String>, String> + Send + 'static,
    ) -> bool {
        self.spawn(threads, move || {
            let judged = catch_unwind(AssertUnwindSafe(verify));
            let names = judged.unwrap_or_else(|_| Err("the check panicked".to_owned()));
            Ended::Certificate { job, session, names }
        })
    }

    /// Does a turn of an EAP conversation on `threads`. Returns whether there is room for it.
    pub(super) fn eap_work(
        &mut self,
        threads: &rayon::ThreadPool,
        job: JobId,
        session: SessionId,
        turn: TurnId,
        work: Box<dyn FnOnce() -> Turned + Send>,
    ) -> bool {
        if self.turns_under_way >= MAX_EAP_TURNS {
            return false;
        }
        self.turns_under_way += 1;
        self.dispatch(threads, move || {
            // The conversation went into the work: of what panics nothing half-done can be seen.
            let turned = catch_unwind(AssertUnwindSafe(work)).ok();
            Ended::Eap { job, session, turn, on_thread: true, turned }
        });
        true
    }

    /// Waits for a turn of an EAP conversation that somebody else is asked about. Bounded by the conversations there may
    /// be.
    pub(super) fn eap_wait(
        &mut self,
        job: JobId,
        session: SessionId,
        turn: TurnId,
        wait: Pin<Box<dyn Future<Output = Turned> + Send>>,
    ) {
        self.wait(async move {
            let turned = Some(wait.await);
            Ended::Eap { job, session, turn, on_thread: false, turned }
        });
    }

    fn spawn(&mut self, threads: &rayon::ThreadPool, work: impl FnOnce() -> Ended + Send + 'static) -> bool {
        if self.checks_under_way >= MAX_PASSWORD_CHECKS {
            return false;
        }
        self.checks_under_way += 1;
        self.dispatch(threads, work);
        true
    }

    fn dispatch(&mut self, threads: &rayon::ThreadPool, work: impl FnOnce() -> Ended + Send + 'static) {
        self.under_way += 1;
        let ended = self.ended.clone();
        threads.spawn_fifo(move || {
            // Nobody listens when the daemon is stopping.
            let _ = ended.send(work());
        });
    }

    fn wait(&mut self, work: impl Future<Output = Ended> + Send + 'static) {
        self.under_way += 1;
        let ended = self.ended.clone();
        tokio::spawn(async move {
            let _ = ended.send(work.await);
        });
    }

    fn booked(&mut self, ended: Ended) -> Ended {
        self.under_way = self.under_way.saturating_sub(1);
        match ended {
            Ended::Password { .. } | Ended::Certificate { .. } => {
                self.checks_under_way = self.checks_under_way.saturating_sub(1);
            }
            Ended::Eap { on_thread: true, .. } => {
                self.turns_under_way = self.turns_under_way.saturating_sub(1);
            }
            _ => {}
        }
        ended
    }
}

async fn answer<T>(asked: Option<impl Future<Output = Result<T, StoreError>>>) -> Result<T, StoreError> {
    match asked {
        Some(asked) => asked.await,
        None => Err(StoreError::Closed),
    }
}

fn apply_save(store: &mut dyn SessionStore, save: &Save) -> Result<Changed, StoreError> {
    match save {
        Save::New { record, state } => {
            match store.put_new(record, None) {
                // The one before was done although the transaction was not heard of.
                Ok(()) | Err(StoreError::IdTaken) => {
                    store.put_ike_state(&record.id, record.generation, state)
                }
                // A session that waits has it, and the pools forgot: this one cannot go on after a restart.
                Err(StoreError::AddressTaken(_)) => Ok(Changed::Lost),
                Err(error) => Err(error),
            }
        }
        Save::State { id, generation, state } => store.put_ike_state(id, *generation, state),
        Save::Forget { id, generation } => store.delete_ike_state(id, *generation),
        Save::Remove { id, generation } => store.remove(id, Some(*generation)),
    }
}
