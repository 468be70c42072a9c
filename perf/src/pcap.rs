//! Captures in the classic pcap format, for `net_pcap` ports: Ethernet frames, microseconds, this machine's byte order.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

const MAGIC: u32 = 0xa1b2_c3d4;
const VERSION: [u16; 2] = [2, 4];
const SNAP_LEN: u32 = 65_535;
const LINK_TYPE_ETHERNET: u32 = 1;

/// Writes `frames`, a microsecond apart.
///
/// # Errors
/// When the file cannot be written.
pub fn write<'a>(path: &Path, frames: impl IntoIterator<Item = &'a [u8]>) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&MAGIC.to_ne_bytes())?;
    for half in VERSION {
        file.write_all(&half.to_ne_bytes())?;
    }
    for word in [0, 0, SNAP_LEN, LINK_TYPE_ETHERNET] {
        file.write_all(&u32::to_ne_bytes(word))?;
    }
    for (microseconds, frame) in (0u32..).zip(frames) {
        let length = u32::try_from(frame.len()).unwrap_or(SNAP_LEN);
        for word in [microseconds / 1_000_000, microseconds % 1_000_000, length, length] {
            file.write_all(&word.to_ne_bytes())?;
        }
        file.write_all(frame)?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_that_of_the_manual() {
        let path = std::env::temp_dir().join(format!("causeway-perf-{}.pcap", std::process::id()));
        write(&path, [&[1u8, 2, 3][..], &[4; 60]]).unwrap();
        let octets = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(octets.len(), 24 + 16 + 3 + 16 + 60);
        assert_eq!(octets[..4], MAGIC.to_ne_bytes());
        assert_eq!(octets[20..24], 1u32.to_ne_bytes());
        assert_eq!((&octets[32..36], &octets[40..43]), (&3u32.to_ne_bytes()[..], &[1, 2, 3][..]));
        assert_eq!(octets[47..51], 1u32.to_ne_bytes());
    }
}
