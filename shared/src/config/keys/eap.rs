//! The keys of EAP methods based on TLS. Part of the declarations in `keys.rs`.

use crate::api::Effect;
use crate::config::model::{CertificateUser, InnerMethod, PeapBinding, TlsVersion, TtlsInner};
use crate::config::schema::section;

/// Most entries of a list of methods or versions.
const MAX_CHOICES: usize = 4;

section! {
    /// EAP methods based on TLS: `eap-tls`, `eap-ttls` and `eap-peap`. Their TLS uses the gateway's certificate of [auth].
    RawEap = "eap".table().effect(Effect::NewSessions) {
        /// TLS versions that are spoken.
        tls_versions: Vec<TlsVersion> = default(r#"["1.2", "1.3"]"#).most(MAX_CHOICES);
        /// What may prove a user inside of `eap-ttls`: the password in clear (inside of TLS), MS-CHAP-V2, or an EAP method
        /// of `inner_methods`. The client chooses.
        ttls_inner: Vec<TtlsInner> = default(r#"["pap", "mschapv2", "eap"]"#).most(MAX_CHOICES);
        /// EAP methods inside of `eap-ttls` and `eap-peap`, in the order in which they are offered.
        inner_methods: Vec<InnerMethod> = default(r#"["eap-mschapv2", "eap-gtc"]"#).most(MAX_CHOICES);
        /// Whether `eap-peap` binds the inner method to its tunnel. `off` suits strongSwan, which takes a bare result only;
        /// Windows and wpa_supplicant answer `optional` and can do `required`.
        peap_crypto_binding: PeapBinding = default(r#""off""#);
        /// What of a certificate names the user of `eap-tls`: an alternative name (mail address, user principal name, DNS name),
        /// the subject's common name, or either.
        certificate_user: CertificateUser = default(r#""alternative-name""#);
        /// Whether a certificate must name a [[user]]; otherwise every good certificate of `auth.client_ca_file` logs in.
        certificate_user_listed: bool = default("false");
    }
}
