//! Ports: from a device string to started queues.
//!
//! A port moves one way: [`ProbedPort`] → [`StartedPort`] (handle and queues). It is stopped and closed when the
//! last handle or queue is dropped, so no queue can be polled on a stopped port.

use std::ffi::{CStr, CString};
use std::sync::{Arc, Mutex, PoisonError};

use causeway_dpdk_sys as sys;

use crate::eal::Eal;
use crate::error::{Errno, Error};
use crate::log;
use crate::mempool::Mempool;
use crate::queue::{RxQueue, TxQueue};

/// Receive hash functions asked for when a port has several receive queues, as far as it offers them:
/// IPv4, fragmented IPv4, IPv4 with TCP, UDP or anything else, and ESP by its SPI (`RTE_ETH_RSS_IPV4 | FRAG_IPV4 |
/// NONFRAG_IPV4_TCP | _UDP | _OTHER | ESP`). Some drivers count ESP among "anything else" and hash nothing of it without that
/// bit. The device's own key is kept: a symmetric one would bring both directions of a flow to one queue, which nothing here
/// needs, since an SA's owner has both anyway, and it would spread worse.
const RSS_FUNCTIONS: u64 = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 27;
/// `RTE_ETH_RX_OFFLOAD_SECURITY`.
const RX_SECURITY: u64 = 1 << 15;
/// `RTE_ETH_TX_OFFLOAD_SECURITY`.
const TX_SECURITY: u64 = 1 << 17;
/// `RTE_ETH_MQ_RX_RSS`.
const MULTI_QUEUE_RSS: sys::rte_eth_rx_mq_mode = 1;

/// Names of devices that a [`ProbedPort`] or its successors hold.
static CLAIMED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A device that is open but not configured.
#[derive(Debug)]
pub struct ProbedPort {
    open: OpenPort,
    capabilities: Capabilities,
}

/// What a device offers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// Its driver.
    pub driver: String,
    /// Most receive queues.
    pub max_rx_queues: u16,
    /// Most transmit queues.
    pub max_tx_queues: u16,
    /// The NUMA node it sits on, if the machine says.
    pub numa_node: Option<u32>,
    /// Whether it can spread received packets over its queues by a hash of their headers (RSS).
    pub receive_hash: bool,
    /// Whether it can open and seal ESP itself (rte_security inline, both directions).
    pub inline_esp: bool,
}

/// How a port is set up.
#[derive(Clone, Copy, Debug)]
pub struct QueueConfig {
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Descriptors of each receive queue; brought into the device's range.
    pub rx_descriptors: u16,
    /// Descriptors of each transmit queue; brought into the device's range.
    pub tx_descriptors: u16,
    /// Largest IP packet, octets.
    pub mtu: u16,
}

/// A port that receives and sends.
#[derive(Debug)]
pub struct StartedPort {
    /// For what concerns the whole port.
    pub handle: PortHandle,
    /// Its receive queues, in order.
    pub rx: Vec<RxQueue>,
    /// Its transmit queues, in order.
    pub tx: Vec<TxQueue>,
}

/// Reads a port's state. Any thread may hold one.
#[derive(Clone, Debug)]
pub struct PortHandle {
    port: Arc<OpenPort>,
}

/// A port's link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkState {
    /// Whether it is up.
    pub up: bool,
    /// Its speed in Mbit/s; `None` when the device does not know.
    pub speed_mbps: Option<u32>,
}

/// A device's own counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortStatistics {
    /// Packets received.
    pub rx_packets: u64,
    /// Octets received.
    pub rx_bytes: u64,
    /// Packets lost because no descriptor was free.
    pub rx_missed: u64,
    /// Damaged packets.
    pub rx_errors: u64,
    /// Receive attempts without a free buffer.
    pub rx_no_buffer: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Octets sent.
    pub tx_bytes: u64,
    /// Packets the device could not send.
    pub tx_errors: u64,
}

/// An open ethdev port; closed when dropped.
#[derive(Debug)]
pub(crate) struct OpenPort {
    id: u16,
    name: String,
    started: bool,
}

impl ProbedPort {
    /// Opens a device: a PCI address that the EAL was told to allow, or a virtual device with its arguments.
    ///
    /// # Errors
    /// When it does not exist, its driver refuses it, or it is open already.
    pub fn open(_eal: Eal, device: &str) -> Result<ProbedPort, Error> {
        let name = device.split(',').next().unwrap_or(device).to_owned();
        let name_text = CString::new(name.as_str()).map_err(|_| Error::NulOctet(device.to_owned()))?;
        let device_text = CString::new(device).map_err(|_| Error::NulOctet(device.to_owned()))?;
        let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
        if claimed.contains(&name) {
            return Err(Error::Claimed(name));
        }
        let id = match port_id(&name_text) {
            Some(id) => id,
            None => probe(device, &name_text, &device_text)?,
        };
        claimed.push(name.clone());
        drop(claimed);
        let open = OpenPort { id, name, started: false };
        let capabilities = Capabilities::from_info(&open.info()?, id);
        Ok(ProbedPort { open, capabilities })
    }

    /// What the device offers.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Configures and starts the port; received packets come from `pool`.
    ///
    /// # Errors
    /// When the device does not offer what `config` asks for, or refuses a step.
    pub fn start(mut self, config: QueueConfig, pool: Mempool) -> Result<StartedPort, Error> {
        self.check_queues(config)?;
        self.configure(config)?;
        self.set_up_queues(config, pool)?;
        // SAFETY: the port is open and configured, all its queues are set up.
        self.open.call("starting", |id| unsafe { sys::rte_eth_dev_start(id) })?;
        self.open.started = true;
        let port = Arc::new(self.open);
        Ok(StartedPort {
            rx: (0..config.rx_queues).map(|queue| RxQueue::new(port.clone(), queue)).collect(),
            tx: (0..config.tx_queues).map(|queue| TxQueue::new(port.clone(), queue)).collect(),
            handle: PortHandle { port },
        })
    }

    fn check_queues(&self, config: QueueConfig) -> Result<(), Error> {
        for (direction, wanted, available) in [
            ("receive", config.rx_queues, self.capabilities.max_rx_queues),
            ("transmit", config.tx_queues, self.capabilities.max_tx_queues),
        ] {
            if wanted == 0 || wanted > available {
                return Err(Error::Queues { port: self.open.name.clone(), direction, wanted, available });
            }
        }
        Ok(())
    }

    fn configure(&self, config: QueueConfig) -> Result<(), Error> {
        let info = self.open.info()?;
        let mut settings = sys::rte_eth_conf::default();
        settings.rxmode.mtu = u32::from(config.mtu);
        let functions = info.flow_type_rss_offloads & RSS_FUNCTIONS;
        if config.rx_queues > 1 && functions != 0 {
            settings.rxmode.mq_mode = MULTI_QUEUE_RSS;
            settings.rx_adv_conf.rss_conf.rss_hf = functions;
        }
        self.open.call("configuring", |id| {
            // SAFETY: the port is open; `settings` is a complete structure that the call copies.
            unsafe { sys::rte_eth_dev_configure(id, config.rx_queues, config.tx_queues, &raw const settings) }
        })
    }

    fn set_up_queues(&self, config: QueueConfig, pool: Mempool) -> Result<(), Error> {
        let info = self.open.info()?;
        let (mut rx_descriptors, mut tx_descriptors) = (config.rx_descriptors, config.tx_descriptors);
        self.open.call("sizing the rings", |id| {
            // SAFETY: the port is open; both pointers are to live integers.
            unsafe {
                sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, &raw mut rx_descriptors, &raw mut tx_descriptors)
            }
        })?;
        for queue in 0..config.rx_queues {
            self.open.call("setting up a receive queue", |id| {
                // SAFETY: the port is configured with this queue; the settings are the device's defaults; the pool
                // lives for ever.
                unsafe {
                    sys::rte_eth_rx_queue_setup(
                        id,
                        queue,
                        rx_descriptors,
                        socket_of(id),
                        &raw const info.default_rxconf,
                        pool.as_ptr(),
                    )
                }
            })?;
        }
        for queue in 0..config.tx_queues {
            self.open.call("setting up a transmit queue", |id| {
                // SAFETY: as above.
                unsafe {
                    sys::rte_eth_tx_queue_setup(
                        id,
                        queue,
                        tx_descriptors,
                        socket_of(id),
                        &raw const info.default_txconf,
                    )
                }
            })?;
        }
        Ok(())
    }
}

impl Capabilities {
    fn from_info(info: &sys::rte_eth_dev_info, id: u16) -> Capabilities {
        let driver = if info.driver_name.is_null() {
            String::new()
        } else {
            // SAFETY: a non-null driver name is a terminated text in the driver's static memory.
            unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned()
        };
        // SAFETY: reads a number of an open port.
        let socket = unsafe { sys::rte_eth_dev_socket_id(id) };
        Capabilities {
            driver,
            max_rx_queues: info.max_rx_queues,
            max_tx_queues: info.max_tx_queues,
            numa_node: u32::try_from(socket).ok(),
            receive_hash: info.flow_type_rss_offloads & RSS_FUNCTIONS != 0,
            inline_esp: info.rx_offload_capa & RX_SECURITY != 0 && info.tx_offload_capa & TX_SECURITY != 0,
        }
    }
}

impl PortHandle {
    /// The device's name.
    pub fn name(&self) -> &str {
        &self.port.name
    }

    /// The port's Ethernet address.
    ///
    /// # Errors
    /// When the device does not answer.
    pub fn mac(&self) -> Result<[u8; 6], Error> {
        let mut address = sys::rte_ether_addr::default();
        self.port.call("reading the Ethernet address", |id| {
            // SAFETY: the port is open; the pointer is to a live structure.
            unsafe { sys::rte_eth_macaddr_get(id, &raw mut address) }
        })?;
        Ok(address.addr_bytes)
    }

    /// Receives frames to every group from now on; by taking all frames where the device cannot tell them apart.
    ///
    /// # Errors
    /// When the device can do neither.
    pub fn receive_groups(&self) -> Result<(), Error> {
        let groups = self.port.call("receiving multicast", |id| {
            // SAFETY: the port is open.
            unsafe { sys::rte_eth_allmulticast_enable(id) }
        });
        groups.or_else(|_| {
            self.port.call("receiving all frames", |id| {
                // SAFETY: the port is open.
                unsafe { sys::rte_eth_promiscuous_enable(id) }
            })
        })
    }

    /// Whether the link is up, without waiting for it.
    ///
    /// # Errors
    /// When the device does not answer.
    pub fn link(&self) -> Result<LinkState, Error> {
        let mut link = sys::rte_eth_link::default();
        self.port.call("reading the link", |id| {
            // SAFETY: the port is open; the pointer is to a live structure.
            unsafe { sys::rte_eth_link_get_nowait(id, &raw mut link) }
        })?;
        let known = link.link_speed != 0 && link.link_speed != u32::MAX;
        Ok(LinkState { up: link.link_status() != 0, speed_mbps: known.then_some(link.link_speed) })
    }

    /// The device's own counters since start.
    ///
    /// # Errors
    /// When the device does not answer.
    pub fn statistics(&self) -> Result<PortStatistics, Error> {
        let mut stats = sys::rte_eth_stats::default();
        self.port.call("reading the counters", |id| {
            // SAFETY: the port is open; the pointer is to a live structure.
            unsafe { sys::rte_eth_stats_get(id, &raw mut stats) }
        })?;
        Ok(PortStatistics {
            rx_packets: stats.ipackets,
            rx_bytes: stats.ibytes,
            rx_missed: stats.imissed,
            rx_errors: stats.ierrors,
            rx_no_buffer: stats.rx_nombuf,
            tx_packets: stats.opackets,
            tx_bytes: stats.obytes,
            tx_errors: stats.oerrors,
        })
    }
}

impl OpenPort {
    pub(crate) fn id(&self) -> u16 {
        self.id
    }

    fn info(&self) -> Result<sys::rte_eth_dev_info, Error> {
        let mut info = sys::rte_eth_dev_info::default();
        self.call("asking for its capabilities", |id| {
            // SAFETY: the port is open; the pointer is to a live structure.
            unsafe { sys::rte_eth_dev_info_get(id, &raw mut info) }
        })?;
        Ok(info)
    }

    fn call(&self, step: &'static str, call: impl FnOnce(u16) -> i32) -> Result<(), Error> {
        let (result, said) = log::collect(|| call(self.id));
        if result < 0 {
            return Err(Error::Port { port: self.name.clone(), step, errno: Errno::of(result), said });
        }
        Ok(())
    }
}

impl Drop for OpenPort {
    fn drop(&mut self) {
        if self.started {
            // SAFETY: the port is started, and no queue handle is left that could poll it.
            let result = unsafe { sys::rte_eth_dev_stop(self.id) };
            if result < 0 {
                tracing::warn!(port = self.name, errno = %Errno::of(result), "a port did not stop");
            }
        }
        // SAFETY: the port is stopped and this was its last holder.
        let result = unsafe { sys::rte_eth_dev_close(self.id) };
        if result < 0 {
            tracing::warn!(port = self.name, errno = %Errno::of(result), "a port did not close");
        }
        CLAIMED.lock().unwrap_or_else(PoisonError::into_inner).retain(|name| *name != self.name);
    }
}

/// The port with this device name, if it exists.
fn port_id(name: &CStr) -> Option<u16> {
    let mut id = 0;
    // SAFETY: the name is terminated; the pointer is to a live integer.
    let result = unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &raw mut id) };
    (result == 0).then_some(id)
}

fn probe(device: &str, name: &CStr, device_text: &CStr) -> Result<u16, Error> {
    // SAFETY: the EAL runs (callers hold its proof); the text is terminated and copied by the call.
    let (result, said) = log::collect(|| unsafe { sys::rte_dev_probe(device_text.as_ptr()) });
    if result < 0 {
        return Err(Error::Probe { device: device.to_owned(), errno: Errno::of(result), said });
    }
    /// `ENODEV`.
    const NO_DEVICE: Errno = Errno(19);
    port_id(name).ok_or_else(|| Error::Probe { device: device.to_owned(), errno: NO_DEVICE, said })
}

/// The NUMA node of a port, as the queue set-up calls want it.
fn socket_of(id: u16) -> u32 {
    // SAFETY: reads a number of an open port. A negative answer becomes SOCKET_ID_ANY.
    unsafe { sys::rte_eth_dev_socket_id(id) as u32 }
}
