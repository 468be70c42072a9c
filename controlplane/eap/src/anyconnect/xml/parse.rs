//! From octets to the tree.
//!
//! Enters: octets of a stranger. Leaves: the root element, or the first bound or rule they break. Comments and processing
//! instructions are skipped. Nothing recurses.

use quick_xml::events::attributes::Attribute;
use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use zeroize::Zeroizing;

use super::{
    Element, MAX_ATTRIBUTES, MAX_DEPTH, MAX_DOCUMENT_OCTETS, MAX_ELEMENTS, XmlError, is_allowed, is_name,
};

const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads one document.
pub fn parse(octets: &[u8]) -> Result<Element<'_>, XmlError> {
    if octets.len() > MAX_DOCUMENT_OCTETS {
        return Err(XmlError::TooLong);
    }
    let text = std::str::from_utf8(octets).map_err(|_| XmlError::NotUtf8)?;
    // The parser would strip a byte order mark too, and then count octets without it.
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    if text.starts_with(BYTE_ORDER_MARK) {
        return Err(XmlError::Malformed { at: 0 });
    }
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
        let blank = content.chars().all(|character| matches!(character, ' ' | '\t' | '\n' | '\r'));
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
    if is_name(name) { Ok(name.to_owned()) } else { Err(XmlError::BadName) }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(document: &str) -> XmlError {
        match parse(document.as_bytes()) {
            Err(error) => error,
            Ok(_) => panic!("{document:.200} was read"),
        }
    }

    #[test]
    fn reads_the_tree() {
        let document = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<!-- c --><?pi x?>\n\
            <a x='1 &lt;&#x20AC;' y=\"&quot;\">t&amp;<b/>\r\nu<c d=''>&#65;<![CDATA[<&amp;]]></c ></a>\n";
        let root = parse(document.as_bytes()).unwrap();
        assert_eq!(root.name(), "a");
        assert_eq!(root.attribute("x"), Some("1 <\u{20ac}"));
        assert_eq!(root.attribute("y"), Some("\""));
        assert_eq!(root.attribute("z"), None);
        assert_eq!(root.text(), "t&\nu");
        assert_eq!(root.children().iter().map(Element::name).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(root.child("c").unwrap().text(), "A<&amp;");
        assert_eq!(root.child("b").unwrap().source(), "<b/>");
        assert_eq!(root.child("c").unwrap().source(), "<c d=''>&#65;<![CDATA[<&amp;]]></c >");
        assert!(document.trim_end().ends_with(root.source()) && root.source().starts_with("<a x="));
    }

    #[test]
    fn refuses_document_types_and_entities() {
        let bomb = "<!DOCTYPE lolz [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;\">]><r>&b;</r>";
        for (document, expected) in [
            (bomb, XmlError::Doctype),
            ("<!DOCTYPE r><r/>", XmlError::Doctype),
            ("<!doctype r SYSTEM 'file:///etc/passwd'><r/>", XmlError::Doctype),
            ("<r>&b;</r>", XmlError::UnknownEntity),
            ("<r a='&b;'/>", XmlError::UnknownEntity),
            ("<r>&nbsp;</r>", XmlError::UnknownEntity),
            ("<r>&#0;</r>", XmlError::ForbiddenCharacter),
            ("<r>&#1;</r>", XmlError::ForbiddenCharacter),
            ("<r>&#xFFFE;</r>", XmlError::ForbiddenCharacter),
            ("<r>&#x110000;</r>", XmlError::ForbiddenCharacter),
            ("<r>&#xD800;</r>", XmlError::ForbiddenCharacter),
            ("<r a='&#1;'/>", XmlError::ForbiddenCharacter),
            ("<r a='&#xD800;'/>", XmlError::ForbiddenCharacter),
            ("<r>\u{1}</r>", XmlError::ForbiddenCharacter),
            ("<r/>\0", XmlError::ForbiddenCharacter),
            ("<?xml version='1.0' encoding='UTF-16'?><r/>", XmlError::NotUtf8),
            ("<?xml version='1.0' encoding='ISO-8859-1'?><r/>", XmlError::NotUtf8),
        ] {
            assert_eq!(error(document), expected, "{document}");
        }
        assert!(matches!(parse(b"<r>\xff</r>"), Err(XmlError::NotUtf8)));
        assert!(matches!(parse(b"<r>\xc0\xbc</r>"), Err(XmlError::NotUtf8)));
    }

    #[test]
    fn refuses_what_is_not_well_formed() {
        for document in [
            "",
            " ",
            "text",
            "<r>",
            "</r>",
            "<r></s>",
            "<r/><r/>",
            "<r/>x",
            "x<r/>",
            "<r><s></r></s>",
            "<r",
            "<r a/>",
            "<r a=1/>",
            "<r a='1' a='2'/>",
            "<r a='<'/>",
            "<r>&</r>",
            "<r>&#x;</r>",
            "<r>&amp</r>",
            "<r/><?xml version='1.0'?>",
            "<r><![CDATA[</r>",
            "<r><!-- -- --></r>",
            "<![CDATA[x]]><r/>",
            "&#65;<r/>",
            "<1/>",
            "<r -a='1'/>",
            "<r><!ELEMENT r ANY></r>",
            "\u{feff}\u{feff}<r/>",
        ] {
            assert!(parse(document.as_bytes()).is_err(), "{document} was read");
        }
    }

    #[test]
    fn every_bound_holds_at_its_edge() {
        let nested = |depth| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(error(&nested(MAX_DEPTH + 1)), XmlError::TooDeep);
        assert_eq!(error(&"<a>".repeat(20_000)), XmlError::TooDeep);
        let wide = |elements| format!("<r>{}</r>", "<a/>".repeat(elements - 1));
        assert!(parse(wide(MAX_ELEMENTS).as_bytes()).is_ok());
        assert_eq!(error(&wide(MAX_ELEMENTS + 1)), XmlError::TooManyElements);
        let attributed =
            |count| format!("<r{}/>", (0..count).map(|at| format!(" a{at}='1'")).collect::<String>());
        assert!(parse(attributed(MAX_ATTRIBUTES).as_bytes()).is_ok());
        assert_eq!(error(&attributed(MAX_ATTRIBUTES + 1)), XmlError::TooManyAttributes);
        let named = |octets| format!("<{}/>", "n".repeat(octets));
        assert!(parse(named(super::super::MAX_NAME_OCTETS).as_bytes()).is_ok());
        assert_eq!(error(&named(super::super::MAX_NAME_OCTETS + 1)), XmlError::BadName);
        let long = |octets: usize| format!("<r>{}</r>", "x".repeat(octets - 7));
        assert!(parse(long(MAX_DOCUMENT_OCTETS).as_bytes()).is_ok());
        assert_eq!(error(&long(MAX_DOCUMENT_OCTETS + 1)), XmlError::TooLong);
        assert_eq!(error(&long(1024 * 1024)), XmlError::TooLong);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&octets);
        }

        /// Text that looks like a document; whatever is read gives its own source back.
        #[test]
        fn what_is_read_can_be_read_again(text in "(<[ab/!?]? ?[a-c]?( x='[&;#a1]{0,4}')?/?>|[&;#x1a]|</[ab]>|<!\\[CDATA\\[|\\]\\]>|--){0,24}") {
            let document = format!("<a>{text}</a>");
            if let Ok(root) = parse(document.as_bytes()) {
                prop_assert_eq!(root.source(), &document);
                for child in root.children() {
                    let again = parse(child.source().as_bytes()).unwrap();
                    prop_assert_eq!(again.name(), child.name());
                    prop_assert_eq!(again.text(), child.text());
                }
            }
        }
    }
}
