//! What in a client profile keeps clients from coming back. Enters: the profile as a tree and, if there is one, the gateway's
//! configuration. Leaves: findings with line and remedy. Defaults are those of Cisco's profile schema.

use causeway_shared::config::{AuthMethod, Config};
use serde::Serialize;

use super::write::NAMESPACE;
use super::xml::Element;

/// How the client must authenticate for reconnect.
const METHOD: &str = "EAP-AnyConnect";
/// What the client must do after sleep.
const BEHAVIOR: &str = "ReconnectAfterResume";

/// One finding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Finding {
    /// Line of the profile, counted from 1; 0 if the configuration is at fault.
    pub line: usize,
    /// Whether it keeps clients from coming back, or only may.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Reconnect does not work.
    Error,
    /// It works only under conditions.
    Warning,
}

/// Everything that is wrong with the profile.
pub(super) fn check(root: &Element, config: Option<&Config>) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    if root.name != "AnyConnectProfile" || root.attribute("xmlns").is_some_and(|space| space != NAMESPACE) {
        findings.error(
            root.line,
            format!("the root is <{}>, not an AnyConnect profile", root.name),
            format!("<AnyConnectProfile xmlns=\"{NAMESPACE}\">"),
        );
        return findings.0;
    }
    initialization(root, &mut findings);
    let hosts: Vec<&Element> = root.all("ServerList").flat_map(|servers| servers.all("HostEntry")).collect();
    if hosts.is_empty() {
        findings.error(
            root.line,
            "there is no <HostEntry> in <ServerList>, so the client uses TLS with every host that is typed in",
            "add one for this gateway",
        );
    }
    for host in &hosts {
        host_entry(host, &mut findings);
    }
    if let Some(config) = config {
        against(&hosts, config, &mut findings);
    }
    findings.0.sort_by_key(|finding| finding.line);
    findings.0
}

struct Findings(Vec<Finding>);

impl Findings {
    fn error(&mut self, line: usize, what: impl Into<String>, remedy: impl Into<String>) {
        let (what, remedy) = (what.into(), remedy.into());
        self.0.push(Finding { line, severity: Severity::Error, what, remedy });
    }

    fn warning(&mut self, line: usize, what: impl Into<String>, remedy: impl Into<String>) {
        let (what, remedy) = (what.into(), remedy.into());
        self.0.push(Finding { line, severity: Severity::Warning, what, remedy });
    }
}

fn initialization(root: &Element, findings: &mut Findings) {
    let correct = format!(
        "<AutoReconnect UserControllable=\"false\">true<AutoReconnectBehavior UserControllable=\"false\">{BEHAVIOR}\
         </AutoReconnectBehavior></AutoReconnect>"
    );
    let Some(initialization) = root.child("ClientInitialization") else {
        findings.error(root.line, "there is no <ClientInitialization>", format!("add it with {correct}"));
        return;
    };
    let Some(reconnect) = initialization.child("AutoReconnect") else {
        let what = "there is no <AutoReconnect>; without it the client disconnects when the computer sleeps";
        findings.error(initialization.line, what, format!("add {correct}"));
        return;
    };
    if !reconnect.value().eq_ignore_ascii_case("true") {
        findings.error(reconnect.line, format!("AutoReconnect is `{}`", reconnect.value()), "write true");
    }
    match reconnect.child("AutoReconnectBehavior") {
        Some(behavior) if behavior.value() == BEHAVIOR => {}
        Some(behavior) => findings.error(
            behavior.line,
            format!("AutoReconnectBehavior is `{}`: the client gives up its session", behavior.value()),
            format!("write {BEHAVIOR}"),
        ),
        None => findings.error(
            reconnect.line,
            "there is no <AutoReconnectBehavior>, and the default is DisconnectOnSuspend",
            format!("add {correct}"),
        ),
    }
    for element in [Some(reconnect), reconnect.child("AutoReconnectBehavior")].into_iter().flatten() {
        if element.attribute("UserControllable") == Some("true") {
            findings.warning(
                element.line,
                format!("users can switch <{}> off", element.name),
                "write UserControllable=\"false\"",
            );
        }
    }
    if let Some(protocols) = initialization.child("IPProtocolSupport")
        && !protocols.value().split(',').any(|protocol| protocol.trim() == "IPv4")
    {
        findings.error(
            protocols.line,
            format!("IPProtocolSupport is `{}`, and the gateway speaks IPv4 only", protocols.value()),
            "write IPv4,IPv6",
        );
    }
}

fn host_entry(host: &Element, findings: &mut Findings) {
    let name = host.child("HostName").map_or("", Element::value);
    if host.child("HostAddress").is_none_or(|address| address.value().is_empty()) && name.is_empty() {
        findings.error(host.line, "the <HostEntry> names no host", "add <HostName> and <HostAddress>");
    }
    let Some(protocol) = host.child("PrimaryProtocol") else {
        let what = format!("`{name}` has no <PrimaryProtocol>, and the default is SSL");
        findings.error(host.line, what, "add <PrimaryProtocol>IPsec</PrimaryProtocol>");
        return;
    };
    if !protocol.value().eq_ignore_ascii_case("ipsec") {
        let what = format!("the PrimaryProtocol of `{name}` is `{}`", protocol.value());
        findings.error(protocol.line, what, "write IPsec");
    }
    let Some(standard) = protocol.child("StandardAuthenticationOnly") else { return };
    if !standard.value().eq_ignore_ascii_case("true") {
        return;
    }
    match standard.child("AuthMethodDuringIKENegotiation") {
        Some(method) if method.value() == METHOD => {}
        Some(method) => findings.error(
            method.line,
            format!(
                "`{name}` logs in with `{}`, and only {METHOD} asks for a session to come back to",
                method.value()
            ),
            format!("write {METHOD}"),
        ),
        None => findings.error(
            standard.line,
            format!("`{name}` has StandardAuthenticationOnly without <AuthMethodDuringIKENegotiation>"),
            format!("add <AuthMethodDuringIKENegotiation>{METHOD}</AuthMethodDuringIKENegotiation>"),
        ),
    }
}

/// What profile and configuration must say alike.
fn against(hosts: &[&Element], config: &Config, findings: &mut Findings) {
    if !config.auth.methods.contains(&AuthMethod::AnyconnectEap) {
        findings.error(0, "the configuration's auth.methods has no \"anyconnect-eap\"", "add it");
    }
    if !config.reconnect.enabled {
        findings.error(0, "the configuration has reconnect.enabled = false", "set it to true");
    }
    let identity = &config.gateway.identity;
    let address = |host: &&Element| -> Option<String> {
        let address = host.child("HostAddress").or(host.child("HostName"))?;
        Some(address.value().to_owned())
    };
    if !hosts.is_empty()
        && !hosts.iter().filter_map(address).any(|address| address.eq_ignore_ascii_case(identity))
    {
        findings.warning(
            hosts.first().map_or(0, |host| host.line),
            format!("no <HostAddress> is the gateway's identity `{identity}`"),
            "the gateway's certificate must name the address that the client dials",
        );
    }
}
