//! AnyConnect-EAP, "aggregate authentication": Cisco's EAP method 254/9/0x44425250, server and peer, sans-IO.
//!
//! Enters: EAP packets, verdicts on passwords and certificates. Leaves: EAP packets, questions to whoever knows users and
//! certificates, at the end a [`Login`]. The method has no RFC; `docs/anyconnect-eap.md` describes it. It derives no MSK:
//! both final AUTH payloads are made with SK_pi and SK_pr (RFC 7296 §2.16, "does not generate a shared key").
//!
//! Layers, outside in: [`framing`] (EAP packet, TLVs) · [`xml`] (bounded documents) · [`message`] (what is said) ·
//! [`server`] and [`peer`] (when it is said) · [`pkcs7`] (certificate chains).

mod api;
mod forms;
pub mod framing;
pub mod message;
pub mod peer;
pub mod pkcs7;
pub mod server;
mod state;
pub mod xml;

pub use api::{
    Accepted, CertificateQuestion, CertificateUse, CertificateVerdict, ClientInfo, ConversationSetup, Device,
    DiscardReason, FailureReason, Input, Login, MacAddress, Note, Password, PasswordQuestion,
    PasswordVerdict, ProfileManifest, ServerConfig, Step,
};
pub use peer::{
    AnyConnectPeer, ClientCertificate, FormAnswers, PeerConfig, PeerFailure, PeerInput, PeerStep,
};
pub use server::AnyConnectServer;

/// IDi data of every first login (not of a reconnect); the user's name travels in the form.
pub const CLIENT_IDENTITY: &[u8; 20] = b"*$AnyConnectClient$*";
/// Name of the method, as operators see it.
pub const METHOD: &str = "anyconnect-eap";

#[cfg(test)]
mod dialogues;
