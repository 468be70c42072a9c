//! What must fit together: raw sections in, a [`Config`] out. Every check adds its findings and goes on, so that the operator
//! sees all of them at once; a check whose inputs could not be read stays silent, because that is already told.

mod access;
mod auth;
mod eap;
mod management;
mod network;
mod network6;
mod policy;
mod radius;

use super::Checks;
use super::keys::{RawDataplane, RawGateway, RawLog, RawManagement};
use super::mistake::{Notes, Place};
use super::model::{Config, Dataplane, Gateway, Interface6, Log, Poll, PollMode, Port};
use super::reader::Document;
use super::schema::At;

/// Longest path of a Unix socket (`sun_path` without its zero octet).
const MAX_SOCKET_PATH: usize = 107;
/// Name of the data plane's socket in the run directory.
pub const DATAPLANE_SOCKET: &str = "dataplane.sock";
/// Name of the API's socket in the run directory, unless the file says otherwise.
pub const API_SOCKET: &str = "api.sock";
/// Longest identity in octets (RFC 1035 §2.3.4 for names; enough for mail addresses).
const MAX_IDENTITY: usize = 255;
/// The longest sleep of an adaptive worker, where the file does not say, microseconds.
const LONGEST_SLEEP_USECS: u32 = 50;
/// The kernel's list of cores.
const ONLINE_CORES: &str = "/sys/devices/system/cpu/online";
/// Octets that one packet buffer takes: room for a packet of 2 KiB, DPDK's headroom and its own bookkeeping.
const BUFFER_OCTETS: u64 = 2560;
/// EAL arguments that are made from this file; given twice they contradict each other.
const OWN_EAL_ARGS: [&str; 12] = [
    "-l",
    "-c",
    "-m",
    "--lcores",
    "--main-lcore",
    "--socket-mem",
    "--no-huge",
    "--in-memory",
    "--file-prefix",
    "--proc-type",
    "--no-shconf",
    "--huge-dir",
];

/// Checks everything. `None` if a section could not be read or built; the reason is in `notes`.
pub(super) fn validate(document: Document, checks: &Checks<'_>, notes: &mut Notes<'_>) -> Option<Config> {
    gateway(&document.gateway, notes);
    dataplane(&document.dataplane, notes);
    if checks.files {
        warn_of_absent_cores(&document.dataplane, notes);
    }
    network::check(&document, notes);
    policy::check_ike(&document.ike, checks, notes);
    policy::check_esp(&document.esp, notes);
    let keys = auth::check(&document, checks, notes);
    let secrets = radius::check(&document, checks, notes);
    eap::check(&document, notes);
    access::check(&document, notes);
    management::check(&document, checks, notes);
    let socket = socket_path(&document.gateway, &document.management, notes);
    log(&document.log, checks, notes);
    if !notes.mistakes.is_empty() {
        return None;
    }

    let Document {
        gateway,
        dataplane,
        ports,
        routes,
        ike,
        esp,
        auth,
        psks: _,
        ppks: _,
        eap,
        anyconnect,
        reconnect,
        cisco,
        pools,
        groups,
        users,
        aaa,
        lockout,
        radius,
        radius_servers,
        dynamic,
        store,
        management,
        management_clients,
        log,
    } = document;
    let run_directory = gateway.run_directory?.value;
    let identity = gateway.identity?.value;
    let store = access::store(store, &run_directory)?;
    let sa_capacity = dataplane.sa_capacity?.value;
    let cisco = access::cisco(cisco)?;
    Some(Config {
        gateway: Gateway {
            identity: identity.clone(),
            run_directory: run_directory.clone(),
            profile: gateway.profile?.value,
        },
        dataplane: Dataplane {
            cores: dataplane.cores?.value,
            hugepages: dataplane.hugepages?.value,
            memory_mib: dataplane.memory_mib?.value,
            buffers: dataplane.buffers?.value,
            sa_capacity,
            poll: poll(dataplane.poll?.value, dataplane.idle_sleep_usecs?.value),
            crypto_engine: dataplane.crypto_engine?.value,
            crypto_device: dataplane.crypto_device?.value,
            crypto_sessions: dataplane.crypto_sessions?.value,
            eal_args: dataplane.eal_args?.value,
            control_uid: dataplane.control_uid?.value,
            control_user: dataplane.control_user?.value,
        },
        ports: ports
            .into_iter()
            .map(|port| {
                let address = port.address?.value;
                Some(Port {
                    name: port.name?.value,
                    device: port.device?.value,
                    role: port.role?.value,
                    address: address.address,
                    prefix_len: address.prefix_len,
                    address6: port
                        .address6?
                        .value
                        .map(|v6| Interface6 { address: v6.address, prefix_len: v6.prefix_len }),
                    mtu: port.mtu?.value,
                })
            })
            .collect::<Option<_>>()?,
        routes: routes.into_iter().map(network::route).collect::<Option<_>>()?,
        ike: policy::ike(ike)?,
        esp: policy::esp(esp)?,
        auth: auth::auth(auth, keys?, notes.file())?,
        eap: eap::eap(eap)?,
        anyconnect: access::anyconnect(anyconnect)?,
        reconnect: access::reconnect(reconnect, cisco.attribute_profile, sa_capacity)?,
        cisco,
        pools: pools.into_iter().map(network::pool).collect::<Option<_>>()?,
        groups: groups.into_iter().map(access::group).collect::<Option<_>>()?,
        users: users.into_iter().map(access::user).collect::<Option<_>>()?,
        aaa: access::aaa(aaa)?,
        lockout: radius::lockout(lockout)?,
        radius: radius::radius(radius, dynamic, radius_servers, secrets?, (&identity, &store, notes.file()))?,
        management: management::management(
            management,
            management_clients,
            (socket?, &store.path, notes.file()),
        )?,
        store,
        log: Log { filter: log.filter?.value, json: log.json?.value },
    })
}

fn gateway(gateway: &RawGateway, notes: &mut Notes<'_>) {
    if let Some(identity) = &gateway.identity {
        if identity.value.len() > MAX_IDENTITY {
            notes.mistake(
                &identity.place,
                format!("is longer than {MAX_IDENTITY} octets"),
                "use the DNS name in the certificate",
            );
        }
        if identity.value.contains(char::is_whitespace) {
            notes.mistake(&identity.place, "holds a space", "write the DNS name as the certificate has it");
        }
    }
    if let Some(directory) = &gateway.run_directory {
        if !directory.value.is_absolute() {
            notes.mistake(&directory.place, "is a relative path", "write a path that starts with /");
        }
        check_socket_length(&directory.value.join(DATAPLANE_SOCKET), &directory.place, notes);
    }
}

/// A file that names no mode, but a sleep, means workers that sleep.
fn poll(mode: Option<PollMode>, longest_sleep_usecs: Option<u32>) -> Poll {
    match (mode, longest_sleep_usecs) {
        (Some(PollMode::Full), _) | (None, None | Some(0)) => Poll::Full,
        (Some(PollMode::Adaptive), sleep) | (None, sleep @ Some(_)) => {
            Poll::Adaptive { longest_sleep_usecs: sleep.unwrap_or(LONGEST_SLEEP_USECS) }
        }
    }
}

fn dataplane(dataplane: &RawDataplane, notes: &mut Notes<'_>) {
    if let (Some(poll), Some(sleep)) = (&dataplane.poll, &dataplane.idle_sleep_usecs)
        && poll.value == Some(PollMode::Full)
        && sleep.value.is_some_and(|usecs| usecs > 0)
    {
        notes.mistake(
            &sleep.place,
            "contradicts poll = \"full\", which never sleeps",
            "remove it, or write poll = \"adaptive\"",
        );
    }
    if let Some(cores) = &dataplane.cores {
        if cores.value.is_empty() {
            notes.mistake(&cores.place, "names no core", "name at least one, as in [1]");
        }
        no_duplicates(&cores.value, &cores.place, |core| format!("core {core}"), notes);
    }
    if let Some(capacity) = &dataplane.sa_capacity
        && !capacity.value.is_power_of_two()
    {
        let next = capacity.value.next_power_of_two();
        notes.mistake(
            &capacity.place,
            format!("{} is not a power of two", capacity.value),
            format!("write {} or {next}", next / 2),
        );
    }
    if let (Some(buffers), Some(memory)) = (&dataplane.buffers, &dataplane.memory_mib) {
        let needed_mib = (u64::from(buffers.value) * BUFFER_OCTETS).div_ceil(1 << 20);
        if needed_mib > u64::from(memory.value) {
            notes.mistake(
                &buffers.place,
                format!("{} buffers take {needed_mib} MiB, memory_mib is {}", buffers.value, memory.value),
                format!("set memory_mib to {} or more, or use fewer buffers", needed_mib + needed_mib / 4),
            );
        }
    }
    if let Some(args) = &dataplane.eal_args {
        for arg in &args.value {
            let name = arg.split('=').next().unwrap_or_default();
            if OWN_EAL_ARGS.contains(&name) {
                notes.mistake(
                    &args.place,
                    format!("`{name}` is made from this file"),
                    "remove it; cores, hugepages and memory_mib say the same",
                );
            }
        }
    }
}

/// A warning only: the file may be checked on another machine than the one that it is for.
fn warn_of_absent_cores(dataplane: &RawDataplane, notes: &mut Notes<'_>) {
    let (Some(cores), Ok(online)) = (&dataplane.cores, std::fs::read_to_string(ONLINE_CORES)) else { return };
    for core in cores.value.iter().filter(|core| !in_ranges(&online, **core)) {
        notes.warning(
            &cores.place,
            format!("this machine has no core {core} (it has {})", online.trim()),
            "name cores that are there",
        );
    }
}

/// Whether `number` is in a list like `0-3,8`.
fn in_ranges(list: &str, number: usize) -> bool {
    list.trim().split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        matches!((first.parse(), last.parse()), (Ok(first), Ok(last)) if (first..=last).contains(&number))
    })
}

fn socket_path(
    gateway: &RawGateway,
    management: &RawManagement,
    notes: &mut Notes<'_>,
) -> Option<std::path::PathBuf> {
    let socket = management.socket.as_ref()?;
    let path = match &socket.value {
        Some(path) => path.clone(),
        None => gateway.run_directory.as_ref()?.value.join(API_SOCKET),
    };
    if socket.value.is_some() {
        if !path.is_absolute() {
            notes.mistake(&socket.place, "is a relative path", "write a path that starts with /");
        }
        check_socket_length(&path, &socket.place, notes);
    }
    Some(path)
}

fn check_socket_length(path: &std::path::Path, place: &Place, notes: &mut Notes<'_>) {
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        notes.mistake(
            place,
            format!("makes the socket path {} longer than {MAX_SOCKET_PATH} octets", path.display()),
            "choose a shorter directory; the kernel takes no longer socket path",
        );
    }
}

fn log(log: &RawLog, checks: &Checks<'_>, notes: &mut Notes<'_>) {
    if let (Some(filter), Some(check)) = (&log.filter, checks.log_filter)
        && let Err(why) = check(&filter.value)
    {
        let remedy = "write error, warn, info, debug or trace, or module=level pairs with commas between";
        notes.mistake(&filter.place, format!("`{}` is not a log filter: {why}", filter.value), remedy);
    }
}

/// Reports each element of a list that stands there twice.
fn no_duplicates<T: PartialEq>(list: &[T], place: &Place, say: impl Fn(&T) -> String, notes: &mut Notes<'_>) {
    for (i, element) in list.iter().enumerate() {
        if list.iter().take(i).any(|earlier| earlier == element) {
            notes.mistake(place, format!("{} stands there twice", say(element)), "remove one");
        }
    }
}

/// Reports each name that an earlier entry has taken.
fn unique<'d, T: std::hash::Hash + Eq + 'd>(
    values: impl Iterator<Item = &'d At<T>>,
    say: impl Fn(&T) -> String,
    notes: &mut Notes<'_>,
) {
    let mut seen: std::collections::HashMap<&T, &Place> = std::collections::HashMap::new();
    for at in values {
        if let Some(first) = seen.get(&at.value) {
            notes.mistake(
                &at.place,
                format!("{} is already taken by {}", say(&at.value), first.key),
                "give each entry its own, or remove one",
            );
        } else {
            seen.insert(&at.value, &at.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read() {
        for (list, number, inside) in [
            ("0-3,8\n", 2, true),
            ("0-3,8\n", 8, true),
            ("0-3,8\n", 4, false),
            ("0\n", 0, true),
            ("", 0, false),
        ] {
            assert_eq!(in_ranges(list, number), inside, "{number} in {list:?}");
        }
    }
}
