//! What is said in AnyConnect-EAP: six messages, typed.
//!
//! Enters: documents of the other side, or our own words. Leaves: typed messages, or documents in the order seen on the
//! wire. Reading does not depend on order; elements that nobody here knows are skipped and reported by name.
//!
//! | message | from | says |
//! |---|---|---|
//! | hello | gateway | begin |
//! | init | client | who and what the client is, which group it wants |
//! | auth-request | gateway | sign with a certificate, or fill this form, or confirm |
//! | auth-reply | client | the form's answers |
//! | complete | gateway | logged in |
//! | ack | client | understood |

mod client;
mod form;
mod gateway;

pub use client::{Ack, Answer, AuthReply, ClientInfo, ClientMessage, Device, Init, MacAddress};
pub use form::{Form, FormError, GroupOption, Input, InputKind};
pub use gateway::{Ask, AuthRequest, Complete, GatewayMessage, OpaqueFields, ProfileManifest, SHA1_OCTETS};

use super::api::Password;
use super::xml::{Element, Writer, XmlError};

/// Octets of the longest value that is kept: a name, a label, a password.
pub const MAX_FIELD_OCTETS: usize = 1024;
/// MAC addresses, authentication methods, inputs, groups or answers in one message.
pub const MAX_LIST: usize = 64;
/// Names of unknown elements that one message reports.
pub const MAX_UNKNOWN: usize = 16;

/// `aggregate-auth-version` of every message.
const VERSION: &str = "2";
const ROOT: &str = "config-auth";

/// Why a document is not a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MessageError {
    /// The document itself is bad.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// The root is not `config-auth`, or has no `type`.
    #[error("the root element is not config-auth with a type")]
    WrongRoot,
    /// Not a type that this side may send.
    #[error("unknown message type")]
    UnknownType,
    /// A value longer than [`MAX_FIELD_OCTETS`].
    #[error("`{0}` is too long")]
    FieldTooLong(&'static str),
    /// More than [`MAX_LIST`] of something.
    #[error("too many `{0}`")]
    TooMany(&'static str),
    /// A number or a hash that is none.
    #[error("`{0}` is malformed")]
    Malformed(&'static str),
    /// An auth-request that asks for nothing.
    #[error("`{0}` is missing")]
    Missing(&'static str),
}

/// A message, and the elements that were skipped on the way.
pub struct Read<T> {
    /// The message.
    pub message: T,
    /// Names of elements of the first level that nobody here knows; at most [`MAX_UNKNOWN`].
    pub unknown: Vec<String>,
}

/// The `type` of a root.
fn kind<'e>(root: &'e Element<'_>) -> Result<&'e str, MessageError> {
    match root.attribute("type") {
        Some(kind) if root.name() == ROOT => Ok(kind),
        _ => Err(MessageError::WrongRoot),
    }
}

/// The children of the first level that are none of `known`.
fn unknown(root: &Element<'_>, known: &[&str]) -> Vec<String> {
    let names = root.children().iter().map(Element::name);
    names.filter(|name| !known.contains(name)).take(MAX_UNKNOWN).map(str::to_owned).collect()
}

/// A document of this type.
fn document(kind: &str, inside: impl FnOnce(&mut Writer)) -> Result<String, XmlError> {
    let mut writer = Writer::document();
    let attributes = [("client", "vpn"), ("type", kind), ("aggregate-auth-version", VERSION)];
    writer.element(ROOT, &attributes, inside);
    writer.finish()
}

/// A value to keep, without the white space around it.
fn field(value: &str, name: &'static str) -> Result<String, MessageError> {
    let value = value.trim();
    if value.len() > MAX_FIELD_OCTETS {
        return Err(MessageError::FieldTooLong(name));
    }
    Ok(value.to_owned())
}

/// A value of a stranger that will stand in logs and on terminals: control characters are replaced.
fn label(value: &str, name: &'static str) -> Result<String, MessageError> {
    let shown =
        |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
    // What replaces a character is longer than it.
    let label: String = field(value, name)?.chars().map(shown).collect();
    field(&label, name)
}

/// An attribute to keep; empty if it is not there.
fn attribute(element: &Element<'_>, name: &'static str) -> Result<String, MessageError> {
    field(element.attribute(name).unwrap_or_default(), name)
}

/// The text of a child to keep, `None` if there is no such child or it is empty.
fn child_text(element: &Element<'_>, name: &'static str) -> Result<Option<String>, MessageError> {
    let text = element.child(name).map(|child| field(child.text(), name)).transpose()?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// A secret, as it stands: white space may belong to it.
fn secret(value: &str, name: &'static str) -> Result<Password, MessageError> {
    if value.len() > MAX_FIELD_OCTETS {
        return Err(MessageError::FieldTooLong(name));
    }
    Ok(Password::new(value.to_owned()))
}

/// Refuses a list that is too long.
fn bounded<T>(list: Vec<T>, name: &'static str) -> Result<Vec<T>, MessageError> {
    if list.len() > MAX_LIST { Err(MessageError::TooMany(name)) } else { Ok(list) }
}

#[cfg(test)]
mod tests;
