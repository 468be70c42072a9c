//! Between the protocol's values and those of the data plane and the configuration.

use causeway_ike::api::{ChildInstall, Inner, Lease, Selector, SelectorPolicy};
use causeway_ike::policy::Subnet;
use causeway_shared::config::Esp;
use causeway_shared::sa::{self, EspKeys, EspSuite, InnerAddresses, IpPrefix, Ipv6Prefix, SaLimits, SaPair};

use crate::aaa::Authorization;
use crate::link::encapsulation;
use crate::pool::Grant;
use crate::reconnect::attributes::{self, Attribute};

/// Packets of a 32-bit sequence space after which the SA is rekeyed, whatever the configuration says: three quarters.
const SOFT_PACKETS_WITHOUT_ESN: u64 = 3 << 30;
/// How far past a soft limit the hard one lies, in parts of the soft limit: room for a rekey that is slow.
const HARD_LIMIT_MARGIN_DIVISOR: u64 = 2;

/// The protocol negotiated something that the data plane has no word for: a bug on this side.
#[derive(Debug, thiserror::Error)]
pub enum NotInstallable {
    /// The suite.
    #[error("the data plane has no suite `{0}`")]
    Suite(String),
    /// The keys.
    #[error("the keying material has the wrong length for `{0}`")]
    Keys(EspSuite),
    /// The selectors.
    #[error("{0} selectors are more than the data plane takes")]
    Selectors(usize),
}

/// A Child SA as the data plane takes it.
///
/// # Errors
/// See [`NotInstallable`].
pub fn sa_pair(install: &ChildInstall, policy: &Esp) -> Result<SaPair, NotInstallable> {
    let name = install.suite.to_string();
    let known = EspSuite::ALL.into_iter().find(|suite| suite.name() == name);
    let suite = known.ok_or(NotInstallable::Suite(name))?;
    let keys = |keymat: &[u8]| EspKeys::from_keymat(suite, keymat).ok_or(NotInstallable::Keys(suite));
    Ok(SaPair {
        inbound_spi: install.inbound_spi,
        outbound_spi: install.outbound_spi,
        session_id: install.session.0,
        suite,
        esn: install.esn,
        inbound_keys: keys(install.inbound_keymat.expose())?,
        outbound_keys: keys(install.outbound_keymat.expose())?,
        local_outer: install.path.local,
        peer_outer: install.path.peer,
        encapsulation: encapsulation(install.path),
        peer_inner: inner(install.peer_inner),
        peer_selectors: selectors(&install.peer_selectors)?,
        local_selectors: selectors(&install.local_selectors)?,
        replay_window: policy.replay_window,
        first_outbound_sequence: 1,
        highest_inbound_sequence: 0,
        limits: limits(policy, install.esn),
        outbound_selected: install.outbound_selected,
    })
}

/// What the client is told with its address: its own policy, else the pool's.
pub fn lease(grant: Grant, authorization: &Authorization, requested: &[Attribute]) -> Lease {
    let subnet = |prefix: IpPrefix| Subnet { address: prefix.address(), prefix_len: prefix.length() };
    let subnets = authorization.prefixes().unwrap_or(grant.subnets);
    let (domain, banner) = (authorization.domain.as_deref(), authorization.banner.as_deref());
    Lease {
        address: grant.address,
        netmask: grant.address.map(|_| grant.netmask),
        address6: grant.address6,
        dns: authorization.dns.clone().unwrap_or(grant.dns),
        subnets: subnets.into_iter().map(subnet).collect(),
        selectors: match authorization.any_selectors.unwrap_or(grant.any_selectors) {
            true => SelectorPolicy::Any,
            false => SelectorPolicy::Subnets,
        },
        lifetime_secs: lifetime_secs(authorization.session_lifetime_secs),
        pool: grant.pool,
        attributes: attributes::policy_reply(requested, domain, &authorization.split_dns, banner),
    }
}

/// What AUTH_LIFETIME says of an age at which a session ends; 0 is none.
pub fn lifetime_secs(secs: u64) -> Option<u32> {
    (secs > 0).then(|| u32::try_from(secs).unwrap_or(u32::MAX))
}

fn inner(inner: Inner) -> InnerAddresses {
    let v6 = inner.v6.and_then(|inner| Ipv6Prefix::new(inner.address, inner.prefix_len));
    InnerAddresses { v4: inner.v4, v6 }
}

fn limits(policy: &Esp, esn: bool) -> SaLimits {
    let hard = |soft: u64| soft.saturating_add(soft / HARD_LIMIT_MARGIN_DIVISOR);
    let configured = policy.rekey_packets;
    let soft_packets = match (configured, esn) {
        (_, true) => configured,
        (0, false) => SOFT_PACKETS_WITHOUT_ESN,
        (_, false) => configured.min(SOFT_PACKETS_WITHOUT_ESN),
    };
    SaLimits {
        soft_bytes: policy.rekey_bytes,
        hard_bytes: hard(policy.rekey_bytes),
        soft_packets,
        // Without ESN the sequence space is the hard limit that counts; the data plane watches it by itself.
        hard_packets: hard(configured),
    }
}

fn selectors(selectors: &[Selector]) -> Result<Vec<sa::Selector>, NotInstallable> {
    if selectors.len() > sa::MAX_SELECTORS {
        return Err(NotInstallable::Selectors(selectors.len()));
    }
    let convert = |selector: &Selector| sa::Selector {
        protocol: selector.protocol,
        first: selector.first,
        last: selector.last,
        first_port: selector.first_port,
        last_port: selector.last_port,
    };
    Ok(selectors.iter().map(convert).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_of_the_data_plane_is_spelt_as_the_protocol_spells_it() {
        for suite in EspSuite::ALL {
            let negotiated: causeway_ike::suite::EspSuite = suite.name().parse().unwrap();
            assert_eq!(negotiated.to_string(), suite.name());
            assert_eq!(negotiated.keymat_len(), sa::keymat_len(suite));
        }
    }

    #[test]
    fn limits_leave_room_for_a_rekey_and_for_the_sequence_space() {
        let policy = |rekey_bytes, rekey_packets| Esp {
            suites: Vec::new(),
            prefer_esn: true,
            rekey_secs: 0,
            rekey_bytes,
            rekey_packets,
            replay_window: 64,
        };
        for ((bytes, packets, esn), [soft_bytes, hard_bytes, soft_packets, hard_packets]) in [
            ((0, 0, true), [0, 0, 0, 0]),
            ((0, 0, false), [0, 0, SOFT_PACKETS_WITHOUT_ESN, 0]),
            ((100, 10, true), [100, 150, 10, 15]),
            ((100, 10, false), [100, 150, 10, 15]),
            ((0, u64::MAX, false), [0, 0, SOFT_PACKETS_WITHOUT_ESN, u64::MAX]),
        ] {
            let expected = SaLimits { soft_bytes, hard_bytes, soft_packets, hard_packets };
            assert_eq!(limits(&policy(bytes, packets), esn), expected);
        }
    }
}
