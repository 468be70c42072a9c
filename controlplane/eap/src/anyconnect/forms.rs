//! What the server asks: the login form, a challenge, the choice of a group; and the last word, `complete`.
//!
//! Enters: configuration, what the client wished for. Leaves: messages. Nothing here knows a state.

use super::api::{ConversationSetup, ServerConfig};
use super::message::{
    Ask, AuthRequest, Complete, Form, FormError, GatewayMessage, GroupOption, Init, Input, InputKind,
    OpaqueFields,
};

/// What the client is told after a wrong password, an unknown user, an unknown group: always the same.
pub(super) const REFUSED: &str = "Login failed.";
/// Number of [`REFUSED`]; clients show the text whatever the number is.
const REFUSED_ID: &str = "88";

/// Asks for a certificate.
pub(super) fn certificate(
    config: &ServerConfig,
    setup: &ConversationSetup,
    group: Option<&str>,
) -> GatewayMessage {
    request(config, setup, group, Ask::Certificate)
}

/// Asks only for a confirmation.
pub(super) fn confirmation(
    config: &ServerConfig,
    setup: &ConversationSetup,
    group: Option<&str>,
) -> GatewayMessage {
    request(config, setup, group, Ask::AuthenticationComplete)
}

/// Asks for name and password.
pub(super) fn login(
    config: &ServerConfig,
    setup: &ConversationSetup,
    group: Option<&str>,
    again: bool,
) -> GatewayMessage {
    let option = |name: &String| GroupOption { name: name.clone(), selected: group == Some(name) };
    let refused = || FormError { id: REFUSED_ID.into(), text: REFUSED.into(), ..FormError::default() };
    let form = Form {
        id: "main".into(),
        title: config.title.clone(),
        message: config.message.clone(),
        banner: String::new(),
        error: again.then(refused),
        inputs: vec![
            input(InputKind::Text, "username", "Username:"),
            input(InputKind::Password, "password", "Password:"),
        ],
        groups: config.groups.iter().map(option).collect(),
    };
    request(config, setup, group, Ask::Form(Box::new(form)))
}

/// Asks for the answer to a challenge.
pub(super) fn challenge(
    config: &ServerConfig,
    setup: &ConversationSetup,
    group: Option<&str>,
    prompt: String,
) -> GatewayMessage {
    let form = Form {
        id: "challenge".into(),
        title: config.title.clone(),
        message: prompt,
        inputs: vec![input(InputKind::Password, "answer", "Answer:")],
        ..Form::default()
    };
    request(config, setup, group, Ask::Form(Box::new(form)))
}

/// Tells that the user is logged in.
pub(super) fn complete(
    config: &ServerConfig,
    setup: &ConversationSetup,
    banner: Option<String>,
) -> GatewayMessage {
    let secret: String = setup.session_secret.iter().map(|octet| format!("{octet:02X}")).collect();
    GatewayMessage::Complete(Box::new(Complete {
        session_id: setup.session_number.to_string(),
        session_token: format!("{:X}@{}@{secret}", setup.handle, setup.session_number),
        banner: banner.unwrap_or_else(|| config.banner.clone()),
        client_services_port: config.client_services_port,
        server_cert_hash: Some(config.server_cert_hash),
        profile: config.profile.clone(),
    }))
}

/// The group to begin with: the one that the client names, be it as the end of a URL, else the first. `None` without a
/// list.
pub(super) fn first_group(config: &ServerConfig, init: &Init) -> Option<String> {
    let access = init.group_access.as_deref();
    let end_of_url = access.and_then(|access| access.trim_end_matches('/').rsplit('/').next());
    let wishes = [init.group_select.as_deref(), access, end_of_url].into_iter().flatten();
    wishes.filter_map(|wish| listed(config, wish)).next().or_else(|| config.groups.first().cloned())
}

/// The group of this name, if the list has it.
pub(super) fn listed(config: &ServerConfig, name: &str) -> Option<String> {
    config.groups.iter().find(|group| *group == name).cloned()
}

fn input(kind: InputKind, name: &str, label: &str) -> Input {
    Input { kind, name: name.into(), label: label.into(), value: String::new() }
}

/// `opaque` is state that the client keeps for a gateway that keeps none. This one keeps its own and believes nothing that
/// comes back; it is sent because clients are used to it.
fn request(
    config: &ServerConfig,
    setup: &ConversationSetup,
    group: Option<&str>,
    ask: Ask,
) -> GatewayMessage {
    let group = group.unwrap_or_default();
    let fields = OpaqueFields {
        tunnel_group: group.into(),
        group_alias: group.into(),
        handle: setup.handle,
        auth_methods: vec![],
    };
    GatewayMessage::AuthRequest(AuthRequest {
        opaque: fields.write().ok(),
        client_services_port: config.client_services_port,
        ask,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anyconnect::CertificateUse;

    #[test]
    fn the_group_to_begin_with_is_the_one_the_client_names() {
        let config = |groups: &[&str]| ServerConfig {
            certificate: CertificateUse::None,
            title: String::new(),
            message: String::new(),
            banner: String::new(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            attempts: 3,
            client_services_port: None,
            server_cert_hash: [0; 20],
            profile: None,
        };
        for (groups, access, select, expected) in [
            (&["staff", "sales"][..], None, None, Some("staff")),
            (&["staff", "sales"], None, Some("sales"), Some("sales")),
            (&["staff", "sales"], Some("https://gw.example/sales"), None, Some("sales")),
            (&["staff", "sales"], Some("https://gw.example/sales/"), None, Some("sales")),
            (&["staff", "sales"], Some("sales"), None, Some("sales")),
            (&["staff", "sales"], Some("https://gw.example/sales"), Some("staff"), Some("staff")),
            (&["staff", "sales"], Some("https://gw.example"), Some("Sales"), Some("staff")),
            (&[], Some("sales"), Some("sales"), None),
        ] {
            let init = Init {
                group_access: access.map(str::to_owned),
                group_select: select.map(str::to_owned),
                ..Init::default()
            };
            assert_eq!(first_group(&config(groups), &init).as_deref(), expected, "{access:?} {select:?}");
        }
    }
}
