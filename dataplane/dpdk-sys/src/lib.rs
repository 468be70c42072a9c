//! Raw bindings to the parts of DPDK 22.11 that Causeway uses, made at build time from the installed headers.
//!
//! Enters: `native/wrapper.h`, the allow-list in `build.rs`. Leaves: `extern "C"` functions, structures and constants,
//! and the `causeway_*` shim for DPDK's static inlines. Nothing here is safe to call; `causeway-dpdk` makes it so.

#![allow(unsafe_code)]
#![allow(missing_docs, non_camel_case_types, non_snake_case, non_upper_case_globals)]
#![allow(clippy::all, clippy::undocumented_unsafe_blocks, unnecessary_transmutes, unsafe_op_in_unsafe_fn)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
