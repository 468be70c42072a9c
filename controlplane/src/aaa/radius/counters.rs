//! Counters of RADIUS, declared once; `GET /v1/counters` shows them when there are servers.

use causeway_shared::api::Counter;

use super::{AskerStatus, BookkeeperStatus, ListenerCounts};

/// Name, meaning, remedy.
type Text = (&'static str, &'static str, &'static str);

/// Of questions, in the order of their figures in [`asked`].
const ASKED: [Text; 10] = [
    ("sent", "Datagrams sent to RADIUS servers, repetitions included.", ""),
    (
        "retransmitted",
        "Of those: sent again because no answer had come.",
        "A share of a few percent is a slow server or a lossy network; compare `aaa.radius.timeout_ms`.",
    ),
    (
        "failovers",
        "Requests that went to another server because one was silent.",
        "Look at the server that is silent.",
    ),
    ("answered", "Answers that were believed.", ""),
    ("unanswered", "Requests that no server answered.", "Look at the servers and the way to them."),
    (
        "unsigned",
        "Answers dropped because they have no Message-Authenticator (CVE-2024-3596).",
        "Update the server, or have it send Message-Authenticator; until then nobody can log in through it.",
    ),
    (
        "forged",
        "Answers dropped because a hash is wrong.",
        "Compare the secret with the server's; if they are the same, somebody forges answers.",
    ),
    ("malformed", "Datagrams dropped because they are no RADIUS packets.", ""),
    ("unmatched", "Datagrams dropped because nothing they could answer was asked: late, or not for us.", ""),
    ("unsent", "Datagrams that the system did not take.", "Look at the routes to the servers."),
];

/// Every counter of those who ask: `radius_…` for logins.
pub fn render(logins: &AskerStatus) -> Vec<Counter> {
    asked("radius_", logins).collect()
}

fn asked(prefix: &'static str, status: &AskerStatus) -> impl Iterator<Item = Counter> {
    let counts = status.counts;
    let values = [
        counts.sent,
        counts.retransmitted,
        counts.failovers,
        counts.answered,
        counts.unanswered,
        counts.unsigned,
        counts.forged,
        counts.malformed,
        counts.unmatched,
        status.unsent,
    ];
    ASKED.into_iter().zip(values).map(move |(text, value)| counter(prefix, text, value))
}

fn counter(prefix: &str, (name, meaning, remedy): Text, value: u64) -> Counter {
    Counter { name: format!("{prefix}{name}"), value, meaning: meaning.to_owned(), remedy: remedy.to_owned() }
}

/// Of accounting records, in the order of their figures in [`render_accounting`].
const RECORDS: [Text; 5] = [
    ("acknowledged", "Accounting records that a server has.", ""),
    (
        "waiting",
        "Accounting records that wait for a server, now.",
        "Look at the servers if it grows; `aaa.radius.queue` bounds it.",
    ),
    (
        "dropped",
        "Accounting records dropped because too many waited.",
        "Look at the servers; raise `aaa.radius.queue`.",
    ),
    ("stops_dropped", "Of those: stops. Their sessions stay open in the servers' books.", "As above."),
    (
        "unwritten",
        "Times that the file of accounting records took nothing.",
        "Make room on the disk of `aaa.radius.queue_file`.",
    ),
];

/// Every counter of accounting: `radius_accounting_…`.
pub fn render_accounting(status: &BookkeeperStatus) -> Vec<Counter> {
    let values =
        [status.acknowledged, status.waiting as u64, status.dropped, status.stops_dropped, status.unwritten];
    let records = RECORDS.into_iter().zip(values);
    let records = records.map(|(text, value)| counter("radius_accounting_", text, value));
    records.chain(asked("radius_accounting_", &status.servers)).collect()
}

/// Of servers' requests, in the order of their figures in [`render_orders`].
const ORDERS: [Text; 8] = [
    ("acknowledged", "Disconnect and CoA requests carried out.", ""),
    ("refused", "Disconnect and CoA requests answered with a reason not to.", "The log names the reason."),
    ("repeated", "Repetitions, answered as the first was.", ""),
    (
        "strangers",
        "Requests dropped because no server has that address.",
        "If it is a server of yours, add it as [[aaa.radius.server]]; `port` and `accounting_port` may be 0.",
    ),
    (
        "unsigned",
        "Requests dropped because they have no Message-Authenticator.",
        "Have the server send it, or see `aaa.radius.dynamic.require_message_authenticator`.",
    ),
    ("forged", "Requests dropped because a hash is wrong.", "Compare the secret with the server's."),
    (
        "stale",
        "Requests dropped because their Event-Timestamp is missing or not of now.",
        "Compare the clocks, or see `aaa.radius.dynamic.require_event_timestamp`.",
    ),
    ("malformed", "Datagrams dropped because they are no such requests.", ""),
];

/// Every counter of servers' requests: `radius_dynamic_…`.
pub fn render_orders(counts: ListenerCounts) -> Vec<Counter> {
    let values = [
        counts.acknowledged,
        counts.refused,
        counts.repeated,
        counts.strangers,
        counts.unsigned,
        counts.forged,
        counts.stale,
        counts.malformed,
    ];
    let all = ORDERS.into_iter().zip(values);
    all.map(|(text, value)| counter("radius_dynamic_", text, value)).collect()
}
