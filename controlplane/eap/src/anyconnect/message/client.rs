//! What the client says: init, auth-reply, ack.
//!
//! Enters: documents of a client, or a client's words. Leaves: typed messages, or documents. Nothing in them is proven.

use super::super::api::Password;
use super::super::xml::{Element, Writer, XmlError, parse};
use super::{MessageError, Read, bounded, child_text, document, field, kind, label, secret, unknown};

/// A message of the client.
pub enum ClientMessage {
    /// Answers hello; again, with [`Init::no_certificate`], where a certificate is asked for.
    Init(Init),
    /// Answers a form.
    AuthReply(AuthReply),
    /// Answers complete.
    Ack(Ack),
}

/// Who and what the client is.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Init {
    /// Of every message.
    pub client: ClientInfo,
    /// `opaque` of an earlier conversation, as it stood.
    pub opaque: Option<String>,
    /// URL or group that the user dialled.
    pub group_access: Option<String>,
    /// The group that the user wants.
    pub group_select: Option<String>,
    /// The client has no certificate to sign with.
    pub no_certificate: bool,
}

/// Answers to a form.
pub struct AuthReply {
    /// Of every message.
    pub client: ClientInfo,
    /// `opaque` of the auth-request, as it stood.
    pub opaque: Option<String>,
    /// One per input, in order.
    pub answers: Vec<Answer>,
    /// The group that the user chose.
    pub group_select: Option<String>,
}

/// The answer to one input.
pub struct Answer {
    /// Name of the input.
    pub name: String,
    /// What the user wrote.
    pub value: Password,
}

/// The last word.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Ack {
    /// Of every message.
    pub client: ClientInfo,
}

/// What a client tells of itself.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ClientInfo {
    /// Its version, e.g. `4.9.01095`.
    pub version: String,
    /// The device it runs on.
    pub device: Device,
    /// Its network interfaces.
    pub mac_addresses: Vec<MacAddress>,
    /// `multiple-cert`, `single-sign-on`, …; only in init.
    pub auth_methods: Vec<String>,
}

/// A client's device.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Device {
    /// `win`, `mac-intel`, `linux-64`, …
    pub platform: String,
    /// Host name.
    pub computer_name: String,
    /// Model.
    pub device_type: String,
    /// Version of the operating system.
    pub platform_version: String,
    /// 64 hexadecimal digits.
    pub unique_id: String,
    /// 40 hexadecimal digits.
    pub unique_id_global: String,
}

/// One network interface.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct MacAddress {
    /// As the client writes it.
    pub address: String,
    /// Whether the tunnel runs over it.
    pub public_interface: bool,
}

impl ClientMessage {
    /// Reads a document.
    pub fn read(octets: &[u8]) -> Result<Read<ClientMessage>, MessageError> {
        let root = parse(octets)?;
        match kind(&root)? {
            "init" => Init::read(&root),
            "auth-reply" => AuthReply::read(&root),
            "ack" => Ack::read(&root),
            _ => Err(MessageError::UnknownType),
        }
    }

    /// Writes the document.
    pub fn write(&self) -> Result<String, XmlError> {
        match self {
            ClientMessage::Init(init) => init.write(),
            ClientMessage::AuthReply(reply) => reply.write(),
            ClientMessage::Ack(ack) => document("ack", |writer| ack.client.write(writer)),
        }
    }
}

impl Init {
    const KNOWN: &[&str] = &[
        "version",
        "device-id",
        "mac-address-list",
        "phone-id",
        "opaque",
        "group-access",
        "group-select",
        "capabilities",
        "client-cert-fail",
    ];

    fn read(root: &Element<'_>) -> Result<Read<ClientMessage>, MessageError> {
        let init = Init {
            client: ClientInfo::read(root)?,
            opaque: root.child("opaque").map(|opaque| opaque.source().to_owned()),
            group_access: child_text(root, "group-access")?,
            group_select: child_text(root, "group-select")?,
            no_certificate: root.child("client-cert-fail").is_some(),
        };
        Ok(Read { message: ClientMessage::Init(init), unknown: unknown(root, Init::KNOWN) })
    }

    fn write(&self) -> Result<String, XmlError> {
        document("init", |writer| {
            self.client.write(writer);
            writer.raw(self.opaque.as_deref().unwrap_or_default());
            if self.no_certificate {
                writer.empty_element("client-cert-fail", &[]);
            }
            if let Some(group) = &self.group_access {
                writer.text_element("group-access", &[], group);
            }
            if let Some(group) = &self.group_select {
                writer.text_element("group-select", &[], group);
            }
            writer.element("capabilities", &[], |writer| {
                for method in &self.client.auth_methods {
                    writer.text_element("auth-method", &[], method);
                }
            });
        })
    }
}

impl AuthReply {
    const KNOWN: &[&str] = &[
        "version",
        "device-id",
        "mac-address-list",
        "phone-id",
        "session-id",
        "session-token",
        "opaque",
        "auth",
        "group-select",
        "host-scan-token",
        "capabilities",
    ];

    fn read(root: &Element<'_>) -> Result<Read<ClientMessage>, MessageError> {
        let auth = root.child("auth");
        let answers = bounded(auth.map(Element::children).unwrap_or_default().iter().collect(), "auth")?;
        let answers = answers.into_iter().filter(|answer| answer.name() != "group_list").map(|answer| {
            let name = field(answer.name(), "auth")?;
            Ok(Answer { name, value: secret(answer.text(), "auth")? })
        });
        let listed = auth.map(|auth| child_text(auth, "group_list")).transpose()?.flatten();
        let reply = AuthReply {
            client: ClientInfo::read(root)?,
            opaque: root.child("opaque").map(|opaque| opaque.source().to_owned()),
            answers: answers.collect::<Result<_, MessageError>>()?,
            group_select: child_text(root, "group-select")?.or(listed),
        };
        Ok(Read { message: ClientMessage::AuthReply(reply), unknown: unknown(root, AuthReply::KNOWN) })
    }

    /// The first answer of this name.
    pub fn answer(&self, name: &str) -> Option<&Password> {
        self.answers.iter().find(|answer| answer.name == name).map(|answer| &answer.value)
    }

    fn write(&self) -> Result<String, XmlError> {
        document("auth-reply", |writer| {
            self.client.write(writer);
            writer.empty_element("session-id", &[]);
            writer.empty_element("session-token", &[]);
            writer.raw(self.opaque.as_deref().unwrap_or_default());
            writer.element("auth", &[], |writer| {
                for answer in &self.answers {
                    writer.text_element(&answer.name, &[], answer.value.as_str());
                }
            });
            if let Some(group) = &self.group_select {
                writer.text_element("group-select", &[], group);
            }
        })
    }
}

impl Ack {
    const KNOWN: &[&str] =
        &["version", "device-id", "mac-address-list", "phone-id", "opaque", "capabilities"];

    fn read(root: &Element<'_>) -> Result<Read<ClientMessage>, MessageError> {
        let ack = Ack { client: ClientInfo::read(root)? };
        Ok(Read { message: ClientMessage::Ack(ack), unknown: unknown(root, Ack::KNOWN) })
    }
}

impl ClientInfo {
    fn read(root: &Element<'_>) -> Result<ClientInfo, MessageError> {
        let device = root.child("device-id").map(Device::read).transpose()?;
        let listed = |list: &str, item: &'static str| {
            let list = root.child(list).map(Element::children).unwrap_or_default();
            bounded(list.iter().filter(|child| child.name() == item).collect(), item)
        };
        let addresses = listed("mac-address-list", "mac-address")?.into_iter().map(MacAddress::read);
        let methods = listed("capabilities", "auth-method")?;
        let methods = methods.into_iter().map(|method| label(method.text(), "auth-method"));
        Ok(ClientInfo {
            version: told(root.child("version").map(Element::text), "version")?,
            device: device.unwrap_or_default(),
            mac_addresses: addresses.collect::<Result<_, _>>()?,
            auth_methods: methods.collect::<Result<_, _>>()?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.text_element("version", &[("who", "vpn")], &self.version);
        self.device.write(writer);
        writer.element("mac-address-list", &[], |writer| {
            for MacAddress { address, public_interface } in &self.mac_addresses {
                let public: &[(&str, &str)] =
                    if *public_interface { &[("public-interface", "true")] } else { &[] };
                writer.text_element("mac-address", public, address);
            }
        });
    }
}

impl Device {
    fn read(element: &Element<'_>) -> Result<Device, MessageError> {
        Ok(Device {
            platform: label(element.text(), "device-id")?,
            computer_name: told(element.attribute("computer-name"), "computer-name")?,
            device_type: told(element.attribute("device-type"), "device-type")?,
            platform_version: told(element.attribute("platform-version"), "platform-version")?,
            unique_id: told(element.attribute("unique-id"), "unique-id")?,
            unique_id_global: told(element.attribute("unique-id-global"), "unique-id-global")?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        let attributes = [
            ("computer-name", self.computer_name.as_str()),
            ("device-type", &self.device_type),
            ("platform-version", &self.platform_version),
            ("unique-id", &self.unique_id),
            ("unique-id-global", &self.unique_id_global),
        ];
        let given: Vec<_> = attributes.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        writer.text_element("device-id", &given, &self.platform);
    }
}

impl MacAddress {
    fn read(element: &Element<'_>) -> Result<MacAddress, MessageError> {
        Ok(MacAddress {
            address: label(element.text(), "mac-address")?,
            public_interface: element.attribute("public-interface") == Some("true"),
        })
    }
}

/// A label that may be missing: empty then.
fn told(value: Option<&str>, name: &'static str) -> Result<String, MessageError> {
    label(value.unwrap_or_default(), name)
}
