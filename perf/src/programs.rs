//! The programs of a comparison and their command lines: DPDK's `ipsec-secgw` in its two best modes, `testpmd` for the cost of
//! source and sink alone, and this program (`dut`) for both roles of ours.
//!
//! All get the same: one core, `net_pcap` that repeats a capture for ever as port 0, `net_null` as port 1, 16,384 buffers.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use causeway_shared::sa::EspKeys;

use crate::cell::{Cell, Direction, Suite};
use crate::subject::Plan;
use crate::world::{self, World};

/// Packet buffers of each program, as `ipsec-secgw` is used to.
pub const BUFFERS: u32 = 16_384;
/// Hugepages that each program begins with, MiB.
const MEMORY_MIB: u64 = 192;
/// Hugepages that a program takes at most: `ipsec-secgw` and `testpmd` ask for more while they start.
pub const MOST_MEMORY_MIB: u64 = 400;
/// Memory of each program without hugepages, MiB: then it gets all at once and no more.
const NO_HUGE_MEMORY_MIB: u64 = 512;
/// The Ethernet address of the first `net_pcap` port, which the driver gives it.
pub const SOURCE_MAC: [u8; 6] = [0x02, 0x70, 0x63, 0x61, 0x70, 0x00];

/// Who takes turns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    /// Our worker.
    Ours,
    /// Our receive and transmit calls alone.
    OursIo,
    /// `ipsec-secgw`, librte_ipsec with synchronous crypto.
    PeerCpu,
    /// `ipsec-secgw`, librte_ipsec with a cryptodev's queues.
    PeerLookaside,
    /// `testpmd` forwarding without a look.
    PeerIo,
}

impl Program {
    /// Everyone.
    pub const ALL: [Program; 5] =
        [Program::Ours, Program::OursIo, Program::PeerCpu, Program::PeerLookaside, Program::PeerIo];

    /// For files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Program::Ours => "causeway",
            Program::OursIo => "causeway-io",
            Program::PeerCpu => "ipsec-secgw-cpu",
            Program::PeerLookaside => "ipsec-secgw-lookaside",
            Program::PeerIo => "testpmd-io",
        }
    }
}

/// Where things are, and which core is measured.
#[derive(Debug)]
pub struct Setting {
    /// `ipsec-secgw`.
    pub secgw: PathBuf,
    /// This program.
    pub ours: PathBuf,
    /// For captures, configurations, logs.
    pub folder: PathBuf,
    /// Whether there are hugepages.
    pub hugepages: bool,
    /// The core that is measured.
    pub core: usize,
    /// Clients.
    pub sas: u32,
    /// A core for what else a program's threads do.
    pub other_core: usize,
}

impl Setting {
    /// How to start a program for a cell. `capture` is its source.
    pub fn plan(&self, program: Program, cell: Cell, capture: &Path) -> Plan {
        let file_prefix = format!("causeway-perf-{}-{}", std::process::id(), program.name());
        let (path, arguments) = match program {
            Program::Ours | Program::OursIo => {
                let mut arguments = vec!["dut".to_owned()];
                let mut option = |name: &str, value: String| arguments.extend([format!("--{name}"), value]);
                option("suite", cell.suite.to_string());
                option("direction", cell.direction.to_string());
                option("capture", capture.display().to_string());
                option("sas", self.sas.to_string());
                option("core", self.core.to_string());
                option("file-prefix", file_prefix.clone());
                if let Some(directory) = self.huge_dir() {
                    option("huge-dir", directory.display().to_string());
                }
                if program == Program::OursIo {
                    arguments.push("--io".to_owned());
                }
                (self.ours.clone(), arguments)
            }
            Program::PeerCpu | Program::PeerLookaside => {
                let mut arguments = self.eal(&self.core.to_string(), &file_prefix, capture);
                arguments.extend(["--vdev".into(), crypto_device(cell.suite).into(), "--".into()]);
                // Port 0 is the side the packets come from; -u names the side of the encrypted ones.
                let outside = if cell.direction == Direction::Out { "0x2" } else { "0x1" };
                let config = self.folder.join(format!("{}.cfg", program.name()));
                arguments.extend(["-p", "0x3", "-P", "-u", outside, "-l"].map(str::to_owned));
                arguments.extend([
                    "--config".into(),
                    "(0,0,0),(1,0,0)".replace(",0)", &format!(",{})", self.core)),
                ]);
                arguments.extend(["-f".into(), config.display().to_string()]);
                arguments.extend(["-s".into(), BUFFERS.to_string()]);
                (self.secgw.clone(), arguments)
            }
            Program::PeerIo => {
                let cores = format!("{},{}", self.other_core, self.core);
                let mut arguments = self.eal(&cores, &file_prefix, capture);
                arguments.extend(["--main-lcore".into(), self.other_core.to_string(), "--".into()]);
                arguments.extend(
                    ["--forward-mode=io", "--auto-start", "--burst=32", "--no-lsc-interrupt"]
                        .map(str::to_owned),
                );
                arguments.push(format!("--total-num-mbufs={BUFFERS}"));
                ("dpdk-testpmd".into(), arguments)
            }
        };
        Plan {
            name: program.name().to_owned(),
            program: path,
            arguments,
            file_prefix,
            huge_dir: self.huge_dir(),
            log: self.folder.join(format!("{}.log", program.name())),
        }
    }

    /// Writes what a program reads at its start.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_configuration(&self, program: Program, cell: Cell) -> std::io::Result<()> {
        let action = match program {
            Program::PeerCpu => " type cpu-crypto",
            Program::PeerLookaside => "",
            Program::Ours | Program::OursIo | Program::PeerIo => return Ok(()),
        };
        let path = self.folder.join(format!("{}.cfg", program.name()));
        std::fs::write(path, secgw_configuration(cell.suite, self.sas, action))
    }

    fn huge_dir(&self) -> Option<PathBuf> {
        self.hugepages.then(|| self.folder.join("hugepages"))
    }

    fn eal(&self, cores: &str, file_prefix: &str, capture: &Path) -> Vec<String> {
        let mut arguments = vec!["-l".to_owned(), cores.to_owned()];
        arguments.extend(memory_arguments(self.huge_dir().as_deref(), file_prefix));
        arguments.extend(device_arguments(&[]));
        for device in devices(capture) {
            arguments.extend(["--vdev".to_owned(), device]);
        }
        arguments
    }
}

/// EAL arguments that every program gets. With a telemetry socket, by which packets are counted.
pub fn memory_arguments(huge_dir: Option<&Path>, file_prefix: &str) -> Vec<String> {
    let mut arguments = vec![format!("--file-prefix={file_prefix}")];
    let memory = if huge_dir.is_some() { MEMORY_MIB } else { NO_HUGE_MEMORY_MIB };
    arguments.extend(["-m".to_owned(), memory.to_string()]);
    match huge_dir {
        Some(directory) => {
            arguments.extend(["--huge-dir".into(), directory.display().to_string(), "--huge-unlink".into()]);
        }
        None => arguments.push("--no-huge".to_owned()),
    }
    arguments
}

/// EAL arguments that let it have the PCI devices among `devices`, and no others.
pub fn device_arguments(devices: &[String]) -> Vec<String> {
    let virtual_device = |device: &str| device.starts_with("net_") || device.starts_with("crypto_");
    let pci: Vec<&String> = devices.iter().filter(|device| !virtual_device(device)).collect();
    if pci.is_empty() {
        return vec!["--no-pci".to_owned()];
    }
    pci.into_iter().flat_map(|device| ["-a".to_owned(), device.clone()]).collect()
}

/// The folder that the EAL makes for a root process and leaves behind. Dropping this removes it.
#[derive(Debug)]
pub struct RuntimeDirectory(PathBuf);

impl RuntimeDirectory {
    /// Of the process with this `--file-prefix`.
    pub fn of(file_prefix: &str) -> RuntimeDirectory {
        RuntimeDirectory(Path::new("/var/run/dpdk").join(file_prefix))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for RuntimeDirectory {
    fn drop(&mut self) {
        // It is there or it is not.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Ports 0 and 1.
pub fn devices(capture: &Path) -> [String; 2] {
    [format!("net_pcap0,rx_pcap={},infinite_rx=1", capture.display()), "net_null0,no-rx=1".to_owned()]
}

fn crypto_device(suite: Suite) -> &'static str {
    if suite.esp().is_aead() { "crypto_aesni_gcm0" } else { "crypto_aesni_mb0" }
}

/// The configuration of `ipsec-secgw` for the world's clients. It wants SAs of both directions even if it uses one.
fn secgw_configuration(suite: Suite, sas: u32, action: &str) -> String {
    let world = World::plain(suite, sas);
    let (us, lan) = (world::GATEWAY, world::LAN);
    let ports = "sport 0:65535 dport 0:65535";
    let mut text = String::new();
    let mut line = |content: String| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{content}");
    };
    // ipsec-secgw takes SPIs in decimal; the clear side's table is found by the whole SPI as well.
    let tunnel = |from, to| format!("mode ipv4-tunnel src {from} dst {to}{action}");
    for n in 0..sas {
        let (to_client, from_client) = (world.sa_to_client(n), world.sa_from_client(n));
        let (out_spi, in_spi, client) = (to_client.spi, from_client.spi, world::client_outer(n));
        // One client may have the whole pool, as it always had in this comparison.
        let inner = if sas == 1 { world::POOL.to_string() } else { format!("{}/32", world::client_inner(n)) };
        line(format!("sp ipv4 out esp protect {out_spi} pri 1 src {lan} dst {inner} {ports}"));
        line(format!("sp ipv4 in esp protect {in_spi} pri 1 src {inner} dst {lan} {ports}"));
        line(format!("sa out {out_spi} {} {}", algorithms(suite, &to_client.keys), tunnel(us, client)));
        line(format!("sa in {in_spi} {} {}", algorithms(suite, &from_client.keys), tunnel(client, us)));
    }
    for destination in [world::CLIENTS, lan] {
        line(format!("rt ipv4 dst {destination} port 1"));
    }
    line(format!("neigh port 1 {}", octets(&world::NEIGHBOUR_MAC)));
    text
}

fn algorithms(suite: Suite, keys: &EspKeys) -> String {
    let esp = suite.esp();
    let cipher = &keys.cipher[..esp.cipher_key_len()];
    if esp.is_aead() {
        return format!("aead_algo {suite} aead_key {}", octets(&[cipher, &keys.salt[..]].concat()));
    }
    let hash = if suite == Suite::Aes256CbcSha256 { "sha256-hmac" } else { "sha384-hmac" };
    let integrity = octets(&keys.integrity[..esp.integrity_key_len()]);
    format!("cipher_algo aes-256-cbc cipher_key {} auth_algo {hash} auth_key {integrity}", octets(cipher))
}

fn octets(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peers_configuration_has_the_worlds_keys_and_addresses() {
        let text = secgw_configuration(Suite::Aes256CbcSha384, 1, " type cpu-crypto");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 7);
        assert!(lines[2].starts_with("sa out 202440704 cipher_algo aes-256-cbc cipher_key 80:81:82:"));
        assert!(lines[2].ends_with("mode ipv4-tunnel src 192.0.2.1 dst 100.64.0.1 type cpu-crypto"));
        assert!(lines[3].contains(" src 100.64.0.1 dst 192.0.2.1 "));
        let key = lines[2].split(" ").nth(10).unwrap();
        assert_eq!(key.split(':').count(), 48);
        assert!(
            secgw_configuration(Suite::Aes128Gcm, 1, "").contains("aead_algo aes-128-gcm aead_key 10:11:")
        );
    }
}
