//! `causeway-perf`: generates traffic, measures the data plane, and compares it with its peers.

fn main() {}
