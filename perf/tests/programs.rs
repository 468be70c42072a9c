//! The program as people start it: packets are counted and looked at, times are not, so a busy machine changes nothing.

#![allow(clippy::unwrap_used)] // Clippy knows test functions, but not their helpers.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn causeway_perf(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_causeway-perf")).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("causeway-perf-test-{}-{name}", std::process::id()))
}

/// As the next test, in every mixture with IPv6: the program itself compares every packet with an independent library's.
#[test]
fn ipv6_goes_through_both_ways_inside_and_outside() {
    for (inner, outer, natt) in [(6, 4, false), (6, 6, false), (4, 6, false), (6, 6, true), (4, 6, true)] {
        let json = temporary(&format!("runs{inner}{outer}{natt}.jsonl"));
        let (inner_text, outer_text) = (format!("--inner={inner}"), format!("--outer={outer}"));
        let mut arguments = vec![
            "pktgen",
            "--no-huge",
            "--suites=aes-128-gcm,aes-256-cbc-sha256",
            "--sizes=64,1300,imix",
            "--sas=3",
            &inner_text,
            &outer_text,
            "--directions=both",
            "--packets=1000",
            "--cost-only",
            "--json",
            json.to_str().unwrap(),
        ];
        arguments.extend(natt.then_some("--natt"));
        let output = causeway_perf(&arguments);
        assert!(output.status.success(), "{inner} in {outer}, UDP {natt}: {}", said(&output));
        let runs = std::fs::read_to_string(&json).unwrap();
        std::fs::remove_file(json).unwrap();
        let runs: Vec<Value> = runs.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(runs.len(), 6);
        for run in &runs {
            let families = (run["inner_family"].as_u64(), run["outer_family"].as_u64());
            assert_eq!(families, (Some(inner), Some(outer)));
            assert_eq!(run["drops"].as_array().map(Vec::len), Some(0), "{run}");
        }
    }
}

/// Every suite in every direction: the program itself compares what leaves the path with an independent library's packets, and
/// fails when anything but a replay is dropped.
#[test]
fn every_suite_goes_through_both_ways_and_only_replays_are_dropped() {
    let (json, plot) = (temporary("runs.jsonl"), temporary("plot.svg"));
    let output = causeway_perf(&[
        "pktgen",
        // Tests run side by side, and hugepages that one gives back another may have counted on.
        "--no-huge",
        "--suites=aes-128-gcm,aes-256-gcm,aes-256-cbc-sha256,aes-256-cbc-sha384",
        "--sizes=imix",
        "--sas=3",
        "--directions=out,in,both",
        "--natt",
        "--replays=0.02",
        "--reorder=0.02",
        "--packets=1000",
        "--json",
        json.to_str().unwrap(),
        "--plot",
        plot.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let runs = std::fs::read_to_string(&json).unwrap();
    let picture = std::fs::read_to_string(&plot).unwrap();
    std::fs::remove_file(json).unwrap();
    std::fs::remove_file(plot).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("latency"));
    let runs: Vec<Value> = runs.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(runs.len(), 12);
    for run in &runs {
        let stages = run["stages"].as_array().unwrap();
        let packets =
            |name| stages.iter().find(|stage| stage["name"] == name).map(|stage| stage["packets"].as_u64());
        let direction = run["direction"].as_str().unwrap();
        assert_eq!(packets("esp_out_seal").is_some(), direction != "in", "{run}");
        assert_eq!(packets("esp_in_open").is_some(), direction != "out", "{run}");
        assert_eq!(run["drops"].as_array().unwrap().is_empty(), direction == "out", "{run}");
    }
}

/// The manager, its rings and a worker in earnest: every client is rekeyed under traffic again and again, and no packet is lost.
#[test]
fn clients_that_are_rekeyed_under_traffic_lose_no_packet() {
    let json = temporary("churn.json");
    let output = causeway_perf(&[
        "churn",
        "--no-huge",
        "--suite=aes-256-cbc-sha384",
        "--sas=200",
        "--rate=0.02",
        "--window=200",
        "--rounds=3",
        "--json",
        json.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let found: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    std::fs::remove_file(json).unwrap();
    let count = |place: &str| found.pointer(place).and_then(Value::as_u64).unwrap();
    assert!(count("/installed") > 1000 && count("/installed") == count("/removed"), "{found}");
    // The new SA is installed, then selected; the old one, which is selected no more, is removed.
    assert!(count("/churn/instructions_followed") >= 3 * count("/installed"), "{found}");
    assert_eq!(count("/quiet/instructions_followed"), 0, "{found}");
    assert!(count("/sent") > 1000 && count("/opened") > 10 && count("/lost") == 0, "{found}");
    assert_eq!(found["drops"].as_array().unwrap().len(), 0, "{found}");
}

/// Threads on cores of their own: hand-offs happen, order stays, and the busy SA's packets are the only ones that may be refused.
#[test]
fn two_workers_keep_the_order_and_a_busy_sa_takes_nothing_from_others() {
    let json = temporary("scale.json");
    let output = causeway_perf(&[
        "scale",
        "--no-huge",
        "--sas=16",
        "--rounds=1",
        "--turn=20",
        "--json",
        json.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let found: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    std::fs::remove_file(json).unwrap();
    let count = |place: &str| found.pointer(place).and_then(Value::as_u64).unwrap();
    assert!(count("/order_handed") > 100 && count("/out_of_order") == 0, "{found}");
    assert!(count("/hot/others_received") > 1000 && count("/hot/hot_sent") > 0, "{found}");
    assert_eq!(count("/hot/others_sent"), count("/hot/others_received"), "{found}");
}

#[test]
fn the_device_under_test_forwards_a_capture_both_ways() {
    for direction in ["out", "in"] {
        let prefix = format!("causeway-perf-test-{}-{direction}", std::process::id());
        let output = causeway_perf(&[
            "dut",
            "--suite=aes-256-cbc-sha384",
            "--size=512",
            "--direction",
            direction,
            "--seconds=2",
            "--file-prefix",
            &prefix,
        ]);
        assert!(output.status.success(), "{direction}: {}", said(&output));
        let packets =
            |line: &str| line.split_once(" packets").and_then(|(count, _)| count.parse::<u64>().ok());
        let text = said(&output);
        assert!(text.lines().filter_map(packets).any(|packets| packets > 1000), "{direction}: {text}");
        std::fs::remove_file(std::env::temp_dir().join(format!("{prefix}.pcap"))).unwrap();
    }
}

/// Fewer than a ring holds, so that no schedule makes either program lose one.
const DRIVEN_PACKETS: u64 = 900;

/// `dut` between two ports, ended with this.
struct Device {
    child: Child,
    prefix: String,
}

impl Device {
    /// `launcher` is what the program is started by, such as `ip netns exec …`.
    fn start(launcher: &[&str], prefix: String, ports: &[String; 2], arguments: &[&str]) -> Device {
        let program = env!("CARGO_BIN_EXE_causeway-perf");
        let mut words = launcher.iter().copied().chain([program, "dut", "--seconds=120"]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(arguments).args(["--file-prefix", &prefix]);
        command.args(["--port", &ports[0], "--port", &ports[1]]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        Device { child, prefix }
    }

    /// Until it forwards: it prints a line a second from then on.
    fn is_ready(&mut self) -> bool {
        let mut line = String::new();
        let output = self.child.stdout.as_mut().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        line.contains(" packets, ")
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(Path::new("/var/run/dpdk").join(&self.prefix));
    }
}

/// Drives the device and answers the run.
fn drive(launcher: &[&str], ports: &[String; 2], arguments: &[&str]) -> Value {
    let json = temporary("driven.jsonl");
    let program = env!("CARGO_BIN_EXE_causeway-perf");
    let packets = DRIVEN_PACKETS.to_string();
    let mut words = launcher.iter().copied().chain([
        program,
        "pktgen",
        "--no-huge",
        "--rate=0.003",
        "--packets",
        &packets,
    ]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args(arguments).args(["--port", &ports[0], "--port", &ports[1]]);
    let output = command.arg("--json").arg(&json).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let text = std::fs::read_to_string(&json).unwrap();
    std::fs::remove_file(json).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn counts(run: &Value) -> [u64; 5] {
    ["sent", "received", "lost", "duplicates", "reordered"].map(|name| run[name].as_u64().unwrap())
}

/// A device with two clients fewer than the generator loses their packets and no others.
#[test]
fn a_device_is_driven_over_memif_and_what_it_loses_is_counted() {
    for (direction, clients, lost) in [("out", "6", 0), ("in", "6", 0), ("out", "4", 300), ("in", "4", 300)] {
        let sockets = ["a", "b"].map(|end| temporary(&format!("{direction}{clients}{end}.sock")));
        let port = |role: &'static str| {
            let sockets = sockets.clone();
            [0, 1].map(|end: usize| {
                let socket = sockets[end].display();
                let mac =
                    if role == "server" { format!(",mac=02:00:00:00:01:0{end}") } else { String::new() };
                format!("net_memif{end},role={role},socket={socket},socket-abstract=no{mac}")
            })
        };
        let prefix = format!("causeway-perf-test-{}-memif-{direction}{clients}", std::process::id());
        let common = ["--suite=aes-256-gcm", "--direction", direction, "--sas", clients];
        let mut device = Device::start(&[], prefix, &port("server"), &common);
        assert!(device.is_ready());
        // The generator ends first: a memif client whose peer has left does not end well in DPDK 22.11.
        let run = drive(&[], &port("client"), &["--directions", direction, "--sas=6", "--sizes=imix"]);
        assert_eq!(counts(&run), [DRIVEN_PACKETS, DRIVEN_PACKETS - lost, lost, 0, 0], "{run}");
        assert!(run["latency_ns"]["p50"].as_u64().unwrap() > 0, "{run}");
        drop(device);
        for socket in sockets {
            let _ = std::fs::remove_file(socket);
        }
    }
}

/// A network namespace, removed with this.
struct Namespace(String);

impl Namespace {
    fn new() -> Namespace {
        let namespace = Namespace(format!("causeway-perf-{}", std::process::id()));
        ip(&["netns", "add", &namespace.0]);
        namespace
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", said(&output));
}

/// The driver's fan-out group is named by process and interface, and two may be named alike: then it is tried again.
#[test]
fn a_device_is_driven_over_packet_sockets() {
    let namespace = Namespace::new();
    let name = namespace.0.as_str();
    for (end, peer, mac) in [("g0", "d0", "02:00:00:00:01:00"), ("g1", "d1", "02:00:00:00:01:01")] {
        ip(&["-n", name, "link", "add", end, "type", "veth", "peer", "name", peer]);
        ip(&["-n", name, "link", "set", peer, "address", mac, "up"]);
        ip(&["-n", name, "link", "set", end, "up"]);
    }
    let launcher = ["ip", "netns", "exec", name];
    let ports = |ends: &str| [0, 1].map(|end| format!("net_af_packet{end},iface={ends}{end}"));
    let deadline = Instant::now() + Duration::from_secs(60);
    let _device = loop {
        let prefix = format!("causeway-perf-test-{}-packet", std::process::id());
        let mut device = Device::start(&launcher, prefix, &ports("d"), &["--suite=aes-128-gcm", "--sas=3"]);
        if device.is_ready() {
            break device;
        }
        assert!(Instant::now() < deadline, "the device does not start");
    };
    let run = drive(&launcher, &ports("g"), &["--suites=aes-128-gcm", "--sas=3", "--directions=out"]);
    assert_eq!(counts(&run), [DRIVEN_PACKETS, DRIVEN_PACKETS, 0, 0, 0], "{run}");
}

#[test]
fn mistakes_are_told_with_what_is_possible() {
    for (arguments, hint) in [
        (&["pktgen", "--sas=0"][..], "1 to 200000"),
        (&["pktgen", "--bursts=33"], "1 to 32"),
        (&["pktgen", "--sizes=9000"], "42 to 1420 or imix"),
        (&["pktgen", "--suites=rot13"], "aes-256-gcm"),
        (&["pktgen", "--replays=2"], "from 0 to 1"),
        (&["pktgen", "--port=net_null0", "--sizes=61"], "at least 62"),
        (&["pktgen", "--port=net_null0", "--to=here"], "02:00:00:00:01:00"),
        (&["dut", "--port=net_null0"], "given twice"),
        (&["compare", "--secgw=/nonexistent"], "./perf/compare"),
    ] {
        let output = causeway_perf(arguments);
        assert!(!output.status.success());
        assert!(said(&output).contains(hint), "{arguments:?}: {}", said(&output));
    }
}
