//! Placeholder entry, replaced within this change.
fn main() {}
