//! `causeway-perf`: generates traffic, measures the data plane, and compares it with its peers.

mod cell;
mod churn;
mod compare;
mod dut;
mod failure;
mod hugepages;
mod ike;
mod install;
mod instructions;
mod machine;
mod oracle;
mod pcap;
mod pktgen;
mod plane;
mod programs;
mod regress;
mod report;
mod scale;
mod stat;
mod subject;
mod targets;
mod telemetry;
mod traffic;
mod world;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use failure::Failure;

/// Measures Causeway's data plane, alone and beside its peers.
#[derive(Parser, Debug)]
#[command(name = "causeway-perf", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Ours and DPDK's ipsec-secgw on the same traffic, the same core, in turns: one table.
    Compare(compare::Arguments),
    /// Generator and sink in the same thread as the data plane, over memory: cycles per packet without any device.
    Pktgen(pktgen::Arguments),
    /// SAs installed and removed by the control plane's ring while a worker forwards: its pauses, and what was lost.
    Churn(churn::Arguments),
    /// One worker and two on two cores, with half of the packets handed over: what the second adds, and order.
    Scale(scale::Arguments),
    /// Two builds by turns: fails when a stage became more than a tenth dearer.
    Regress(regress::Arguments),
    /// Instructions per packet, counted by Valgrind: the same in every run.
    Instructions(instructions::Arguments),
    /// Clients that log in at a gateway, ours or another's: how many a second, and what each costs.
    Ike(ike::Arguments),
    /// One worker between a repeated capture and a sink, as the comparison starts it.
    Dut(dut::Arguments),
    /// Octets of memory that an SA takes; `pktgen` asks a fresh process for it.
    #[command(hide = true)]
    Memory(pktgen::memory::Arguments),
}

fn main() -> ExitCode {
    let result = match CommandLine::parse().command {
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Pktgen(arguments) => pktgen::run(&arguments),
        Command::Churn(arguments) => churn::run(&arguments),
        Command::Scale(arguments) => scale::run(&arguments),
        Command::Memory(arguments) => pktgen::memory::run(&arguments),
        Command::Regress(arguments) => regress::run(&arguments),
        Command::Instructions(arguments) => instructions::run(&arguments),
        Command::Ike(arguments) => ike::run(&arguments),
        Command::Dut(arguments) => dut::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
