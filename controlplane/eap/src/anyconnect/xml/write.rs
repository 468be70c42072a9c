//! From words to a document.
//!
//! Enters: names and values of anybody. Leaves: a well-formed document; every value is escaped so that it is read back as it
//! was, and a name or character that XML does not have spoils the whole document rather than the value.

use super::{MAX_DOCUMENT_OCTETS, XmlError, is_allowed, is_name};

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// A document in the making.
pub struct Writer {
    out: String,
    /// The first thing that cannot be written.
    spoiled: Option<XmlError>,
}

impl Writer {
    /// Begins with the XML declaration.
    pub fn document() -> Writer {
        Writer { out: DECLARATION.to_owned(), spoiled: None }
    }

    /// Begins with nothing: a piece of a document.
    pub fn fragment() -> Writer {
        Writer { out: String::new(), spoiled: None }
    }

    /// An element with whatever `inside` writes within.
    pub fn element(&mut self, name: &str, attributes: &[(&str, &str)], inside: impl FnOnce(&mut Writer)) {
        self.begin(name, attributes);
        self.out.push('>');
        inside(self);
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    /// An element with text.
    pub fn text_element(&mut self, name: &str, attributes: &[(&str, &str)], text: &str) {
        self.element(name, attributes, |writer| writer.escaped(text));
    }

    /// An element in one tag.
    pub fn empty_element(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.begin(name, attributes);
        self.out.push_str("/>");
    }

    /// A piece of a document as it stands.
    pub fn raw(&mut self, fragment: &str) {
        self.out.push_str(fragment);
    }

    /// The document. [`XmlError::ForbiddenCharacter`], [`XmlError::BadName`] or [`XmlError::TooLong`] if nobody could read
    /// it.
    pub fn finish(self) -> Result<String, XmlError> {
        if let Some(error) = self.spoiled {
            return Err(error);
        }
        if self.out.len() > MAX_DOCUMENT_OCTETS {
            return Err(XmlError::TooLong);
        }
        Ok(self.out)
    }

    fn begin(&mut self, name: &str, attributes: &[(&str, &str)]) {
        if !is_name(name) || !attributes.iter().all(|(name, _)| is_name(name)) {
            self.spoil(XmlError::BadName);
        }
        self.out.push('<');
        self.out.push_str(name);
        for (name, value) in attributes {
            self.out.push(' ');
            self.out.push_str(name);
            self.out.push_str("=\"");
            // Tab and newline would be read as spaces in an attribute.
            for character in value.chars() {
                match character {
                    '\t' => self.out.push_str("&#9;"),
                    '\n' => self.out.push_str("&#10;"),
                    other => self.character(other),
                }
            }
            self.out.push('"');
        }
    }

    fn spoil(&mut self, error: XmlError) {
        self.spoiled.get_or_insert(error);
    }

    fn escaped(&mut self, text: &str) {
        text.chars().for_each(|character| self.character(character));
    }

    fn character(&mut self, character: char) {
        match character {
            '<' => self.out.push_str("&lt;"),
            '>' => self.out.push_str("&gt;"),
            '&' => self.out.push_str("&amp;"),
            '"' => self.out.push_str("&quot;"),
            // A plain one would be read as a newline.
            '\r' => self.out.push_str("&#13;"),
            other if is_allowed(other) => self.out.push(other),
            _ => self.spoil(XmlError::ForbiddenCharacter),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::parse;
    use super::*;

    #[test]
    fn writes_these_documents() {
        let mut writer = Writer::document();
        writer.element("a", &[("b", "<\"&\n")], |writer| {
            writer.text_element("c", &[], "x > 'y'\r\n");
            writer.empty_element("d", &[]);
            writer.raw("<e/>");
        });
        assert_eq!(
            writer.finish().unwrap(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <a b=\"&lt;&quot;&amp;&#10;\"><c>x &gt; 'y'&#13;\n</c><d/><e/></a>"
        );
    }

    #[test]
    fn what_nobody_could_read_is_not_written() {
        let mut writer = Writer::document();
        writer.text_element("a", &[], "\u{1}");
        assert_eq!(writer.finish(), Err(XmlError::ForbiddenCharacter));
        for name in ["", "a b", "a/><b", "1", "a\n"] {
            let mut writer = Writer::document();
            writer.empty_element(name, &[]);
            assert_eq!(writer.finish(), Err(XmlError::BadName));
        }
        let mut writer = Writer::document();
        writer.text_element("a", &[], &"x".repeat(MAX_DOCUMENT_OCTETS));
        assert_eq!(writer.finish(), Err(XmlError::TooLong));
    }

    proptest! {
        #[test]
        fn every_value_is_read_back_as_it_was(text: String, attribute: String) {
            let mut writer = Writer::document();
            writer.element("a", &[("b", &attribute)], |writer| writer.text_element("c", &[], &text));
            let readable = text.chars().chain(attribute.chars()).all(is_allowed);
            match writer.finish() {
                Ok(document) => {
                    let root = parse(document.as_bytes()).unwrap();
                    prop_assert_eq!(root.attribute("b"), Some(attribute.as_str()));
                    prop_assert_eq!(root.child("c").unwrap().text(), text);
                }
                Err(error) => prop_assert!(!readable && error == XmlError::ForbiddenCharacter),
            }
        }
    }
}
