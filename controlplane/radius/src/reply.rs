//! Answers of a server, believed only after their hashes were checked.
//!
//! Enters: the datagram, the request that it answers, the secret. Leaves: a [`Reply`], or why there is none; RFC 2865 §3 has
//! such datagrams discarded in silence. An answer to an Access-Request must carry a Message-Authenticator (RFC 3579 §3.2
//! asks for it with EAP only; here it is asked for always, because the Response Authenticator alone can be forged).

use zeroize::Zeroizing;

use crate::SharedSecret;
use crate::attribute::{MICROSOFT, MS_MPPE_RECV_KEY, MS_MPPE_SEND_KEY};
use crate::authenticator::{MacVerdict, is_sealed, judge_mac};
use crate::hiding::open_key;
use crate::packet::{Attributes, Code, HEADER_OCTETS, Packet, ParseError};
use crate::request::Sent;

/// Octets of the MSK that EAP methods make (RFC 3748 §7.10).
pub const MSK_OCTETS: usize = 64;

/// A server's answer that the server made.
#[derive(Clone, Debug)]
pub struct Reply {
    code: Code,
    octets: Vec<u8>,
    request_authenticator: [u8; 16],
}

/// Why an answer is not believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Disbelief {
    /// It is no packet.
    #[error(transparent)]
    Malformed(#[from] ParseError),
    /// It answers another request, or something else than was asked.
    #[error("the answer does not belong to the request")]
    Mismatch,
    /// Most often the secret differs.
    #[error("the Response Authenticator is wrong: the secrets differ, or the answer is forged")]
    Authenticator,
    /// A server from before 2024, or a forger.
    #[error("the answer has no Message-Authenticator")]
    Unsigned,
    /// Most often the secret differs.
    #[error("the Message-Authenticator is wrong: the secrets differ, or the answer is forged")]
    Signature,
}

/// Checks an answer to `sent`.
///
/// # Errors
/// When it is not to be believed.
pub fn verify(datagram: &[u8], sent: &Sent, secret: &SharedSecret) -> Result<Reply, Disbelief> {
    let packet = Packet::parse(datagram)?;
    let answers = match sent.code {
        Code::AccessRequest => {
            matches!(packet.code(), Code::AccessAccept | Code::AccessReject | Code::AccessChallenge)
        }
        Code::AccountingRequest => packet.code() == Code::AccountingResponse,
        // RFC 5997 §2.3: an authentication port answers with Access-Accept, an accounting port with Accounting-Response.
        _ => matches!(packet.code(), Code::AccessAccept | Code::AccountingResponse),
    };
    if !answers || packet.identifier() != sent.identifier {
        return Err(Disbelief::Mismatch);
    }
    if !is_sealed(&packet, &sent.authenticator, secret) {
        return Err(Disbelief::Authenticator);
    }
    match judge_mac(&packet, &sent.authenticator, secret) {
        MacVerdict::Right => {}
        // Nobody is let in by these.
        MacVerdict::Missing if sent.code != Code::AccessRequest => {}
        MacVerdict::Missing => return Err(Disbelief::Unsigned),
        MacVerdict::Wrong => return Err(Disbelief::Signature),
    }
    Ok(Reply {
        code: packet.code(),
        octets: packet.octets().to_vec(),
        request_authenticator: sent.authenticator,
    })
}

impl Reply {
    /// Accept, Reject, Challenge or Accounting-Response.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Its attributes.
    pub fn attributes(&self) -> Attributes<'_> {
        Attributes::of(self.octets.get(HEADER_OCTETS..).unwrap_or(&[]))
    }

    /// The MSK of an EAP method, from MS-MPPE-Recv-Key and MS-MPPE-Send-Key in this order, filled up with zeros to
    /// [`MSK_OCTETS`]. `None` without both keys.
    pub fn msk(&self, secret: &SharedSecret) -> Option<Zeroizing<Vec<u8>>> {
        let key = |kind| {
            let value = self.attributes().vendor(MICROSOFT, kind).next()?;
            open_key(value, secret, &self.request_authenticator)
        };
        let (recv, send) = (key(MS_MPPE_RECV_KEY)?, key(MS_MPPE_SEND_KEY)?);
        let mut msk =
            Zeroizing::new(Vec::with_capacity(recv.len().saturating_add(send.len()).max(MSK_OCTETS)));
        msk.extend_from_slice(&recv);
        msk.extend_from_slice(&send);
        if msk.len() < MSK_OCTETS {
            msk.resize(MSK_OCTETS, 0);
        }
        Some(msk)
    }
}

/// What servers do, for tests: the answer to a request.
#[cfg(test)]
pub(crate) mod server {
    use super::*;
    use crate::authenticator::{assemble, seal};
    use crate::packet::AttributeList;

    /// An answer with the right hashes; `sign` adds a Message-Authenticator.
    pub(crate) fn answer(
        request: &[u8],
        code: Code,
        attributes: &AttributeList,
        sign: bool,
        secret: &SharedSecret,
    ) -> Vec<u8> {
        let request = Packet::parse(request).unwrap();
        let sign = sign.then_some(secret);
        let mut octets =
            assemble(code, request.identifier(), request.authenticator(), attributes.octets(), sign);
        seal(&mut octets, secret);
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::server::answer;
    use super::*;
    use crate::attribute::{NAS_IP_ADDRESS, NAS_PORT, REPLY_MESSAGE, USER_NAME};
    use crate::hiding::hide_key;
    use crate::packet::AttributeList;
    use crate::request::Question;

    fn secret() -> SharedSecret {
        SharedSecret::new(b"xyzzy5461".to_vec()).unwrap()
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<_> = text.split_whitespace().collect::<String>().into_bytes();
        let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(octet).collect()
    }

    fn access(attributes: AttributeList, password: Option<&str>) -> Question {
        let password = password.map(|password| Zeroizing::new(password.as_bytes().to_vec()));
        Question::Access { attributes, password }
    }

    /// RFC 2865 §7.1, but for the Message-Authenticator that was unknown then.
    #[test]
    fn the_request_of_rfc_2865_7_1() {
        let example = hex("01000038 0f403f94 73978057 bd83d5cb 98f4227a 01066e65 6d6f0212 0dbe708d
            93d413ce 3196e43f 782a0aee 0406c0a8 01100506 00000003");
        let authenticator = example[4..20].try_into().unwrap();
        let mut attributes = AttributeList::new();
        attributes.push_text(USER_NAME, "nemo").unwrap();
        attributes.push_address(NAS_IP_ADDRESS, [192, 168, 1, 16].into()).unwrap();
        attributes.push_number(NAS_PORT, 3).unwrap();
        let sent = access(attributes, Some("arctangent")).request(0, authenticator, &secret()).unwrap();
        let (ours, theirs) = (Packet::parse(sent.octets()).unwrap(), Packet::parse(&example).unwrap());
        assert_eq!(ours.attributes().next().map(|(kind, value)| (kind, value.len())), Some((80, 16)));
        for (kind, value) in theirs.attributes() {
            assert_eq!(
                ours.attributes().each(crate::attribute::Attribute(kind)).collect::<Vec<_>>(),
                [value]
            );
        }
        assert_eq!(judge_mac(&ours, &authenticator, &secret()), MacVerdict::Right);
    }

    /// RFC 2865 §7.1, §7.2: right by the rules of 2000, which is not enough.
    #[test]
    fn the_answers_of_rfc_2865_7_are_sealed_but_unsigned() {
        for (request, reply) in [
            (
                "01000038 0f403f94 73978057 bd83d5cb 98f4227a 01066e65 6d6f0212 0dbe708d
                 93d413ce 3196e43f 782a0aee 0406c0a8 01100506 00000003",
                "02000026 86fe220e 7624ba2a 1005f6bf 9b55e0b2 06060000 00010f06 00000000 0e06c0a8 0103",
            ),
            (
                "01010047 2aee86f0 8d0d5596 9ca5978e 0d3367a2 0108666c 6f707379 031316e9 7557c316
                 185895f2 93ff6344 07727504 06c0a801 10050600 00001406 06000000 02070600 000001",
                "02010038 15efbc7d ab26cfa3 dc34d9c0 3c8601a4 06060000 00020706 00000001 0806ffff
                 fffe0a06 00000002 0d060000 00010c06 000005dc",
            ),
        ] {
            let (request, reply) = (hex(request), hex(reply));
            let authenticator: [u8; 16] = request[4..20].try_into().unwrap();
            let packet = Packet::parse(&reply).unwrap();
            assert!(is_sealed(&packet, &authenticator, &secret()));
            assert!(!is_sealed(&packet, &[0; 16], &secret()));
            let sent =
                access(AttributeList::new(), None).request(request[1], authenticator, &secret()).unwrap();
            assert_eq!(verify(&reply, &sent, &secret()).err(), Some(Disbelief::Unsigned));
        }
    }

    /// RFC 5997 §6.1.
    #[test]
    fn the_status_of_rfc_5997_6_1() {
        let request =
            hex("0cda0026 8a54f468 6fb394c5 2866e302 185d0623 50125a66 5e2e1e84 11f3e243 822097c8 4fa3");
        let reply = hex("02da0014 ef0d552a 4bf2d693 ec2b6fe8 b5411d66");
        let authenticator = request[4..20].try_into().unwrap();
        let sent = Question::Status.request(0xda, authenticator, &secret()).unwrap();
        assert_eq!(sent.octets(), request);
        assert_eq!(verify(&reply, &sent, &secret()).unwrap().code(), Code::AccessAccept);
    }

    #[test]
    fn an_answer_is_believed_only_as_the_server_made_it() {
        let sent = access(AttributeList::new(), None).request(5, [9; 16], &secret()).unwrap();
        let mut attributes = AttributeList::new();
        attributes.push_text(REPLY_MESSAGE, "hello").unwrap();
        let good = answer(sent.octets(), Code::AccessAccept, &attributes, true, &secret());
        assert_eq!(verify(&good, &sent, &secret()).unwrap().attributes().text(REPLY_MESSAGE), Some("hello"));
        let unsigned = answer(sent.octets(), Code::AccessAccept, &attributes, false, &secret());
        assert_eq!(verify(&unsigned, &sent, &secret()).err(), Some(Disbelief::Unsigned));
        for place in 0..good.len() {
            let mut changed = good.clone();
            changed[place] ^= 1;
            assert!(verify(&changed, &sent, &secret()).is_err(), "octet {place}");
        }
        let other = SharedSecret::new(b"other".to_vec()).unwrap();
        assert_eq!(verify(&good, &sent, &other).err(), Some(Disbelief::Authenticator));
        let later = access(AttributeList::new(), None).request(5, [8; 16], &secret()).unwrap();
        assert_eq!(verify(&good, &later, &secret()).err(), Some(Disbelief::Authenticator));
        let noted = answer(sent.octets(), Code::AccountingResponse, &attributes, true, &secret());
        assert_eq!(verify(&noted, &sent, &secret()).err(), Some(Disbelief::Mismatch));
    }

    /// Sealed with the secret, but its signature is of another secret or stands there twice.
    #[test]
    fn a_wrong_signature_is_no_signature() {
        let sent = access(AttributeList::new(), None).request(5, [9; 16], &secret()).unwrap();
        for value in [&[0; 16][..], &[1; 15], &[]] {
            let mut attributes = vec![80, u8::try_from(value.len() + 2).unwrap()];
            attributes.extend(value);
            let list = AttributeList::from_octets(attributes).unwrap();
            let forged = answer(sent.octets(), Code::AccessAccept, &list, false, &secret());
            assert_eq!(verify(&forged, &sent, &secret()).err(), Some(Disbelief::Signature));
            let twice = answer(sent.octets(), Code::AccessAccept, &list, true, &secret());
            assert_eq!(verify(&twice, &sent, &secret()).err(), Some(Disbelief::Signature));
        }
    }

    #[test]
    fn the_msk_is_what_the_gateway_receives_then_sends_with() {
        let sent = access(AttributeList::new(), None).request(5, [9; 16], &secret()).unwrap();
        for (length, tail) in [(32, 0), (16, 32)] {
            let mut attributes = AttributeList::new();
            let mut add = |kind, octet| {
                let hidden = hide_key(&vec![octet; length], [0x80 | kind, 2], &secret(), &[9; 16]);
                attributes.push_vendor(MICROSOFT, kind, &hidden).unwrap();
            };
            add(MS_MPPE_SEND_KEY, 2);
            add(MS_MPPE_RECV_KEY, 1);
            let reply = answer(sent.octets(), Code::AccessAccept, &attributes, true, &secret());
            let msk = verify(&reply, &sent, &secret()).unwrap().msk(&secret()).unwrap();
            let expected = [vec![1; length], vec![2; length], vec![0; tail]].concat();
            assert_eq!(*msk, expected);
        }
        let none = answer(sent.octets(), Code::AccessAccept, &AttributeList::new(), true, &secret());
        assert!(verify(&none, &sent, &secret()).unwrap().msk(&secret()).is_none());
    }
}
