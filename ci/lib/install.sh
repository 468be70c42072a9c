# Sourced by ci/demo, ci/e2e and ci/test: installs what a fresh Debian 12 with Rust lacks. Quiet when nothing is missing.
# shellcheck shell=bash disable=SC2034

BUILD_PACKAGES=(libdpdk-dev clang-14 libclang-14-dev pkg-config gcc g++ make cmake git ca-certificates)
RUN_PACKAGES=(iproute2 iputils-ping ethtool python3)
PEER_PACKAGES=(strongswan-swanctl charon-systemd strongswan-pki libcharon-extra-plugins libcharon-extauth-plugins
  libstrongswan-extra-plugins libstrongswan-standard-plugins iperf3 nftables conntrack kmod freeradius freeradius-utils
  eapoltest)
# What libreswan, and setting up its keys, needs. Its own package conflicts with strongSwan's: see unpack_libreswan.
LIBRESWAN_LIBRARIES=(dns-root-data libnss3-tools openssl libcap-ng0 libcurl3-nss libevent-core-2.1-7 libevent-pthreads-2.1-7
  libldap-2.5-0 libldns3 libunbound8)
PERF_PACKAGES=(dpdk-doc dpdk-dev util-linux)
CHECK_PACKAGES=(python3-venv python3-cryptography user-mode-linux shellcheck tshark)

say() { printf '\033[2m%s\033[0m %s\n' "$(date +%H:%M:%S)" "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# install_missing PACKAGE...: installs those that dpkg does not know as installed.
install_missing() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  [ "$(id -u)" = 0 ] || die "these packages are missing: ${missing[*]}. Run as root, or: sudo apt-get install ${missing[*]}"
  say "installing ${#missing[@]} packages: ${missing[*]}"
  local log; log=$(mktemp -t causeway-apt.XXXXXX)
  export DEBIAN_FRONTEND=noninteractive
  # The peers are started by the tests, in namespaces of their own; their services must not start on the machine.
  local policy=/usr/sbin/policy-rc.d made_policy=
  if [ ! -e $policy ]; then printf '#!/bin/sh\nexit 101\n' > $policy; chmod +x $policy; made_policy=yes; fi
  if command -v debconf-set-selections >/dev/null; then
    printf '%s\n' 'iperf3 iperf3/start_daemon boolean false' 'wireshark-common wireshark-common/install-setuid boolean false' |
      debconf-set-selections
  fi
  local ok=yes
  { apt-get -o DPkg::Lock::Timeout=600 update && apt-get -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "${missing[@]}"; } > "$log" 2>&1 || ok=
  [ -n "$made_policy" ] && rm -f $policy
  [ -n "$ok" ] || { tail -n 15 "$log" >&2; die "apt-get failed; the whole log is in $log"; }
  rm -f "$log"
}

# unpack_libreswan: puts Debian's libreswan beside the system, under /var/tmp/causeway-peers. Quiet when it is there.
unpack_libreswan() {
  local at=/var/tmp/causeway-peers new
  [ -x $at/libreswan/usr/libexec/ipsec/pluto ] && return 0
  say "unpacking libreswan"
  mkdir -p $at
  new=$(mktemp -d $at/new.XXXXXX)
  chmod 755 "$new"
  (cd "$new" && { apt-get -qq download libreswan || { apt-get -qq update && apt-get -qq download libreswan; }; } 2> "$new/log" && dpkg -x libreswan_*.deb libreswan) ||
    { cat "$new/log" >&2; die "libreswan could not be downloaded; it needs Debian 12's package sources"; }
  rm -rf $at/libreswan $at/libreswan_*.deb
  mv "$new"/libreswan "$new"/libreswan_*.deb $at/
  rm -rf "$new"
}

# install_schemathesis: PyPI's schemathesis in an environment of its own, under the target directory. Quiet when it is there.
install_schemathesis() {
  local version=4.26.0 at log
  at=${CARGO_TARGET_DIR:-$PWD/target}/schemathesis-$version
  [ -x "$at/bin/schemathesis" ] && return 0
  say "installing schemathesis"
  log=$(mktemp -t causeway-pip.XXXXXX)
  { python3 -m venv "$at" && "$at/bin/pip" install --quiet "schemathesis==$version"; } > "$log" 2>&1 ||
    { rm -rf "$at"; tail -n 15 "$log" >&2; die "schemathesis could not be installed from PyPI; the whole log is in $log"; }
  rm -f "$log"
}

need_rust() {
  command -v cargo >/dev/null || die "cargo is missing: install Rust 1.95 or later (https://rustup.rs), then run this again"
}

# build PROFILE: the two daemons and the command; prints the directory that holds them.
build() {
  local profile=$1 flag=()
  [ "$profile" = release ] && flag=(--release)
  say "building ($profile); the first time takes some minutes"
  local log; log=$(mktemp -t causeway-build.XXXXXX)
  cargo build "${flag[@]}" --bins --locked > "$log" 2>&1 || { tail -n 40 "$log" >&2; die "the build failed; the whole log is in $log"; }
  rm -f "$log"
  printf '%s/%s\n' "${CARGO_TARGET_DIR:-$PWD/target}" "$profile"
}
