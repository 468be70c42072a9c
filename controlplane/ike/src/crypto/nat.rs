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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::testing::hex;

    /// Computed with Python's hashlib: sha1(0102030405060708 1112131415161718 c0000201 01f4).
    #[test]
    fn known_answer() {
        let hash = nat_detection_hash(
            IkeSpi(0x0102_0304_0506_0708),
            IkeSpi(0x1112_1314_1516_1718),
            IpAddr::from([192, 0, 2, 1]),
            500,
        );
        assert_eq!(hash.len(), NAT_HASH_LEN);
        assert_eq!(hex(&hash), "d798d986143f878f70765e0e869c80bbc375f701");
    }
}
