//! From words to a document.
//!
//! Enters: names of ours, values of anybody. Leaves: a well-formed document; every value is escaped so that it is read back
//! as it was, and a character that XML does not have spoils the whole document rather than the value.

use super::{MAX_DOCUMENT_OCTETS, XmlError, is_allowed};

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// A document in the making.
pub struct Writer {
    out: String,
    forbidden: bool,
}

impl Writer {
    /// Begins with the XML declaration.
    pub fn document() -> Writer {
        Writer { out: DECLARATION.to_owned(), forbidden: false }
    }

    /// Begins with nothing: a piece of a document.
    pub fn fragment() -> Writer {
        Writer { out: String::new(), forbidden: false }
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

    /// The document. [`XmlError::ForbiddenCharacter`] or [`XmlError::TooLong`] if nobody could read it.
    pub fn finish(self) -> Result<String, XmlError> {
        if self.forbidden {
            return Err(XmlError::ForbiddenCharacter);
        }
        if self.out.len() > MAX_DOCUMENT_OCTETS {
            return Err(XmlError::TooLong);
        }
        Ok(self.out)
    }

    fn begin(&mut self, name: &str, attributes: &[(&str, &str)]) {
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
            _ => self.forbidden = true,
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
