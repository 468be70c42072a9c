//! The validated configuration of EAP methods based on TLS.

/// `[eap]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Eap {
    /// TLS versions that are spoken; at least one.
    pub tls_versions: Vec<TlsVersion>,
    /// What may prove a user inside of TTLS.
    pub ttls_inner: Vec<TtlsInner>,
    /// EAP methods inside of TTLS and PEAP, in the order in which they are offered.
    pub inner_methods: Vec<InnerMethod>,
    /// Whether PEAP binds the inner method to its tunnel.
    pub peap_crypto_binding: PeapBinding,
    /// What of a certificate names the user.
    pub certificate_user: CertificateUser,
    /// Whether that name must be one of a `[[user]]`.
    pub certificate_user_listed: bool,
}

/// A TLS version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TlsVersion {
    /// RFC 5246.
    V12,
    /// RFC 8446.
    V13,
}

/// What may prove a user inside of TTLS (RFC 5281 §11.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TtlsInner {
    /// The password in clear.
    Pap,
    /// MS-CHAP-V2.
    Mschapv2,
    /// A method of [`Eap::inner_methods`].
    Eap,
}

/// An EAP method inside of another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InnerMethod {
    /// EAP-MSCHAPv2.
    Mschapv2,
    /// EAP-GTC: the password in clear.
    Gtc,
    /// EAP-MD5.
    Md5,
}

/// Whether PEAP binds the inner method to its tunnel ([MS-PEAP] 3.1.5.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeapBinding {
    /// It is not spoken of.
    Off,
    /// It is offered.
    Optional,
    /// Without it nobody logs in.
    Required,
}

/// What of a certificate names the user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CertificateUser {
    /// An alternative name: mail address, user principal name or DNS name.
    AlternativeName,
    /// The subject's common name.
    CommonName,
    /// An alternative name, else the common name.
    Either,
}
