//! EAP methods of the client behind one seam: AnyConnect-EAP, MSCHAPv2 and GTC, with whoever knows the answers.
//!
//! Enters: EAP packets of an authenticated gateway, the user's answers. Leaves: responses, at the end the key of the final
//! AUTH payloads (RFC 7296 §2.16).

use causeway_eap::anyconnect::Password;
use causeway_eap::anyconnect::message::{ClientInfo, Device, Form, Input, InputKind};
use causeway_eap::anyconnect::peer::{
    AnyConnectPeer, ClientCertificate, FormAnswers, PeerConfig as AnyConnectConfig, PeerInput, PeerStep,
};
use causeway_eap::{EapPeer, NtHash, PeerConfig as Mschapv2Config, PeerMethod, PeerStep as StandardStep};
use causeway_ike::cert::{Credential, RsaHash};
use causeway_ike::crypto::{Random, Secret};
use causeway_ike::suite::Prf;
use causeway_ike::wire::AuthMethod;

/// The client's side of one EAP conversation.
pub trait EapMethod: Send {
    /// Takes the gateway's packet.
    fn respond(&mut self, request: &[u8], binding: &Binding<'_>) -> EapReply;
}

/// What ties a certificate's signature to this IKE SA.
pub struct Binding<'a> {
    /// What must be signed: RealMessage1 | NonceRData | MACedIDForI (RFC 7296 §2.15).
    pub signed_octets: &'a [u8],
    /// The negotiated PRF, whose hash an RSA signature uses.
    pub prf: Prf,
}

/// What a packet led to.
pub enum EapReply {
    /// Send this.
    Respond(Vec<u8>),
    /// Success, with the MSK if the method has one.
    Success(Option<Secret>),
    /// It ended without login, for this reason.
    Failure(String),
    /// Nothing sensible was said.
    Confused,
}

/// Who knows what the gateway asks.
pub trait Answers: Send {
    /// Shows what the gateway says: titles, errors, banners.
    fn show(&mut self, text: &str);

    /// The answer to one question; `None` ends the login. `hidden` answers are not echoed. `attempt` counts the forms
    /// of this conversation from 1.
    fn answer(&mut self, question: &Question<'_>) -> Option<Password>;
}

/// One question.
pub struct Question<'a> {
    /// Name in the form: `username`, `password`, `answer`.
    pub name: &'a str,
    /// For the user.
    pub label: &'a str,
    /// Whether the answer is secret.
    pub hidden: bool,
    /// Forms so far in this conversation, 1 for the first.
    pub form: u32,
}

/// AnyConnect-EAP.
pub struct AnyConnect {
    peer: AnyConnectPeer,
    answers: Box<dyn Answers>,
    certificate: Option<Credential>,
    forms: u32,
}

impl AnyConnect {
    /// A conversation with this group wish and perhaps a certificate.
    pub fn new(
        client: ClientInfo,
        dialled: &str,
        group: Option<String>,
        answers: Box<dyn Answers>,
        certificate: Option<Credential>,
    ) -> AnyConnect {
        let config = AnyConnectConfig { client, group_access: dialled.to_owned(), group };
        AnyConnect { peer: AnyConnectPeer::new(config), answers, certificate, forms: 0 }
    }

    fn fill(&mut self, form: &Form) -> Option<FormAnswers> {
        self.forms = self.forms.saturating_add(1);
        for text in [&form.title, &form.banner, &form.message] {
            if !text.is_empty() {
                self.answers.show(text);
            }
        }
        if let Some(error) = &form.error {
            self.answers.show(&error.display());
        }
        let mut answers = Vec::new();
        for Input { kind, name, label, .. } in &form.inputs {
            let hidden = match kind {
                InputKind::Hidden => continue,
                InputKind::Password => true,
                _ => false,
            };
            let question = Question { name, label, hidden, form: self.forms };
            answers.push((name.clone(), self.answers.answer(&question)?));
        }
        Some(FormAnswers { answers, group: None })
    }

    fn sign(&self, binding: &Binding<'_>) -> Option<ClientCertificate> {
        let credential = self.certificate.as_ref()?;
        // Without a list of hashes the credential signs as the older methods do, whose data is the bare signature.
        let hash = RsaHash::of_prf(binding.prf);
        let auth = credential.sign_with(binding.signed_octets, None, hash).ok()?;
        let bare = auth.method != AuthMethod::DigitalSignature;
        let chain = credential.cert_payloads().map(|cert| cert.data).collect();
        bare.then_some(ClientCertificate { chain, signature: auth.data })
    }
}

impl EapMethod for AnyConnect {
    fn respond(&mut self, request: &[u8], binding: &Binding<'_>) -> EapReply {
        let mut step = self.peer.handle(PeerInput::Packet(request));
        loop {
            step = match step {
                PeerStep::Response(response) => return EapReply::Respond(response),
                PeerStep::FillForm(form) => match self.fill(&form) {
                    Some(answers) => self.peer.handle(PeerInput::Answers(answers)),
                    None => return EapReply::Failure("cancelled".into()),
                },
                PeerStep::Sign => self.peer.handle(PeerInput::Certificate(self.sign(binding))),
                PeerStep::Success(complete) => {
                    if !complete.banner.is_empty() {
                        self.answers.show(&complete.banner);
                    }
                    return EapReply::Success(None);
                }
                PeerStep::Failure(failure) => return EapReply::Failure(failure.to_string()),
                PeerStep::Discard(_) => return EapReply::Confused,
            };
        }
    }
}

/// A method that needs a name and a password.
pub struct ByPassword {
    peer: EapPeer,
}

impl ByPassword {
    /// EAP-MSCHAPv2 (RFC 2759) as this user; `None` when there is no randomness.
    pub fn mschapv2(user: &str, password: &str, random: &mut dyn Random) -> Option<ByPassword> {
        let mut challenge = [0; 16];
        random.fill(&mut challenge).ok()?;
        let hash = NtHash::of_password(password);
        let config = Mschapv2Config { identity: user.to_owned(), user: user.to_owned(), hash };
        Some(ByPassword { peer: EapPeer::new(config, challenge) })
    }

    /// EAP-GTC (RFC 3748 §5.6): the gateway, which has proved itself by then, gets the password itself.
    pub fn gtc(user: &str, password: &str) -> ByPassword {
        let method = PeerMethod::Gtc { password: password.to_owned().into() };
        ByPassword { peer: EapPeer::with_methods(user.to_owned(), vec![method]) }
    }
}

impl EapMethod for ByPassword {
    fn respond(&mut self, request: &[u8], _binding: &Binding<'_>) -> EapReply {
        match self.peer.handle(request) {
            StandardStep::Response(response) => EapReply::Respond(response),
            StandardStep::Success(msk) => {
                EapReply::Success(msk.map(|msk| Secret::new(msk.as_bytes().to_vec())))
            }
            StandardStep::Failure(reason) => EapReply::Failure(reason.to_string()),
            StandardStep::Discard(_) => EapReply::Confused,
        }
    }
}

/// What this client tells of its device: no more than the gateway needs to tell devices apart.
pub fn device(version: &str, computer_name: &str, unique_id: &str) -> ClientInfo {
    ClientInfo {
        version: version.to_owned(),
        device: Device {
            platform: "linux-64".into(),
            computer_name: computer_name.to_owned(),
            device_type: std::env::consts::ARCH.into(),
            platform_version: String::new(),
            unique_id: unique_id.to_owned(),
            unique_id_global: String::new(),
        },
        ..ClientInfo::default()
    }
}
