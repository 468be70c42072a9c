//! XML documents within hard bounds: what is read is a small tree, what is written is well-formed.
//!
//! Enters: octets of a stranger, or our own words. Leaves: an [`Element`] tree, or a document. The parser is `quick-xml`,
//! which only splits text into events; what makes a document dangerous is refused here: document types (and with them
//! every entity but the five predefined), other encodings than UTF-8, and sizes beyond the bounds below.

mod parse;
mod write;

use zeroize::Zeroizing;

pub use parse::parse;
pub use write::Writer;

/// Octets of the longest document.
pub const MAX_DOCUMENT_OCTETS: usize = 64 * 1024;
/// Elements within each other; the root is 1.
pub const MAX_DEPTH: usize = 16;
/// Elements in one document.
pub const MAX_ELEMENTS: usize = 512;
/// Attributes of one element.
pub const MAX_ATTRIBUTES: usize = 16;
/// Octets of the longest element or attribute name.
pub const MAX_NAME_OCTETS: usize = 64;

/// One element. Its text is wiped when dropped, for it may be a password.
pub struct Element<'a> {
    name: String,
    attributes: Vec<(String, String)>,
    children: Vec<Element<'a>>,
    text: Zeroizing<String>,
    source: &'a str,
}

/// Why octets are not a document that is read, or words cannot be written as one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum XmlError {
    /// More than [`MAX_DOCUMENT_OCTETS`].
    #[error("document longer than {MAX_DOCUMENT_OCTETS} octets")]
    TooLong,
    /// Not UTF-8, or declared to be something else.
    #[error("document is not UTF-8")]
    NotUtf8,
    /// A character that XML 1.0 does not have, plainly or by number.
    #[error("character that XML forbids")]
    ForbiddenCharacter,
    /// `<!DOCTYPE`.
    #[error("document type declaration")]
    Doctype,
    /// An entity that is not one of the five predefined.
    #[error("unknown entity")]
    UnknownEntity,
    /// More than [`MAX_DEPTH`].
    #[error("elements nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// More than [`MAX_ELEMENTS`].
    #[error("more than {MAX_ELEMENTS} elements")]
    TooManyElements,
    /// More than [`MAX_ATTRIBUTES`].
    #[error("more than {MAX_ATTRIBUTES} attributes")]
    TooManyAttributes,
    /// Longer than [`MAX_NAME_OCTETS`], or not a name.
    #[error("bad element or attribute name")]
    BadName,
    /// Not well-formed.
    #[error("not well-formed at octet {at}")]
    Malformed {
        /// Where the parser was.
        at: u64,
    },
}

impl<'a> Element<'a> {
    /// Name with prefix, if it has one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Elements directly within, in order.
    pub fn children(&self) -> &[Element<'a>] {
        &self.children
    }

    /// The first element of this name directly within.
    pub fn child(&self, name: &str) -> Option<&Element<'a>> {
        self.children.iter().find(|child| child.name == name)
    }

    /// Text directly within, as it stands.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The element as it stands in the document, from `<` to `>`.
    pub fn source(&self) -> &'a str {
        self.source
    }
}

/// Whether XML 1.0 has this character (production 2, Char).
fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Whether this can name an element or attribute, within [`MAX_NAME_OCTETS`].
fn is_name(name: &str) -> bool {
    let begins = name.chars().next().is_some_and(|first| first.is_alphabetic() || first == '_');
    let goes_on = name.chars().all(|next| next.is_alphanumeric() || matches!(next, '-' | '_' | '.' | ':'));
    name.len() <= MAX_NAME_OCTETS && begins && goes_on
}
