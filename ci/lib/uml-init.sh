#!/bin/bash
# Process 1 of the User-Mode Linux guest: a Linux kernel's own ESP on a machine whose kernel has none.
# The host's files are seen read-only; kernel command line: cw.dir=<exchange folder, writable> cw.ip=<address/len>
# cw.via=<default route, may be empty>; cw.ip6 and cw.via6, if there is IPv6
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run
mount -t proc proc /proc
mount -t sysfs sysfs /sys
read -r -a words < /proc/cmdline
for word in "${words[@]}"; do
  case $word in
    cw.dir=*) dir=${word#*=} ;;
    cw.ip=*) ip=${word#*=} ;;
    cw.via=*) via=${word#*=} ;;
    cw.ip6=*) ip6=${word#*=} ;;
    cw.via6=*) via6=${word#*=} ;;
  esac
done
for folder in /run /mnt /root /var/log /var/lib; do mount -t tmpfs tmpfs $folder; done
mkdir -p /dev/pts /dev/shm /run/modules/lib
mount -t tmpfs tmpfs /dev/shm
mount -t hostfs none "$dir" -o "$dir"
# The kernel asks user space for cipher modules; they lie outside the usual folder.
ln -s /usr/lib/uml/modules /run/modules/lib/modules
printf '#!/bin/sh\nexec /usr/sbin/modprobe -d /run/modules "$@"\n' > /run/modprobe
chmod +x /run/modprobe
echo /run/modprobe > /proc/sys/kernel/modprobe
for module in tun xfrm_user esp4 cryptomgr; do modprobe -d /run/modules $module 2>> "$dir/modprobe.log"; done
if [ -n "${ip6:-}" ]; then
  for module in ipv6 esp6; do modprobe -d /run/modules $module 2>> "$dir/modprobe.log"; done
  sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 \
    net.ipv6.conf.default.router_solicitations=0 net.ipv6.conf.default.accept_ra=0
fi
ip link set lo up
ip link set vec0 up
ip addr add "$ip" dev vec0
[ -n "${via:-}" ] && ip route add default via "$via"
[ -n "${ip6:-}" ] && ip addr add "$ip6" dev vec0 nodad
[ -n "${via6:-}" ] && ip -6 route add default via "$via6"
sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
echo up > "$dir/ready"
number=0
while :; do
  if [ -e "$dir/command.$number" ]; then
    bash "$dir/command.$number" > "$dir/output.$number" 2>&1 < /dev/null
    echo $? > "$dir/status.tmp"
    mv "$dir/status.tmp" "$dir/status.$number"
    number=$((number + 1))
  else
    sleep 0.02 # a process: `read -t` in its place made the guest lose packets that it had been sent
  fi
done
