//! A client of DPDK's telemetry socket (version 2): how many packets a port of another process received and sent.

use std::io;
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send,
    socket_with,
};
use serde_json::Value;

/// DPDK's own bound on an answer.
const MAX_ANSWER: usize = 16 << 10;

/// A connection.
#[derive(Debug)]
pub struct Telemetry {
    socket: OwnedFd,
    answer: Vec<u8>,
}

impl Telemetry {
    /// Connects and takes the greeting.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(path: &Path) -> io::Result<Telemetry> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        let mut telemetry = Telemetry { socket, answer: vec![0; MAX_ANSWER] };
        telemetry.receive()?;
        Ok(telemetry)
    }

    /// One counter of a port, by its name in `rte_eth_stats`.
    ///
    /// # Errors
    /// When the process is gone or has no such port.
    pub fn port_counter(&mut self, port: u16, name: &str) -> io::Result<u64> {
        let answer = self.ask(&format!("/ethdev/stats,{port}"))?;
        answer["/ethdev/stats"][name].as_u64().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("no counter {name} of port {port}: {answer}"))
        })
    }

    fn ask(&mut self, question: &str) -> io::Result<Value> {
        send(&self.socket, question.as_bytes(), SendFlags::NOSIGNAL)?;
        let length = self.receive()?;
        Ok(serde_json::from_slice(&self.answer[..length])?)
    }

    fn receive(&mut self) -> io::Result<usize> {
        match recv(&self.socket, self.answer.as_mut_slice(), RecvFlags::empty())? {
            (0, _) => Err(io::ErrorKind::UnexpectedEof.into()),
            (length, _) => Ok(length.min(MAX_ANSWER)),
        }
    }
}
