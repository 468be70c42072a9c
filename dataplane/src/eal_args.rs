//! The EAL's arguments: with hugepages or without, as the configuration and the machine say, and with the PCI devices
//! that the ports name.
//!
//! Enters: `[dataplane]`, the ports' device strings, and what `/sys/kernel/mm/hugepages` says. Leaves: arguments.

use std::fs;
use std::path::Path;

use causeway_shared::config::{Dataplane, Hugepages, Port};

/// Where Linux tells of hugepages: one folder for each size.
const HUGEPAGES: &str = "/sys/kernel/mm/hugepages";

/// What the machine offers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Free memory in hugepages of all sizes, MiB.
    pub free_hugepage_mib: u64,
    /// Processors that this process may run on.
    pub processors: Vec<usize>,
    /// Distinguishes this process's files from those of other DPDK processes.
    pub file_prefix: String,
}

/// Arguments, and how memory was chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EalArguments {
    /// For `Eal::init`.
    pub arguments: Vec<String>,
    /// Whether memory comes from hugepages.
    pub hugepages: bool,
}

/// Why the EAL cannot be started as configured.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EalArgumentsError {
    /// `hugepages = "always"`, but there are too few.
    #[error(
        "dataplane.hugepages is \"always\" and dataplane.memory_mib is {wanted_mib}, but only {free_mib} MiB of \
         hugepages are free; reserve more with `sysctl vm.nr_hugepages={pages}` or write \"auto\""
    )]
    NoHugepages {
        /// What is configured, MiB.
        wanted_mib: u32,
        /// What is free, MiB.
        free_mib: u64,
        /// 2 MiB pages that would do.
        pages: u32,
    },
}

/// Chooses the arguments.
///
/// # Errors
/// When hugepages are demanded and not there.
pub fn eal_arguments(
    dataplane: &Dataplane,
    ports: &[Port],
    machine: &Machine,
) -> Result<EalArguments, EalArgumentsError> {
    let hugepages = use_hugepages(dataplane, machine)?;
    let processors: Vec<String> = machine.processors.iter().map(usize::to_string).collect();
    let mut arguments = vec![
        // One EAL lcore for the main thread, which may run anywhere; workers are threads of ours that register.
        format!("--lcores=0@({})", processors.join(",")),
        format!("--file-prefix={}", machine.file_prefix),
        "--no-telemetry".to_owned(),
        "-m".to_owned(),
        dataplane.memory_mib.to_string(),
    ];
    if hugepages {
        arguments.push("--in-memory".to_owned());
    } else {
        arguments.extend(["--no-huge".to_owned(), "--no-shconf".to_owned()]);
    }
    let devices = ports.iter().map(|port| port.device.as_str()).chain(dataplane.crypto_device.as_deref());
    let pci: Vec<&str> = devices.filter(|device| is_pci(device)).collect();
    if pci.is_empty() {
        arguments.push("--no-pci".to_owned());
    }
    for device in pci {
        arguments.extend(["-a".to_owned(), device.to_owned()]);
    }
    arguments.extend(dataplane.eal_args.iter().cloned());
    Ok(EalArguments { arguments, hugepages })
}

/// Whether a device string names a PCI device (`0000:3b:00.0` or `3b:00.0`, with or without arguments).
pub fn is_pci(device: &str) -> bool {
    let name = device.split(',').next().unwrap_or(device);
    let Some((place, function)) = name.rsplit_once('.') else { return false };
    let parts: Vec<&str> = place.split(':').collect();
    matches!(parts.len(), 2 | 3)
        && parts.iter().chain([&function]).all(|part| {
            !part.is_empty() && part.len() <= 8 && part.bytes().all(|octet| octet.is_ascii_hexdigit())
        })
}

impl Machine {
    /// Looks at this machine.
    pub fn probe(processors: Vec<usize>, file_prefix: String) -> Machine {
        Machine { free_hugepage_mib: free_hugepage_mib(Path::new(HUGEPAGES)), processors, file_prefix }
    }
}

fn use_hugepages(dataplane: &Dataplane, machine: &Machine) -> Result<bool, EalArgumentsError> {
    let enough = machine.free_hugepage_mib >= u64::from(dataplane.memory_mib);
    match dataplane.hugepages {
        Hugepages::Never => Ok(false),
        Hugepages::Auto => Ok(enough),
        Hugepages::Always if enough => Ok(true),
        Hugepages::Always => Err(EalArgumentsError::NoHugepages {
            wanted_mib: dataplane.memory_mib,
            free_mib: machine.free_hugepage_mib,
            pages: dataplane.memory_mib.div_ceil(2),
        }),
    }
}

/// Adds up `hugepages-NkB/free_hugepages`; what cannot be read counts as none.
fn free_hugepage_mib(directory: &Path) -> u64 {
    let Ok(sizes) = fs::read_dir(directory) else { return 0 };
    sizes
        .flatten()
        .filter_map(|size| {
            let name = size.file_name();
            let kib: u64 = name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let free: u64 =
                fs::read_to_string(size.path().join("free_hugepages")).ok()?.trim().parse().ok()?;
            Some(free.saturating_mul(kib) >> 10)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use causeway_shared::config::{CryptoEngine, Poll, PortRole};

    use super::*;

    fn dataplane(hugepages: Hugepages) -> Dataplane {
        Dataplane {
            cores: vec![1],
            hugepages,
            memory_mib: 512,
            buffers: 8192,
            sa_capacity: 1024,
            poll: Poll::Full,
            crypto_engine: CryptoEngine::Auto,
            crypto_device: None,
            crypto_sessions: 1024,
            eal_args: vec!["--log-level=lib.eal:debug".into()],
            control_uid: None,
            control_user: None,
        }
    }

    fn machine(free_hugepage_mib: u64) -> Machine {
        Machine { free_hugepage_mib, processors: vec![0, 2], file_prefix: "cw1".into() }
    }

    fn port(device: &str) -> Port {
        Port {
            name: device.into(),
            device: device.into(),
            role: PortRole::Outside,
            address: Ipv4Addr::new(192, 0, 2, 1),
            prefix_len: 24,
            address6: None,
            mtu: 1500,
        }
    }

    #[test]
    fn hugepages_are_used_if_wanted_and_there() {
        for (wanted, free_mib, expected) in [
            (Hugepages::Auto, 512, Ok(true)),
            (Hugepages::Auto, 511, Ok(false)),
            (Hugepages::Never, 4096, Ok(false)),
            (Hugepages::Always, 512, Ok(true)),
            (
                Hugepages::Always,
                100,
                Err(EalArgumentsError::NoHugepages { wanted_mib: 512, free_mib: 100, pages: 256 }),
            ),
        ] {
            let chosen = eal_arguments(&dataplane(wanted), &[port("net_null0")], &machine(free_mib));
            assert_eq!(chosen.clone().map(|chosen| chosen.hugepages), expected, "{wanted:?} {free_mib}");
            let Ok(EalArguments { arguments, hugepages }) = chosen else { continue };
            let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
            assert_eq!(
                (has("--in-memory"), has("--no-huge"), has("--no-shconf")),
                (hugepages, !hugepages, !hugepages)
            );
        }
    }

    #[test]
    fn pci_devices_are_allowed_and_without_any_the_bus_is_left_alone() {
        let arguments = |ports: &[Port]| {
            eal_arguments(&dataplane(Hugepages::Never), ports, &machine(0)).unwrap().arguments.join(" ")
        };
        assert_eq!(
            arguments(&[port("net_null0")]),
            "--lcores=0@(0,2) --file-prefix=cw1 --no-telemetry -m 512 --no-huge --no-shconf --no-pci \
             --log-level=lib.eal:debug"
        );
        let with_pci = arguments(&[port("0000:3b:00.0,mprq_en=1"), port("net_null0")]);
        assert!(with_pci.contains("-a 0000:3b:00.0,mprq_en=1") && !with_pci.contains("--no-pci"));
        let accelerated =
            Dataplane { crypto_device: Some("0000:3d:01.0".into()), ..dataplane(Hugepages::Never) };
        let arguments = eal_arguments(&accelerated, &[port("net_null0")], &machine(0)).unwrap().arguments;
        assert!(arguments.join(" ").contains("-a 0000:3d:01.0"), "{arguments:?}");
    }

    #[test]
    fn pci_addresses_are_told_from_virtual_devices() {
        for (device, pci) in [
            ("0000:3b:00.0", true),
            ("3b:00.1", true),
            ("0000:3b:00.0,arg=1", true),
            ("net_af_packet0,iface=eth0.100", false),
            ("net_pcap0,rx_pcap=a:b.c", false),
            ("", false),
            ("0000:3b:00", false),
        ] {
            assert_eq!(is_pci(device), pci, "{device}");
        }
    }

    #[test]
    fn free_hugepages_of_all_sizes_add_up() {
        let directory = std::env::temp_dir().join(format!("causeway-hugepages-{}", std::process::id()));
        for (size, free) in [("hugepages-2048kB", "10\n"), ("hugepages-1048576kB", "2\n"), ("other", "7\n")] {
            fs::create_dir_all(directory.join(size)).unwrap();
            fs::write(directory.join(size).join("free_hugepages"), free).unwrap();
        }
        let found = free_hugepage_mib(&directory);
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(found, 20 + 2048);
        assert_eq!(free_hugepage_mib(&directory), 0);
    }
}
