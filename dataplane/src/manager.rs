//! The manager's thread: takes commands from the segment, lets the workers execute them, acknowledges; serves the socket;
//! notices a worker that died and a wish to stop.
//!
//! It is the only thread that allocates and frees what the workers' tables hold.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use causeway_shared::wire::{AckStatus, Command, Event};
use causeway_shm::{Handover, LinkEvent, ManagerSide, monotonic_ns};

use crate::handoff::Mailbox;
use crate::manager_commands::{Executor, Todo};
use crate::ports_watch::PortWatch;

/// Longest sleep: the rhythm of the heartbeat, and of the look at workers and signals.
const ROUND: Duration = Duration::from_millis(100);
/// Pause between looks at the workers' reports while commands are under way.
const REPORT_PAUSE: Duration = Duration::from_micros(50);
/// Commands begun before reports are looked at again.
const COMMANDS: usize = 64;
/// Acknowledgements that may wait for room in the ring; above that no command is begun.
const MAX_WAITING_ACKS: usize = 256;

/// Executes commands; lives on the main thread.
pub struct Manager {
    side: ManagerSide,
    handover: Handover,
    mailboxes: Arc<[Mailbox]>,
    watch: PortWatch,
    executor: Executor,
    todo: Todo,
    /// A command that waits for those under way.
    stalled: Option<Command>,
    acknowledgements: VecDeque<(u64, AckStatus)>,
}

/// Why the manager returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Somebody asked for it.
    Stopped,
    /// A worker's thread ended by itself.
    WorkerDied,
    /// The kernel refused to wait for commands.
    CannotWait,
}

impl Manager {
    /// A manager over empty tables.
    pub fn new(
        side: ManagerSide,
        handover: Handover,
        mailboxes: Arc<[Mailbox]>,
        executor: Executor,
        watch: PortWatch,
    ) -> Manager {
        Manager {
            side,
            handover,
            mailboxes,
            watch,
            executor,
            todo: Todo::default(),
            stalled: None,
            acknowledgements: VecDeque::with_capacity(MAX_WAITING_ACKS),
        }
    }

    /// Works until `stop` is set or `workers_alive` says no.
    pub fn run(&mut self, stop: &AtomicBool, workers_alive: impl Fn() -> bool) -> Ended {
        loop {
            // Relaxed: the flag carries no data.
            if stop.load(Ordering::Relaxed) {
                return Ended::Stopped;
            }
            if !workers_alive() {
                return Ended::WorkerDied;
            }
            let now_ns = monotonic_ns();
            self.side.heartbeat.beat(now_ns);
            self.watch.look(now_ns, &self.side.counters, &self.side.ports);
            self.serve_link();
            self.collect_reports();
            self.begin_commands();
            self.acknowledge();
            if self.executor.in_flight() > 0 || !self.acknowledgements.is_empty() {
                thread::sleep(REPORT_PAUSE);
            } else if self.stalled.is_none()
                && let Err(error) = self.side.wait(&self.handover, ROUND)
            {
                tracing::error!(%error, "cannot wait for commands");
                return Ended::CannotWait;
            }
        }
    }

    fn serve_link(&mut self) {
        while let Some(event) = self.handover.serve() {
            match event {
                LinkEvent::Attached(peer) => {
                    tracing::info!(pid = peer.pid, sas = self.executor.installed(), "control plane attached");
                }
                LinkEvent::Detached(peer) => tracing::warn!(
                    pid = peer.pid,
                    sas = self.executor.installed(),
                    "control plane is gone; installed SAs go on carrying traffic"
                ),
                LinkEvent::RefusedBusy(peer) => {
                    tracing::warn!(pid = peer.pid, "a second control plane was refused");
                }
                LinkEvent::RefusedUser(peer) => {
                    tracing::warn!(pid = peer.pid, uid = peer.uid, "a user that may not attach was refused");
                }
            }
        }
    }

    fn collect_reports(&mut self) {
        for mailbox in self.mailboxes.iter() {
            while let Some(report) = mailbox.reports.pop() {
                // What the worker retired is freed here, at the end of the statement.
                self.executor.complete(report.ticket, report.applied.status, &mut self.todo);
            }
        }
        self.pass_on();
    }

    fn begin_commands(&mut self) {
        for _ in 0..COMMANDS {
            if self.acknowledgements.len() >= MAX_WAITING_ACKS {
                return;
            }
            let command = match self.stalled.take() {
                Some(command) => command,
                None => match self.side.next_command() {
                    Ok(Some(command)) => command,
                    Ok(None) => return,
                    Err(refused) => {
                        tracing::error!(reason = %refused.reason, "a command was refused");
                        self.acknowledgements.extend(refused.command_id.map(|id| (id, AckStatus::Malformed)));
                        continue;
                    }
                },
            };
            self.stalled = self.executor.submit(command, &mut self.todo);
            self.pass_on();
            if self.stalled.is_some() {
                return;
            }
        }
    }

    /// Gives the executor's instructions to the workers and keeps its acknowledgements.
    #[expect(
        clippy::result_large_err,
        reason = "a queue without room gives the instruction back; there is room"
    )]
    fn pass_on(&mut self) {
        for (worker, instruction) in self.todo.instructions.drain(..) {
            // Fewer are out than the queue has places (see `INSTRUCTION_SLOTS`), so there is room.
            let refused =
                self.mailboxes.get(usize::from(worker)).map(|mailbox| mailbox.instructions.push(instruction));
            debug_assert!(matches!(refused, Some(Ok(()))));
        }
        self.acknowledgements.extend(self.todo.acknowledgements.drain(..));
    }

    fn acknowledge(&mut self) {
        while let Some(&(command_id, status)) = self.acknowledgements.front() {
            if status != AckStatus::Done {
                tracing::debug!(command_id, ?status, "command refused");
            }
            if self.side.events.push(&Event::Ack { command_id, status }).is_err() {
                return;
            }
            self.acknowledgements.pop_front();
        }
    }
}
