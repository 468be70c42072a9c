//! The data plane's ports as an operator sees them. Enters: what a data plane says in the segment. Leaves: types of
//! `GET /v1/ports`, and the octets by which the data plane hands them over.

use serde::{Deserialize, Serialize};

use crate::config::PortRole;

/// One DPDK port and what was chosen for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Port {
    /// Name in the configuration.
    pub name: String,
    /// EAL device string, as configured.
    pub device: String,
    /// DPDK driver, e.g. `net_ixgbe`.
    pub driver: String,
    /// Which side it faces.
    pub role: PortRole,
    /// Hardware address, `02:00:00:00:00:01`.
    pub mac: String,
    /// Largest IP packet, octets.
    pub mtu: u16,
    /// Its link, as the data plane saw it at its last look, at most a second or so ago.
    pub link: PortLink,
    /// Receive queues in use.
    pub rx_queues: u16,
    /// Transmit queues in use.
    pub tx_queues: u16,
    /// Workers that poll it, in ascending order.
    pub polled_by: Vec<u16>,
    /// Who spreads its packets over the workers.
    pub spread: Spread,
    /// Who opens and seals the ESP packets that pass it.
    pub esp: PortEsp,
}

/// A port's link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PortLink {
    /// Whether it is up.
    pub up: bool,
    /// Mbit/s; `None` when the device does not know.
    pub speed_mbps: Option<u32>,
}

/// Who spreads a port's packets over the workers. Whoever it is, a packet then goes to the owner of its SA.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Spread {
    /// Nobody: there is one worker.
    OneWorker,
    /// The device, by a hash of the headers.
    ReceiveHash,
    /// What is behind the device: the kernel's fan-out, or a peer that fills several rings.
    BehindTheDevice,
    /// The workers that poll hand to the owners of the SAs.
    Software,
}

/// The ESP path of a port.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PortEsp {
    /// The crypto engine: `wide`, `aws-lc`, `portable`, or `lookaside` for a crypto device with one of those behind it.
    pub engine: String,
    /// Why this one.
    pub reason: String,
    /// Whether the crypto device that `engine` speaks of has stopped answering: the software named in `reason` does all since then.
    pub device_failed: bool,
    /// Whether the device could open and seal ESP itself (rte_security inline, both directions).
    pub inline_capable: bool,
}

/// `GET /v1/ports`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PortList {
    /// Whether a data plane is attached; without one there are no ports to show.
    pub dataplane_attached: bool,
    /// In the order of the configuration.
    pub ports: Vec<Port>,
}

impl Spread {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Spread::OneWorker => "one worker",
            Spread::ReceiveHash => "receive hash",
            Spread::BehindTheDevice => "behind the device",
            Spread::Software => "software",
        }
    }
}

impl Port {
    /// Changes whenever two versions would read each other's octets differently; part of the segment's layout hash.
    pub const LAYOUT: &'static str = "port-2";

    /// The octets that say this.
    ///
    /// # Errors
    /// None for any port that there can be; serde has them in its signature.
    pub fn to_octets(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads what [`Port::to_octets`] wrote.
    ///
    /// # Errors
    /// When the octets are something else.
    pub fn from_octets(octets: &[u8]) -> Result<Port, serde_json::Error> {
        serde_json::from_slice(octets)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example(name: &str) -> Port {
        Port {
            name: name.to_owned(),
            device: format!("net_af_packet0,iface={name}"),
            driver: "net_af_packet".to_owned(),
            role: PortRole::Outside,
            mac: "02:00:00:00:00:01".to_owned(),
            mtu: 1500,
            link: PortLink { up: true, speed_mbps: Some(10_000) },
            rx_queues: 2,
            tx_queues: 2,
            polled_by: vec![0, 1],
            spread: Spread::BehindTheDevice,
            esp: PortEsp {
                engine: "wide".to_owned(),
                reason: "it is the fastest".to_owned(),
                device_failed: false,
                inline_capable: false,
            },
        }
    }

    proptest! {
        #[test]
        fn octets_say_what_the_port_is(name in ".*", device in ".*", speed in any::<Option<u32>>(), mtu in any::<u16>()) {
            let link = PortLink { up: speed.is_some(), speed_mbps: speed };
            let port = Port { device, mtu, link, ..example(&name) };
            let octets = port.to_octets().unwrap();
            prop_assert_eq!(Port::from_octets(&octets).unwrap(), port);
            prop_assert!(Port::from_octets(&octets[..octets.len() - 1]).is_err());
        }
    }

    #[test]
    fn words_of_the_api_are_stable() {
        let text = String::from_utf8(example("wan").to_octets().unwrap()).unwrap();
        for part in [r#""role":"outside""#, r#""spread":"behind-the-device""#, r#""speed_mbps":10000"#] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
