//! What the gateway says: hello, auth-request, complete.
//!
//! Enters: documents of a gateway, or our own words. Leaves: typed messages, or documents.

use super::super::xml::{Element, Writer, XmlError, parse};
use super::form::Form;
use super::{MessageError, Read, attribute, child_text, document, field, kind, unknown};

/// Octets of the hashes in `complete`.
pub const SHA1_OCTETS: usize = 20;

/// A message of the gateway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GatewayMessage {
    /// The first word.
    Hello,
    /// Something is wanted.
    AuthRequest(AuthRequest),
    /// The user is logged in.
    Complete(Box<Complete>),
}

/// Something the client must do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthRequest {
    /// An `opaque` element as it stands; the client gives it back octet by octet.
    pub opaque: Option<String>,
    /// Port of HTTPS client services.
    pub client_services_port: Option<u16>,
    /// What.
    pub ask: Ask,
}

/// What an auth-request wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Sign with a certificate.
    Certificate,
    /// Fill in this form.
    Form(Box<Form>),
    /// Nothing more: confirm with an empty auth-reply.
    AuthenticationComplete,
}

/// The content of the gateway's `opaque`.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct OpaqueFields {
    /// Group as the gateway knows it.
    pub tunnel_group: String,
    /// Group as the user knows it.
    pub group_alias: String,
    /// Names the conversation.
    pub handle: u32,
    /// How the client may authenticate.
    pub auth_methods: Vec<String>,
}

/// The user is logged in.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Complete {
    /// Decimal number; no relation to the session id of Auto Reconnect.
    pub session_id: String,
    /// Of use only on HTTPS.
    pub session_token: String,
    /// Shown to the user; empty for none.
    pub banner: String,
    /// Port of HTTPS client services.
    pub client_services_port: Option<u16>,
    /// Of the gateway's certificate.
    pub server_cert_hash: Option<[u8; SHA1_OCTETS]>,
    /// The profile that the client should have.
    pub profile: Option<ProfileManifest>,
}

/// A client profile that can be fetched from client services.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProfileManifest {
    /// Where.
    pub uri: String,
    /// SHA-1 of the file.
    pub sha1: [u8; SHA1_OCTETS],
}

impl GatewayMessage {
    /// Reads a document.
    pub fn read(octets: &[u8]) -> Result<Read<GatewayMessage>, MessageError> {
        let root = parse(octets)?;
        match kind(&root)? {
            "hello" => Ok(Read { message: GatewayMessage::Hello, unknown: unknown(&root, &["version"]) }),
            "auth-request" => AuthRequest::read(&root),
            "complete" => Complete::read(&root),
            _ => Err(MessageError::UnknownType),
        }
    }

    /// Writes the document.
    pub fn write(&self) -> Result<String, XmlError> {
        match self {
            GatewayMessage::Hello => document("hello", |_| {}),
            GatewayMessage::AuthRequest(request) => document("auth-request", |writer| request.write(writer)),
            GatewayMessage::Complete(complete) => document("complete", |writer| complete.write(writer)),
        }
    }
}

impl AuthRequest {
    const KNOWN: &[&str] = &["version", "opaque", "csport", "client-cert-request", "auth", "host-scan"];

    fn read(root: &Element<'_>) -> Result<Read<GatewayMessage>, MessageError> {
        let ask = match (root.child("client-cert-request"), root.child("auth")) {
            (Some(_), _) => Ask::Certificate,
            (None, Some(auth)) if auth.child("authentication-complete").is_some() => {
                Ask::AuthenticationComplete
            }
            (None, Some(auth)) => Ask::Form(Box::new(Form::read(auth)?)),
            (None, None) => return Err(MessageError::Missing("auth")),
        };
        let request = AuthRequest {
            opaque: root.child("opaque").map(|opaque| opaque.source().to_owned()),
            client_services_port: port(root)?,
            ask,
        };
        let unknown = unknown(root, AuthRequest::KNOWN);
        Ok(Read { message: GatewayMessage::AuthRequest(request), unknown })
    }

    fn write(&self, writer: &mut Writer) {
        writer.raw(self.opaque.as_deref().unwrap_or_default());
        write_port(writer, self.client_services_port);
        match &self.ask {
            Ask::Certificate => writer.empty_element("client-cert-request", &[]),
            Ask::Form(form) => form.write(writer),
            Ask::AuthenticationComplete => writer.element("auth", &[("id", "main")], |writer| {
                writer.empty_element("authentication-complete", &[]);
            }),
        }
    }
}

impl OpaqueFields {
    /// The `opaque` element.
    pub fn write(&self) -> Result<String, XmlError> {
        let mut writer = Writer::fragment();
        writer.element("opaque", &[("is-for", "sg")], |writer| {
            writer.text_element("tunnel-group", &[], &self.tunnel_group);
            writer.text_element("group-alias", &[], &self.group_alias);
            writer.text_element("aggauth-handle", &[], &self.handle.to_string());
            for method in &self.auth_methods {
                writer.text_element("auth-method", &[], method);
            }
        });
        writer.finish()
    }
}

impl Complete {
    const KNOWN: &[&str] = &["version", "session-id", "session-token", "auth", "capabilities", "config"];

    fn read(root: &Element<'_>) -> Result<Read<GatewayMessage>, MessageError> {
        let auth = root.child("auth").ok_or(MessageError::Missing("auth"))?;
        if auth.attribute("id") != Some("success") {
            return Err(MessageError::Malformed("auth"));
        }
        let config = root.child("config");
        let base = config.and_then(|config| config.child("vpn-base-config"));
        let hash = base.and_then(|base| base.child("server-cert-hash"));
        let manifest = config.and_then(|config| config.child("vpn-profile-manifest"));
        let file = manifest.and_then(|manifest| manifest.child("vpn")).and_then(|vpn| vpn.child("file"));
        let complete = Complete {
            session_id: child_text(root, "session-id")?.unwrap_or_default(),
            session_token: child_text(root, "session-token")?.unwrap_or_default(),
            banner: child_text(auth, "banner")?.unwrap_or_default(),
            client_services_port: config.map(port).transpose()?.flatten(),
            server_cert_hash: hash.map(|hash| sha1(hash, "server-cert-hash")).transpose()?,
            profile: file.map(ProfileManifest::read).transpose()?,
        };
        let unknown = unknown(root, Complete::KNOWN);
        Ok(Read { message: GatewayMessage::Complete(Box::new(complete)), unknown })
    }

    fn write(&self, writer: &mut Writer) {
        writer.text_element("session-id", &[], &self.session_id);
        writer.text_element("session-token", &[], &self.session_token);
        writer.element("auth", &[("id", "success")], |writer| {
            if !self.banner.is_empty() {
                writer.text_element("banner", &[], &self.banner);
            }
            writer.empty_element("message", &[("id", "0"), ("param1", ""), ("param2", "")]);
        });
        writer.element("capabilities", &[], |writer| {
            writer.text_element("crypto-supported", &[], "ssl-dhe");
        });
        writer.element("config", &[("client", "vpn"), ("type", "private")], |writer| {
            writer.element("vpn-base-config", &[], |writer| {
                if let Some(hash) = &self.server_cert_hash {
                    writer.text_element("server-cert-hash", &[], &hex(hash));
                }
            });
            write_port(writer, self.client_services_port);
            if let Some(profile) = &self.profile {
                profile.write(writer);
            }
        });
    }
}

impl ProfileManifest {
    fn read(file: &Element<'_>) -> Result<ProfileManifest, MessageError> {
        let hash = file.child("hash").ok_or(MessageError::Missing("hash"))?;
        if attribute(hash, "type")? != "sha1" {
            return Err(MessageError::Malformed("hash"));
        }
        let uri = child_text(file, "uri")?.ok_or(MessageError::Missing("uri"))?;
        Ok(ProfileManifest { uri, sha1: sha1(hash, "hash")? })
    }

    fn write(&self, writer: &mut Writer) {
        writer.element("vpn-profile-manifest", &[], |writer| {
            writer.element("vpn", &[("rev", "1.0")], |writer| {
                writer.element("file", &[("type", "profile"), ("service-type", "user")], |writer| {
                    writer.text_element("uri", &[], &self.uri);
                    writer.text_element("hash", &[("type", "sha1")], &hex(&self.sha1));
                });
            });
        });
    }
}

fn port(parent: &Element<'_>) -> Result<Option<u16>, MessageError> {
    let text = child_text(parent, "csport")?;
    text.map(|text| text.parse().map_err(|_| MessageError::Malformed("csport"))).transpose()
}

fn write_port(writer: &mut Writer, port: Option<u16>) {
    if let Some(port) = port {
        writer.text_element("csport", &[], &port.to_string());
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect()
}

fn sha1(element: &Element<'_>, name: &'static str) -> Result<[u8; SHA1_OCTETS], MessageError> {
    let text = field(element.text(), name)?;
    let malformed = MessageError::Malformed(name);
    if text.len() != 2 * SHA1_OCTETS {
        return Err(malformed);
    }
    let mut out = [0; SHA1_OCTETS];
    for (octet, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(pair).map_err(|_| malformed)?;
        // A sign would be parsed as one.
        if !pair.iter().all(u8::is_ascii_hexdigit) {
            return Err(malformed);
        }
        *octet = u8::from_str_radix(digits, 16).map_err(|_| malformed)?;
    }
    Ok(out)
}
