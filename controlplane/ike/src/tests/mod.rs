//! The responder against the test initiator: logins, refusals, rekeys, collisions, ends; nothing left afterwards.

mod anyconnect;
mod collision;
mod faults;
mod harness;
mod lifecycle;
mod login;
mod refusal;
mod rekey;
mod resume;
mod robustness;
mod snapshot;
mod states;
