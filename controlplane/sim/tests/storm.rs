//! Small reconnect storms: everybody gets its own session and address back, and nothing is left over afterwards.
//! `cargo run --release -p causeway-sim -- --storm 50000` is the large one (docs/reconnect-storm.md).

use causeway_sim::storm;

/// Clients of each storm: seconds of cryptography in a debug build.
const CLIENTS: u32 = 300;

#[test]
fn everybody_comes_back_to_its_own_address() {
    for seed in [1, 2] {
        let report = match storm::run(CLIENTS, seed, &mut |_| {}) {
            Ok(report) => report,
            Err(what) => panic!("seed {seed}: {what}"),
        };
        // A storm in which nothing is lost and nobody is interrupted would prove little.
        assert_eq!(report.clients, u64::from(CLIENTS), "{report}");
        assert!(report.retransmissions > 0 && report.suspensions > 0 && report.cookies > 0, "{report}");
        assert!(report.attempts > report.clients && report.resumed >= report.clients, "{report}");
    }
}
