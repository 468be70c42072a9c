//! The profile of Cisco's client for a gateway. Enters: the gateway's configuration and the name that users see. Leaves: the
//! AnyConnect profile (XML), with the preferences of the documented headend.

use causeway_shared::config::{AuthMethod, Config};
use quick_xml::escape::escape;

/// The profile's namespace.
pub(super) const NAMESPACE: &str = "http://schemas.xmlsoap.org/encoding/";

/// Writes the profile. The configuration must let AnyConnect clients log in; if not, the reason.
pub(super) fn profile(config: &Config, name: Option<&str>) -> Result<String, String> {
    if !config.auth.methods.contains(&AuthMethod::AnyconnectEap) {
        return Err(
            "auth.methods has no \"anyconnect-eap\", so AnyConnect clients cannot log in; add it".into()
        );
    }
    let address = &config.gateway.identity;
    let name = name.unwrap_or(address);
    Ok(format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<AnyConnectProfile xmlns="{NAMESPACE}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="{NAMESPACE} AnyConnectProfile.xsd">
  <ClientInitialization>
    <UseStartBeforeLogon UserControllable="true">false</UseStartBeforeLogon>
    <AutomaticCertSelection UserControllable="true">false</AutomaticCertSelection>
    <ShowPreConnectMessage>false</ShowPreConnectMessage>
    <CertificateStore>All</CertificateStore>
    <CertificateStoreOverride>false</CertificateStoreOverride>
    <ProxySettings>Native</ProxySettings>
    <AllowLocalProxyConnections>true</AllowLocalProxyConnections>
    <AuthenticationTimeout>12</AuthenticationTimeout>
    <AutoConnectOnStart UserControllable="true">false</AutoConnectOnStart>
    <MinimizeOnConnect UserControllable="true">true</MinimizeOnConnect>
    <LocalLanAccess UserControllable="true">false</LocalLanAccess>
    <ClearSmartcardPin UserControllable="true">true</ClearSmartcardPin>
    <IPProtocolSupport>IPv4,IPv6</IPProtocolSupport>
    <AutoReconnect UserControllable="false">{reconnect}
      <AutoReconnectBehavior UserControllable="false">{behavior}</AutoReconnectBehavior>
    </AutoReconnect>
    <AutoUpdate UserControllable="false">true</AutoUpdate>
    <RSASecurIDIntegration UserControllable="false">Automatic</RSASecurIDIntegration>
    <WindowsLogonEnforcement>SingleLocalLogon</WindowsLogonEnforcement>
    <WindowsVPNEstablishment>AllowRemoteUsers</WindowsVPNEstablishment>
    <AutomaticVPNPolicy>false</AutomaticVPNPolicy>
    <PPPExclusion UserControllable="false">Disable
      <PPPExclusionServerIP UserControllable="false"></PPPExclusionServerIP>
    </PPPExclusion>
    <EnableScripting UserControllable="false">false</EnableScripting>
    <EnableAutomaticServerSelection UserControllable="false">false
      <AutoServerSelectionImprovement>20</AutoServerSelectionImprovement>
      <AutoServerSelectionSuspendTime>4</AutoServerSelectionSuspendTime>
    </EnableAutomaticServerSelection>
    <RetainVpnOnLogoff>false
    </RetainVpnOnLogoff>
    <AllowManualHostInput>true</AllowManualHostInput>
  </ClientInitialization>
  <ServerList>
    <HostEntry>
      <HostName>{name}</HostName>
      <HostAddress>{address}</HostAddress>
      <PrimaryProtocol>IPsec
        <StandardAuthenticationOnly>true
          <AuthMethodDuringIKENegotiation>EAP-AnyConnect</AuthMethodDuringIKENegotiation>
        </StandardAuthenticationOnly>
      </PrimaryProtocol>
    </HostEntry>
  </ServerList>
</AnyConnectProfile>
"#,
        reconnect = config.reconnect.enabled,
        behavior = if config.reconnect.enabled { "ReconnectAfterResume" } else { "DisconnectOnSuspend" },
        name = escape(name),
        address = escape(address.as_str()),
    ))
}
