//! An XML file as a tree. Enters: the text of a client profile. Leaves: its root element, or where and why it cannot be read.
//! DTDs are refused and only the five entities that XML itself defines are known, so that nothing in a file can grow.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

/// Deepest nesting.
const MAX_DEPTH: usize = 16;
/// Most elements.
const MAX_ELEMENTS: usize = 10_000;
/// Most attributes of an element.
const MAX_ATTRIBUTES: usize = 16;

/// An element with what is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Element {
    /// Without namespace prefix.
    pub name: String,
    /// Line of its start, counted from 1.
    pub line: usize,
    pub attributes: Vec<(String, String)>,
    /// Characters directly in it.
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    /// The first child of this name.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.all(name).next()
    }

    /// Every child of this name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// Its own text without the space around it.
    pub fn value(&self) -> &str {
        self.text.trim()
    }

    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Why a file cannot be read as XML.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {what}")]
pub(super) struct XmlError {
    /// Line, counted from 1.
    pub line: usize,
    pub what: &'static str,
}

/// Reads a document.
pub(super) fn parse(text: &str) -> Result<Element, XmlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let line = |offset: u64| {
        let before = usize::try_from(offset).ok().and_then(|offset| text.get(..offset)).unwrap_or(text);
        before.matches('\n').count().saturating_add(1)
    };
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    let mut root: Option<Element> = None;
    let mut elements = 0usize;
    loop {
        let from = reader.buffer_position();
        let fail = |what| XmlError { line: line(from), what };
        let event = reader.read_event().map_err(|_| XmlError {
            line: line(reader.error_position()),
            what: "this is no well-formed XML",
        })?;
        match event {
            Event::Start(ref start) | Event::Empty(ref start) => {
                elements = elements.saturating_add(1);
                if elements > MAX_ELEMENTS || open.len() >= MAX_DEPTH {
                    return Err(fail("elements are too many or nested too deeply"));
                }
                if root.is_some() {
                    return Err(fail("something stands behind the root element"));
                }
                open.push(element(start, line(from)).map_err(fail)?);
                if matches!(event, Event::Empty(_)) {
                    close(&mut open, &mut root);
                }
            }
            Event::End(_) => close(&mut open, &mut root),
            Event::Text(content) => characters(&mut open, &content.xml10_content()).map_err(fail)?,
            Event::CData(content) => characters(&mut open, &content.xml10_content()).map_err(fail)?,
            Event::GeneralRef(reference) => {
                let character = match reference.resolve_char_ref() {
                    Ok(Some(character)) => Some(character),
                    Ok(None) => predefined(&reference),
                    Err(_) => None,
                };
                let character = character.ok_or(fail("an entity that XML does not define"))?;
                characters(&mut open, character.encode_utf8(&mut [0; 4])).map_err(fail)?;
            }
            Event::DocType(_) => return Err(fail("a document type declaration, which is not allowed here")),
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            Event::Eof => {
                return match root {
                    Some(root) if open.is_empty() => Ok(root),
                    _ => Err(fail("the file ends before its elements do")),
                };
            }
        }
    }
}

fn element(start: &BytesStart<'_>, line: usize) -> Result<Element, &'static str> {
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|_| "an attribute is not well-formed")?;
        if attributes.len() >= MAX_ATTRIBUTES {
            return Err("an element has too many attributes");
        }
        let value = attribute.normalized_value(XmlVersion::Implicit1_0);
        let value = value.map_err(|_| "an attribute's value cannot be read")?.into_owned();
        attributes.push((AsRef::<str>::as_ref(&attribute.key).to_owned(), value));
    }
    let name = start.local_name().as_ref().to_owned();
    Ok(Element { name, line, attributes, text: String::new(), children: Vec::new() })
}

fn close(open: &mut Vec<Element>, root: &mut Option<Element>) {
    let Some(element) = open.pop() else { return };
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None => *root = Some(element),
    }
}

fn characters(open: &mut [Element], content: &str) -> Result<(), &'static str> {
    match open.last_mut() {
        Some(element) => element.text.push_str(content),
        None if content.trim().is_empty() => {}
        None => return Err("text stands outside of the root element"),
    }
    Ok(())
}

fn predefined(name: &str) -> Option<char> {
    [("lt", '<'), ("gt", '>'), ("amp", '&'), ("apos", '\''), ("quot", '"')]
        .into_iter()
        .find(|(known, _)| *known == name)
        .map(|(_, character)| character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_become_trees() {
        let root =
            parse("<?xml version=\"1.0\"?>\n<a x=\"1&amp;2\">t&lt;<b/>\n<c>v</c><!-- n --></a>\n").unwrap();
        assert_eq!((root.name.as_str(), root.value(), root.attribute("x")), ("a", "t<", Some("1&2")));
        assert_eq!((root.children.len(), root.child("c").unwrap().line), (2, 3));
        assert_eq!(parse("<n:a xmlns:n=\"u\"/>").unwrap().name, "a");
    }

    #[test]
    fn what_may_grow_or_is_broken_is_refused() {
        let deep = "<a>".repeat(MAX_DEPTH + 1);
        let many = format!("<a>{}</a>", "<b/>".repeat(MAX_ELEMENTS));
        for (text, line, what) in [
            ("", 1, "ends before"),
            ("<a>\n<b>\n</a>", 3, "well-formed"),
            ("<a>\n", 2, "ends before"),
            ("<!DOCTYPE a [<!ENTITY e \"x\">]>\n<a>&e;</a>", 1, "document type"),
            ("<a>\n&e;</a>", 2, "does not define"),
            ("<a/><b/>", 1, "behind the root"),
            ("<a/>x", 1, "outside"),
            ("<a x=1/>", 1, "attribute"),
            (&deep, 1, "too many or nested"),
            (&many, 1, "too many or nested"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.line == line && error.what.contains(what), "{error} for {:.40}", text);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[<>/&;a-c=\" !\\[\\]?\\-é\n]{0,80}") {
            let _ = parse(&text);
        }
    }
}
