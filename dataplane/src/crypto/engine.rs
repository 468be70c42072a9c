//! Which engine this process uses: chosen once, before the first key is made, by configuration, processor and self-test.
//!
//! Enters: the operator's choice. Leaves: [`Engine`] and its keys. The best engine that passes the self-test is taken; one
//! that fails is named in the log and the next is tried, unless the operator asked for just that one.

use std::sync::OnceLock;

use arrayvec::ArrayVec;
use causeway_dpdk::CryptoDirection;
use causeway_kernels::Outcome;
use causeway_kernels::cbc::{CbcKey, MaybeCbc};
use causeway_kernels::gcm::{GcmKey, MaybeGcm};
use causeway_shared::config::CryptoEngine;
use causeway_shared::sa::{EspKeys, EspSuite};
use tracing::{info, warn};

use super::aws_lc::{AeadKey, AwsLcInboundKey, AwsLcOutboundKey};
use super::lookaside::{self, DeviceKey};
use super::portable::PortableKey;
use super::self_test::{self_test, test_against_aws_lc};
use super::wide::{MaybeLibrary, Wide, WideKey};
use super::{AwsLc, EspEngine, MAX_ITEMS, OpenJob, Portable, SealJob, SelfTestError, SetupError, View};

/// The engines, best first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EngineKind {
    /// Our kernels.
    Wide,
    /// aws-lc-rs.
    AwsLc,
    /// RustCrypto.
    Portable,
}

/// No engine, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The processor lacks instructions.
    #[error(
        "crypto_engine = \"wide\": this processor lacks AVX-512 (F, BW, VL, DQ), VAES, VPCLMULQDQ or BMI2; use \"auto\""
    )]
    Processor,
    /// The engine that was asked for is broken here.
    #[error("crypto engine {0} fails its self-test: {1}")]
    Broken(&'static str, SelfTestError),
    /// The crypto device cannot be started.
    #[error("dataplane.crypto_device: {0}")]
    Device(#[from] causeway_dpdk::Error),
    /// A process has one crypto device.
    #[error("crypto device {0}: this process has one already")]
    SecondDevice(String),
    /// The crypto device computes wrongly.
    #[error("dataplane.crypto_device {0} fails its self-test: {1}; remove the key to do without the device")]
    BrokenDevice(String, SelfTestError),
}

/// An engine and why it is this one.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Choice {
    kind: EngineKind,
    reason: String,
}

static CHOSEN: OnceLock<Choice> = OnceLock::new();

/// Chooses the process's engine; the first choice stands. Call it before the first key is made.
///
/// # Errors
/// When the engine that the operator asked for does not work here, or none does.
pub fn choose(choice: CryptoEngine) -> Result<EngineKind, EngineError> {
    let choice = match choice {
        CryptoEngine::Auto => best()?,
        CryptoEngine::Wide => EngineKind::Wide.configured()?,
        CryptoEngine::AwsLc => EngineKind::AwsLc.configured()?,
        CryptoEngine::Portable => EngineKind::Portable.configured()?,
    };
    let Choice { kind, reason } = CHOSEN.get_or_init(|| choice);
    info!(engine = kind.name(), reason, "crypto engine chosen and self-tested");
    Ok(*kind)
}

/// The best engine that works.
fn best() -> Result<Choice, EngineError> {
    let mut setbacks = Vec::new();
    for kind in [EngineKind::Wide, EngineKind::AwsLc] {
        match kind.tested() {
            Ok(kind) => return Ok(Choice { kind, reason: reason_of_best(&setbacks) }),
            Err(error) => setbacks.push((kind, error)),
        }
        match setbacks.last() {
            Some((_, EngineError::Processor)) => info!(engine = kind.name(), "not on this processor"),
            Some((_, error)) => warn!(engine = kind.name(), %error, "crypto engine put aside"),
            None => {}
        }
    }
    let kind = EngineKind::Portable.tested()?;
    Ok(Choice { kind, reason: reason_of_best(&setbacks) })
}

/// Why the first engine that works is this one.
fn reason_of_best(put_aside: &[(EngineKind, EngineError)]) -> String {
    if put_aside.is_empty() {
        return "fastest, passed its self-test".to_owned();
    }
    let aside = put_aside.iter().map(|(kind, error)| match error {
        EngineError::Processor => format!("; {} lacks instructions of the processor", kind.name()),
        _ => format!("; {} fails its self-test", kind.name()),
    });
    format!("passed its self-test{}", aside.collect::<String>())
}

/// The engine in use; where none was chosen, the best that the processor has.
fn chosen() -> &'static Choice {
    CHOSEN.get_or_init(|| {
        let by_processor = if Wide::new().is_some() { EngineKind::Wide } else { EngineKind::AwsLc };
        let kind = forced_in_tests().unwrap_or(by_processor);
        Choice { kind, reason: "taken by processor, without a self-test".to_owned() }
    })
}

/// Tests of the whole path run with every engine: `CAUSEWAY_TEST_ENGINE=portable cargo test -p causeway-dataplane`.
fn forced_in_tests() -> Option<EngineKind> {
    if !cfg!(test) {
        return None;
    }
    let name = std::env::var("CAUSEWAY_TEST_ENGINE").ok()?;
    [EngineKind::Wide, EngineKind::AwsLc, EngineKind::Portable].into_iter().find(|kind| kind.name() == name)
}

impl EngineKind {
    /// Its name in configuration and logs.
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Wide => "wide",
            EngineKind::AwsLc => "aws-lc",
            EngineKind::Portable => "portable",
        }
    }

    /// Itself, if it works here.
    fn tested(self) -> Result<EngineKind, EngineError> {
        let result = match self {
            EngineKind::Wide => {
                let mut wide = Wide::new().ok_or(EngineError::Processor)?;
                self_test(&mut wide).and_then(|()| test_against_aws_lc(&mut wide, &EspSuite::ALL))
            }
            EngineKind::AwsLc => self_test(&mut AwsLc),
            EngineKind::Portable => {
                self_test(&mut Portable).and_then(|()| test_against_aws_lc(&mut Portable, &EspSuite::ALL))
            }
        };
        result.map(|()| self).map_err(|error| EngineError::Broken(self.name(), error))
    }

    /// Itself as the operator's wish, if it works here.
    fn configured(self) -> Result<Choice, EngineError> {
        let kind = self.tested()?;
        Ok(Choice { kind, reason: format!("crypto_engine = \"{}\" is configured", kind.name()) })
    }
}

/// The engine of this process. A worker owns one.
pub struct Engine {
    wide: Option<Wide>,
}

/// A key for opening, as [`Engine`] keeps it. What it is stands in front of it, in the cache line that holds a short key.
#[repr(u8)]
pub enum InboundKey {
    /// AES-GCM of our kernels: it lies in the SA itself.
    Gcm(GcmKey),
    /// AES-CBC with HMAC of our kernels, likewise.
    Cbc(CbcKey),
    /// Of aws-lc-rs.
    AwsLc(AwsLcInboundKey),
    /// Of RustCrypto.
    Portable(Box<PortableKey>),
    /// Of a crypto device, with the software's for when it is full.
    Device(Box<WithDevice<InboundKey>>),
}

/// A key for sealing, as [`Engine`] keeps it. What it is stands in front of it, in the cache line that holds a short key.
#[repr(u8)]
pub enum OutboundKey {
    /// AES-GCM of our kernels: it lies in the SA itself.
    Gcm(GcmKey),
    /// AES-CBC with HMAC of our kernels, likewise.
    Cbc(CbcKey),
    /// Of aws-lc-rs.
    AwsLc(AwsLcOutboundKey),
    /// Of RustCrypto.
    Portable(Box<PortableKey>),
    /// Of a crypto device, with the software's for when it is full.
    Device(Box<WithDevice<OutboundKey>>),
}

/// One SA's keys twice.
pub struct WithDevice<K> {
    device: DeviceKey,
    software: K,
}

const _: () = assert!(size_of::<InboundKey>() <= 184 && size_of::<OutboundKey>() <= 184);

impl Default for Engine {
    fn default() -> Engine {
        Engine { wide: if chosen().kind == EngineKind::Wide { Wide::new() } else { None } }
    }
}

impl Engine {
    /// Which one it is.
    pub fn kind() -> EngineKind {
        chosen().kind
    }

    /// Why it is this one, for the operator.
    pub fn reason() -> &'static str {
        &chosen().reason
    }

    /// Who does ESP here and why, for the operator: a crypto device, if there is one, before the software.
    pub fn description() -> (String, String) {
        let name = Engine::kind().name();
        match lookaside::description(name) {
            Some(reason) => ("lookaside".to_owned(), reason),
            None => (name.to_owned(), Engine::reason().to_owned()),
        }
    }

    /// Forgets what was derived of the keys of an SA that is about to be removed.
    pub fn forget(&mut self, inbound: Option<&InboundKey>, outbound: Option<&OutboundKey>) {
        if let Some(wide) = &mut self.wide {
            inbound.and_then(|key| key.gcm_key()).into_iter().for_each(|key| wide.forget(key));
            outbound.and_then(|key| key.gcm_key()).into_iter().for_each(|key| wide.forget(key));
        }
    }

    /// Forgets what was derived of any key.
    pub fn forget_all(&mut self) {
        self.wide.iter_mut().for_each(Wide::forget_all);
    }

    /// As [`EspEngine::open_burst`], for at most [`MAX_ITEMS`] packets that stay where they wait; more are not looked at. A bit
    /// for each that is authentic, the first one's lowest.
    #[inline]
    pub fn open_items<T, V: View<T, Key = InboundKey>>(&mut self, items: &mut [T], view: &V) -> u32 {
        let mut outcome = Outcome { done: 0, left: u32::MAX };
        if let Some(wide) = &mut self.wide
            && items.first().and_then(|item| view.key(item)?.gcm_key()).is_some()
        {
            outcome = wide.open_items(items, view);
        }
        if outcome.left == 0 {
            outcome.done
        } else {
            outcome.done | self.open_left(items, view, outcome.left)
        }
    }

    /// As [`EspEngine::seal_burst`], for at most [`MAX_ITEMS`] packets that stay where they wait; more are not looked at. A bit
    /// for each that may leave, the first one's lowest.
    #[inline]
    pub fn seal_items<T, V: View<T, Key = OutboundKey>>(&mut self, items: &mut [T], view: &V) -> u32 {
        let mut outcome = Outcome { done: 0, left: u32::MAX };
        if let Some(wide) = &mut self.wide
            && items.first().and_then(|item| view.key(item)?.gcm_key()).is_some()
        {
            outcome = wide.seal_items(items, view);
        }
        if outcome.left == 0 {
            outcome.done
        } else {
            outcome.done | self.seal_left(items, view, outcome.left)
        }
    }

    /// Those of `wanted` whose keys are not of AES-GCM, or all where there are no kernels.
    #[inline(never)]
    fn open_left<T, V: View<T, Key = InboundKey>>(&mut self, items: &mut [T], view: &V, wanted: u32) -> u32 {
        let mut jobs: ArrayVec<OpenJob<'_, InboundKey>, MAX_ITEMS> = ArrayVec::new();
        let mut places: ArrayVec<usize, MAX_ITEMS> = ArrayVec::new();
        for (place, item) in items.iter_mut().enumerate().take(MAX_ITEMS) {
            // An SA that is gone has no key: there should be none here.
            let Some(key) = view.key(item).filter(|_| wanted >> place & 1 == 1) else { continue };
            let sequence = view.sequence(item);
            jobs.push(OpenJob { key, packet: view.packet(item), sequence, opened: false });
            places.push(place);
        }
        self.open_burst(&mut jobs);
        jobs.iter().zip(places).fold(0, |all, (job, place)| all | u32::from(job.opened) << place)
    }

    /// As [`Engine::open_left`].
    #[inline(never)]
    fn seal_left<T, V: View<T, Key = OutboundKey>>(&mut self, items: &mut [T], view: &V, wanted: u32) -> u32 {
        let mut jobs: ArrayVec<SealJob<'_, OutboundKey>, MAX_ITEMS> = ArrayVec::new();
        let mut places: ArrayVec<usize, MAX_ITEMS> = ArrayVec::new();
        for (place, item) in items.iter_mut().enumerate().take(MAX_ITEMS) {
            let Some(key) = view.key(item).filter(|_| wanted >> place & 1 == 1) else { continue };
            let sequence = view.sequence(item);
            jobs.push(SealJob { key, packet: view.packet(item), sequence, sealed: false });
            places.push(place);
        }
        self.seal_burst(&mut jobs);
        jobs.iter().zip(places).fold(0, |all, (job, place)| all | u32::from(job.sealed) << place)
    }
}

impl EspEngine for Engine {
    type InboundKey = InboundKey;
    type OutboundKey = OutboundKey;

    fn setup_inbound(suite: EspSuite, esn: bool, keys: &EspKeys) -> Result<InboundKey, SetupError> {
        let software = match chosen().kind {
            EngineKind::Wide => Wide::setup_inbound(suite, esn, keys).map(InboundKey::from),
            EngineKind::AwsLc => AwsLc::setup_inbound(suite, esn, keys).map(InboundKey::AwsLc),
            EngineKind::Portable => Portable::setup_inbound(suite, esn, keys).map(InboundKey::Portable),
        }?;
        Ok(match lookaside::device_key(CryptoDirection::Open, suite, esn, keys) {
            Some(device) => InboundKey::Device(Box::new(WithDevice { device, software })),
            None => software,
        })
    }

    fn setup_outbound(suite: EspSuite, esn: bool, keys: &EspKeys) -> Result<OutboundKey, SetupError> {
        let software = match chosen().kind {
            EngineKind::Wide => Wide::setup_outbound(suite, esn, keys).map(OutboundKey::from),
            EngineKind::AwsLc => AwsLc::setup_outbound(suite, esn, keys).map(OutboundKey::AwsLc),
            EngineKind::Portable => Portable::setup_outbound(suite, esn, keys).map(OutboundKey::Portable),
        }?;
        Ok(match lookaside::device_key(CryptoDirection::Seal, suite, esn, keys) {
            Some(device) => OutboundKey::Device(Box::new(WithDevice { device, software })),
            None => software,
        })
    }

    fn open_burst(&mut self, jobs: &mut [OpenJob<'_, InboundKey>]) {
        if let Some(wide) = &mut self.wide {
            return wide.open(jobs);
        }
        for job in jobs {
            job.opened = job.key.open(job.packet, job.sequence).is_some();
        }
    }

    fn seal_burst(&mut self, jobs: &mut [SealJob<'_, OutboundKey>]) {
        if let Some(wide) = &mut self.wide {
            return wide.seal(jobs);
        }
        for job in jobs {
            job.sealed = job.key.seal(job.packet, job.sequence).is_some();
        }
    }
}

impl InboundKey {
    /// The crypto device's part, if it has one.
    #[inline(always)]
    pub(crate) fn device(&self) -> Option<&DeviceKey> {
        match self {
            InboundKey::Device(key) => Some(&key.device),
            _ => None,
        }
    }

    fn open(&self, packet: &mut [u8], sequence: u64) -> Option<()> {
        match self {
            InboundKey::Gcm(_) | InboundKey::Cbc(_) => None,
            InboundKey::AwsLc(key) => key.open(packet, sequence),
            InboundKey::Portable(key) => key.open(packet, sequence),
            InboundKey::Device(key) => key.software.open(packet, sequence),
        }
    }
}

impl OutboundKey {
    /// The crypto device's part, if it has one.
    #[inline(always)]
    pub(crate) fn device(&self) -> Option<&DeviceKey> {
        match self {
            OutboundKey::Device(key) => Some(&key.device),
            _ => None,
        }
    }

    fn seal(&self, packet: &mut [u8], sequence: u64) -> Option<()> {
        match self {
            OutboundKey::Gcm(_) | OutboundKey::Cbc(_) => None,
            OutboundKey::AwsLc(key) => key.seal(packet, sequence),
            OutboundKey::Portable(key) => key.seal(packet, sequence),
            OutboundKey::Device(key) => key.software.seal(packet, sequence),
        }
    }
}

/// What both directions' keys say of the kernels' keys.
macro_rules! may_be_wide {
    ($($key:ident, $library:ident);+) => { $(
        impl From<WideKey> for $key {
            fn from(key: WideKey) -> $key {
                match key {
                    WideKey::Gcm(key) => $key::Gcm(key),
                    WideKey::Cbc(key) => $key::Cbc(key),
                    WideKey::Library(key) => $key::AwsLc($library::Aead(key)),
                }
            }
        }

        impl MaybeGcm for $key {
            #[inline]
            fn gcm_key(&self) -> Option<&GcmKey> {
                match self {
                    $key::Gcm(key) => Some(key),
                    $key::Device(key) => key.software.gcm_key(),
                    _ => None,
                }
            }
        }

        impl MaybeCbc for $key {
            #[inline]
            fn cbc_key(&self) -> Option<&CbcKey> {
                match self {
                    $key::Cbc(key) => Some(key),
                    $key::Device(key) => key.software.cbc_key(),
                    _ => None,
                }
            }
        }

        impl MaybeLibrary for $key {
            #[inline]
            fn library_key(&self) -> Option<&AeadKey> {
                match self {
                    $key::AwsLc($library::Aead(key)) => Some(key),
                    $key::Device(key) => key.software.library_key(),
                    _ => None,
                }
            }
        }
    )+ };
}
may_be_wide!(InboundKey, AwsLcInboundKey; OutboundKey, AwsLcOutboundKey);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::ESP_HEADER_LEN;

    #[test]
    fn every_engine_that_runs_here_passes_its_test() {
        assert_eq!(EngineKind::AwsLc.tested().unwrap(), EngineKind::AwsLc);
        assert_eq!(EngineKind::Portable.tested().unwrap(), EngineKind::Portable);
        let has_wide = Wide::new().is_some();
        match EngineKind::Wide.tested() {
            Ok(kind) => assert!(has_wide && kind == EngineKind::Wide),
            Err(error) => assert!(!has_wide && matches!(error, EngineError::Processor), "{error}"),
        }
        let best = best().unwrap();
        assert_eq!(best.kind, if has_wide { EngineKind::Wide } else { EngineKind::AwsLc });
        assert_eq!(best.reason.contains("wide lacks"), !has_wide, "{}", best.reason);
    }

    #[test]
    fn the_reason_names_what_was_put_aside() {
        let reasons = [
            reason_of_best(&[]),
            reason_of_best(&[(EngineKind::Wide, EngineError::Processor)]),
            EngineKind::Portable.configured().unwrap().reason,
        ];
        assert_eq!(
            reasons,
            [
                "fastest, passed its self-test",
                "passed its self-test; wide lacks instructions of the processor",
                "crypto_engine = \"portable\" is configured",
            ]
        );
    }

    #[test]
    fn the_first_choice_stands() {
        let first = Engine::kind();
        for choice in [CryptoEngine::Portable, CryptoEngine::AwsLc, CryptoEngine::Auto] {
            assert_eq!(choose(choice).unwrap(), first);
        }
        assert_eq!(Engine::default().wide.is_some(), first == EngineKind::Wide);
    }

    /// Packets in a queue: each one's key, if its SA is still there.
    struct Waiting<K>(Vec<Option<K>>);

    impl<K> View<(usize, Vec<u8>)> for Waiting<K> {
        type Key = K;

        fn key<'v>(&'v self, (key, _): &(usize, Vec<u8>)) -> Option<&'v K> {
            self.0[*key].as_ref()
        }

        fn packet<'p>(&self, (_, packet): &'p mut (usize, Vec<u8>)) -> &'p mut [u8] {
            packet
        }

        fn sequence(&self, _: &(usize, Vec<u8>)) -> u64 {
            7
        }
    }

    #[test]
    fn every_suite_in_one_queue_is_sealed_and_opened_where_it_waits() {
        let material = EspKeys { cipher: [3; 32], salt: [4; 4], integrity: [5; 64] };
        let mut engine = Engine::default();
        // The first decides which way the burst goes, so each suite is first once; one SA is gone.
        for first in 0..EspSuite::ALL.len() {
            let suite = |at: usize| EspSuite::ALL[(first + at) % EspSuite::ALL.len()];
            let mut sealing = Waiting(Vec::new());
            let mut opening = Waiting(Vec::new());
            let mut items = Vec::new();
            for at in 0..MAX_ITEMS {
                let there = at != 9;
                sealing.0.push(there.then(|| Engine::setup_outbound(suite(at), true, &material).unwrap()));
                opening.0.push(there.then(|| Engine::setup_inbound(suite(at), true, &material).unwrap()));
                let len = ESP_HEADER_LEN + suite(at).iv_len() + (1 + at * 3) * 16 + suite(at).icv_len();
                let mut packet = vec![at as u8; len];
                packet[..ESP_HEADER_LEN].copy_from_slice(&[1, 2, 3, 4, 0, 0, 0, 7]);
                items.push((at, packet));
            }
            let clear = items.clone();
            assert_eq!(engine.seal_items(&mut items, &sealing), !(1 << 9), "{first}");
            // One packet of each suite is spoilt.
            for (_, packet) in items.iter_mut().take(EspSuite::ALL.len()) {
                *packet.last_mut().unwrap() ^= 1;
            }
            let spoilt = (1 << EspSuite::ALL.len()) - 1;
            assert_eq!(engine.open_items(&mut items, &opening), !(1 << 9) & !spoilt, "{first}");
            for ((at, opened), (_, clear)) in items.iter().zip(&clear).skip(EspSuite::ALL.len()) {
                let text = ESP_HEADER_LEN + suite(*at).iv_len()..clear.len() - suite(*at).icv_len();
                assert_eq!(opened[text.clone()], clear[text], "{first} {at}");
            }
        }
    }
}
