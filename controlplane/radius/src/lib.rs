//! RADIUS as a network access server speaks it: packets, authenticators, requests with retransmission and fail-over,
//! accounting, and the server's own requests to end or change a session. Sans-IO.
//!
//! Enters: attributes to send, datagrams, the time, randomness. Leaves: datagrams, verified replies, decisions.
//! RFC 2865 (access), 2866 and 2869 (accounting), 2548 (Microsoft's keys), 3579 (EAP), 5080 (retransmission),
//! 5176 (dynamic authorization), 3162, 4818 and 6911 (IPv6).
//!
//! Every Access-Request carries Message-Authenticator as its first attribute, and no answer to one is believed without a
//! Message-Authenticator of its own: RADIUS answers are otherwise protected by MD5 of a known prefix, which can be forged
//! (CVE-2024-3596). Only [`reply::verify`] makes a [`reply::Reply`], only [`dynamic::verify`] a [`dynamic::Request`].

pub mod accounting;
pub mod attribute;
mod authenticator;
pub mod avpair;
pub mod client;
pub mod dynamic;
pub mod eap;
pub mod grant;
mod hiding;
pub mod ipv6;
pub mod packet;
pub mod reply;
pub mod request;
mod secret;
pub mod servers;

pub use secret::SharedSecret;
