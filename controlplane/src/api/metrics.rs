//! `GET /metrics`: counters and figures of health in the text format of Prometheus (version 0.0.4).
//!
//! Enters: what `GET /v1/counters` and `GET /v1/health` answer. Leaves: lines. Every counter that is declared is a metric by its
//! own name, with its meaning; nothing is listed a second time here. Labels are reasons of drops and names of pools, both of
//! them bounded by declaration and configuration: no user, session or address is ever a label.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use causeway_shared::api::{Counter, Counters, Health};

use super::problem::ApiError;
use crate::driver::{DriverHandle, Request as Ask};

/// Media type of the text format.
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// What is before every name.
const PREFIX: &str = "causeway";

pub(super) async fn serve(State(driver): State<DriverHandle>) -> Result<impl IntoResponse, ApiError> {
    let counters = driver.ask(Ask::Counters).await?;
    let health = driver.ask(Ask::Health).await?;
    Ok(([(header::CONTENT_TYPE, TEXT)], render(&counters, &health)))
}

fn render(counters: &Counters, health: &Health) -> String {
    let mut text = String::new();
    for Counter { name, value, meaning, .. } in counters.flow.iter().chain(&counters.ike) {
        family(&mut text, &format!("{name}_total"), "counter", meaning);
        sample(&mut text, &format!("{name}_total"), None, *value);
    }
    family(&mut text, "drops_total", "counter", "Packets that the data plane dropped, by reason.");
    for Counter { name, value, .. } in &counters.drops {
        sample(&mut text, "drops_total", Some(("reason", name)), *value);
    }
    let gauges = [
        ("sessions", "Sessions that are up.", health.sessions),
        ("half_open", "IKE SAs that are being set up.", health.half_open),
        ("workers", "Workers of the data plane.", u64::from(health.workers)),
        ("dataplane_attached", "Whether a data plane is attached.", u64::from(health.dataplane_attached)),
        ("problems", "Things that are wrong, as `GET /v1/health` names them.", health.problems.len() as u64),
    ];
    for (name, meaning, value) in gauges {
        family(&mut text, name, "gauge", meaning);
        sample(&mut text, name, None, value);
    }
    family(&mut text, "pool_addresses_used", "gauge", "Addresses of a pool that are given.");
    for (pool, usage) in &health.pools {
        sample(&mut text, "pool_addresses_used", Some(("pool", pool)), usage.used);
    }
    family(&mut text, "pool_addresses", "gauge", "Addresses that a pool can give.");
    for (pool, usage) in &health.pools {
        sample(&mut text, "pool_addresses", Some(("pool", pool)), usage.size);
    }
    family(&mut text, "build_info", "gauge", "Always 1; the label is the product's version.");
    sample(&mut text, "build_info", Some(("version", &health.version)), 1);
    text
}

// Writing to a string cannot fail.

fn family(text: &mut String, name: &str, kind: &str, meaning: &str) {
    let meaning = meaning.replace('\\', "\\\\").replace('\n', "\\n");
    let _ = writeln!(text, "# HELP {PREFIX}_{name} {meaning}\n# TYPE {PREFIX}_{name} {kind}");
}

fn sample(text: &mut String, name: &str, label: Option<(&str, &str)>, value: u64) {
    let _ = match label {
        None => writeln!(text, "{PREFIX}_{name} {value}"),
        Some((key, content)) => {
            let content = content.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            writeln!(text, "{PREFIX}_{name}{{{key}=\"{content}\"}} {value}")
        }
    };
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use causeway_shared::api::PoolUse;
    use causeway_shared::counters::{Drop, Flow};

    use super::*;

    fn counter(name: &str, value: u64) -> Counter {
        Counter { name: name.into(), value, meaning: format!("Of {name}."), remedy: String::new() }
    }

    fn everything() -> (Counters, Health) {
        let named = |name: &str| counter(name, 7);
        let mut ike: Vec<_> =
            causeway_ike::counters::IkeCounter::ALL.iter().map(|one| named(one.name())).collect();
        ike.extend(crate::counters::render(&Default::default(), &Default::default()));
        let counters = Counters {
            flow: Flow::ALL.iter().map(|one| named(one.name())).collect(),
            drops: Drop::ALL.iter().map(|one| named(one.name())).collect(),
            ike,
        };
        let pools = BTreeMap::from([("a \"b\" \\".to_owned(), PoolUse { used: 3, size: 9 })]);
        let health = Health {
            status: "ok".into(),
            version: "1".into(),
            dataplane_attached: true,
            dataplane_epoch: 1,
            workers: 2,
            sessions: 5,
            half_open: 1,
            pools,
            problems: Vec::new(),
        };
        (counters, health)
    }

    #[test]
    fn every_declared_counter_is_there_once_under_a_name_that_prometheus_takes() {
        let (counters, health) = everything();
        let text = render(&counters, &health);
        let families: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let names: BTreeSet<_> = families.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(names.len(), families.len(), "a metric is declared twice");
        for Counter { name, value, .. } in counters.flow.iter().chain(&counters.ike) {
            assert!(text.lines().any(|line| line == format!("causeway_{name}_total {value}")), "{name}");
        }
        for Counter { name, .. } in &counters.drops {
            assert!(text.contains(&format!("causeway_drops_total{{reason=\"{name}\"}} 7\n")), "{name}");
        }
        let is_name =
            |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        assert!(names.iter().all(|name| is_name(name)), "{names:?}");
    }

    #[test]
    fn labels_are_escaped() {
        let (counters, health) = everything();
        assert!(
            render(&counters, &health)
                .contains("causeway_pool_addresses_used{pool=\"a \\\"b\\\" \\\\\"} 3\n")
        );
    }
}
