//! `causeway-perf ike`: so many clients log in at a gateway over UDP: how many a second, how long each waits, and what of a
//! processor it costs the gateway.
//!
//! Enters: a gateway's address and what its clients have in common. Leaves: a table or JSON. Any IKEv2 gateway will do, ours or
//! another; `perf/ike-peers` starts several and runs this against each. The clients are the protocol crate's own initiator, one
//! thread for all of them.

mod client;
mod engine;
mod usage;

use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::Failure;
use client::Kind;
use engine::Outcome;
use usage::CpuTime;

/// What to measure.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The gateway.
    gateway: IpAddr,
    /// Its port for IKE.
    #[arg(long, default_value_t = 500)]
    port: u16,
    /// Its port behind NATs.
    #[arg(long, default_value_t = 4500)]
    natt_port: u16,
    /// Our address.
    #[arg(long)]
    local: IpAddr,
    /// How clients prove themselves; the gateway proves itself by the same key, or by a certificate that is not looked at.
    #[arg(long, value_enum, default_value_t = Login::Psk)]
    login: Login,
    /// The pre-shared key, or the password.
    #[arg(long)]
    secret: String,
    /// Who logs in: `{n}` becomes the client's number.
    #[arg(long, default_value = "client{n}.example.test")]
    user: String,
    /// Clients.
    #[arg(long, default_value_t = 1000)]
    clients: u32,
    /// Logins under way at once; as many as clients make it a storm.
    #[arg(long, default_value_t = 20)]
    at_once: u32,
    /// IKE proposal.
    #[arg(long, default_value = "aes256-sha256-ecp256")]
    ike: String,
    /// ESP proposal.
    #[arg(long, default_value = "aes256gcm16")]
    esp: String,
    /// Process of the gateway whose processor time is counted; may be given several times.
    #[arg(long)]
    pid: Vec<u32>,
    /// Seconds after which what is not up counts as failed.
    #[arg(long, default_value_t = 60)]
    within_secs: u64,
    /// One JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

/// How clients prove themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Login {
    Psk,
    EapMschapv2,
}

/// What came of it.
#[derive(Serialize, Debug)]
struct Report {
    login: Login,
    ike: String,
    clients: u32,
    at_once: u32,
    /// Logins that ended with a Child SA.
    up: u64,
    /// Logins that were refused, went wrong or took too long.
    failed: u64,
    /// From the first request to the last login's end.
    seconds: f64,
    logins_per_second: f64,
    /// From the first request of a login to its end, milliseconds.
    median_ms: f64,
    p99_ms: f64,
    longest_ms: f64,
    /// Requests that were sent again.
    repeated: u64,
    /// Processor time of the gateway's processes, milliseconds a login; none without `--pid`.
    gateway_cpu_ms: Option<f64>,
    /// Logins that one processor of the gateway's would do in a second.
    logins_per_gateway_cpu_second: Option<f64>,
    /// Our own, milliseconds a login.
    generator_cpu_ms: f64,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let kind = Kind {
        login: arguments.login,
        secret: arguments.secret.clone(),
        user: arguments.user.clone(),
        ike: arguments.ike.clone(),
        esp: arguments.esp.clone(),
    };
    let ends = engine::Ends {
        gateway: arguments.gateway,
        local: arguments.local,
        port: arguments.port,
        natt_port: arguments.natt_port,
    };
    let own = CpuTime::of(std::process::id())?;
    let gateway = CpuTime::of_all(&arguments.pid)?;
    let within = Duration::from_secs(arguments.within_secs);
    let outcome = engine::run(&ends, &kind, arguments.clients, arguments.at_once, within)?;
    let gateway =
        gateway.map(|before| CpuTime::of_all(&arguments.pid).map(|after| (before, after))).transpose()?;
    let spent = gateway.and_then(|(before, after)| Some(after?.since(before)));
    let report = report(arguments, &outcome, spent, CpuTime::of(std::process::id())?.since(own));
    if arguments.json {
        println!("{}", serde_json::to_string(&report).map_err(|error| Failure::System(error.into()))?);
    } else {
        print(&report);
    }
    Ok(())
}

fn report(arguments: &Arguments, outcome: &Outcome, gateway: Option<Duration>, own: Duration) -> Report {
    let Outcome { up, failed, took, waits, repeated } = outcome;
    let each = |spent: Duration| spent.as_secs_f64() * 1e3 / (*up).max(1) as f64;
    Report {
        login: arguments.login,
        ike: arguments.ike.clone(),
        clients: arguments.clients,
        at_once: arguments.at_once,
        up: *up,
        failed: *failed,
        seconds: took.as_secs_f64(),
        logins_per_second: *up as f64 / took.as_secs_f64().max(f64::EPSILON),
        median_ms: millis(waits, 0.5),
        p99_ms: millis(waits, 0.99),
        longest_ms: millis(waits, 1.0),
        repeated: *repeated,
        gateway_cpu_ms: gateway.map(each),
        logins_per_gateway_cpu_second: gateway
            .map(|spent| *up as f64 / spent.as_secs_f64().max(f64::EPSILON)),
        generator_cpu_ms: each(own),
    }
}

/// Of a histogram of microseconds.
fn millis(waits: &Histogram<u64>, quantile: f64) -> f64 {
    waits.value_at_quantile(quantile) as f64 / 1e3
}

fn print(report: &Report) {
    let optional =
        |value: Option<f64>| value.map_or("not asked for".to_owned(), |value| format!("{value:.2}"));
    println!(
        "{} of {} clients up, {} failed, {} at once",
        report.up, report.clients, report.failed, report.at_once
    );
    println!("{:.0} logins a second over {:.2} s", report.logins_per_second, report.seconds);
    println!(
        "a login takes {:.1} ms (median), {:.1} ms (99 %), {:.1} ms at most",
        report.median_ms, report.p99_ms, report.longest_ms
    );
    println!("{} requests were repeated", report.repeated);
    println!(
        "processor time a login, ms: gateway {}, generator {:.2}",
        optional(report.gateway_cpu_ms),
        report.generator_cpu_ms
    );
    println!(
        "logins a second of the gateway's processor time: {}",
        optional(report.logins_per_gateway_cpu_second)
    );
}
