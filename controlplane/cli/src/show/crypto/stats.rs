//! `show crypto ikev2 stats reconnect`.

use causeway_shared::api::ReconnectStats;

use super::super::units::printable;

/// The five figures, and with `detail` what else is counted.
pub(super) fn reconnect(stats: &ReconnectStats, detail: bool) -> Vec<String> {
    let mut lines = vec![
        format!("Total incoming reconnect connection: {}", stats.total_incoming),
        format!("Success reconnect connection: {}", stats.success),
        format!("Failed reconnect connection: {}", stats.failed),
        format!("Reconnect capable active session count: {}", stats.active_capable),
        format!("Reconnect capable inactive session count: {}", stats.inactive_capable),
    ];
    if detail {
        if !stats.enabled {
            lines.push("Reconnect is off: reconnect.enabled is not set.".to_owned());
        }
        for counter in &stats.more {
            lines.push(format!("{}: {}", printable(counter.meaning.trim_end_matches('.')), counter.value));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use causeway_shared::api::Counter;

    use super::*;

    #[test]
    fn details_stand_below_the_five_figures() {
        let counter = Counter {
            name: "reconnect_expired".into(),
            value: 3,
            meaning: "Sessions that ended.".into(),
            remedy: String::new(),
        };
        let stats = ReconnectStats { enabled: true, more: vec![counter], ..ReconnectStats::default() };
        assert_eq!(reconnect(&stats, false).len(), 5);
        assert_eq!(reconnect(&stats, true)[5..], ["Sessions that ended: 3"]);
    }
}
