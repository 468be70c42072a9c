//! Starting the EAL, once per process, and registering threads with it.
//!
//! The EAL is never shut down in-process: buffers and pools may still be in other threads' hands, and everything it
//! holds (anonymous or unlinked memory) goes with the process. Ports are closed by their own handles.

use std::ffi::{CString, c_char, c_int};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};

use causeway_dpdk_sys as sys;

use crate::error::{Errno, Error};
use crate::log;

static STARTED: AtomicBool = AtomicBool::new(false);

/// Proof that the EAL runs.
#[derive(Clone, Copy, Debug)]
pub struct Eal(());

impl Eal {
    /// Starts the EAL with these arguments (the program's name is added in front).
    ///
    /// The EAL binds the calling thread to its main lcore's processors: a caller that wants its own affinity back
    /// restores it.
    ///
    /// # Errors
    /// When it ran before in this process, or refuses; then no second attempt is possible.
    pub fn init(arguments: &[String]) -> Result<Eal, Error> {
        let mut texts = Vec::with_capacity(arguments.len() + 1);
        for argument in std::iter::once("causeway").chain(arguments.iter().map(String::as_str)) {
            texts.push(CString::new(argument).map_err(|_| Error::NulOctet(argument.to_owned()))?);
        }
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(Error::AlreadyStarted);
        }
        log::redirect();
        let mut pointers: Vec<*mut c_char> = texts.into_iter().map(CString::into_raw).collect();
        let count = c_int::try_from(pointers.len()).unwrap_or(c_int::MAX);
        // SAFETY: `pointers` holds `count` terminated texts that are never freed, since the EAL keeps some of them;
        // it may reorder the array, which outlives the call.
        let (result, said) = log::collect(|| unsafe { sys::rte_eal_init(count, pointers.as_mut_ptr()) });
        if result < 0 {
            return Err(Error::Eal { arguments: arguments.join(" "), errno: Errno::last(), said });
        }
        Ok(Eal(()))
    }

    /// Whether its memory comes from hugepages.
    pub fn has_hugepages(self) -> bool {
        // SAFETY: reads a configuration value; the EAL runs, as `self` proves.
        unsafe { sys::rte_eal_has_hugepages() != 0 }
    }

    /// Gives the calling thread an lcore id, with which buffer pools keep a cache for it.
    ///
    /// # Errors
    /// When all lcore ids are taken.
    pub fn register_thread(self) -> Result<RegisteredThread, Error> {
        // SAFETY: the EAL runs, as `self` proves; registering a registered thread is harmless.
        if unsafe { sys::rte_thread_register() } < 0 {
            return Err(Error::Thread(Errno::last()));
        }
        Ok(RegisteredThread { bound: PhantomData })
    }
}

/// The calling thread is registered until this is dropped. It cannot leave the thread.
#[derive(Debug)]
pub struct RegisteredThread {
    bound: PhantomData<*const ()>,
}

impl RegisteredThread {
    /// The thread's lcore id.
    pub fn lcore_id(&self) -> u32 {
        // SAFETY: reads a thread-local integer.
        unsafe { sys::causeway_lcore_id() }
    }
}

impl Drop for RegisteredThread {
    fn drop(&mut self) {
        // SAFETY: this thread registered (the value cannot be sent elsewhere) and the EAL is never shut down.
        unsafe { sys::rte_thread_unregister() };
    }
}
