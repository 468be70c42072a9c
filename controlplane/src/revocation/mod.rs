//! Whether client certificates have been revoked (RFC 5280 §6.3, RFC 6960): the [`Registrar`] that every login with a certificate
//! asks.
//!
//! Enters: lists of `auth.crl_files`, certificates of verified paths, stapled answers. Leaves: their status. Who asks may wait, for
//! `auth.revocation_wait_ms` at most, on a thread that may; a thread of its own fetches, and looks after lists before they are old.

mod book;
mod fetch;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use causeway_ike::cert::{
    Issued, ListError, RevocationList, RevocationPolicy, Status, StatusSource, TrustStore, UnknownStatus,
    ocsp,
};
use causeway_shared::config::{Revocation, RevocationCheck};
use tokio::sync::mpsc;

use crate::clock;
use book::{Book, Question};

/// Most questions that wait to be asked or are under way.
const MAX_UNDER_WAY: usize = 64;
/// How often lists are looked after.
const LOOK_AFTER: Duration = Duration::from_secs(15);

/// Knows, or finds out.
pub struct Registrar {
    shared: Arc<Shared>,
    policy: Option<RevocationPolicy>,
    wait: Duration,
    /// `None` if nobody is asked.
    errands: Option<mpsc::Sender<Errand>>,
}

struct Shared {
    state: Mutex<State>,
    /// Something that was asked has ended.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    book: Book,
    under_way: HashSet<Question>,
}

struct Errand {
    question: Question,
    issued: Issued,
}

impl Registrar {
    /// A registrar that knows nothing yet; its thread ends with it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(settings: &Revocation) -> std::io::Result<Registrar> {
        let shared = Arc::new(Shared { state: Mutex::default(), ended: Condvar::new() });
        let policy = match settings.check {
            RevocationCheck::Off => None,
            RevocationCheck::Soft => Some(RevocationPolicy::Soft),
            RevocationCheck::Hard => Some(RevocationPolicy::Hard),
        };
        let errands = match policy.is_some() && settings.fetch {
            true => {
                let (errands, queue) = mpsc::channel(MAX_UNDER_WAY);
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let shared = Arc::clone(&shared);
                let work = move || runtime.block_on(run_errands(shared, queue));
                std::thread::Builder::new().name("revocation".to_owned()).spawn(work)?;
                Some(errands)
            }
            false => None,
        };
        Ok(Registrar { shared, policy, wait: Duration::from_millis(settings.wait_ms.into()), errands })
    }

    /// Takes what the files hold in place of what they held before.
    ///
    /// # Errors
    /// When one holds no list that can be used; then nothing changes.
    pub fn set_files(&self, files: &[Vec<u8>]) -> Result<(), (usize, ListError)> {
        let read =
            |(place, file): (usize, &Vec<u8>)| RevocationList::all_from(file).map_err(|why| (place, why));
        let lists = files.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
        self.shared.lock().book.set_files(lists.into_iter().flatten().collect());
        Ok(())
    }

    /// Makes these authorities ask this registrar, if the configuration wants it.
    pub fn guard(self: &Arc<Self>, authorities: TrustStore) -> TrustStore {
        match self.policy {
            Some(policy) => authorities.with_revocation(policy, Arc::clone(self) as Arc<dyn StatusSource>),
            None => authorities,
        }
    }

    /// What an operator has to look at.
    pub fn problems(&self) -> Vec<String> {
        let overdue = match self.policy {
            Some(_) => self.shared.lock().book.overdue_files(clock::unix_secs()),
            None => 0,
        };
        let text = || {
            let effect = match self.policy {
                Some(RevocationPolicy::Hard) => "their authorities' certificates log nobody in",
                _ => "who was revoked since is not refused",
            };
            format!("auth.crl_files: {overdue} lists have expired, and {effect}: put their successors there.")
        };
        (overdue > 0).then(text).into_iter().collect()
    }

    /// Asks `question` and waits for its end until `deadline`; why there was none.
    fn ask(&self, question: &Question, issued: &Issued, deadline: Instant) -> Option<String> {
        let now = clock::unix_secs();
        let mut state = self.shared.lock();
        // What somebody else asked may have ended since this caller looked.
        if !matches!(state.book.status(issued, now), Status::Unknown(_)) {
            return None;
        }
        if let Some(why) = state.book.silence(question, now) {
            return Some(why.to_owned());
        }
        if !state.under_way.contains(question) {
            let errand = Errand { question: question.clone(), issued: issued.clone() };
            if state.under_way.len() >= MAX_UNDER_WAY
                || self.errands.as_ref().is_none_or(|errands| errands.try_send(errand).is_err())
            {
                return Some("too much is being asked".to_owned());
            }
            state.under_way.insert(question.clone());
        }
        while state.under_way.contains(question) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some("no answer in time".to_owned());
            }
            state = self.shared.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.book.silence(question, clock::unix_secs()).map(str::to_owned)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What is known stays true, whoever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, question: Question, issued: &Issued, ended: Result<Found, String>) {
        let now = clock::unix_secs();
        let mut state = self.lock();
        state.under_way.remove(&question);
        match ended {
            Ok(Found::Answer(answer)) => state.book.answered(issued, answer, now),
            Ok(Found::List(list)) => {
                tracing::info!(place = question.place(), "a revocation list was fetched");
                state.book.fetched(question, *list, issued, now);
            }
            Err(why) => {
                tracing::warn!(place = question.place(), "revocation cannot be learnt: {why}");
                state.book.was_silent(question, why, now);
            }
        }
        drop(state);
        self.ended.notify_all();
    }
}

impl StatusSource for Registrar {
    fn status(&self, issued: &Issued, stapled: &[&[u8]], now_unix_secs: u64) -> Status {
        let known = {
            let mut state = self.shared.lock();
            for answer in stapled.iter().filter_map(|der| ocsp::answer(der, issued, now_unix_secs).ok()) {
                state.book.answered(issued, answer, now_unix_secs);
            }
            state.book.status(issued, now_unix_secs)
        };
        let status = match known {
            Status::Unknown(why) if self.errands.is_some() => self.find_out(issued, why, now_unix_secs),
            known => known,
        };
        // Whose certificate it is stands in no log above debug level; its number says it to the authority.
        let serial = || issued.serial.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        match &status {
            Status::Good => {}
            Status::Revoked => tracing::info!(serial = serial(), "a client's certificate is revoked"),
            Status::Unknown(why) => {
                tracing::debug!(
                    serial = serial(),
                    "whether a client's certificate is revoked is not known: {why}"
                );
            }
        }
        status
    }
}

impl Registrar {
    fn find_out(&self, issued: &Issued, mut why: UnknownStatus, now_unix_secs: u64) -> Status {
        let deadline = Instant::now() + self.wait;
        for question in Question::about(issued) {
            let silence = self.ask(&question, issued, deadline);
            match self.shared.lock().book.status(issued, now_unix_secs) {
                Status::Unknown(still) => {
                    why = match silence {
                        Some(reason) => {
                            UnknownStatus::NotFetched { place: question.place().to_owned(), reason }
                        }
                        None => still,
                    };
                }
                known => return known,
            }
        }
        Status::Unknown(why)
    }
}

/// What an errand brought home, verified.
enum Found {
    Answer(ocsp::Answer),
    List(Box<causeway_ike::cert::VerifiedList>),
}

/// Runs errands until nobody can give any more.
async fn run_errands(shared: Arc<Shared>, mut queue: mpsc::Receiver<Errand>) {
    let mut look_after = tokio::time::interval(LOOK_AFTER);
    loop {
        tokio::select! {
            errand = queue.recv() => match errand {
                Some(errand) => run(&shared, errand),
                None => return,
            },
            _ = look_after.tick() => {
                let mut state = shared.lock();
                let due = state.book.due(clock::unix_secs());
                let due: Vec<_> = due.into_iter().filter(|(one, _)| state.under_way.insert(one.clone())).collect();
                drop(state);
                for (question, issued) in due {
                    run(&shared, Errand { question, issued });
                }
            }
        }
    }
}

fn run(shared: &Arc<Shared>, Errand { question, issued }: Errand) {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let found = find(&question, &issued).await;
        shared.end(question, &issued, found);
    });
}

async fn find(question: &Question, issued: &Issued) -> Result<Found, String> {
    match question {
        Question::Ocsp { place, .. } => {
            let question = ocsp::request(issued).ok_or("its serial number is too long for OCSP")?;
            let answer = fetch::ocsp(place, question).await?;
            let answer = ocsp::answer(&answer, issued, clock::unix_secs());
            answer.map(Found::Answer).map_err(|error| error.to_string())
        }
        Question::List { place, .. } => {
            let der = fetch::list(place).await?;
            let lists = RevocationList::all_from(&der).map_err(|error| error.to_string())?;
            let mut good =
                lists.into_iter().map(|list| list.verify(issued).map_err(|error| error.to_string()));
            let list = good.next().ok_or("it is empty")??;
            Ok(Found::List(Box::new(list)))
        }
    }
}
