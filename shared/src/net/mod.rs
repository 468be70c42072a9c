//! Packet headers: unchecked bytes in, typed views and header builders out (Ethernet, ARP, IPv4, UDP, ICMP).
