//! Bindings to the parts of DPDK 22.11 that Causeway uses.
