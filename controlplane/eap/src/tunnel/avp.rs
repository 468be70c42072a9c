//! The AVPs inside of TTLS (RFC 5281 §10): code, flags, length, vendor, data, padding to four octets.
//!
//! Enters: decrypted octets. Leaves: AVPs, or the fact that the octets are none; and the reverse.

/// Most AVPs in one message.
pub const MAX_AVPS: usize = 32;

const VENDOR: u8 = 0x80;
const MANDATORY: u8 = 0x40;
const HEADER_OCTETS: usize = 8;
const VENDOR_OCTETS: usize = 4;
const ALIGNMENT: usize = 4;
const MICROSOFT: u32 = 311;

/// What an AVP is, as far as TTLS has a use for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AvpCode {
    /// Its vendor; 0 for RADIUS attributes.
    pub vendor: u32,
    /// Its number there.
    pub code: u32,
}

impl AvpCode {
    /// User-Name (RFC 2865 §5.1).
    pub const USER_NAME: AvpCode = AvpCode { vendor: 0, code: 1 };
    /// User-Password (RFC 2865 §5.2), in clear.
    pub const USER_PASSWORD: AvpCode = AvpCode { vendor: 0, code: 2 };
    /// EAP-Message (RFC 3579 §3.1).
    pub const EAP_MESSAGE: AvpCode = AvpCode { vendor: 0, code: 79 };
    /// MS-CHAP-Challenge (RFC 2548 §2.1.2).
    pub const MS_CHAP_CHALLENGE: AvpCode = AvpCode { vendor: MICROSOFT, code: 11 };
    /// MS-CHAP2-Response (RFC 2548 §2.3.2).
    pub const MS_CHAP2_RESPONSE: AvpCode = AvpCode { vendor: MICROSOFT, code: 25 };
    /// MS-CHAP2-Success (RFC 2548 §2.3.3).
    pub const MS_CHAP2_SUCCESS: AvpCode = AvpCode { vendor: MICROSOFT, code: 26 };
}

/// One AVP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Avp<'a> {
    /// What it is.
    pub code: AvpCode,
    /// Whether a receiver who does not know it must refuse the whole.
    pub mandatory: bool,
    /// Its data.
    pub data: &'a [u8],
}

/// Reads all AVPs. `None`: malformed, or more than [`MAX_AVPS`]. The padding of the last may be missing.
pub fn decode(mut octets: &[u8]) -> Option<Vec<Avp<'_>>> {
    let mut avps = Vec::new();
    while !octets.is_empty() {
        if avps.len() >= MAX_AVPS {
            return None;
        }
        let (&[c0, c1, c2, c3, flags, l0, l1, l2], _) = octets.split_first_chunk::<HEADER_OCTETS>()?;
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        let mut data = octets.get(HEADER_OCTETS..length)?;
        let mut vendor = 0;
        if flags & VENDOR != 0 {
            let (number, rest) = data.split_first_chunk::<VENDOR_OCTETS>()?;
            (vendor, data) = (u32::from_be_bytes(*number), rest);
        }
        let code = AvpCode { vendor, code: u32::from_be_bytes([c0, c1, c2, c3]) };
        avps.push(Avp { code, mandatory: flags & MANDATORY != 0, data });
        octets = octets.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    }
    Some(avps)
}

/// Appends one mandatory AVP. Data is bounded by EAP packets and names far below the 24 bits of the length.
pub fn encode(out: &mut Vec<u8>, code: AvpCode, data: &[u8]) {
    let vendor = if code.vendor == 0 { 0 } else { VENDOR_OCTETS };
    let length = (HEADER_OCTETS + vendor).saturating_add(data.len()).min(0x00ff_ffff) as u32;
    let [_, l0, l1, l2] = length.to_be_bytes();
    let flags = MANDATORY | if vendor == 0 { 0 } else { VENDOR };
    out.extend_from_slice(&code.code.to_be_bytes());
    out.extend_from_slice(&[flags, l0, l1, l2]);
    if vendor != 0 {
        out.extend_from_slice(&code.vendor.to_be_bytes());
    }
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_layout_is_rfc_5281_s() {
        let mut out = vec![];
        encode(&mut out, AvpCode::USER_NAME, b"ann");
        assert_eq!(out, [0, 0, 0, 1, 0x40, 0, 0, 11, b'a', b'n', b'n', 0]);
        encode(&mut out, AvpCode::MS_CHAP2_SUCCESS, &[7]);
        assert_eq!(out[12..], [0, 0, 0, 26, 0xc0, 0, 0, 13, 0, 0, 1, 55, 7, 0, 0, 0]);
        let name = Avp { code: AvpCode::USER_NAME, mandatory: true, data: b"ann" };
        let success = Avp { code: AvpCode::MS_CHAP2_SUCCESS, mandatory: true, data: &[7] };
        assert_eq!(decode(&out), Some(vec![name, success]));
        assert_eq!(decode(&out[..11]), Some(vec![name]), "the last may lack its padding");
    }

    #[test]
    fn malformed_avps_are_refused() {
        for bad in [
            &[0, 0, 0, 1, 0x40, 0, 0][..],
            &[0, 0, 0, 1, 0x40, 0, 0, 7],
            &[0, 0, 0, 1, 0x40, 0, 0, 9],
            &[0, 0, 0, 1, 0x80, 0, 0, 8],
            &[0, 0, 0, 1, 0x80, 0, 0, 11, 0, 0, 1],
            &[0, 0, 0, 1, 0x40, 0, 0, 0],
            &[0, 0, 0, 1, 0x40, 0xff, 0xff, 0xff, 1],
        ] {
            assert_eq!(decode(bad), None, "{bad:02x?}");
        }
        let one = [0, 0, 0, 1, 0, 0, 0, 8];
        assert_eq!(decode(&one.repeat(MAX_AVPS)).map(|avps| avps.len()), Some(MAX_AVPS));
        assert_eq!(decode(&one.repeat(MAX_AVPS + 1)), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&octets);
        }

        #[test]
        fn what_is_written_is_read_back(vendor in 0u32..3, code: u32, data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let code = AvpCode { vendor, code };
            let mut out = vec![];
            encode(&mut out, code, &data);
            prop_assert_eq!(decode(&out), Some(vec![Avp { code, mandatory: true, data: &data }]));
        }
    }
}
