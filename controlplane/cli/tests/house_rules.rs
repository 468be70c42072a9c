//! The rules of the house as a test over the whole repository: which crate may name which (from `cargo metadata`), unsafe code
//! only where it is listed, files that open with what they are for and stay short, nothing that only works on one machine.

// A helper of a test that fails has nobody to report to but the test's log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which of our crates each of our crates may depend on (directly; tests may name more, see [`TEST_EDGES`]).
const EDGES: &[(&str, &[&str])] = &[
    ("causeway", &["causeway-cli", "causeway-controlplane", "causeway-dataplane", "causeway-shared"]),
    ("causeway-shared", &[]),
    ("causeway-shm", &["causeway-shared"]),
    ("causeway-dpdk-sys", &[]),
    ("causeway-dpdk", &["causeway-dpdk-sys"]),
    ("causeway-kernels", &[]),
    ("causeway-dataplane", &["causeway-shared", "causeway-shm", "causeway-dpdk", "causeway-kernels"]),
    (
        "causeway-perf",
        &[
            "causeway-dataplane",
            "causeway-dpdk",
            "causeway-kernels",
            "causeway-shared",
            "causeway-shm",
            // The clients of the IKE load generator.
            "causeway-eap",
            "causeway-ike",
        ],
    ),
    ("causeway-ike", &[]),
    ("causeway-eap", &[]),
    ("causeway-radius", &[]),
    (
        "causeway-controlplane",
        &["causeway-shared", "causeway-shm", "causeway-ike", "causeway-eap", "causeway-radius"],
    ),
    ("causeway-sim", &["causeway-shared", "causeway-ike", "causeway-eap", "causeway-controlplane"]),
    ("causeway-client", &["causeway-ike", "causeway-eap"]),
    ("causeway-cli", &["causeway-client", "causeway-shared"]),
];

/// What tests may name beyond that.
const TEST_EDGES: &[(&str, &[&str])] = &[
    ("causeway-client", &["causeway-controlplane", "causeway-shared"]),
    ("causeway-cli", &["causeway-ike"]),
];

/// Crates that know no clock, socket, thread or file: what they must not depend on.
const SANS_IO: &[&str] = &["causeway-ike", "causeway-eap", "causeway-radius"];
const IO_CRATES: &[&str] =
    &["tokio", "mio", "rustix", "libc", "socket2", "hyper", "axum", "rayon", "crossbeam", "tracing"];

/// Places where unsafe code is allowed: crates, and single files that say at their top why.
const UNSAFE_PLACES: &[&str] = &[
    "dataplane/dpdk-sys/",
    "dataplane/dpdk/",
    "dataplane/kernels/",
    "shared/shm/",
    // Group 14 and RSA with SHA-1 exist in no safe library of ours.
    "controlplane/ike/src/crypto/modp.rs",
    "controlplane/ike/src/crypto/rsa_sha1.rs",
];

/// Where the data plane and the segment may use atomics: files that `shared/shm/tests/loom.rs` models, words that are figures by
/// themselves, and flags and settings that carry no data. Whoever adds a place adds a model, or says here why it needs none.
const ATOMIC_PLACES: &[&str] = &[
    // Modelled: ring, doorbell, statistics; the trait they are generic over; the memory it stands for.
    "shared/shm/src/ring.rs",
    "shared/shm/src/doorbell.rs",
    "shared/shm/src/stats.rs",
    "shared/shm/src/atom.rs",
    "shared/shm/src/mapping.rs",
    "shared/shm/src/queue.rs",
    // Figures, Relaxed, one writer each.
    "shared/shm/src/pulse.rs",
    "shared/shm/src/ports.rs",
    // Written before the segment is offered; the socket orders it.
    "shared/shm/src/hello.rs",
    // Read by a successor after our death.
    "shared/shm/src/control_side.rs",
    // A flag: stop.
    "dataplane/src/daemon.rs",
    "dataplane/src/manager.rs",
    "dataplane/src/worker.rs",
    // A setting found by measurement; every value is right.
    "dataplane/kernels/src/sha256.rs",
];

/// Lines after which a file must say at its top why it is that long.
const LONG_FILE: usize = 600;
/// How it says it.
const LONG_FILE_REASON: &str = "//! Long because";

/// Words that only one machine or one author's tools would understand.
const PRIVATE_WORDS: &[&str] = &["/work/", "/root/", "/tmp/target"];

#[test]
fn crates_depend_on_each_other_only_as_the_architecture_says() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<&str> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let Some(allowed) = listed(EDGES, name) else {
            wrong.push(format!("{name} is not listed in EDGES"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            let test_only = dependency["kind"].as_str() == Some("dev");
            let for_test = test_only && listed(TEST_EDGES, name).is_some_and(|list| list.contains(&on));
            if ours.contains(on) && !allowed.contains(&on) && !for_test {
                wrong.push(format!("{name} must not depend on {on}"));
            }
            if SANS_IO.contains(&name) && !test_only && IO_CRATES.contains(&on) {
                wrong.push(format!("{name} is sans-IO and must not depend on {on}"));
            }
        }
    }
    for (name, _) in EDGES {
        if !ours.contains(name) {
            wrong.push(format!("EDGES lists {name}, which is no member of the workspace"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_way_leads_from_one_daemon_to_the_other() {
    let edges: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    for (from, to) in
        [("causeway-dataplane", "causeway-controlplane"), ("causeway-controlplane", "causeway-dataplane")]
    {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(name) = next.pop() {
            if seen.insert(name) {
                next.extend(edges.get(name).copied().unwrap_or_default());
            }
        }
        assert!(!seen.contains(to), "{from} reaches {to}");
    }
}

#[test]
fn sans_io_crates_use_no_clock_socket_thread_or_file() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files() {
        let sans_io =
            ["controlplane/ike/src/", "controlplane/eap/src/"].iter().any(|place| path.starts_with(place));
        if !sans_io || path.contains("/tests/") || path.ends_with("/tests.rs") {
            continue;
        }
        for (number, line) in code_before_tests(&text) {
            for used in [
                "std::net::Udp",
                "std::net::Tcp",
                "std::fs",
                "std::thread",
                "Instant::now",
                "SystemTime::now",
            ] {
                if line.contains(used) {
                    wrong.push(format!("{path}:{number}: {used}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_stands_only_where_it_is_listed() {
    let mut wrong = Vec::new();
    for place in UNSAFE_PLACES.iter().filter(|place| !root().join(place).exists()) {
        wrong.push(format!("{place} is listed, but not there"));
    }
    for (path, text) in rust_files() {
        if UNSAFE_PLACES.iter().any(|place| path.starts_with(place))
            || path == "controlplane/cli/tests/house_rules.rs"
        {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let marks = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "allow(unsafe_code)"];
            if marks.iter().any(|mark| code.contains(mark)) {
                wrong.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "unsafe code may stand in {UNSAFE_PLACES:?} only:\n{}", wrong.join("\n"));
}

#[test]
fn threads_of_the_data_plane_share_by_message() {
    let absent = ATOMIC_PLACES.iter().filter(|place| !root().join(place).exists());
    let mut wrong: Vec<String> = absent.map(|place| format!("{place} is listed, but not there")).collect();
    let ours = |path: &str| {
        let folders = ["shared/shm/src/", "dataplane/src/", "dataplane/kernels/src/"];
        folders.iter().any(|folder| path.starts_with(folder)) && !ATOMIC_PLACES.contains(&path)
    };
    for (path, text) in rust_files().into_iter().filter(|(path, _)| ours(path.as_str())) {
        // Tests share what they like.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let marks = ["sync::atomic", "Mutex", "RwLock", "crossbeam::epoch"];
            if marks.iter().any(|mark| line.split("//").next().unwrap_or_default().contains(mark)) {
                wrong.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "see docs/decisions/workers-share-by-message.md; atomics may stand in {ATOMIC_PLACES:?} only:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn files_open_with_what_they_are_for_and_long_ones_say_why() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files() {
        if !text.trim_start().starts_with("//!") {
            wrong.push(format!("{path}: does not open with `//!`"));
        }
        let lines = text.lines().count();
        let top = text.lines().take_while(|line| line.starts_with("//!"));
        if lines > LONG_FILE && !top.into_iter().any(|line| line.starts_with(LONG_FILE_REASON)) {
            wrong
                .push(format!("{path}: {lines} lines; split it, or write `{LONG_FILE_REASON} …` at its top"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_refers_to_one_machine() {
    let mut wrong = Vec::new();
    for path in tracked() {
        if path == "controlplane/cli/tests/house_rules.rs" || path == "Cargo.lock" {
            continue;
        }
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        for (number, line) in text.lines().enumerate() {
            for word in PRIVATE_WORDS.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn listed(table: &[(&'static str, &'static [&'static str])], name: &str) -> Option<&'static [&'static str]> {
    table.iter().find(|(listed, _)| *listed == name).map(|(_, list)| *list)
}

/// Numbered lines up to the tests at the file's end.
fn code_before_tests(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
    lines.map(|(i, line)| (i + 1, line.split("//").next().unwrap_or_default()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn rust_files() -> Vec<(String, String)> {
    let files: Vec<(String, String)> = tracked()
        .into_iter()
        .filter(|path| path.ends_with(".rs"))
        .filter_map(|path| fs::read_to_string(root().join(&path)).ok().map(|text| (path, text)))
        .collect();
    assert!(files.len() > 50, "only {} Rust files were found", files.len());
    files
}

/// Files of the repository: what git tracks, or outside git everything but build output.
fn tracked() -> Vec<String> {
    let git = Command::new("git").arg("-C").arg(root()).args(["ls-files", "-z"]).output();
    match git {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => {
            String::from_utf8_lossy(&output.stdout)
                .split('\0')
                .filter(|p| !p.is_empty())
                .map(str::to_owned)
                .collect()
        }
        _ => {
            let mut found = Vec::new();
            walk(&root(), &mut found);
            found
        }
    }
}

fn walk(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if name == "target" || name.to_string_lossy().starts_with('.') {
            continue;
        }
        match path.is_dir() {
            true => walk(&path, found),
            false => found.push(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()),
        }
    }
}

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
