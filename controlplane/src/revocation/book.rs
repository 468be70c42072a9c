//! What is known of revoked certificates: lists from files, lists and OCSP answers that were fetched, and who was silent.
//!
//! Enters: lists, answers, silence, each once verified. Leaves: the status of a certificate as far as it is known. Everything that
//! certificates can make grow has a bound.

use std::collections::HashMap;
use std::sync::Arc;

use causeway_ike::cert::ocsp::Answer;
use causeway_ike::cert::{Issued, RevocationList, Status, UnknownStatus, VerifiedList};

/// Most lists that are kept of those fetched.
pub(super) const MAX_FETCHED_LISTS: usize = 256;
/// Most OCSP answers that are kept.
pub(super) const MAX_ANSWERS: usize = 65_536;
/// Most places and questions whose silence is remembered.
pub(super) const MAX_SILENT: usize = 1024;
/// Most lists of files that are kept verified, by issuer.
const MAX_VERIFIED: usize = 1024;
/// How long silence is remembered, in seconds.
pub(super) const SILENCE_SECS: u64 = 60;
/// How long an answer that a certificate is revoked counts at least, in seconds.
const REVOKED_SECS: u64 = 86_400;
/// After this an answer is asked for again and a list fetched again, though it counts longer; in seconds.
pub(super) const REFRESH_SECS: u64 = 3600;

/// What was asked: a place about a certificate, or for a list of an issuer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Question {
    /// The list of the issuer with this key.
    List { place: String, issuer_spki: Vec<u8> },
    /// The certificate with this number of the issuer with this key.
    Ocsp { place: String, issuer_spki: Vec<u8>, serial: Vec<u8> },
}

impl Question {
    /// Whom to ask about `issued`, OCSP first: its answers are small and new.
    pub(super) fn about(issued: &Issued) -> impl Iterator<Item = Question> {
        let issuer_spki = || issued.issuer_spki.clone();
        let ocsp = issued.ocsp_places.iter().map(move |place| Question::Ocsp {
            place: place.clone(),
            issuer_spki: issuer_spki(),
            serial: issued.serial.clone(),
        });
        let lists = issued
            .list_places
            .iter()
            .map(move |place| Question::List { place: place.clone(), issuer_spki: issuer_spki() });
        ocsp.chain(lists)
    }

    /// The place.
    pub(super) fn place(&self) -> &str {
        match self {
            Question::List { place, .. } | Question::Ocsp { place, .. } => place,
        }
    }
}

/// A list that was fetched.
pub(super) struct Fetched {
    list: Arc<VerifiedList>,
    /// To verify its successor with.
    pub(super) issued: Issued,
    /// Unix time, in seconds.
    refresh_at: u64,
}

/// All that is known. Times are Unix times, in seconds.
#[derive(Default)]
pub(super) struct Book {
    /// Of files, by nobody verified.
    files: Vec<RevocationList>,
    /// Those of them that are an issuer's own, by its key; made when its first certificate comes.
    verified: HashMap<Vec<u8>, Vec<Arc<VerifiedList>>>,
    fetched: HashMap<Question, Fetched>,
    /// By the issuer's key and the serial number.
    answers: HashMap<(Vec<u8>, Vec<u8>), (Answer, u64)>,
    silent: HashMap<Question, (u64, String)>,
}

impl Book {
    /// Takes the lists of the files in place of those before.
    pub(super) fn set_files(&mut self, files: Vec<RevocationList>) {
        self.files = files;
        self.verified.clear();
    }

    /// How many lists of files have expired.
    pub(super) fn overdue_files(&self, now: u64) -> usize {
        self.files.iter().filter(|list| list.next_update() < now).count()
    }

    /// What is known of `issued` without asking anybody. A list counts on for those who stand on it after
    /// its time: nobody on it is good again.
    pub(super) fn status(&mut self, issued: &Issued, now: u64) -> Status {
        let answer = self.answers.get(&(issued.issuer_spki.clone(), issued.serial.clone()));
        if answer.is_some_and(|(answer, ask_at)| answer.revoked && *ask_at > now) {
            return Status::Revoked;
        }
        let answered = answer.is_some_and(|(answer, ask_at)| answer.until >= now && *ask_at > now);
        let fetched = self.fetched.values().map(|fetched| &fetched.list);
        let fetched: Vec<_> = fetched.filter(|list| list.covers(issued)).cloned().collect();
        let lists: Vec<_> = self.of_files(issued).iter().cloned().chain(fetched).collect();
        if lists.iter().any(|list| list.revokes(issued)) {
            return Status::Revoked;
        }
        if answered || lists.iter().any(|list| list.next_update() >= now) {
            return Status::Good;
        }
        Status::Unknown(match lists.is_empty() {
            true => UnknownStatus::NoSource,
            false => UnknownStatus::ListExpired,
        })
    }

    fn of_files(&mut self, issued: &Issued) -> Vec<Arc<VerifiedList>> {
        if self.verified.len() >= MAX_VERIFIED {
            self.verified.clear();
        }
        let files = &self.files;
        let all = self.verified.entry(issued.issuer_spki.clone()).or_insert_with(|| {
            let theirs = files.iter().filter(|list| list.issuer_name() == issued.issuer_name);
            let verify = |list: &RevocationList| match list.clone().verify(issued) {
                Ok(list) => Some(Arc::new(list)),
                Err(error) => {
                    tracing::warn!("a list of auth.crl_files does not count for its issuer: {error}");
                    None
                }
            };
            theirs.filter_map(verify).collect()
        });
        all.iter().filter(|list| list.covers(issued)).cloned().collect()
    }

    /// Takes an answer.
    pub(super) fn answered(&mut self, issued: &Issued, answer: Answer, now: u64) {
        if self.answers.len() >= MAX_ANSWERS {
            self.answers.retain(|_, (answer, ask_at)| answer.until >= now && *ask_at > now);
        }
        // Full of answers that count: those who come now are asked about every time.
        if self.answers.len() < MAX_ANSWERS {
            // A revocation is kept through a responder's silence; only a hold ever ends (RFC 5280 §5.3.1).
            let ask_at = match answer.revoked {
                true => answer.until.max(now.saturating_add(REVOKED_SECS)),
                false => answer.until.saturating_add(1).min(now.saturating_add(REFRESH_SECS)),
            };
            self.answers.insert((issued.issuer_spki.clone(), issued.serial.clone()), (answer, ask_at));
        }
    }

    /// Takes a list. An older one does not replace a newer one: it may be an attacker's (RFC 5280 §8).
    pub(super) fn fetched(&mut self, question: Question, list: VerifiedList, issued: &Issued, now: u64) {
        self.silent.remove(&question);
        let mut list = Arc::new(list);
        if let Some(known) = self.fetched.get(&question)
            && known.list.this_update() > list.this_update()
        {
            list = Arc::clone(&known.list);
        }
        if self.fetched.len() >= MAX_FETCHED_LISTS && !self.fetched.contains_key(&question) {
            let oldest = self.fetched.iter().min_by_key(|(_, fetched)| fetched.list.next_update());
            if let Some(oldest) = oldest.map(|(question, _)| question.clone()) {
                self.fetched.remove(&oldest);
            }
        }
        // A tenth of its time before it is due, lest logins wait for its successor.
        let spare = list.next_update().saturating_sub(now) / 10;
        let due = list.next_update().saturating_sub(spare).min(now.saturating_add(REFRESH_SECS));
        let refresh_at = due.max(now.saturating_add(SILENCE_SECS));
        self.fetched.insert(question, Fetched { list, issued: issued.clone(), refresh_at });
    }

    /// Nobody answered, or with nothing that counts.
    pub(super) fn was_silent(&mut self, question: Question, why: String, now: u64) {
        if self.silent.len() >= MAX_SILENT {
            self.silent.retain(|_, (until, _)| *until > now);
        }
        if let Some(fetched) = self.fetched.get_mut(&question) {
            fetched.refresh_at = now.saturating_add(SILENCE_SECS);
        }
        if self.silent.len() < MAX_SILENT {
            self.silent.insert(question, (now.saturating_add(SILENCE_SECS), why));
        }
    }

    /// Why this was not answered lately.
    pub(super) fn silence(&self, question: &Question, now: u64) -> Option<&str> {
        let (until, why) = self.silent.get(question)?;
        (*until > now).then_some(why.as_str())
    }

    /// OCSP answers that are kept.
    #[cfg(test)]
    pub(super) fn answers(&self) -> usize {
        self.answers.len()
    }

    /// The lists that are to be fetched again.
    pub(super) fn due(&self, now: u64) -> Vec<(Question, Issued)> {
        let due = self.fetched.iter().filter(|(_, fetched)| fetched.refresh_at <= now);
        due.map(|(question, fetched)| (question.clone(), fetched.issued.clone())).collect()
    }
}
