//! Packet headers: unchecked bytes in, typed views and header builders out (Ethernet, ARP, IPv4, IPv6,
//! UDP, ICMP of both families, neighbour discovery).
//!
//! A view is made once at the edge by a `parse` that checks every length; its accessors cannot fail. Builders write
//! into arrays of the header's exact size. Nothing here allocates or panics, whatever the bytes.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmp;
pub mod icmp6;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod reassembly;
pub mod udp;
