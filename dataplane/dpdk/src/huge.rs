//! Huge pages for large tables on the heap.

use std::mem::MaybeUninit;

/// Octets of a huge page, below which a table has no use for one.
const HUGE_PAGE: usize = 2 << 20;
/// Octets of a page.
const PAGE: usize = 4096;

/// Asks the kernel to back `memory`, not yet written to, by huge pages (transparent ones, `madvise` or `always`), so that a
/// table visited at random costs no misses in the translation cache. Where it cannot, nothing changes.
pub fn advise_huge_pages<T>(memory: &mut [MaybeUninit<T>]) {
    let start = memory.as_mut_ptr().cast::<u8>();
    let skipped = start.align_offset(PAGE);
    let len = size_of_val(memory).saturating_sub(skipped) / PAGE * PAGE;
    if len >= HUGE_PAGE {
        // SAFETY: whole pages inside memory that the caller borrows exclusively; the advice changes no content and may fail.
        unsafe { libc::madvise(start.wrapping_add(skipped).cast(), len, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_holds_what_is_written_to_it() {
        for count in [0, 1, 100, 300_000] {
            let mut table: Vec<[u64; 8]> = Vec::with_capacity(count);
            advise_huge_pages(table.spare_capacity_mut());
            table.resize(count, [7; 8]);
            assert!(table.iter().flatten().all(|word| *word == 7));
        }
    }
}
