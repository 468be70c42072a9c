//! NAT detection hashes (RFC 7296 §2.23): SHA-1 over SPIs, address and port.

use std::net::IpAddr;

use aws_lc_rs::digest;

use crate::wire::IkeSpi;

/// Octets of a NAT_DETECTION hash.
pub const NAT_HASH_LEN: usize = 20;

/// The data of NAT_DETECTION_SOURCE_IP or NAT_DETECTION_DESTINATION_IP for an address and port.
pub fn nat_detection_hash(
    initiator_spi: IkeSpi,
    responder_spi: IkeSpi,
    address: IpAddr,
    port: u16,
) -> Vec<u8> {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(&initiator_spi.to_bytes());
    context.update(&responder_spi.to_bytes());
    match address {
        IpAddr::V4(address) => context.update(&address.octets()),
        IpAddr::V6(address) => context.update(&address.octets()),
    }
    context.update(&port.to_be_bytes());
    context.finish().as_ref().to_vec()
}
