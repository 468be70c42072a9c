//! Tests of the whole path: frames in, what leaves is looked at. The peers' cryptography is another library's.

mod accounting;
pub(crate) mod device;
mod document;
mod drops;
mod fragments;
mod inbound;
mod inner6;
mod kernel;
mod lan;
mod lan6;
mod lookaside;
mod oracle;
mod outbound;
mod outer6;
mod python;
mod sa_figures;
mod spreading;
mod watch;
mod workers;
mod world;
mod world6;
