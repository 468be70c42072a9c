//! A login form: what a gateway asks and a client shows.
//!
//! Enters: an `auth` element, or our own words. Leaves: a typed form, or the element.

use super::super::xml::{Element, Writer};
use super::{MessageError, attribute, bounded, child_text, field};

/// Name of the list of groups.
const GROUP_LIST: &str = "group_list";

/// A form to fill.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Form {
    /// `main` for a login, `challenge` for a question after it.
    pub id: String,
    /// Shown above; empty for none.
    pub title: String,
    /// What to do; empty for none.
    pub message: String,
    /// Shown before; empty for none.
    pub banner: String,
    /// Why the form is here again.
    pub error: Option<FormError>,
    /// What to fill in.
    pub inputs: Vec<Input>,
    /// What to choose from; empty for nothing.
    pub groups: Vec<GroupOption>,
}

/// Why the last answer was no good.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct FormError {
    /// Number of the client's own text.
    pub id: String,
    /// Stands for the first `%s` of the text.
    pub param1: String,
    /// Stands for the second `%s` of the text.
    pub param2: String,
    /// The text.
    pub text: String,
}

/// One line to fill in.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Input {
    /// How it is shown.
    pub kind: InputKind,
    /// What the answer is called.
    pub name: String,
    /// What the user sees.
    pub label: String,
    /// What stands in it already; empty for nothing.
    pub value: String,
}

/// How an input is shown.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum InputKind {
    /// Readable.
    #[default]
    Text,
    /// Not readable.
    Password,
    /// Not at all.
    Hidden,
}

/// One group to choose.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct GroupOption {
    /// Its name.
    pub name: String,
    /// Whether it is chosen already.
    pub selected: bool,
}

impl FormError {
    /// The text with its parameters in place.
    pub fn display(&self) -> String {
        let parameters = [self.param1.as_str(), self.param2.as_str()];
        let mut parameters = parameters.into_iter();
        let mut pieces = self.text.split("%s");
        let mut shown = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            shown.push_str(parameters.next().unwrap_or_default());
            shown.push_str(piece);
        }
        shown
    }
}

impl InputKind {
    fn of(name: Option<&str>) -> InputKind {
        match name {
            Some("password") => InputKind::Password,
            Some("hidden") => InputKind::Hidden,
            _ => InputKind::Text,
        }
    }

    fn name(self) -> &'static str {
        match self {
            InputKind::Text => "text",
            InputKind::Password => "password",
            InputKind::Hidden => "hidden",
        }
    }
}

impl Form {
    /// Reads an `auth` element.
    pub(super) fn read(auth: &Element<'_>) -> Result<Form, MessageError> {
        let text = |name| Ok::<_, MessageError>(child_text(auth, name)?.unwrap_or_default());
        let lines = auth.child("form").map(Element::children).unwrap_or_default();
        let named = |name: &'static str| {
            bounded(lines.iter().filter(|line| line.name() == name).collect::<Vec<_>>(), name)
        };
        let inputs = named("input")?.into_iter().map(Input::read);
        let lists = named("select")?.into_iter();
        let list = lists.filter(|list| list.attribute("name") == Some(GROUP_LIST)).take(1);
        let options = bounded(list.flat_map(|list| list.children()).collect(), "option")?;
        let groups = options.into_iter().map(GroupOption::read);
        Ok(Form {
            id: attribute(auth, "id")?,
            title: text("title")?,
            message: text("message")?,
            banner: text("banner")?,
            error: auth.child("error").map(FormError::read).transpose()?,
            inputs: inputs.collect::<Result<_, _>>()?,
            groups: groups.collect::<Result<_, _>>()?,
        })
    }

    /// Writes an `auth` element.
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.element("auth", &[("id", &self.id)], |writer| {
            for (name, text) in [("title", &self.title), ("message", &self.message), ("banner", &self.banner)]
            {
                writer.text_element(name, &[], text);
            }
            if let Some(FormError { id, param1, param2, text }) = &self.error {
                writer.text_element("error", &[("id", id), ("param1", param1), ("param2", param2)], text);
            }
            writer.element("form", &[], |writer| self.write_lines(writer));
        });
    }

    fn write_lines(&self, writer: &mut Writer) {
        for Input { kind, name, label, value } in &self.inputs {
            let attributes = [("type", kind.name()), ("name", name), ("label", label), ("value", value)];
            let given: Vec<_> = attributes.into_iter().filter(|(_, value)| !value.is_empty()).collect();
            writer.empty_element("input", &given);
        }
        if self.groups.is_empty() {
            return;
        }
        writer.element("select", &[("name", GROUP_LIST), ("label", "Group:")], |writer| {
            for GroupOption { name, selected } in &self.groups {
                let chosen: &[(&str, &str)] = if *selected { &[("selected", "true")] } else { &[] };
                writer.text_element("option", chosen, name);
            }
        });
    }
}

impl Input {
    fn read(element: &Element<'_>) -> Result<Input, MessageError> {
        Ok(Input {
            kind: InputKind::of(element.attribute("type")),
            name: attribute(element, "name")?,
            label: attribute(element, "label")?,
            value: attribute(element, "value")?,
        })
    }
}

impl GroupOption {
    fn read(element: &Element<'_>) -> Result<GroupOption, MessageError> {
        let selected = element.attribute("selected") == Some("true");
        Ok(GroupOption { name: field(element.text(), "option")?, selected })
    }
}

impl FormError {
    fn read(element: &Element<'_>) -> Result<FormError, MessageError> {
        Ok(FormError {
            id: attribute(element, "id")?,
            param1: attribute(element, "param1")?,
            param2: attribute(element, "param2")?,
            text: field(element.text(), "error")?,
        })
    }
}
