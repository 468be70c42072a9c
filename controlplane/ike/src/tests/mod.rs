//! The responder against the test initiator: logins, refusals, rekeys, collisions, ends; nothing left afterwards.

mod anyconnect;
mod collision;
mod eap_only;
mod extensions;
mod faults;
mod fragments;
mod fuzz_seeds;
mod harness;
mod intermediate;
mod ipv6;
mod lifecycle;
mod login;
mod mobility;
mod ppk;
mod refusal;
mod rekey;
mod replicas;
mod resources;
mod resume;
mod robustness;
mod snapshot;
mod states;
mod tickets;
