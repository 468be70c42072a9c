//! `causeway run` with daemons that are shell scripts: order of start and stop, restart after a crash, no orphans.
//!
//! Each script writes what happens to it into a journal, and shows its readiness by a link to a socket that the test holds.

// A helper of a test that fails has nobody to report to but the test's log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};

use support::{Directory, causeway, wait_for};

/// Fake daemons, their journal, and a supervisor over them.
struct Stage {
    directory: Directory,
    _socket: UnixListener,
}

/// What a fake daemon does on SIGTERM and at its start.
#[derive(Clone, Copy)]
enum Manner {
    Good,
    IgnoresTerm,
    FailsAtStart,
}

impl Stage {
    fn new(dataplane: Manner, controlplane: Manner) -> Stage {
        let directory = Directory::new();
        directory.config();
        let socket = UnixListener::bind(directory.0.join("real.sock")).unwrap();
        let stage = Stage { directory, _socket: socket };
        stage.daemon("dataplane", "dataplane.sock", dataplane);
        stage.daemon("controlplane", "api.sock", controlplane);
        stage
    }

    fn daemon(&self, name: &str, socket: &str, manner: Manner) {
        let here = self.directory.0.display();
        let on_term = match manner {
            Manner::IgnoresTerm => String::new(),
            _ => format!("echo '{name} term' >> {here}/journal; exit 0"),
        };
        let start = match manner {
            Manner::FailsAtStart => "exit 7".to_owned(),
            _ => format!("ln -sf {here}/real.sock {here}/run/{socket}"),
        };
        let script = format!(
            "#!/bin/sh\ntrap \"{on_term}\" TERM\necho \"{name} start $$ $*\" >> {here}/journal\n{start}\nwhile :; do sleep 0.05; done\n"
        );
        let path = self.directory.write(&format!("causeway-{name}"), &script);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn supervise(&self, stop_timeout: &str) -> Supervisor {
        let child = causeway()
            .args(["run", "--stop-timeout", stop_timeout, "--programs"])
            .arg(&self.directory.0)
            .arg("--config")
            .arg(self.directory.0.join("causeway.toml"))
            .stderr(Stdio::from(fs::File::create(self.directory.0.join("log")).unwrap()))
            .spawn()
            .unwrap();
        Supervisor(child)
    }

    fn journal(&self) -> Vec<String> {
        let text = fs::read_to_string(self.directory.0.join("journal")).unwrap_or_default();
        // A line that is being written counts when it is whole.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.0.join("log")).unwrap_or_default()
    }

    /// Process ids of the daemon's starts so far.
    fn starts(&self, name: &str) -> Vec<u32> {
        let mark = format!("{name} start ");
        self.journal()
            .iter()
            .filter_map(|line| line.strip_prefix(&mark)?.split(' ').next()?.parse().ok())
            .collect()
    }

    fn wait_for_starts(&self, name: &str, count: usize) -> Vec<u32> {
        wait_for(&format!("start {count} of {name}"), || Some(self.starts(name)).filter(|s| s.len() >= count))
    }

    fn wait_until_ready(&self) {
        wait_for("both daemons to be ready", || self.log().contains("both daemons are ready").then_some(()));
    }
}

struct Supervisor(Child);

impl Supervisor {
    fn signal(&self, name: &str) {
        kill(name, self.0.id());
    }

    fn exit_code(&mut self) -> Option<i32> {
        wait_for("the supervisor's end", || self.0.try_wait().unwrap()).code()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn kill(signal: &str, pid: u32) {
    let done = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status().unwrap();
    assert!(done.success(), "kill -{signal} {pid}");
}

/// Whether a process runs; one that nobody has waited for yet does not.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next())
        .is_some_and(|state| state != 'Z' && state != 'X')
}

#[test]
fn daemons_start_and_stop_in_order() {
    let stage = Stage::new(Manner::Good, Manner::Good);
    let mut supervisor = stage.supervise("10");
    stage.wait_until_ready();
    let pids = [stage.starts("dataplane"), stage.starts("controlplane")].concat();
    supervisor.signal("TERM");
    assert_eq!(supervisor.exit_code(), Some(0), "{}", stage.log());
    let journal = stage.journal();
    let config = stage.directory.0.join("causeway.toml");
    let expected = [
        format!("dataplane start {} --config {}", pids[0], config.display()),
        format!("controlplane start {} --config {}", pids[1], config.display()),
        "controlplane term".to_owned(),
        "dataplane term".to_owned(),
    ];
    assert_eq!(journal, expected);
    assert!(pids.iter().all(|pid| !runs(*pid)));
}

#[test]
fn a_crashed_daemon_is_started_again_alone() {
    let stage = Stage::new(Manner::Good, Manner::Good);
    let mut supervisor = stage.supervise("10");
    stage.wait_until_ready();
    kill("KILL", stage.starts("controlplane")[0]);
    stage.wait_for_starts("controlplane", 2);
    assert_eq!(stage.starts("dataplane").len(), 1, "the data plane went on");
    kill("SEGV", stage.starts("dataplane")[0]);
    stage.wait_for_starts("dataplane", 2);
    assert_eq!(stage.starts("controlplane").len(), 2, "the control plane went on");
    let log = stage.log();
    for part in ["killed by signal 9; starting it again", "killed by signal 11", "wait_ms=500"] {
        assert!(log.contains(part), "`{part}` is not in the log:\n{log}");
    }
    supervisor.signal("INT");
    assert_eq!(supervisor.exit_code(), Some(0), "{}", stage.log());
}

#[test]
fn a_killed_supervisor_leaves_no_orphans() {
    // Daemons that would not even listen to SIGTERM.
    let stage = Stage::new(Manner::IgnoresTerm, Manner::IgnoresTerm);
    let supervisor = stage.supervise("10");
    stage.wait_until_ready();
    let pids = [stage.starts("dataplane")[0], stage.starts("controlplane")[0]];
    assert!(pids.iter().all(|pid| runs(*pid)));
    supervisor.signal("KILL");
    wait_for("the daemons' end", || pids.iter().all(|pid| !runs(*pid)).then_some(()));
}

#[test]
fn a_daemon_that_never_becomes_ready_ends_the_supervisor() {
    let stage = Stage::new(Manner::FailsAtStart, Manner::Good);
    let mut supervisor = stage.supervise("10");
    assert_eq!(supervisor.exit_code(), Some(4));
    assert_eq!(stage.starts("dataplane").len(), 4);
    assert!(stage.starts("controlplane").is_empty());
    let log = stage.log();
    for part in ["ended with exit code 7", "wait_ms=500", "wait_ms=1000", "the data plane does not start"] {
        assert!(log.contains(part), "`{part}` is not in the log:\n{log}");
    }
}

#[test]
fn a_daemon_that_does_not_stop_is_killed_and_told() {
    let stage = Stage::new(Manner::Good, Manner::IgnoresTerm);
    let mut supervisor = stage.supervise("1");
    stage.wait_until_ready();
    let pid = stage.starts("controlplane")[0];
    supervisor.signal("TERM");
    assert_eq!(supervisor.exit_code(), Some(5), "{}", stage.log());
    assert!(!runs(pid));
    assert!(stage.log().contains("did not stop within 1 s"), "{}", stage.log());
    assert_eq!(stage.journal().last().map(String::as_str), Some("dataplane term"));
}

#[test]
fn a_second_signal_does_not_wait() {
    let stage = Stage::new(Manner::IgnoresTerm, Manner::IgnoresTerm);
    let mut supervisor = stage.supervise("600");
    stage.wait_until_ready();
    supervisor.signal("TERM");
    wait_for("the stop to begin", || stage.log().contains("stopping").then_some(()));
    supervisor.signal("TERM");
    assert_eq!(supervisor.exit_code(), Some(5), "{}", stage.log());
}

#[test]
fn two_supervisors_do_not_share_a_run_directory() {
    let stage = Stage::new(Manner::Good, Manner::Good);
    let mut first = stage.supervise("10");
    stage.wait_until_ready();
    let second = causeway()
        .args(["run", "--programs"])
        .arg(&stage.directory.0)
        .arg("--config")
        .arg(stage.directory.0.join("causeway.toml"))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(4));
    assert!(
        support::stderr(&second).contains("another `causeway run` works in "),
        "{}",
        support::stderr(&second)
    );
    assert_eq!(stage.starts("dataplane").len(), 1);
    first.signal("TERM");
    assert_eq!(first.exit_code(), Some(0));
}

#[test]
fn nothing_starts_with_a_bad_configuration_or_without_programs() {
    let directory = Directory::new();
    let config = directory.config();
    let bad =
        directory.write("bad.toml", &fs::read_to_string(&config).unwrap().replace("identity", "identiy"));
    for (file, code, part) in
        [(&bad, 1, "gateway.identiy: unknown key"), (&config, 4, "there is no causeway-dataplane in ")]
    {
        let run = causeway()
            .args(["run", "--programs"])
            .arg(&directory.0)
            .arg("--config")
            .arg(file)
            .output()
            .unwrap();
        assert_eq!(run.status.code(), Some(code));
        assert!(support::stderr(&run).contains(part), "{}", support::stderr(&run));
    }
}
