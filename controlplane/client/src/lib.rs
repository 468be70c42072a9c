//! A client of our own: logs in, suspends, resumes, as Cisco's client does in the founding document, and carries traffic.
//!
//! Enters: a configuration file, the user's answers, the gateway's datagrams, packets of a TUN device. Leaves: datagrams,
//! packets, an event log, a state file that resumes the session. [`initiator`] and [`esp`] know no clock, socket, file or
//! thread; [`agent`] is the process around them; `docs/client.md` is the manual.

pub mod agent;
pub mod attributes;
pub mod config;
pub mod control;
pub mod esp;
pub mod event_log;
pub mod initiator;
pub mod method;
pub mod state_file;
