//! Every counter of the data plane, declared once: number, name, meaning and what an operator should do about it.
//!
//! The segment holds one array of [`COUNTERS`] 64-bit words per worker; `GET /v1/counters`, the CLI and the manual
//! read names and texts from here.

macro_rules! counters {
    ($(#[$meta:meta])* $enum_name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $name:literal, remedy $remedy:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u16)]
        pub enum $enum_name { $($(#[doc = $doc])+ $variant,)+ }

        impl $enum_name {
            /// Every value, in order of its number.
            pub const ALL: &'static [$enum_name] = &[$($enum_name::$variant,)+];

            /// The stable name, used in the API, metrics and logs.
            pub fn name(self) -> &'static str { match self { $($enum_name::$variant => $name,)+ } }

            /// What it counts.
            pub fn meaning(self) -> &'static str { match self { $($enum_name::$variant => concat!($($doc),+).trim_ascii(),)+ } }

            /// What an operator should do when it grows; empty when growth is normal.
            pub fn remedy(self) -> &'static str { match self { $($enum_name::$variant => $remedy,)+ } }
        }
    };
}

counters! {
    /// Packets and octets by place in the path.
    Flow {
        /// Packets received from ports.
        RxPackets = "rx_packets", remedy "";
        /// Octets received from ports.
        RxBytes = "rx_bytes", remedy "";
        /// Packets given to ports.
        TxPackets = "tx_packets", remedy "";
        /// Octets given to ports.
        TxBytes = "tx_bytes", remedy "";
        /// ESP packets opened and accepted.
        EspInPackets = "esp_in_packets", remedy "";
        /// Inner octets of ESP packets opened.
        EspInBytes = "esp_in_bytes", remedy "";
        /// ESP packets given to the crypto device.
        CryptoDevicePackets = "crypto_device_packets", remedy "";
        /// ESP packets of SAs in the crypto device that software did, because the device was full.
        CryptoDeviceFull = "crypto_device_full", remedy "The crypto device is slower than the traffic: if software is faster, remove dataplane.crypto_device.";
        /// ESP packets sealed.
        EspOutPackets = "esp_out_packets", remedy "";
        /// Inner octets of ESP packets sealed.
        EspOutBytes = "esp_out_bytes", remedy "";
        /// IKE datagrams handed to the control plane.
        PuntedIke = "punted_ike", remedy "";
        /// IKE datagrams sent for the control plane.
        SentIke = "sent_ike", remedy "";
        /// NAT-T keepalives received.
        NatKeepalives = "nat_keepalives", remedy "";
        /// ARP requests answered.
        ArpReplies = "arp_replies", remedy "";
        /// ARP requests sent for next hops.
        ArpRequests = "arp_requests", remedy "";
        /// ICMP echo requests to us answered.
        IcmpEchoReplies = "icmp_echo_replies", remedy "";
        /// ICMP errors sent (time exceeded, too big, unreachable).
        IcmpErrors = "icmp_errors", remedy "";
        /// Neighbour solicitations (IPv6's ARP) answered.
        NeighbourAdvertisements = "neighbour_advertisements", remedy "";
        /// Neighbour solicitations sent for next hops.
        NeighbourSolicitations = "neighbour_solicitations", remedy "";
        /// Sizes of paths over IPv6 learnt from ICMPv6 "packet too big".
        PathMtusLearnt = "path_mtus_learnt", remedy "";
        /// Packets passed to the worker that owns their SA.
        HandedOff = "handed_off", remedy "";
        /// ARP messages taken in and answered or learnt from.
        ArpReceived = "arp_received", remedy "";
        /// Messages of neighbour discovery taken in and answered or learnt from.
        NeighbourDiscoveryReceived = "neighbour_discovery_received", remedy "";
        /// ESP dummy packets of traffic-flow confidentiality (next header 59), discarded as they should be.
        EspDummies = "esp_dummies", remedy "";
        /// Packets added by fragmentation here: fragments sent less packets fragmented.
        FragmentsMade = "fragments_made", remedy "Lower the clients' MTU or clamp the TCP MSS if this is a large share of the traffic.";
        /// Fragments to us taken to be put together: of IKE and ESP, from outside.
        FragmentsTaken = "fragments_taken", remedy "A path to clients is narrower than they believe; reassembly is slow: let clients use IKE fragmentation (RFC 7383) and a smaller tunnel MTU.";
        /// Packets to us put together from fragments.
        Reassembled = "reassembled", remedy "";
        /// Packets from one client straight to another.
        Hairpinned = "hairpinned", remedy "";
        /// Observations of packets (captures, traces, flows) that found their ring full.
        ObservationsLost = "observations_lost", remedy "More is captured or exported than the control plane takes: narrow the capture, or raise export.ipfix.idle_timeout_secs.";
        /// Ring slots from the control plane that did not decode.
        MalformedSlots = "malformed_slots", remedy "The control plane writes slots this data plane refuses: compare both versions, then restart the control plane.";
    }
}

counters! {
    /// Why a packet was dropped. Every drop has exactly one.
    Drop {
        /// Frame shorter than its headers say.
        Truncated = "truncated", remedy "Look for a broken sender or a port MTU that cuts frames.";
        /// Ethernet type that is neither IPv4, IPv6 nor ARP, or IPv6 on a port without an IPv6 address.
        UnknownEtherType = "unknown_ether_type", remedy "";
        /// Ethernet destination that is not ours.
        NotOurMac = "not_our_mac", remedy "";
        /// IPv4 header with a wrong version, length or checksum.
        BadIpv4Header = "bad_ipv4_header", remedy "Look for a broken sender.";
        /// IPv4 fragment where whole packets are needed: ICMP to us.
        Ipv4Fragment = "ipv4_fragment", remedy "";
        /// Fragment to us of an impossible length, beyond its packet's end or beyond the longest packet that is put together.
        BadFragment = "bad_fragment", remedy "Look for a broken sender; somebody may be probing.";
        /// Fragments to us that overlap, and the others of their packet (RFC 5722).
        FragmentOverlap = "fragment_overlap", remedy "No honest sender makes such fragments: look where they come from.";
        /// Fragments to us whose packet did not become whole in time.
        FragmentTimeout = "fragment_timeout", remedy "Fragments are lost on the way, often to a firewall that drops all but the first: let clients use IKE fragmentation (RFC 7383) and a smaller tunnel MTU.";
        /// Fragments to us whose place newer packets needed.
        FragmentDisplaced = "fragment_displaced", remedy "More packets come in fragments than can wait: somebody floods, or the clients' tunnel MTU is too large for their path.";
        /// IPv6 header with a wrong version or length, an impossible address, or extension headers that are wrong or too many.
        BadIpv6Header = "bad_ipv6_header", remedy "Look for a broken sender.";
        /// IPv6 fragment where whole packets are needed.
        Ipv6Fragment = "ipv6_fragment", remedy "Let the client use IKE fragmentation (RFC 7383) or lower the path MTU it assumes.";
        /// To our address, but nothing listens there.
        NotForUs = "not_for_us", remedy "";
        /// TTL or hop limit ran out.
        TtlExceeded = "ttl_exceeded", remedy "Look for a routing loop between this gateway and the LAN.";
        /// UDP header or checksum wrong.
        BadUdp = "bad_udp", remedy "";
        /// ARP message that is malformed, for another subnet, or claims one of our addresses.
        BadArp = "bad_arp", remedy "Look for a host that uses one of the gateway's addresses.";
        /// Message of neighbour discovery that RFC 4861 says to discard, for another link, or one that claims one of our addresses.
        BadNeighbourDiscovery = "bad_neighbour_discovery", remedy "Look for a host that uses one of the gateway's addresses.";
        /// ICMP message with a wrong length or checksum.
        BadIcmp = "bad_icmp", remedy "";
        /// ESP packet with an SPI that has no SA.
        UnknownSpi = "unknown_spi", remedy "A peer uses an SA we do not have: normal for seconds after a restart; a lasting count is an attack or a peer that never noticed.";
        /// ESP sequence number already seen or left of the window (RFC 4303 §3.4.3).
        Replay = "replay", remedy "Raise esp.replay_window if the path reorders; otherwise somebody replays packets.";
        /// ICV wrong: forged, damaged, or keys differ.
        BadIcv = "bad_icv", remedy "Look at the peer's SA: keys or algorithm differ, or packets are forged.";
        /// ESP length, padding or next header wrong after decryption.
        BadEspFormat = "bad_esp_format", remedy "The peer's ESP is broken; capture and report.";
        /// Inner source or destination outside the SA's selectors.
        SelectorMismatch = "selector_mismatch", remedy "The client sends from an address that it was not given, or to a network it may not reach.";
        /// The SA passed a hard limit.
        SaExpired = "sa_expired", remedy "Rekey came too late: raise limits or look why the peer does not answer rekeys.";
        /// The crypto engine refused to seal a packet.
        SealFailed = "seal_failed", remedy "This is a bug: report it with the SA's suite.";
        /// Sequence numbers of an outbound SA are used up.
        SequenceExhausted = "sequence_exhausted", remedy "Use ESN or rekey earlier.";
        /// To a client address that has no session.
        NoSession = "no_session", remedy "";
        /// Clear packet from outside to the LAN, or from a port that may not send it.
        PolicyDenied = "policy_denied", remedy "";
        /// No route to the destination.
        NoRoute = "no_route", remedy "Add a [[route]] for it.";
        /// The next hop did not answer ARP or neighbour discovery, or too many packets wait for it.
        NoNeighbour = "no_neighbour", remedy "Check that the next hop is up and in the port's subnet.";
        /// Too big for the next hop and not to be fragmented.
        TooBig = "too_big", remedy "";
        /// The port's transmit queue was full.
        TxFull = "tx_full", remedy "The port is slower than the traffic: add queues or a faster port.";
        /// The handoff ring to another worker was full.
        HandoffFull = "handoff_full", remedy "One worker owns too much traffic: add workers.";
        /// The ring to the control plane was full.
        PuntFull = "punt_full", remedy "The control plane is behind or away: check `causeway show health`.";
        /// The port had no room for a packet that arrived.
        PortMissed = "port_missed", remedy "The workers are too slow for the traffic: add cores, or queues to the port.";
        /// The port received a damaged packet or failed to send one.
        PortError = "port_error", remedy "Check the cable, the far end and the MTU of the port's network.";
        /// Too many packets wait for the crypto device to give earlier ones back.
        CryptoLineFull = "crypto_line_full", remedy "The crypto device is too slow or has stopped: `causeway show ports` names it; remove dataplane.crypto_device to do without.";
        /// In the crypto device when it stopped answering and was given up.
        CryptoDeviceLost = "crypto_device_lost", remedy "The crypto device has failed and software does its work: look at the device and its driver, then restart the data plane to use it again.";
        /// No buffer was free.
        NoBuffer = "no_buffer", remedy "Raise dataplane.buffers.";
    }
}

/// Words of the counter array: the flows first, then the drops.
pub const COUNTERS: usize = Flow::ALL.len() + Drop::ALL.len();

impl Flow {
    /// Place in the counter array.
    pub fn index(self) -> usize {
        self as usize
    }
}

impl Drop {
    /// Place in the counter array.
    pub fn index(self) -> usize {
        Flow::ALL.len() + self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_and_places_are_unique_and_cover_the_array() {
        let names: HashSet<_> =
            Flow::ALL.iter().map(|c| c.name()).chain(Drop::ALL.iter().map(|c| c.name())).collect();
        let places: HashSet<_> =
            Flow::ALL.iter().map(|c| c.index()).chain(Drop::ALL.iter().map(|c| c.index())).collect();
        assert_eq!((names.len(), places.len()), (COUNTERS, COUNTERS));
        assert!(places.iter().all(|place| *place < COUNTERS));
    }
}
