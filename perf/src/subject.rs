//! A program under measurement: a DPDK process of its own, on one core, stopped except while it is its turn.
//!
//! Stopping (SIGSTOP) instead of starting anew lets all programs of a cell take turns of a few hundredths of a second, so that
//! whatever else the machine does falls on all of them alike. A turn's cost is nanoseconds that the polling thread was really on
//! its core (`/proc/PID/task/TID/schedstat`), divided by the packets that its sending port counted meanwhile.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::machine::AUTOGROUP_NICE;
use crate::programs::RuntimeDirectory;
use crate::telemetry::Telemetry;

/// How long a program may take to start sending.
const START: Duration = Duration::from_secs(30);
/// How long a tick of the scheduler may take before the sample is given up: the thread is not running.
const TICK: Duration = Duration::from_secs(2);
/// Time between two looks at the scheduler's figure.
const LOOK: Duration = Duration::from_micros(50);
/// A sample older than this when the packets were counted is taken again,
const GOOD_DELAY: Duration = Duration::from_micros(300);
/// so often,
const ATTEMPTS: usize = 8;
/// and is good for nothing if the best of them is older than this.
const WORST_DELAY: Duration = Duration::from_millis(3);
/// Turns that are tried on a machine that is too busy.
const TURNS: usize = 5;
/// How long a program is watched before it is measured.
const WATCH: Duration = Duration::from_millis(40);
/// The port that receives, in every program here.
const RECEIVING_PORT: u16 = 0;
/// The port that sends, in every program here.
const SENDING_PORT: u16 = 1;
/// Lines of a dead program's log that are shown.
const LOG_LINES: usize = 6;

/// What is started.
#[derive(Debug)]
pub struct Plan {
    /// For messages.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The `--file-prefix` among them.
    pub file_prefix: String,
    /// Where hugepages are mounted, for this process only; the folder exists.
    pub huge_dir: Option<PathBuf>,
    /// Its output goes here.
    pub log: PathBuf,
}

/// A running program. Dropping it ends it and removes what it left behind.
#[derive(Debug)]
pub struct Subject {
    plan: Plan,
    child: Child,
    pid: Pid,
    telemetry: Option<Telemetry>,
    /// `schedstat` of the polling thread.
    schedstat: PathBuf,
    /// Dropped after the process has ended.
    directory: RuntimeDirectory,
}

/// The state of a program's counters at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// Nanoseconds on a core.
    pub cpu_ns: u64,
    /// Packets sent.
    pub packets: u64,
}

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// It cannot be started.
    #[error("{name} cannot be started ({program}): {source}")]
    Spawn {
        /// The program's name here.
        name: String,
        /// Its file.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// It ended.
    #[error("{name} ended by itself ({status}); the end of its log {log}:\n{tail}")]
    Ended {
        /// The program's name here.
        name: String,
        /// How.
        status: String,
        /// Its log file.
        log: String,
        /// The end of the log.
        tail: String,
    },
    /// It runs but sends nothing.
    #[error("{name} sends nothing after {} s; its log {log} ends with:\n{tail}", START.as_secs())]
    Silent {
        /// The program's name here.
        name: String,
        /// Its log file.
        log: String,
        /// The end of the log.
        tail: String,
    },
    /// Its counters could not be read.
    #[error("{name} does not answer on its telemetry socket: {source}")]
    Telemetry {
        /// The program's name here.
        name: String,
        /// What was wrong.
        source: io::Error,
    },
    /// It loses packets.
    #[error("{name} sent only {sent} of {received} packets, so its cost would mean nothing")]
    Lossy {
        /// The program's name here.
        name: String,
        /// Packets that came in.
        received: u64,
        /// Packets that went out.
        sent: u64,
    },
    /// The machine is too busy.
    #[error("{name} gets too little of its core to be measured; is something else pinned to it?")]
    Starved {
        /// The program's name here.
        name: String,
    },
}

impl Subject {
    /// Starts a program, waits until it sends, and stops it.
    ///
    /// # Errors
    /// When it does not start, ends, or never sends.
    pub fn start(plan: Plan) -> Result<Subject, SubjectError> {
        let spawned = spawn(&plan);
        let child = spawned.map_err(|source| SubjectError::Spawn {
            name: plan.name.clone(),
            program: plan.program.display().to_string(),
            source,
        })?;
        let pid = Pid::from_child(&child);
        let directory = RuntimeDirectory::of(&plan.file_prefix);
        let mut subject = Subject { directory, plan, child, pid, telemetry: None, schedstat: PathBuf::new() };
        subject.wait_for_packets()?;
        subject.pause();
        Ok(subject)
    }

    /// Lets it run.
    pub fn resume(&self) {
        // It fails only when the program is gone, which the next sample tells.
        let _ = kill_process(self.pid, Signal::CONT);
    }

    /// Stops it where it is.
    pub fn pause(&self) {
        let _ = kill_process(self.pid, Signal::STOP);
    }

    /// One turn: runs it for `warm_up` and then for `window` of time on its core. Answers nanoseconds per packet.
    ///
    /// # Errors
    /// When it ended or cannot be sampled.
    pub fn turn(&mut self, warm_up: Duration, window: Duration) -> Result<f64, SubjectError> {
        let mut tries = 0;
        loop {
            self.resume();
            let turn = self.run_turn(warm_up, window);
            self.pause();
            tries += 1;
            if !matches!(turn, Err(SubjectError::Starved { .. })) || tries == TURNS {
                return turn;
            }
        }
    }

    fn run_turn(&mut self, warm_up: Duration, window: Duration) -> Result<f64, SubjectError> {
        thread::sleep(warm_up);
        let first = self.sample()?;
        let mut last = first;
        let deadline = Instant::now() + window * 10;
        while last.cpu_ns - first.cpu_ns < window.as_nanos() as u64 && Instant::now() < deadline {
            thread::sleep(window / 8);
            last = self.sample()?;
        }
        let (ns, packets) = (last.cpu_ns - first.cpu_ns, last.packets - first.packets);
        if packets == 0 {
            return Err(SubjectError::Starved { name: self.plan.name.clone() });
        }
        Ok(ns as f64 / packets as f64)
    }

    /// Time on the core and packets, read together: the kernel updates the former at the ticks of its scheduler, so the
    /// packets are read just after one.
    ///
    /// # Errors
    /// When the program is gone or gets no time.
    pub fn sample(&mut self) -> Result<Sample, SubjectError> {
        let mut best = None;
        for _ in 0..ATTEMPTS {
            let before = self.cpu_ns();
            let since = Instant::now();
            let mut now = before;
            let mut seen = since;
            while now == before {
                if since.elapsed() > TICK {
                    self.check_alive()?;
                    return Err(SubjectError::Starved { name: self.plan.name.clone() });
                }
                // Asleep between looks: on a busy machine a thread that sleeps is let in sooner than one that spins.
                thread::sleep(LOOK);
                seen = Instant::now();
                now = self.cpu_ns();
            }
            let sample = Sample { cpu_ns: now, packets: self.packets()? };
            let delay = seen.elapsed();
            if delay < GOOD_DELAY {
                return Ok(sample);
            }
            if best.is_none_or(|(least, _)| delay < least) {
                best = Some((delay, sample));
            }
        }
        match best {
            Some((delay, sample)) if delay < WORST_DELAY => Ok(sample),
            _ => Err(SubjectError::Starved { name: self.plan.name.clone() }),
        }
    }

    fn cpu_ns(&self) -> u64 {
        on_cpu_ns(&self.schedstat)
    }

    fn packets(&mut self) -> Result<u64, SubjectError> {
        self.counter(SENDING_PORT, "opackets")
    }

    fn counter(&mut self, port: u16, counter: &str) -> Result<u64, SubjectError> {
        let failed = |source| SubjectError::Telemetry { name: self.plan.name.clone(), source };
        match &mut self.telemetry {
            Some(telemetry) => telemetry.port_counter(port, counter).map_err(failed),
            None => Err(failed(io::ErrorKind::NotConnected.into())),
        }
    }

    fn wait_for_packets(&mut self) -> Result<(), SubjectError> {
        let socket = self.directory.path().join("dpdk_telemetry.v2");
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            self.check_alive()?;
            if self.telemetry.is_none() {
                self.telemetry = Telemetry::connect(&socket).ok();
            }
            // Ports come up one after the other: until both are there the answer is an error.
            if self.telemetry.is_some() && self.packets().is_ok_and(|packets| packets > 0) {
                return self.watch();
            }
            thread::sleep(Duration::from_millis(10));
        }
        let (name, log, tail) = self.said();
        Err(SubjectError::Silent { name, log, tail })
    }

    /// Watches it for a moment: the polling thread is the one that uses the processor, and a program that drops packets is
    /// not measured, because dropping is cheap.
    ///
    /// The two ports cannot be read at one moment, and on a busy machine we may be interrupted between: only a program that seems
    /// to drop again and again is refused.
    fn watch(&mut self) -> Result<(), SubjectError> {
        let mut watches = 0;
        loop {
            let watch = self.watch_once();
            watches += 1;
            if !matches!(watch, Err(SubjectError::Lossy { .. })) || watches == TURNS {
                return watch;
            }
        }
    }

    fn watch_once(&mut self) -> Result<(), SubjectError> {
        let first = self.counters()?;
        let before = self.threads();
        thread::sleep(WATCH);
        let used = |(file, now): (PathBuf, u64)| {
            let earlier = before.get(&file).copied().unwrap_or(0);
            (now.saturating_sub(earlier), file)
        };
        self.schedstat = self.threads().into_iter().map(used).max().map(|(_, file)| file).unwrap_or_default();
        let last = self.counters()?;
        let (received, sent) = (last.0 - first.0, last.1 - first.1);
        if sent < received - received / 50 {
            return Err(SubjectError::Lossy { name: self.plan.name.clone(), received, sent });
        }
        Ok(())
    }

    /// Packets received and sent.
    fn counters(&mut self) -> Result<(u64, u64), SubjectError> {
        let received = self.counter(RECEIVING_PORT, "ipackets")?;
        Ok((received, self.counter(SENDING_PORT, "opackets")?))
    }

    fn check_alive(&mut self) -> Result<(), SubjectError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                let (name, log, tail) = self.said();
                Err(SubjectError::Ended { name, status: status.to_string(), log, tail })
            }
            Err(source) => Err(SubjectError::Telemetry { name: self.plan.name.clone(), source }),
        }
    }

    fn said(&self) -> (String, String, String) {
        let text = fs::read(&self.plan.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let tail = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        (self.plan.name.clone(), self.plan.log.display().to_string(), tail)
    }

    /// What every thread was on a core until now.
    fn threads(&self) -> HashMap<PathBuf, u64> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid.as_raw_nonzero()));
        let files = tasks.into_iter().flatten().flatten().map(|thread| thread.path().join("schedstat"));
        files.map(|file| (file.clone(), on_cpu_ns(&file))).collect()
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // Its memory is unlinked hugepages and anonymous, its ports are virtual: nothing needs an orderly end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nanoseconds a thread was on a core.
pub fn on_cpu_ns(schedstat: &Path) -> u64 {
    let text = fs::read_to_string(schedstat).unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn spawn(plan: &Plan) -> io::Result<Child> {
    let log = File::create(&plan.log)?;
    let errors = log.try_clone()?;
    // A stopped program would outlive a killed harness. Ctrl-C is for the harness alone, hence the session of its own, which
    // is also what the scheduler weighs. Every step is an `exec`: the process stays the same.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "setsid"]);
    let weigh = format!("echo {AUTOGROUP_NICE} > /proc/self/autogroup; true");
    match &plan.huge_dir {
        // The mount is visible to this process only and goes with it.
        Some(directory) => {
            let mount = "mount -t hugetlbfs -o pagesize=2M none \"$0\"";
            command.args(["unshare", "--mount", "sh", "-c"]);
            command.arg(format!("{{ {weigh}; }} 2>/dev/null; {mount} && exec \"$@\"")).arg(directory);
        }
        None => {
            command.args(["sh", "-c", &format!("{{ {weigh}; }} 2>/dev/null; exec \"$@\""), "sh"]);
        }
    }
    command.arg(&plan.program).args(&plan.arguments);
    // testpmd ends when its standard input does, so it gets one that stays open.
    command.stdin(Stdio::piped()).stdout(log).stderr(errors).spawn()
}
