//! Packet headers: unchecked bytes in, typed views and header builders out (Ethernet, ARP, IPv4, UDP, ICMP).
//!
//! A view is made once at the edge by a `parse` that checks every length; its accessors cannot fail. Builders write
//! into arrays of the header's exact size. Nothing here allocates or panics, whatever the bytes.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod reassembly;
pub mod udp;
