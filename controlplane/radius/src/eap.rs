//! EAP packets in RADIUS packets (RFC 3579 §3.1).
//!
//! Enters: an EAP packet, or an answer's attributes. Leaves: EAP-Message attributes, or the EAP packet of all of them.

use crate::attribute::EAP_MESSAGE;
use crate::packet::{AttributeList, Attributes, MAX_VALUE_OCTETS, TooLong};

/// Adds an EAP packet, cut into as many EAP-Message attributes as it needs.
///
/// # Errors
/// When it does not fit.
pub fn push_eap(attributes: &mut AttributeList, packet: &[u8]) -> Result<(), TooLong> {
    packet.chunks(MAX_VALUE_OCTETS).try_for_each(|chunk| attributes.push(EAP_MESSAGE, chunk))
}

/// The EAP packet of an answer. `None` without EAP-Message, or if its length is not what it says.
pub fn eap_packet(attributes: Attributes<'_>) -> Option<Vec<u8>> {
    let packet: Vec<u8> = attributes.each(EAP_MESSAGE).flatten().copied().collect();
    let length = u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]);
    (packet.len() >= 4 && usize::from(length) == packet.len()).then_some(packet)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn packets_come_out_as_they_went_in(data in proptest::collection::vec(any::<u8>(), 0..3900)) {
            let mut packet = vec![2, 1];
            packet.extend(u16::try_from(data.len() + 4).unwrap().to_be_bytes());
            packet.extend(&data);
            let mut list = AttributeList::new();
            prop_assert!(push_eap(&mut list, &packet).is_ok());
            prop_assert!(list.attributes().all(|(kind, value)| kind == 79 && value.len() <= 253));
            prop_assert_eq!(eap_packet(list.attributes()), Some(packet));
        }
    }

    #[test]
    fn what_is_too_long_or_says_another_length_is_refused() {
        assert!(push_eap(&mut AttributeList::new(), &[0; 4096]).is_err());
        for octets in [&[][..], &[1], &[1, 1, 0, 5], &[1, 1, 0, 3, 9]] {
            let mut list = AttributeList::new();
            push_eap(&mut list, octets).unwrap();
            assert_eq!(eap_packet(list.attributes()), None);
        }
    }
}
