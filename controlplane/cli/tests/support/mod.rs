//! What the command's tests share: a directory of their own, a configuration that needs no other file, and waiting for a
//! condition with a deadline.

// A helper of a test that fails has nobody to report to but the test's log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for anything; machines under load are slow.
const DEADLINE: Duration = Duration::from_secs(60);

/// The program under test.
pub fn causeway() -> Command {
    Command::new(env!("CARGO_BIN_EXE_causeway-cli"))
}

/// Runs it to its end.
pub fn run(arguments: &[&str]) -> Output {
    causeway().args(arguments).output().expect("the program runs")
}

/// Standard output of it.
pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("output is UTF-8")
}

/// Standard error of it.
pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("output is UTF-8")
}

/// Polls until `condition` gives a value.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A directory of its own for one test, removed at its end.
pub struct Directory(pub PathBuf);

impl Directory {
    /// Makes it.
    pub fn new() -> Directory {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("causeway-cli-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory can be made");
        Directory(path)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file can be written");
        path
    }

    /// Writes a configuration whose run directory is `run` in this directory.
    pub fn config(&self) -> PathBuf {
        self.write("causeway.toml", &config(&self.0.join("run")))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A good configuration that names no other file.
pub fn config(run_directory: &Path) -> String {
    format!(
        r#"[gateway]
identity = "vpn.example.com"
run_directory = "{}"
[dataplane]
cores = [0]
[[port]]
name = "wan"
device = "net_null0"
role = "outside"
address = "192.0.2.1/24"
[[port]]
name = "lan"
device = "net_null1"
role = "inside"
address = "10.0.0.1/24"
[auth]
methods = ["psk"]
[[auth.psk]]
identity = "*"
secret = "correct horse battery staple"
[[pool]]
name = "clients"
range = "10.99.0.0/24"
"#,
        run_directory.display()
    )
}
