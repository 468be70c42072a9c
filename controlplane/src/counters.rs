//! Counters of the driver, declared once. Those of IKE are in `causeway_ike::counters`, those of the packet path in
//! `causeway_shared::counters`; `GET /v1/counters` shows all three.

use causeway_ike::api::DownReason;
use causeway_shared::api::Counter;

use crate::link::LinkCounts;

/// What the driver counts itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct DriverCounts {
    /// Panics caught around the endpoint.
    pub panics_caught: u64,
    /// Public-key jobs that panicked.
    pub job_panics: u64,
    /// Public-key jobs refused because too many were waiting.
    pub jobs_refused: u64,
    /// Child SAs that the data plane refused or did not answer for.
    pub installs_failed: u64,
    /// Commands other than installs that the data plane refused.
    pub commands_refused: u64,
    /// SAs lost with a data plane.
    pub sas_lost: u64,
    /// States of sessions given to the store, so that they go on after a restart.
    pub states_saved: u64,
    /// Of those: not taken.
    pub states_unsaved: u64,
    /// Leases that could not be given back.
    pub lease_errors: u64,
    /// Logins refused unseen, because too many of their name or address had failed.
    pub logins_locked: u64,
    /// Names and addresses that were locked.
    pub locks: u64,
    /// Logins refused because the user had as many sessions as it may have.
    pub session_limit_refusals: u64,
    /// Sessions ended because their user came with one more.
    pub session_limit_replacements: u64,
    /// Times that certificates and keys were read anew.
    pub certificates_read: u64,
    /// Sessions that ended, by why.
    pub ended: Ended,
}

/// Sessions that ended, by [`DownReason::ALL`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Ended([u64; DownReason::ALL.len()]);

impl Ended {
    /// One more.
    pub(crate) fn count(&mut self, reason: DownReason) {
        for (count, one) in self.0.iter_mut().zip(DownReason::ALL) {
            if one == reason {
                bump(count);
            }
        }
    }

    fn render(&self) -> impl Iterator<Item = Counter> {
        self.0.into_iter().zip(DownReason::ALL).map(|(value, reason)| Counter {
            name: format!("sessions_ended_{}", reason.name().replace('-', "_")),
            value,
            meaning: reason.meaning().to_owned(),
            remedy: String::new(),
        })
    }
}

/// Every counter of driver and link, as the API shows it.
pub fn render(driver: &DriverCounts, link: &LinkCounts) -> Vec<Counter> {
    let table: [(&str, u64, &str, &str); 21] = [
        (
            "aaa_logins_locked",
            driver.logins_locked,
            "Logins refused unseen, because too many of their name or source address had failed.",
            "If they are rightful users, wait for `aaa.lockout.lock_secs`; else somebody is guessing.",
        ),
        (
            "aaa_locks",
            driver.locks,
            "User names and source addresses that were locked.",
            "The log names the addresses at debug level.",
        ),
        (
            "aaa_session_limit_refusals",
            driver.session_limit_refusals,
            "Logins refused because their user had `aaa.max_sessions_per_user` sessions.",
            "",
        ),
        (
            "aaa_session_limit_replacements",
            driver.session_limit_replacements,
            "Sessions ended because their user came with one more than `aaa.max_sessions_per_user`.",
            "",
        ),
        (
            "driver_panics_caught",
            driver.panics_caught,
            "Panics caught around the IKE endpoint; each ended one session.",
            "Please report it with the log.",
        ),
        (
            "driver_job_panics",
            driver.job_panics,
            "Public-key jobs that panicked; each ended one handshake.",
            "Please report it with the log.",
        ),
        (
            "driver_jobs_refused",
            driver.jobs_refused,
            "Public-key jobs refused because too many were waiting.",
            "More handshakes than this machine can compute: give it cores, or lower ike.cookie_threshold.",
        ),
        (
            "driver_installs_failed",
            driver.installs_failed,
            "Child SAs that the data plane refused or did not answer for.",
            "Check `causeway show health`; if tables are full, raise dataplane.sa_capacity.",
        ),
        (
            "driver_commands_refused",
            driver.commands_refused,
            "Changes of Child SAs that the data plane refused.",
            "Please report it with both logs.",
        ),
        (
            "driver_sas_lost",
            driver.sas_lost,
            "Child SAs that could not be installed again after a data-plane restart.",
            "Their clients set up new ones; look why the data plane restarted.",
        ),
        (
            "driver_states_saved",
            driver.states_saved,
            "States of sessions given to the store before their IKE messages left.",
            "",
        ),
        (
            "driver_states_unsaved",
            driver.states_unsaved,
            "States of sessions that the store did not take; a restart may end those sessions.",
            "Check the disk of store.path.",
        ),
        (
            "driver_lease_errors",
            driver.lease_errors,
            "Leases given back that nobody held.",
            "Please report it with the log.",
        ),
        (
            "driver_certificates_read",
            driver.certificates_read,
            "Times that certificates and keys were read anew because their files had changed.",
            "",
        ),
        (
            "link_datagrams_unsent",
            link.unsent,
            "IKE datagrams that could not be sent: rings or socket buffers were full.",
            "The data plane is behind or away: check `causeway show health`.",
        ),
        ("link_not_ike", link.not_ike, "Datagrams on the UDP sockets that are no IKE (only with --udp).", ""),
        (
            "link_refused_slots",
            link.refused_slots,
            "Ring slots of the data plane that did not decode.",
            "Compare the versions of both daemons, then restart the data plane.",
        ),
        (
            "link_stray_acks",
            link.stray_acks,
            "Acknowledgements of commands that this control plane did not send.",
            "Normal right after a restart of the control plane.",
        ),
        (
            "link_invalid_spis",
            link.invalid_spis,
            "ESP packets of unknown SAs that the data plane reported.",
            "Normal for seconds after a restart; a lasting count is a peer that never noticed, or an attack.",
        ),
        ("link_data_planes_attached", link.attached, "Data planes attached since start.", ""),
        (
            "link_data_planes_lost",
            link.lost,
            "Data planes lost since start.",
            "Look at the data plane's log.",
        ),
    ];
    let counter = |(name, value, meaning, remedy): (&str, u64, &str, &str)| Counter {
        name: name.to_owned(),
        value,
        meaning: meaning.to_owned(),
        remedy: remedy.to_owned(),
    };
    table.into_iter().map(counter).chain(driver.ended.render()).collect()
}

/// Adds one, without going round.
pub(crate) fn bump(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}
