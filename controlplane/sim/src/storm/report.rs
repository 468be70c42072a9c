//! What a storm was like, as a table.

use std::fmt;

use super::cores::{Cpu, PROTOCOL_MICROS, PUBLIC_KEY_MICROS, WORKERS};

/// Figures of one storm in which every promise was kept.
#[derive(Clone, Debug)]
pub struct Report {
    /// Clients, all of them back.
    pub clients: u64,
    /// Virtual time after the restart at which the last was back.
    pub last_up_ms: u64,
    /// Virtual time at which half of them were.
    pub half_up_ms: u64,
    /// Attempts that clients began.
    pub attempts: u64,
    /// Clients that were suspended amid or just after an attempt.
    pub suspensions: u64,
    /// Attempts that ended without an answer, or with a refusal, so that the client began anew.
    pub failures: u64,
    /// Attempts that reached the reconnect table.
    pub incoming: u64,
    /// Those that succeeded.
    pub resumed: u64,
    /// Those that did not.
    pub refused: u64,
    /// Sessions that were taken over while active.
    pub taken_over: u64,
    /// Requests that clients sent again.
    pub retransmissions: u64,
    /// Requests that the gateway answered again from its cache.
    pub answered_again: u64,
    /// Cookies that were asked for.
    pub cookies: u64,
    /// Handshakes begun.
    pub handshakes_begun: u64,
    /// Handshakes done.
    pub handshakes_done: u64,
    /// IKE_SA_INIT requests dropped at the limit of half-open IKE SAs.
    pub half_open_drops: u64,
    /// Datagrams lost because the gateway's socket was full.
    pub socket_drops: u64,
    /// Public-key jobs refused because too many were under way.
    pub jobs_refused: u64,
    /// Most half-open IKE SAs at once.
    pub peak_half_open: u64,
    /// Processor time that was really spent until everybody was back.
    pub cpu: Cpu,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = |ms: u64| format!("{}.{:03} s", ms / 1000, ms % 1000);
        let gateway_secs = self.cpu.gateway.as_secs_f64();
        let rate = self.handshakes_done as f64 / gateway_secs.max(f64::MIN_POSITIVE);
        let cores = format!(
            "1 for the protocol ({PROTOCOL_MICROS} µs a datagram), {WORKERS} for public keys ({PUBLIC_KEY_MICROS} µs a job)"
        );
        let rows = [
            ("clients, each back with its own address", self.clients.to_string()),
            ("gateway's cores, modelled", cores),
            ("virtual time until half of them were back", secs(self.half_up_ms)),
            ("virtual time until the last was back", secs(self.last_up_ms)),
            ("attempts begun by clients", self.attempts.to_string()),
            ("… of clients that were suspended meanwhile", self.suspensions.to_string()),
            ("… after an attempt that came to nothing", self.failures.to_string()),
            ("attempts that named a session (incoming)", self.incoming.to_string()),
            ("… resumed", self.resumed.to_string()),
            ("… of these taken over while still active", self.taken_over.to_string()),
            ("… not resumed", self.refused.to_string()),
            ("handshakes begun / done", format!("{} / {}", self.handshakes_begun, self.handshakes_done)),
            ("requests that clients sent again", self.retransmissions.to_string()),
            ("requests answered again from the cache", self.answered_again.to_string()),
            ("cookies asked for", self.cookies.to_string()),
            ("half-open IKE SAs at most", self.peak_half_open.to_string()),
            ("IKE_SA_INIT dropped at that limit", self.half_open_drops.to_string()),
            ("datagrams lost in a full socket", self.socket_drops.to_string()),
            ("public-key jobs refused", self.jobs_refused.to_string()),
            ("processor time of the gateway, measured", format!("{gateway_secs:.2} s")),
            ("… of this in public-key jobs", format!("{:.2} s", self.cpu.public_key.as_secs_f64())),
            ("processor time of the clients, measured", format!("{:.2} s", self.cpu.clients.as_secs_f64())),
            ("handshakes per second of the gateway's processor time", format!("{rate:.0}")),
        ];
        writeln!(f, "| what | figure |\n| --- | --- |")?;
        rows.iter().try_for_each(|(what, figure)| writeln!(f, "| {what} | {figure} |"))
    }
}
