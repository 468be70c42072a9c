//! One IKE SA as octets, and back: see `snapshot/mod.rs`.
//!
//! A request of the peer that has no answer yet counts as not received: the peer will repeat it. Fragments that wait for
//! others are forgotten for the same reason.

use super::{Answer, IkeSa, IkeSaParameters, Nat, Outstanding, Path, Retry};
use crate::api::{Fragmentation, IkeSpis};
use crate::crypto::{IkeKeys, Role};
use crate::env::Env;
use crate::snapshot::{Read, Reader, RestoreError, Writer};
use crate::suite::{Cipher, Group, IkeSuite, Integ, Kem, Kems, Prf};
use crate::time::Instant;
use crate::wire::ExchangeType;

/// IVs that are passed over at least, for what was sent after the snapshot.
const MIN_IV_SKIP: u64 = 1 << 32;
/// Bits of the random part of the distance: two restorations of one snapshot never meet, and an IKE SA outlives tens of
/// thousands of restarts.
const IV_SKIP_BITS: u32 = 48;

const ROLES: [Role; 2] = [Role::Initiator, Role::Responder];
const FRAGMENTATIONS: [Fragmentation; 3] = [Fragmentation::None, Fragmentation::Ietf, Fragmentation::Cisco];

impl IkeSa {
    pub(crate) fn write(&self, out: &mut Writer) {
        out.u64(self.spis.initiator);
        out.u64(self.spis.responder);
        out.index(&ROLES, &self.role);
        let IkeKeys { suite, sk_d, sk_ai, sk_ar, sk_ei, sk_er, sk_pi, sk_pr } = &self.keys;
        write_suite(out, suite);
        for key in [sk_d, sk_ai, sk_ar, sk_ei, sk_er, sk_pi, sk_pr] {
            out.bytes(key.as_bytes());
        }
        let Path { local, local_port, peer, peer_port } = self.path;
        out.ip(local);
        out.u16(local_port);
        out.ip(peer);
        out.u16(peer_port);
        out.bool(self.nat.traversal);
        out.bool(self.nat.peer_behind);
        out.bool(self.nat.local_behind);
        out.index(&FRAGMENTATIONS, &self.fragmentation);
        out.u16(self.fragment_id);
        out.option(self.sealer.next_iv(), Writer::u64);
        out.u32(self.inbound.working_on.map_or(self.inbound.next_id, |request| request.id));
        out.option(self.inbound.answered.as_ref(), |out, answer| {
            out.u32(answer.id);
            out.list(&answer.datagrams, |out, datagram| out.bytes(datagram));
        });
        out.u32(self.outbound.next_id);
        out.option(self.outbound.outstanding.as_ref(), |out, request| {
            out.u32(request.id);
            out.u8(request.exchange.number());
            out.list(&request.datagrams, |out, datagram| out.bytes(datagram));
            out.u32(request.retry.tries_left);
            out.u64(request.retry.interval_ms);
            out.bool(request.retry.doubles);
        });
    }

    pub(crate) fn read(input: &mut Reader<'_>, now: Instant, env: &mut dyn Env) -> Read<IkeSa> {
        let spis = IkeSpis { initiator: input.u64()?, responder: input.u64()? };
        let role = input.index(&ROLES)?;
        let suite = read_suite(input)?;
        let keys = IkeKeys {
            suite,
            sk_d: input.secret()?,
            sk_ai: input.secret()?,
            sk_ar: input.secret()?,
            sk_ei: input.secret()?,
            sk_er: input.secret()?,
            sk_pi: input.secret()?,
            sk_pr: input.secret()?,
        };
        if [&keys.sk_d, &keys.sk_pi, &keys.sk_pr].iter().any(|key| key.len() != suite.prf.output_len()) {
            return Err(RestoreError::Malformed("a key has the wrong length"));
        }
        let path =
            Path { local: input.ip()?, local_port: input.u16()?, peer: input.ip()?, peer_port: input.u16()? };
        let nat = Nat { traversal: input.bool()?, peer_behind: input.bool()?, local_behind: input.bool()? };
        let fragmentation = input.index(&FRAGMENTATIONS)?;
        let fragment_id = input.u16()?;
        let next_iv = input.option(Reader::u64)?;
        let first_request_id = input.u32()?;
        let parameters = IkeSaParameters { spis, role, keys, path, nat, fragmentation, first_request_id };
        let bad_keys = |_| RestoreError::Malformed("keys do not fit their suite");
        let mut sa = IkeSa::new(parameters).map_err(bad_keys)?;
        sa.fragment_id = fragment_id;
        if let Some(next_iv) = next_iv {
            let mut random = [0; 8];
            env.random(&mut random);
            let distance = MIN_IV_SKIP + (u64::from_be_bytes(random) >> (u64::BITS - IV_SKIP_BITS));
            sa.sealer.skip_ivs_to(next_iv.checked_add(distance).ok_or(RestoreError::Expired)?);
        }
        let datagrams = |input: &mut Reader<'_>| input.list(|input| Ok(input.bytes()?.to_vec()));
        sa.inbound.answered =
            input.option(|input| Ok(Answer { id: input.u32()?, datagrams: datagrams(input)? }))?;
        sa.outbound.next_id = input.u32()?;
        sa.outbound.outstanding = input.option(|input| {
            Ok(Outstanding {
                id: input.u32()?,
                exchange: ExchangeType::from_number(input.u8()?),
                datagrams: datagrams(input)?,
                retry: Retry { tries_left: input.u32()?, interval_ms: input.u64()?, doubles: input.bool()? },
                // The answer may have come while nobody listened, so it is asked again at once.
                resend_at: now,
            })
        })?;
        Ok(sa)
    }
}

pub(crate) fn write_suite(out: &mut Writer, suite: &IkeSuite) {
    out.index(&Cipher::ALL, &suite.cipher);
    out.option(suite.integ, |out, integ| out.index(&Integ::ALL, &integ));
    out.index(&Prf::ALL, &suite.prf);
    out.index(&Group::ALL, &suite.group);
    let kems: Vec<Kem> = suite.kems.iter().collect();
    out.list(&kems, |out, kem| out.index(&Kem::ALL, kem));
}

pub(crate) fn read_suite(input: &mut Reader<'_>) -> Read<IkeSuite> {
    Ok(IkeSuite {
        cipher: input.index(&Cipher::ALL)?,
        integ: input.option(|input| input.index(&Integ::ALL))?,
        prf: input.index(&Prf::ALL)?,
        group: input.index(&Group::ALL)?,
        kems: kems(&input.list(|input| input.index(&Kem::ALL))?)?,
    })
}

fn kems(list: &[Kem]) -> Read<Kems> {
    let twice = RestoreError::Malformed("an additional key exchange is named twice");
    list.iter().try_fold(Kems::NONE, |kems, kem| kems.and(*kem)).ok_or(twice)
}
