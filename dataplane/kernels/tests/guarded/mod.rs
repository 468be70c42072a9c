//! Packets beside pages without access: whoever touches an octet before or behind one dies of it.

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

const PAGE: usize = 4096;

/// One readable page between two that are not.
pub struct Guarded(*mut u8);

impl Guarded {
    pub fn new() -> Guarded {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping of three pages, of which the outer ones lose all access.
        unsafe {
            let start = mmap_anonymous(std::ptr::null_mut(), 3 * PAGE, access, MapFlags::PRIVATE).unwrap();
            mprotect(start, PAGE, MprotectFlags::empty()).unwrap();
            mprotect(start.cast::<u8>().add(2 * PAGE).cast(), PAGE, MprotectFlags::empty()).unwrap();
            Guarded(start.cast())
        }
    }

    /// `octets` at the page's end, or at its beginning.
    pub fn put(&mut self, octets: &[u8], at_end: bool) -> &mut [u8] {
        assert!(octets.len() <= PAGE);
        let offset = if at_end { PAGE - octets.len() } else { 0 };
        // SAFETY: within the middle page, borrowed with the mapping.
        let place = unsafe { std::slice::from_raw_parts_mut(self.0.add(PAGE + offset), octets.len()) };
        place.copy_from_slice(octets);
        place
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; no packet of it is borrowed any more.
        unsafe { munmap(self.0.cast(), 3 * PAGE).unwrap() };
    }
}
