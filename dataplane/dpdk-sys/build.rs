//! Makes the bindings: reads libdpdk's headers with bindgen, compiles the shim, links only the libraries that are used.
//!
//! Every flag of `pkg-config --cflags libdpdk` is passed on whole: without `-include rte_config.h` and the `-march`
//! the headers describe other structures than the packaged libraries have.

#![allow(unsafe_code)] // One block, which sets LIBCLANG_PATH for bindgen.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The release line whose headers and ABI (23) these bindings are written against.
const DPDK_RELEASE: &str = "22.11.";
/// The packages that a build needs, named in every failure.
const APT_HINT: &str =
    "install them with: apt-get install -y libdpdk-dev libclang-14-dev clang-14 pkg-config gcc";
/// Where Debian's LLVM 14 keeps libclang. A later libclang reads the headers of clang 14 wrongly (`__m128i` errors).
const LIBCLANG_DIRECTORIES: [&str; 3] =
    ["/usr/lib/llvm-14/lib", "/usr/lib/llvm-14/lib64", "/usr/lib/x86_64-linux-gnu"];
/// Shared libraries that the bindings call into; drivers are loaded by the EAL at run time.
const LIBRARIES: [&str; 5] = ["rte_eal", "rte_ethdev", "rte_cryptodev", "rte_mbuf", "rte_mempool"];

const FUNCTIONS: &[&str] = &[
    "causeway_.*",
    "rte_crypto_op_pool_create",
    "rte_cryptodev_close",
    "rte_cryptodev_configure",
    "rte_cryptodev_count",
    "rte_cryptodev_info_get",
    "rte_cryptodev_is_valid_dev",
    "rte_cryptodev_name_get",
    "rte_cryptodev_queue_pair_setup",
    "rte_cryptodev_start",
    "rte_cryptodev_stop",
    "rte_cryptodev_sym_capability_check_aead",
    "rte_cryptodev_sym_capability_check_auth",
    "rte_cryptodev_sym_capability_check_cipher",
    "rte_cryptodev_sym_capability_get",
    "rte_cryptodev_sym_get_private_session_size",
    "rte_cryptodev_sym_session_create",
    "rte_cryptodev_sym_session_free",
    "rte_cryptodev_sym_session_pool_create",
    "rte_dev_probe",
    "rte_eal_has_hugepages",
    "rte_eal_init",
    "rte_eth_allmulticast_enable",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_dev_close",
    "rte_eth_dev_configure",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_info_get",
    "rte_eth_dev_set_mtu",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_link_get_nowait",
    "rte_eth_macaddr_get",
    "rte_eth_promiscuous_enable",
    "rte_eth_rx_queue_setup",
    "rte_eth_stats_get",
    "rte_eth_tx_queue_setup",
    "rte_log_set_global_level",
    "rte_mempool_avail_count",
    "rte_mempool_in_use_count",
    "rte_pktmbuf_pool_create",
    "rte_strerror",
    "rte_thread_register",
    "rte_thread_unregister",
];
const TYPES: &[&str] = &[
    "rte_crypto_aead_algorithm",
    "rte_crypto_aead_operation",
    "rte_crypto_auth_algorithm",
    "rte_crypto_auth_operation",
    "rte_crypto_cipher_algorithm",
    "rte_crypto_cipher_operation",
    "rte_crypto_op",
    "rte_crypto_op_sess_type",
    "rte_crypto_op_status",
    "rte_crypto_op_type",
    "rte_crypto_sym_op",
    "rte_crypto_sym_xform",
    "rte_crypto_sym_xform_type",
    "rte_cryptodev_config",
    "rte_cryptodev_info",
    "rte_cryptodev_qp_conf",
    "rte_cryptodev_sym_capability_idx",
    "rte_eth_conf",
    "rte_eth_dev_info",
    "rte_eth_link",
    "rte_eth_stats",
    "rte_ether_addr",
    "rte_mbuf",
    "rte_mempool",
];
const CONSTANTS: &[&str] = &[
    "RTE_CRYPTO_.*",
    "RTE_CRYPTODEV_FF_SYMMETRIC_CRYPTO",
    "RTE_CRYPTODEV_FF_SYM_OPERATION_CHAINING",
    "RTE_ETH_LINK_UP",
    "RTE_ETH_NAME_MAX_LEN",
    "RTE_LOG_.*",
    "RTE_MAX_LCORE",
    "RTE_MBUF_DEFAULT_DATAROOM",
    "RTE_MEMPOOL_CACHE_MAX_SIZE",
    "RTE_PKTMBUF_HEADROOM",
];
/// Packed structures with over-aligned members, which bindgen cannot lay out; nothing of ours looks inside.
const OPAQUE: &[&str] =
    &["rte_arp_hdr", "rte_arp_ipv4", "rte_l2tpv2_combined_msg_hdr", "rte_gtp_psc_generic_hdr"];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("causeway-dpdk-sys: {reason}\n{APT_HINT}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    println!("cargo::rerun-if-changed=native");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LIBCLANG_PATH");
    let cflags = dpdk_cflags()?;
    pin_libclang()?;
    compile_shim(&cflags)?;
    generate_bindings(&cflags)?;
    link()
}

fn pkg_config(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("pkg-config")
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot run pkg-config: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "libdpdk {DPDK_RELEASE}x was not found: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn dpdk_cflags() -> Result<Vec<String>, String> {
    let version = pkg_config(&["--modversion", "libdpdk"])?;
    if !version.starts_with(DPDK_RELEASE) {
        return Err(format!(
            "libdpdk is {version}, but these bindings are checked against {DPDK_RELEASE}x (Debian 12)"
        ));
    }
    Ok(pkg_config(&["--cflags", "libdpdk"])?.split_whitespace().map(str::to_owned).collect())
}

/// Chooses libclang 14 unless the caller chose one.
fn pin_libclang() -> Result<(), String> {
    if env::var_os("LIBCLANG_PATH").is_some() {
        return Ok(());
    }
    let has_libclang = |directory: &&&str| {
        ["libclang-14.so.1", "libclang-14.so"].iter().any(|name| Path::new(directory).join(name).exists())
    };
    let directory = LIBCLANG_DIRECTORIES.iter().find(has_libclang).ok_or_else(|| {
        format!(
            "libclang 14 was not found in {LIBCLANG_DIRECTORIES:?}; set LIBCLANG_PATH if it lies elsewhere"
        )
    })?;
    // SAFETY: build scripts start single-threaded and no thread was started before this point.
    unsafe { env::set_var("LIBCLANG_PATH", directory) };
    Ok(())
}

fn compile_shim(cflags: &[String]) -> Result<(), String> {
    let mut compiler = cc::Build::new();
    compiler.file("native/shim.c").include("native").warnings(true).extra_warnings(true).opt_level(3);
    for flag in cflags {
        compiler.flag(flag);
    }
    compiler.try_compile("causeway_shim").map_err(|error| format!("the C shim does not compile: {error}"))
}

fn generate_bindings(cflags: &[String]) -> Result<(), String> {
    let mut builder = bindgen::Builder::default()
        .header("native/wrapper.h")
        .clang_args(cflags)
        .clang_arg("-Inative")
        .allowlist_recursively(true)
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .derive_default(true)
        .derive_debug(false)
        .generate_comments(false)
        .layout_tests(true)
        .use_core();
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for name in CONSTANTS {
        builder = builder.allowlist_var(name);
    }
    for name in OPAQUE {
        builder = builder.opaque_type(name);
    }
    let bindings =
        builder.generate().map_err(|error| format!("bindgen cannot read libdpdk's headers: {error}"))?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    bindings
        .write_to_file(out.join("bindings.rs"))
        .map_err(|error| format!("cannot write the bindings: {error}"))
}

fn link() -> Result<(), String> {
    let directory = pkg_config(&["--variable=libdir", "libdpdk"])?;
    println!("cargo::rustc-link-search=native={directory}");
    for library in LIBRARIES {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
    Ok(())
}
