#!/usr/bin/env bash
# Fifty small real containers: by phoenix, and by a plain shell script that runs the same tools
# one after another. Needs root, lxc, busybox-static; makes everything in a directory of its own.
#
#   benches/lxc_fifty.sh [PHOENIX [COUNT]]      PHOENIX defaults to target/release/phoenix
#
# It fails when phoenix or the script did not bring all of them up; it judges no time.
set -euo pipefail
cd "$(dirname "$0")/.."
phoenix=$(realpath "${1:-target/release/phoenix}")
count=${2:-50}
ids=$(seq 1000 $((999 + count)))
work=$(mktemp -d)
chmod 755 "$work"
bridge=phxbench
lxc="$work/lxc" plain="$work/plain"
clean() {
    for dir in "$lxc" "$plain"; do
        for id in $ids; do lxc-stop -k -P "$dir" -n "$id" 2>/dev/null & done
    done
    wait
    ip link del "$bridge" 2>/dev/null || :
    sleep 1
    rm -rf "$work"
}
trap clean EXIT

ip link add "$bridge" type bridge
ip address add 10.213.0.1/24 dev "$bridge"
ip link set "$bridge" up
mkdir -p "$work/etc" "$work/bin" "$lxc/storage/pool" "$lxc/template/cache" "$plain" "$work/mnt"
root="$work/root"
mkdir -p "$root"/{bin,sbin,etc,proc,sys,dev,tmp,root,var/lib}
cp /bin/busybox "$root/bin/busybox"
for tool in sh true cat hostname; do ln -s busybox "$root/bin/$tool"; done
ln -s ../bin/busybox "$root/sbin/init"
echo '::sysinit:/bin/true' >"$root/etc/inittab"
template="$lxc/template/cache/tiny.tar.gz"
tar -C "$root" -czf "$template" .

echo '{}' >"$work/etc/phoenix_hypervisor_config.json"
{
    printf '{"lxc_configs":{'
    for n in $(seq 0 $((count - 1))); do
        [ "$n" = 0 ] || printf ','
        printf '"%s":{"name":"n%s","memory_mb":64,"swap_mb":0,"cores":1,"template":"local:vztmpl/tiny.tar.gz",' $((1000 + n)) "$n"
        printf '"storage_pool":"pool","storage_size_gb":1,"unprivileged":false,'
        printf '"network_config":{"name":"eth0","bridge":"%s","ip":"10.213.0.%s/24"}}' "$bridge" $((100 + n))
    done
    printf '}}'
} >"$work/etc/phoenix_lxc_configs.json"

# The same limits, in the words of this machine's control groups.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    limits="lxc.cgroup2.memory.max = 64M
lxc.cgroup2.cpu.max = 100000 100000"
else
    limits="lxc.cgroup.memory.limit_in_bytes = 64M
lxc.cgroup.cpu.cfs_quota_us = 100000"
fi
up() {
    local found
    found=$(lxc-ls -P "$1" --running -1 | wc -l)
    [ "$found" = "$count" ] || { echo "$found of $count run in $1" >&2; exit 1; }
}

one() {
    local id=$1 address=$2 image="$plain/$1.raw"
    truncate -s 1G "$image"
    mkfs.ext4 -q -F -m 0 -E nodiscard,lazy_itable_init=1,lazy_journal_init=1 "$image"
    mount -o loop "$image" "$work/mnt"
    tar -xzpf "$template" --numeric-owner -C "$work/mnt"
    umount "$work/mnt"
    mkdir "$plain/$id"
    cat >"$plain/$id/config" <<EOF
lxc.include = /usr/share/lxc/config/common.conf
lxc.apparmor.profile = unconfined
lxc.rootfs.path = loop:$image
lxc.uts.name = n$id
lxc.net.0.type = veth
lxc.net.0.link = $bridge
lxc.net.0.flags = up
lxc.net.0.name = eth0
lxc.net.0.ipv4.address = $address/24
$limits
EOF
    lxc-start -d -P "$plain" -n "$id" 2>/dev/null || lxc-start -d -P "$plain" -n "$id"
    lxc-attach -P "$plain" -n "$id" -- true
}
host=(--host "lxc:$lxc" --config "$work" --state "$work/state" --quiet)
TIMEFORMAT='%R s'
echo "load average: $(cut -d' ' -f1 /proc/loadavg)"
echo "phoenix apply --jobs 8, $count new containers:"
time "$phoenix" "${host[@]}" apply --jobs 8 >/dev/null
up "$lxc"
echo "phoenix apply again, nothing to do:"
time "$phoenix" "${host[@]}" apply --jobs 8 >/dev/null
"$phoenix" "${host[@]}" plan --exit-code >/dev/null
for id in $ids; do lxc-stop -k -P "$lxc" -n "$id" & done
wait
echo "a shell script with the same tools, one container after another:"
time for n in $(seq 0 $((count - 1))); do one $((1000 + n)) "10.213.0.$((100 + n))"; done
up "$plain"
