//! Public-key work on threads beside the event loop, so that a flood of handshakes never delays liveness answers.
//!
//! Enters: [`PublicKeyJob`]s, at most [`MAX_JOBS`] under way. Leaves: their results, in the order in which they end. A
//! job that panics answers as unavailable, and only its handshake ends. What may wait for somebody else (is a certificate revoked?)
//! has threads of its own, so that it keeps nobody from computing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use causeway_ike::api::{JobId, JobResult};
use causeway_ike::cert::TrustStore;
use causeway_ike::crypto::SystemRandom;
use causeway_ike::job::{Keyring, PublicKeyJob};
use tokio::sync::mpsc;

use crate::clock;

/// Jobs under way, waiting ones included.
pub const MAX_JOBS: usize = 4096;

/// Threads that may wait. Each serves one login that asks for a revocation; what was asked once is known to all.
pub const PATIENT_THREADS: usize = 16;

/// How a job ended.
pub struct Done {
    /// Which.
    pub id: JobId,
    /// How.
    pub result: JobResult,
    /// Whether it panicked.
    pub panicked: bool,
}

/// Too many jobs are under way.
#[derive(Debug)]
pub struct TooMany;

/// The threads.
pub struct PublicKeyPool {
    threads: rayon::ThreadPool,
    patient: rayon::ThreadPool,
    keyring: Arc<Keyring>,
    under_way: usize,
    /// Bounded by `under_way`.
    ended: mpsc::UnboundedSender<Done>,
    endings: mpsc::UnboundedReceiver<Done>,
}

impl PublicKeyPool {
    /// A pool with `threads` threads.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn new(threads: usize, keyring: Arc<Keyring>) -> Result<PublicKeyPool, rayon::ThreadPoolBuildError> {
        let threads = pool(threads.max(1), "pubkey")?;
        let patient = pool(PATIENT_THREADS, "patient")?;
        let (ended, endings) = mpsc::unbounded_channel();
        Ok(PublicKeyPool { threads, patient, keyring, under_way: 0, ended, endings })
    }

    /// Begins a job.
    ///
    /// # Errors
    /// When [`MAX_JOBS`] are under way.
    pub fn begin(&mut self, id: JobId, job: PublicKeyJob) -> Result<(), TooMany> {
        if self.under_way >= MAX_JOBS {
            return Err(TooMany);
        }
        self.under_way += 1;
        let (keyring, ended) = (Arc::clone(&self.keyring), self.ended.clone());
        let threads = match &job {
            PublicKeyJob::Verify(_) => self.patient_threads(),
            _ => &self.threads,
        };
        // First come, first served; a thread's own stack would serve the last first.
        threads.spawn_fifo(move || {
            let work = || job.run(&keyring, clock::unix_secs(), &mut SystemRandom);
            // The job is consumed and the keyring is only read: nothing half-done can be seen.
            let done = match catch_unwind(AssertUnwindSafe(work)) {
                Ok(result) => Done { id, result: JobResult::PublicKey(result), panicked: false },
                Err(_) => Done { id, result: JobResult::Unavailable, panicked: true },
            };
            // Nobody listens when the daemon is stopping.
            let _ = ended.send(done);
        });
        Ok(())
    }

    /// Waits for the next job to end. May be dropped at any point.
    pub async fn ended(&mut self) -> Done {
        match self.endings.recv().await {
            Some(done) => self.booked(done),
            // Cannot be: this side holds a sender.
            None => std::future::pending().await,
        }
    }

    /// The next job that has ended, if any.
    pub fn try_ended(&mut self) -> Option<Done> {
        let done = self.endings.try_recv().ok()?;
        Some(self.booked(done))
    }

    /// The threads, for other work that takes time.
    pub fn threads(&self) -> &rayon::ThreadPool {
        &self.threads
    }

    /// The threads for work in which a client's certificate is judged: others than [`PublicKeyPool::threads`] if that may wait.
    pub fn patient_threads(&self) -> &rayon::ThreadPool {
        match self.keyring.client_authorities.as_ref().is_some_and(TrustStore::may_wait) {
            true => &self.patient,
            false => &self.threads,
        }
    }

    /// The gateway's key and authorities.
    pub fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring)
    }

    /// Jobs that begin from now on are done with these; those under way end with the old ones.
    pub fn renew(&mut self, keyring: Arc<Keyring>) {
        self.keyring = keyring;
    }

    /// Jobs under way.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    fn booked(&mut self, done: Done) -> Done {
        self.under_way = self.under_way.saturating_sub(1);
        done
    }
}

fn pool(threads: usize, name: &'static str) -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
    let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
    builder.thread_name(move |number| format!("{name}-{number}")).build()
}
