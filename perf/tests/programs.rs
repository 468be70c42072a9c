//! The program as people start it: packets are counted and looked at, times are not, so a busy machine changes nothing.

#![allow(clippy::unwrap_used)] // Clippy knows test functions, but not their helpers.

use std::path::PathBuf;
use std::process::{Command, Output};

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

/// Every suite in every direction: the program itself compares what leaves the path with an independent library's packets, and
/// fails when anything but a replay is dropped.
#[test]
fn every_suite_goes_through_both_ways_and_only_replays_are_dropped() {
    let (json, plot) = (temporary("runs.jsonl"), temporary("plot.svg"));
    let output = causeway_perf(&[
        "pktgen",
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

#[test]
fn mistakes_are_told_with_what_is_possible() {
    for (arguments, hint) in [
        (&["pktgen", "--sas=0"][..], "1 to 200000"),
        (&["pktgen", "--bursts=33"], "1 to 32"),
        (&["pktgen", "--sizes=9000"], "42 to 1420 or imix"),
        (&["pktgen", "--suites=rot13"], "aes-256-gcm"),
        (&["pktgen", "--replays=2"], "from 0 to 1"),
        (&["compare", "--secgw=/nonexistent"], "./perf/compare"),
    ] {
        let output = causeway_perf(arguments);
        assert!(!output.status.success());
        assert!(said(&output).contains(hint), "{arguments:?}: {}", said(&output));
    }
}
