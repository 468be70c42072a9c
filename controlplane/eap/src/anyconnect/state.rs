//! The states of the server's conversation, and what belongs to each.
//!
//! Enters: a state, and what was said or judged. Leaves: the next state and what to say. Every function consumes the state;
//! what does not belong gives it back unchanged.
//!
//! ```text
//! Greeted ─init→ Asked ─auth-reply→ Judged ─accepted→ Completing ─ack→ Finished (EAP-Success)
//!    │             ↑ ↑                │ │                 ↑
//!    │             │ └─ wrong ────────┘ └─ challenge → Challenged ─auth-reply→ Judged
//!    │             │ certificate and password             │
//!    └─init→ CertificateAsked ─signature→ CertificateJudged ─certificate instead→ Confirming ─auth-reply→ Completing
//! ```

use super::api::{
    Accepted, CertificateQuestion, CertificateUse, CertificateVerdict, ClientInfo, ConversationSetup,
    DiscardReason, FailureReason, Login, Password, PasswordQuestion, PasswordVerdict, ServerConfig,
};
use super::forms;
use super::message::{AuthReply, GatewayMessage, Init};

/// Where the conversation stands.
pub(super) enum State {
    /// Hello is out.
    Greeted,
    /// A certificate is asked for.
    CertificateAsked(Known),
    /// The certificate's verdict is awaited.
    CertificateJudged(Known),
    /// The certificate sufficed; the client must confirm.
    Confirming { login: Login, banner: Option<String> },
    /// The login form is out.
    Asked { known: Known, attempt: u32 },
    /// A challenge is out.
    Challenged { known: Known, attempt: u32, user: String },
    /// A password's verdict is awaited.
    Judged { known: Known, attempt: u32, user: String },
    /// `complete` is out.
    Completing(Login),
    /// The outcome was reported.
    Finished,
}

/// What the conversation has brought so far.
pub(super) struct Known {
    client: ClientInfo,
    group: Option<String>,
    certificate_identity: Option<String>,
}

/// What the client said, as far as states care.
pub(super) enum Said {
    Nak,
    Init(Init),
    Signed { chain: Vec<Vec<u8>>, signature: Vec<u8> },
    Reply(AuthReply),
    Ack,
}

/// What an input leads to.
pub(super) struct Turn {
    pub(super) state: State,
    pub(super) say: Say,
}

/// What to say.
pub(super) enum Say {
    Message(GatewayMessage),
    AskPassword(PasswordQuestion),
    AskCertificate(CertificateQuestion),
    Success(Login),
    Failure(FailureReason),
    Discard(DiscardReason),
}

impl State {
    pub(super) fn is_finished(&self) -> bool {
        matches!(self, State::Finished)
    }

    pub(super) fn awaits_verdict(&self) -> bool {
        matches!(self, State::CertificateJudged(_) | State::Judged { .. })
    }

    /// The client said something.
    pub(super) fn heard(self, said: Said, config: &ServerConfig, setup: &ConversationSetup) -> Turn {
        match (self, said) {
            (State::Greeted, Said::Nak) => Turn::fail(FailureReason::NoCommonMethod),
            (State::Greeted, Said::Init(init)) => greet(init, config, setup),
            (State::CertificateAsked(known), Said::Signed { chain, signature }) => {
                let signed_octets = setup.initiator_signed_octets.clone();
                let question = CertificateQuestion { chain, signature, signed_octets };
                Turn { state: State::CertificateJudged(known), say: Say::AskCertificate(question) }
            }
            // An init without a signature, `client-cert-fail` or not, is all that a client without certificate can say.
            (State::CertificateAsked(_), Said::Init(_)) => Turn::fail(FailureReason::NoCertificate),
            (State::Confirming { login, banner }, Said::Reply(_)) => finish(login, banner, config, setup),
            (State::Asked { known, attempt }, Said::Reply(reply)) => {
                judge(known, attempt, &reply, config, setup)
            }
            (State::Asked { known, attempt }, Said::Init(init)) => {
                change_group(known, attempt, &init, config, setup)
            }
            (State::Challenged { known, attempt, user }, Said::Reply(reply)) => {
                let question = PasswordQuestion {
                    answers_challenge: true,
                    ..known.question(user.clone(), attempt, &reply)
                };
                Turn { state: State::Judged { known, attempt, user }, say: Say::AskPassword(question) }
            }
            (State::Completing(login), Said::Ack) => {
                Turn { state: State::Finished, say: Say::Success(login) }
            }
            (unchanged, _) => Turn::discard(unchanged, DiscardReason::OutOfOrder),
        }
    }

    /// The certificate was judged.
    pub(super) fn certificate(
        self,
        verdict: CertificateVerdict,
        config: &ServerConfig,
        setup: &ConversationSetup,
    ) -> Turn {
        let State::CertificateJudged(known) = self else {
            return Turn::discard(self, DiscardReason::UnaskedVerdict);
        };
        match verdict {
            CertificateVerdict::Accepted(Accepted { user, banner }) => {
                let known = Known { certificate_identity: Some(user.clone()), ..known };
                if config.certificate == CertificateUse::Instead {
                    let message = forms::confirmation(config, setup, known.group.as_deref());
                    let login = known.login(user);
                    return Turn { state: State::Confirming { login, banner }, say: Say::Message(message) };
                }
                ask(known, FIRST_ATTEMPT, config, setup)
            }
            CertificateVerdict::Refused { reason } => Turn::fail(FailureReason::BadCertificate(reason)),
            CertificateVerdict::Unavailable => Turn::fail(FailureReason::Unavailable),
        }
    }

    /// The password was judged.
    pub(super) fn password(
        self,
        verdict: PasswordVerdict,
        config: &ServerConfig,
        setup: &ConversationSetup,
    ) -> Turn {
        let State::Judged { known, attempt, user } = self else {
            return Turn::discard(self, DiscardReason::UnaskedVerdict);
        };
        match verdict {
            PasswordVerdict::Accepted(Accepted { user, banner }) => {
                finish(known.login(user), banner, config, setup)
            }
            PasswordVerdict::Refused => refuse(known, attempt, config, setup),
            PasswordVerdict::Challenge { prompt } => {
                let message = forms::challenge(config, setup, known.group.as_deref(), prompt);
                Turn { state: State::Challenged { known, attempt, user }, say: Say::Message(message) }
            }
            PasswordVerdict::Unavailable => Turn::fail(FailureReason::Unavailable),
        }
    }
}

/// Number of the first attempt.
const FIRST_ATTEMPT: u32 = 1;

/// Init came: a certificate first, where one is wanted.
fn greet(init: Init, config: &ServerConfig, setup: &ConversationSetup) -> Turn {
    let group = forms::first_group(config, &init);
    let known = Known { client: init.client, group, certificate_identity: None };
    match config.certificate {
        CertificateUse::None => ask(known, FIRST_ATTEMPT, config, setup),
        CertificateUse::Required | CertificateUse::Instead => {
            let message = forms::certificate(config, setup, known.group.as_deref());
            Turn { state: State::CertificateAsked(known), say: Say::Message(message) }
        }
    }
}

/// Shows the login form; from the second attempt on, with an error.
fn ask(known: Known, attempt: u32, config: &ServerConfig, setup: &ConversationSetup) -> Turn {
    let message = forms::login(config, setup, known.group.as_deref(), attempt > FIRST_ATTEMPT);
    Turn { state: State::Asked { known, attempt }, say: Say::Message(message) }
}

/// A form was filled in.
fn judge(
    mut known: Known,
    attempt: u32,
    reply: &AuthReply,
    config: &ServerConfig,
    setup: &ConversationSetup,
) -> Turn {
    if let Some(wish) = reply.group_select.as_deref().filter(|_| !config.groups.is_empty()) {
        match forms::listed(config, wish) {
            Some(group) => known.group = Some(group),
            None => return refuse(known, attempt, config, setup),
        }
    }
    let user = reply.answer("username").map(|user| user.as_str().trim().to_owned()).unwrap_or_default();
    let question = known.question(user.clone(), attempt, reply);
    Turn { state: State::Judged { known, attempt, user }, say: Say::AskPassword(question) }
}

/// Some clients begin anew when the user picks another group, to see that group's form.
fn change_group(
    known: Known,
    attempt: u32,
    init: &Init,
    config: &ServerConfig,
    setup: &ConversationSetup,
) -> Turn {
    match init.group_select.as_deref().and_then(|wish| forms::listed(config, wish)) {
        Some(group) => ask(Known { group: Some(group), ..known }, attempt, config, setup),
        None => Turn::discard(State::Asked { known, attempt }, DiscardReason::OutOfOrder),
    }
}

/// Another attempt, if there is one left.
fn refuse(known: Known, attempt: u32, config: &ServerConfig, setup: &ConversationSetup) -> Turn {
    match attempt.checked_add(1) {
        Some(next) if attempt < config.attempts => ask(known, next, config, setup),
        _ => Turn::fail(FailureReason::BadCredentials),
    }
}

fn finish(login: Login, banner: Option<String>, config: &ServerConfig, setup: &ConversationSetup) -> Turn {
    let message = forms::complete(config, setup, banner);
    Turn { state: State::Completing(login), say: Say::Message(message) }
}

impl Turn {
    fn fail(reason: FailureReason) -> Turn {
        Turn { state: State::Finished, say: Say::Failure(reason) }
    }

    fn discard(unchanged: State, reason: DiscardReason) -> Turn {
        Turn { state: unchanged, say: Say::Discard(reason) }
    }
}

impl Known {
    fn question(&self, user: String, attempt: u32, reply: &AuthReply) -> PasswordQuestion {
        let empty = || Password::new(String::new());
        let text = |name| reply.answer(name).map(|answer| answer.as_str().to_owned());
        PasswordQuestion {
            user,
            password: reply
                .answer("password")
                .or_else(|| reply.answer("answer"))
                .cloned()
                .unwrap_or_else(empty),
            answers_challenge: false,
            secondary: text("secondary_username").zip(reply.answer("secondary_password").cloned()),
            group: self.group.clone(),
            certificate_identity: self.certificate_identity.clone(),
            attempt,
        }
    }

    fn login(self, user: String) -> Login {
        let Known { client, group, certificate_identity } = self;
        Login { user, group, certificate_identity, client }
    }
}
