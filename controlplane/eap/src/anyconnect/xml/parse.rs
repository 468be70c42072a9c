//! From octets to the tree.
//!
//! Enters: octets of a stranger. Leaves: the root element, or the first bound or rule they break. Comments and processing
//! instructions are skipped. Nothing recurses.

use quick_xml::events::attributes::Attribute;
use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use zeroize::Zeroizing;

use super::{
    Element, MAX_ATTRIBUTES, MAX_DEPTH, MAX_DOCUMENT_OCTETS, MAX_ELEMENTS, MAX_NAME_OCTETS, XmlError,
    is_allowed,
};

/// Reads one document.
pub fn parse(octets: &[u8]) -> Result<Element<'_>, XmlError> {
    if octets.len() > MAX_DOCUMENT_OCTETS {
        return Err(XmlError::TooLong);
    }
    let text = std::str::from_utf8(octets).map_err(|_| XmlError::NotUtf8)?;
    if !text.chars().all(is_allowed) {
        return Err(XmlError::ForbiddenCharacter);
    }
    let mut tree = Tree { text, open: vec![], root: None, elements: 0 };
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_comments = true;
    loop {
        let from = reader.buffer_position();
        let event = reader.read_event().map_err(|_| XmlError::Malformed { at: reader.error_position() })?;
        let at = Span { from, to: reader.buffer_position() };
        match event {
            Event::Decl(declaration) => check_declaration(&declaration, at)?,
            Event::Start(start) => tree.open(&start, at)?,
            Event::Empty(start) => {
                tree.open(&start, at)?;
                tree.close(at)?;
            }
            Event::End(_) => tree.close(at)?,
            Event::Text(content) => tree.text(&content.xml10_content(), at)?,
            Event::CData(content) => tree.characters(&content.xml10_content(), at)?,
            Event::GeneralRef(reference) => {
                let character = resolve(&reference)?;
                tree.characters(character.encode_utf8(&mut [0; 4]), at)?;
            }
            Event::Comment(_) | Event::PI(_) => {}
            Event::DocType(_) => return Err(XmlError::Doctype),
            Event::Eof => return tree.finish(at),
        }
    }
}

/// Where an event stands in the document.
#[derive(Clone, Copy)]
struct Span {
    from: u64,
    to: u64,
}

impl Span {
    fn malformed(self) -> XmlError {
        XmlError::Malformed { at: self.from }
    }
}

/// The tree as far as it is read.
struct Tree<'a> {
    text: &'a str,
    /// Elements not closed yet, and where each begins.
    open: Vec<(Element<'a>, u64)>,
    root: Option<Element<'a>>,
    elements: usize,
}

impl<'a> Tree<'a> {
    fn open(&mut self, start: &BytesStart<'_>, at: Span) -> Result<(), XmlError> {
        if self.root.is_some() {
            return Err(at.malformed());
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(XmlError::TooDeep);
        }
        if self.elements >= MAX_ELEMENTS {
            return Err(XmlError::TooManyElements);
        }
        self.elements += 1;
        let name = checked_name(start.name().as_ref())?;
        let mut attributes = vec![];
        for attribute in start.attributes() {
            if attributes.len() >= MAX_ATTRIBUTES {
                return Err(XmlError::TooManyAttributes);
            }
            let attribute = attribute.map_err(|_| at.malformed())?;
            attributes.push((checked_name(attribute.key.as_ref())?, checked_value(&attribute, at)?));
        }
        let text = Zeroizing::new(String::new());
        self.open.push((Element { name, attributes, children: vec![], text, source: "" }, at.from));
        Ok(())
    }

    fn close(&mut self, at: Span) -> Result<(), XmlError> {
        let (mut element, from) = self.open.pop().ok_or(at.malformed())?;
        element.source = self.between(from, at.to).ok_or(at.malformed())?;
        match self.open.last_mut() {
            Some((parent, _)) => parent.children.push(element),
            None => self.root = Some(element),
        }
        Ok(())
    }

    /// Between elements of the top only white space may stand.
    fn text(&mut self, content: &str, at: Span) -> Result<(), XmlError> {
        let blank =
            content.chars().all(|character| matches!(character, ' ' | '\t' | '\n' | '\r' | '\u{feff}'));
        if self.open.is_empty() && blank {
            return Ok(());
        }
        self.characters(content, at)
    }

    fn characters(&mut self, content: &str, at: Span) -> Result<(), XmlError> {
        let (element, _) = self.open.last_mut().ok_or(at.malformed())?;
        element.text.push_str(content);
        Ok(())
    }

    fn finish(self, at: Span) -> Result<Element<'a>, XmlError> {
        match self.root {
            Some(root) if self.open.is_empty() => Ok(root),
            _ => Err(at.malformed()),
        }
    }

    fn between(&self, from: u64, to: u64) -> Option<&'a str> {
        self.text.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)
    }
}

/// A declaration stands at the very beginning and names UTF-8, if it names anything.
fn check_declaration(declaration: &BytesDecl<'_>, at: Span) -> Result<(), XmlError> {
    if at.from != 0 {
        return Err(at.malformed());
    }
    match declaration.encoding() {
        None => Ok(()),
        Some(Ok(encoding)) if encoding.eq_ignore_ascii_case("UTF-8") => Ok(()),
        Some(Ok(_)) => Err(XmlError::NotUtf8),
        Some(Err(_)) => Err(at.malformed()),
    }
}

fn checked_name(name: &str) -> Result<String, XmlError> {
    let begins = name.chars().next().is_some_and(|first| first.is_alphabetic() || first == '_');
    let goes_on = name.chars().all(|next| next.is_alphanumeric() || matches!(next, '-' | '_' | '.' | ':'));
    if name.len() > MAX_NAME_OCTETS || !begins || !goes_on {
        return Err(XmlError::BadName);
    }
    Ok(name.to_owned())
}

fn checked_value(attribute: &Attribute<'_>, at: Span) -> Result<String, XmlError> {
    use quick_xml::Error;
    use quick_xml::escape::EscapeError;
    if attribute.value.contains('<') {
        return Err(at.malformed());
    }
    let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| match error {
        Error::Escape(EscapeError::UnrecognizedEntity(..)) => XmlError::UnknownEntity,
        Error::Escape(EscapeError::InvalidCharRef(_)) => XmlError::ForbiddenCharacter,
        _ => at.malformed(),
    })?;
    if !value.chars().all(is_allowed) {
        return Err(XmlError::ForbiddenCharacter);
    }
    Ok(value.into_owned())
}

fn resolve(reference: &BytesRef<'_>) -> Result<char, XmlError> {
    match reference.resolve_char_ref() {
        Ok(Some(character)) if is_allowed(character) => Ok(character),
        Ok(Some(_)) | Err(_) => Err(XmlError::ForbiddenCharacter),
        Ok(None) => match &**reference {
            "lt" => Ok('<'),
            "gt" => Ok('>'),
            "amp" => Ok('&'),
            "apos" => Ok('\''),
            "quot" => Ok('"'),
            _ => Err(XmlError::UnknownEntity),
        },
    }
}
