//! DPDK's log, made part of ours: every line becomes a `tracing` event, and what a failing call logged goes into its error.

use std::sync::{Mutex, MutexGuard, PoisonError};

use causeway_dpdk_sys as sys;

/// Most lines kept of one call.
const MAX_LINES: usize = 8;
/// Longest line kept, in octets.
const MAX_LINE: usize = 512;

/// Lines at warning level or worse since the last [`collect`] began.
static COMPLAINTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Sends DPDK's log to `tracing`. Where it cannot, DPDK goes on writing to stderr.
pub(crate) fn redirect() {
    // SAFETY: `sink` is a static function with the signature that shim.h declares; it reads only the text it is given.
    if unsafe { sys::causeway_log_redirect(Some(sink)) } != 0 {
        tracing::warn!("DPDK's log could not be taken over; it goes to stderr");
    }
}

/// Runs `call` and answers with it what DPDK complained about meanwhile.
pub(crate) fn collect<R>(call: impl FnOnce() -> R) -> (R, Vec<String>) {
    complaints().clear();
    let result = call();
    let said = std::mem::take(&mut *complaints());
    (result, said)
}

fn complaints() -> MutexGuard<'static, Vec<String>> {
    COMPLAINTS.lock().unwrap_or_else(PoisonError::into_inner)
}

unsafe extern "C" fn sink(level: u32, text: *const std::ffi::c_char, length: usize) {
    if text.is_null() {
        return;
    }
    // SAFETY: stdio gives a pointer to `length` readable octets that stay unchanged during the call.
    let octets = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) };
    for line in String::from_utf8_lossy(octets).lines().map(str::trim).filter(|line| !line.is_empty()) {
        record(level, line);
    }
}

fn record(level: u32, line: &str) {
    match level {
        ..=sys::RTE_LOG_ERR => tracing::error!(target: "dpdk", "{line}"),
        sys::RTE_LOG_WARNING => tracing::warn!(target: "dpdk", "{line}"),
        sys::RTE_LOG_NOTICE => tracing::info!(target: "dpdk", "{line}"),
        sys::RTE_LOG_INFO => tracing::debug!(target: "dpdk", "{line}"),
        _ => tracing::trace!(target: "dpdk", "{line}"),
    }
    if level <= sys::RTE_LOG_WARNING {
        let mut kept = complaints();
        if kept.len() < MAX_LINES {
            kept.push(line.chars().take(MAX_LINE).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_kept_chatter_is_not_and_both_are_bounded() {
        let ((), said) = collect(|| {
            record(sys::RTE_LOG_INFO, "chatter");
            for number in 0..MAX_LINES + 3 {
                record(sys::RTE_LOG_ERR, &format!("{number} {}", "x".repeat(2 * MAX_LINE)));
            }
        });
        assert_eq!(said.len(), MAX_LINES);
        assert!(said.iter().all(|line| line.len() <= MAX_LINE));
        assert!(collect(|| ()).1.is_empty());
    }
}
