//! Vendor ids of Cisco's clients and gateways, raw text without NUL, and the identity that AnyConnect logs in with.
//!
//! Enters: the vendor ids of an IKE_SA_INIT request. Leaves: [`Announced`], and our own vendor ids for the response.

use crate::ident::Identity;
use crate::policy::CiscoPolicy;
use crate::wire::{Message, Payload};

/// What AnyConnect calls itself in IDi, whoever the user is.
pub const ANYCONNECT_IDENTITY: &[u8] = b"*$AnyConnectClient$*";

/// Most vendor ids of a client that are remembered.
const MAX_VENDOR_IDS: usize = 16;
/// Most octets of an unknown vendor id that the operator is shown.
const MAX_SHOWN_OCTETS: usize = 32;

macro_rules! vendor_ids {
    ($($(#[$meta:meta])* $name:ident = $octets:expr, $text:literal;)+) => {
        /// A vendor id that means something here.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum VendorId { $($(#[$meta])* $name,)+ }

        impl VendorId {
            /// Every one.
            pub const ALL: &'static [VendorId] = &[$(VendorId::$name,)+];

            /// The payload's octets.
            pub fn octets(self) -> &'static [u8] { match self { $(VendorId::$name => $octets,)+ } }

            /// Its usual name.
            pub fn name(self) -> &'static str { match self { $(VendorId::$name => $text,)+ } }
        }
    };
}

vendor_ids! {
    /// Deletes may carry a reason.
    DeleteReason = b"CISCO-DELETE-REASON", "CISCO-DELETE-REASON";
    /// A Cisco implementation.
    Copyright = b"CISCO(COPYRIGHT)&Copyright (c) 2009 Cisco Systems, Inc.", "CISCO(COPYRIGHT)";
    /// The client can carry GRE; a suffix may follow.
    GreMode = b"CISCO-GRE-MODE", "CISCO-GRE-MODE";
    /// The client logs in with AnyConnect-EAP.
    AnyConnectEap = b"CISCO-ANYCONNECT-EAP", "CISCO-ANYCONNECT-EAP";
    /// The client can bind its session token to a key of its own. Never answered: the format is not public.
    AnyConnectStrap = b"CISCO-ANYCONNECT-STRAP", "CISCO-ANYCONNECT-STRAP";
    /// The same with a key exchange.
    AnyConnectStrapDh = b"CISCO-ANYCONNECT-STRAP-DH", "CISCO-ANYCONNECT-STRAP-DH";
    /// The level of cryptography that the client knows.
    NgeLevel = b"CISCO-NGE-LEVEL", "CISCO-NGE-LEVEL";
    /// Long messages may be cut in Cisco's way: MD5 of "FRAGMENTATION".
    Fragmentation =
        &[0x40, 0x48, 0xb7, 0xd5, 0x6e, 0xbc, 0xe8, 0x85, 0x25, 0xe7, 0xde, 0x7f, 0x00, 0xd6, 0xc2, 0xd3],
        "FRAGMENTATION";
    /// A router of Cisco's.
    FlexVpn = b"FLEXVPN-SUPPORTED", "FLEXVPN-SUPPORTED";
    /// A router of Cisco's.
    DynamicRoute = b"CISCO-DYNAMIC-ROUTE", "CISCO-DYNAMIC-ROUTE";
    /// A router of Cisco's.
    VpnRev02 = b"CISCOVPN-REV-02", "CISCOVPN-REV-02";
}

impl VendorId {
    fn of(octets: &[u8]) -> Option<VendorId> {
        VendorId::ALL.iter().copied().find(|id| match id {
            VendorId::GreMode => octets.starts_with(id.octets()),
            _ => octets == id.octets(),
        })
    }
}

/// What a client announced by its vendor ids.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Announced {
    /// It is Cisco's, of whatever kind.
    pub(crate) cisco: bool,
    /// It wants AnyConnect-EAP, or has a session that began with it.
    pub(crate) anyconnect: bool,
    /// It puts fragments of Cisco's kind together.
    pub(crate) fragmentation: bool,
    /// What the operator is shown.
    pub(crate) names: Vec<String>,
}

impl Announced {
    pub(crate) fn read(message: &Message) -> Announced {
        let mut announced = Announced::default();
        let bodies = message.payloads.iter().filter_map(|payload| match payload {
            Payload::Vendor(body) => Some(body.as_slice()),
            _ => None,
        });
        for body in bodies.take(MAX_VENDOR_IDS) {
            let known = VendorId::of(body);
            match known {
                // Others than Cisco's send this one, too.
                Some(VendorId::Fragmentation) => announced.fragmentation = true,
                Some(id) => {
                    announced.cisco = true;
                    announced.anyconnect |= id == VendorId::AnyConnectEap;
                }
                None => {}
            }
            announced.names.push(known.map_or_else(|| hex(body), |id| id.name().to_owned()));
        }
        announced
    }
}

/// Our vendor ids for a client that announced these; `fragmentation` says whether its fragments are agreed on.
pub(crate) fn announcement(policy: &CiscoPolicy, announced: &Announced, fragmentation: bool) -> Vec<Payload> {
    let mut ids = Vec::new();
    if announced.anyconnect && policy.vendor_ids {
        ids.extend([VendorId::DeleteReason, VendorId::Copyright]);
    }
    if fragmentation {
        ids.push(VendorId::Fragmentation);
    }
    ids.into_iter().map(|id| Payload::Vendor(id.octets().to_vec())).collect()
}

/// Whether this identity is AnyConnect's, under an ID type that the policy takes.
pub(crate) fn is_anyconnect(policy: &CiscoPolicy, identity: &Identity) -> bool {
    let data = match identity {
        Identity::KeyId(data) | Identity::Other { data, .. } => data.as_slice(),
        Identity::Fqdn(name) | Identity::Rfc822(name) => name.as_bytes(),
        Identity::Ipv4(_) | Identity::Ipv6(_) | Identity::Dn(_) => return false,
    };
    data == ANYCONNECT_IDENTITY && policy.id_types.contains(&identity.id_type())
}

fn hex(body: &[u8]) -> String {
    let shown = body.get(..MAX_SHOWN_OCTETS).unwrap_or(body);
    shown.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ExchangeType, Header, IkeSpi};

    fn message(ids: &[&[u8]]) -> Message {
        let header = Header::new(IkeSpi(1), IkeSpi::ZERO, ExchangeType::IkeSaInit, true, false, 0);
        Message::new(header, ids.iter().map(|id| Payload::Vendor(id.to_vec())).collect())
    }

    #[test]
    fn what_clients_announce() {
        let table: [(&[&[u8]], [bool; 3]); 6] = [
            (&[], [false, false, false]),
            (&[b"CISCO-ANYCONNECT-EAP"], [true, true, false]),
            (&[b"CISCO-ANYCONNECT-EAPX"], [false, false, false]),
            (&[b"CISCO-GRE-MODE\x02"], [true, false, false]),
            (&[VendorId::Fragmentation.octets()], [false, false, true]),
            (&[b"FLEXVPN-SUPPORTED", VendorId::Fragmentation.octets()], [true, false, true]),
        ];
        for (ids, expected) in table {
            let announced = Announced::read(&message(ids));
            assert_eq!([announced.cisco, announced.anyconnect, announced.fragmentation], expected);
            assert_eq!(announced.names.len(), ids.len());
        }
        let many = vec![&b"\x01\xff"[..]; MAX_VENDOR_IDS + 1];
        assert_eq!(Announced::read(&message(&many)).names, vec!["01ff".to_owned(); MAX_VENDOR_IDS]);
    }

    #[test]
    fn strap_is_never_announced_and_nothing_to_strangers() {
        let policy = CiscoPolicy::default();
        let announced =
            Announced::read(&message(&VendorId::ALL.iter().map(|id| id.octets()).collect::<Vec<_>>()));
        let ours = |policy: &CiscoPolicy, announced: &Announced, cut| -> Vec<Vec<u8>> {
            let bodies = announcement(policy, announced, cut).into_iter();
            bodies
                .map(|payload| if let Payload::Vendor(body) = payload { body } else { Vec::new() })
                .collect()
        };
        let [delete, copyright, cut] = [VendorId::DeleteReason, VendorId::Copyright, VendorId::Fragmentation]
            .map(|id| id.octets().to_vec());
        assert_eq!(ours(&policy, &announced, true), [delete, copyright, cut.clone()]);
        assert_eq!(ours(&CiscoPolicy { vendor_ids: false, ..policy.clone() }, &announced, true), [cut]);
        assert!(ours(&policy, &Announced::default(), false).is_empty());
    }

    #[test]
    fn the_identity_counts_under_the_types_of_the_policy_only() {
        let policy = CiscoPolicy::default();
        for (id_type, data, expected) in [
            (201, ANYCONNECT_IDENTITY, true),
            (11, ANYCONNECT_IDENTITY, true),
            (2, ANYCONNECT_IDENTITY, false),
            (202, ANYCONNECT_IDENTITY, false),
            (201, b"*$AnyConnectClient$", false),
        ] {
            let identity = Identity::parse(id_type, data).unwrap();
            assert_eq!(is_anyconnect(&policy, &identity), expected, "{id_type}");
        }
    }
}
