//! What this processor's instructions allow at best: the floor under the cost of a packet.
//!
//! Enters: key and packet lengths. Leaves: core cycles. The throughput of VAESENC and VPCLMULQDQ on 512 bits is measured
//! once per process, alone and mixed as GCM mixes them: some processors run them beside each other, some on the same
//! pipes. What is left out of the floor — loads, stores, counters, XORs — is what a kernel may hope to hide.

use core::arch::asm;
use std::sync::OnceLock;

use crate::Wide;
use crate::clock::{core_per_tsc, tsc_ordered};

/// Turns of a measured loop: some 20 µs.
const TURNS: u64 = 1_000;
/// Windows of one measurement; the fastest counts.
const WINDOWS: usize = 200;
/// VPCLMULQDQ of one row of 64 octets: four halves of a product.
const PRODUCTS_PER_ROW: f64 = 4.0;
/// VPCLMULQDQ of a reduction.
const PRODUCTS_PER_REDUCTION: f64 = 2.0;
/// Octets between reductions.
const REDUCTION_LEN: f64 = 256.0;

/// Core cycles per instruction on 512 bits.
#[derive(Clone, Copy, Debug)]
pub struct Throughput {
    /// VAESENC alone.
    pub aes: f64,
    /// VPCLMULQDQ alone.
    pub product: f64,
    /// What a VPCLMULQDQ adds between AES rounds, at the mixture of AES-256-GCM.
    pub product_beside_aes: f64,
}

/// This processor's figures; `None` where the kernels do not run.
pub fn throughput() -> Option<Throughput> {
    static MEASURED: OnceLock<Option<Throughput>> = OnceLock::new();
    *MEASURED.get_or_init(|| {
        // SAFETY: `Wide` proves that the processor has the instructions.
        Wide::detect().map(|_| unsafe { measure() })
    })
}

/// Core cycles per packet of AES-GCM with a text of `len` octets and a key of `key_len`, at best; 0 where the kernels do
/// not run. Blocks that do not fill a vector count as the part of it that they are: packets may share vectors.
pub fn gcm_cycles(key_len: usize, len: usize) -> f64 {
    let Some(throughput) = throughput() else { return 0.0 };
    let blocks = len.div_ceil(16) as f64;
    let rounds = (key_len / 4 + 6) as f64;
    let aes = rounds * (blocks + 1.0) / 4.0;
    let reductions = (len as f64 / REDUCTION_LEN).ceil().max(1.0);
    let products = PRODUCTS_PER_ROW * (blocks + 2.0) / 4.0 + PRODUCTS_PER_REDUCTION * (reductions - 0.75);
    throughput.cycles(aes, products)
}

impl Throughput {
    /// Cycles of so many instructions of each kind, in any order.
    fn cycles(&self, aes: f64, products: f64) -> f64 {
        (products * self.product).max(aes * self.aes + products * self.product_beside_aes)
    }
}

/// Cycles of one turn of a loop of independent instructions.
macro_rules! cycles_of_turn {
    ($($line:literal),+) => {{
        let mut fastest = u64::MAX;
        for _ in 0..WINDOWS {
            let start = tsc_ordered();
            asm!(
                "2:",
                $($line,)+
                "sub {turns}, 1",
                "jnz 2b",
                turns = inout(reg) TURNS => _,
                out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _,
                out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
                out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _,
                options(nomem, nostack),
            );
            fastest = fastest.min(tsc_ordered() - start);
        }
        fastest as f64 / TURNS as f64
    }};
}

/// # Safety
/// The processor must have AVX-512, VAES and VPCLMULQDQ.
#[target_feature(enable = "avx512f,vaes,vpclmulqdq")]
unsafe fn measure() -> Throughput {
    let clock = core_per_tsc();
    // SAFETY: the caller's promise; vector registers only, all of them declared.
    let (aes, product, mixed) = unsafe {
        let aes = cycles_of_turn!(
            "vaesenc zmm0, zmm0, zmm15",
            "vaesenc zmm1, zmm1, zmm15",
            "vaesenc zmm2, zmm2, zmm15",
            "vaesenc zmm3, zmm3, zmm15",
            "vaesenc zmm4, zmm4, zmm15",
            "vaesenc zmm5, zmm5, zmm15",
            "vaesenc zmm6, zmm6, zmm15",
            "vaesenc zmm7, zmm7, zmm15",
            "vaesenc zmm8, zmm8, zmm15",
            "vaesenc zmm9, zmm9, zmm15",
            "vaesenc zmm10, zmm10, zmm15",
            "vaesenc zmm11, zmm11, zmm15",
            "vaesenc zmm12, zmm12, zmm15",
            "vaesenc zmm13, zmm13, zmm15"
        );
        let product = cycles_of_turn!(
            "vpclmulqdq zmm0, zmm14, zmm15, 0",
            "vpclmulqdq zmm1, zmm14, zmm15, 1",
            "vpclmulqdq zmm2, zmm14, zmm15, 16",
            "vpclmulqdq zmm3, zmm14, zmm15, 17"
        );
        let mixed = cycles_of_turn!(
            "vaesenc zmm4, zmm4, zmm15",
            "vaesenc zmm5, zmm5, zmm15",
            "vaesenc zmm6, zmm6, zmm15",
            "vpclmulqdq zmm0, zmm14, zmm15, 0",
            "vaesenc zmm7, zmm7, zmm15",
            "vaesenc zmm8, zmm8, zmm15",
            "vaesenc zmm9, zmm9, zmm15",
            "vaesenc zmm10, zmm10, zmm15",
            "vpclmulqdq zmm1, zmm14, zmm15, 1",
            "vaesenc zmm11, zmm11, zmm15",
            "vaesenc zmm12, zmm12, zmm15",
            "vaesenc zmm13, zmm13, zmm15",
            "vpclmulqdq zmm2, zmm14, zmm15, 16",
            "vaesenc zmm4, zmm4, zmm15",
            "vaesenc zmm5, zmm5, zmm15",
            "vaesenc zmm6, zmm6, zmm15",
            "vaesenc zmm7, zmm7, zmm15",
            "vpclmulqdq zmm3, zmm14, zmm15, 17"
        );
        (aes * clock / 14.0, product * clock / 4.0, mixed * clock)
    };
    Throughput { aes, product, product_beside_aes: ((mixed - 14.0 * aes) / 4.0).max(0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_grows_with_the_packet_and_the_key() {
        let Some(throughput) = throughput() else { return };
        assert!((0.2..8.0).contains(&throughput.aes), "{throughput:?}");
        assert!((0.2..16.0).contains(&throughput.product), "{throughput:?}");
        assert!(gcm_cycles(32, 64) < gcm_cycles(32, 512));
        assert!(gcm_cycles(16, 1420) < gcm_cycles(32, 1420));
    }

    #[test]
    fn instructions_on_the_same_pipes_add_up_and_others_do_not() {
        let beside = Throughput { aes: 1.0, product: 1.0, product_beside_aes: 0.0 };
        assert_eq!(beside.cycles(14.0, 4.0), 14.0);
        assert_eq!(beside.cycles(2.0, 4.0), 4.0);
        let shared = Throughput { aes: 1.0, product: 2.0, product_beside_aes: 1.0 };
        assert_eq!(shared.cycles(14.0, 4.0), 18.0);
        assert_eq!(shared.cycles(0.0, 4.0), 8.0);
    }
}
