//! Who answers the gateway's questions: configuration first, then the user.
//!
//! Enters: questions of a form. Leaves: answers. A configured password answers one form only: if that was wrong, or another
//! question follows, the user is asked.

use std::sync::Arc;

use causeway_eap::anyconnect::Password;
use zeroize::Zeroizing;

use crate::method::{Answers, Question};

/// A way to the user: a terminal, a pipe.
pub trait Ask: Send + Sync {
    /// Shows a line.
    fn show(&self, text: &str);

    /// Asks and waits; `None` when there is nobody to ask. `hidden` answers are not echoed.
    fn ask(&self, label: &str, hidden: bool) -> Option<Zeroizing<String>>;
}

/// The answers of one login.
pub(super) struct Answering {
    user: String,
    password: Option<Zeroizing<String>>,
    ask: Arc<dyn Ask>,
}

impl Answering {
    pub(super) fn new(user: &str, password: Option<Zeroizing<String>>, ask: Arc<dyn Ask>) -> Answering {
        Answering { user: user.to_owned(), password, ask }
    }
}

impl Answers for Answering {
    fn show(&mut self, text: &str) {
        self.ask.show(&printable(text));
    }

    fn answer(&mut self, question: &Question<'_>) -> Option<Password> {
        if question.name == "username" {
            return Some(Password::new(self.user.clone()));
        }
        let configured = (question.name == "password").then(|| self.password.take()).flatten();
        let answer = configured.or_else(|| self.ask.ask(&printable(question.label), question.hidden))?;
        Some(Password::new(answer.as_str().to_owned()))
    }
}

/// What a gateway says, without what would move a terminal's cursor.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}
