# One look. $1: `all`, or `some` with the containers' ids behind the other arguments; $2: `storages`
# if these are wanted; $3: the containers whose receipts are wanted, each followed by a space;
# standard input: the directories whose state is wanted, each ended by a NUL.
# The answer is a sequence of names and values, each ended by a NUL; the last name is `files`, and
# a tar archive of the configurations follows it, or `no files`, or `unreadable`: without one of
# these it is cut off.
scope=$1 storages=$2 scripted=$3
shift 3
field() { printf '%s\0%s\0' "$1" "$2"; }
content() {
    printf '%s\0' "$1"
    cat -- "$2" 2>/dev/null
    printf '\0'
}
# Storages of this node that hold templates, each with its directory. Proxmox VE has `local` also
# where nobody says so.
template_dirs() {
    if [ -r "$pve/storage.cfg" ]; then
        awk -v node="$node" '
            function rest() { sub(/^[ \t]*[^ \t]+[ \t]+/, ""); sub(/[ \t\r]+$/, ""); return $0 }
            function flush() {
                if (id != "" && held && !off) {
                    if (path == "" && kind ~ /^(nfs|cifs|cephfs|glusterfs)$/) path = "/mnt/pve/" id
                    if (path != "") print id, path "/" dir
                }
            }
            /^[^ \t#:]+:/ {
                flush(); kind = $1; sub(/:.*/, "", kind); id = $2
                path = ""; held = 0; off = 0; dir = "template/cache"
                if (id == "local") told = 1
            }
            $1 == "path" { path = rest() }
            $1 == "content" { held = ("," $2 "," ~ /,vztmpl,/) }
            $1 == "disable" { off = off || ($2 != "0") }
            $1 == "nodes" { off = off || ("," $2 "," !~ ("," node ",")) }
            $1 == "content-dirs" && match($2, /vztmpl=[^,]+/) {
                dir = substr($2, RSTART + 7, RLENGTH - 7); sub(/^\/+/, "", dir)
            }
            END { flush(); if (!told) print "local /var/lib/vz/template/cache" }
        ' "$pve/storage.cfg"
    else
        echo local /var/lib/vz/template/cache
    fi
}
templates() {
    template_dirs | while read -r storage dir; do
        field template_storage "$storage"
        for file in "$root$dir"/*; do
            [ ! -f "$file" ] || field template "$storage:vztmpl/${file##*/}"
        done
    done
}
bridges() {
    for bridge in /sys/class/net/*/bridge "$root"/sys/class/net/*/bridge; do
        [ -d "$bridge" ] || continue
        bridge=${bridge%/bridge}
        field bridge "${bridge##*/}"
    done
    if [ -d /sys/module/openvswitch ] && command -v ovs-vsctl >/dev/null 2>&1; then
        ovs-vsctl --timeout=5 list-br 2>/dev/null | while read -r bridge; do
            field bridge "$bridge"
        done
    fi
}
machines() {
    for file in "$pve"/nodes/*/qemu-server/*.conf; do
        [ -e "$file" ] || continue
        id=${file##*/} id=${id%.conf}
        home=${file%/qemu-server/*} home=${home##*/}
        state=stopped
        [ ! -e "$root/run/qemu-server/$id.pid" ] || state=running
        field machine "$id $home $state"
    done
    [ ! -r "$pve/.rrd" ] || content statistics "$pve/.rrd"
}
# The locks of phoenix that somebody holds.
held() {
    set -- "$own"/*.lock
    [ -e "$1" ] || return 0
    printf 'locks\0'
    stat -c 'file %i %n' -- "$@" 2>/dev/null
    grep FLOCK /proc/locks
    printf '\0'
}
given() {
    for file in "$own"/*.given; do
        [ -e "$file" ] || return 0
        id=${file##*/}
        field given_to "${id%.given}"
        content given "$file"
    done
}
# The receipts in a running container: read by the container's own programs, in its own root.
receipts() {
    timeout 20 lxc-attach -n "$1" --clear-env -- sh -c '
        echo receipts
        cd /var/lib/phoenix/receipts 2>/dev/null || exit 0
        for file in *; do
            [ -f "$file" ] && [ ! -L "$file" ] && cat "./$file"
        done
        exit 0
    ' </dev/null 2>/dev/null | head -c 1048576 | base64 -w 0 >"$2/$1"
}
all_receipts() {
    into=$(mktemp -d) || return 0
    count=0
    for id in $scripted; do
        grep -aq "@/var/lib/lxc/$id/command\$" "$sockets" || continue
        receipts "$id" "$into" &
        count=$((count + 1))
        [ $((count % 8)) != 0 ] || wait
    done
    wait
    for file in "$into"/*; do
        [ ! -e "$file" ] || field receipts "${file##*/} $(cat "$file")"
    done
    rm -rf "$into"
}

field node "$node"
content boot /proc/sys/kernel/random/boot_id
if [ "$scope" = all ]; then
    content devices /proc/devices
    bridges
    templates
    machines
    held
fi
if [ "$storages" = storages ]; then
    printf 'storages\0'
    timeout 60 pvesm status 2>&1
    printf '\0'
fi
xargs -0 -r stat -L --printf 'directory\0%u %g %f %n\0' -- 2>/dev/null
given
[ -z "$scripted" ] || all_receipts
printf 'sockets\0'
grep -a '@/var/lib/lxc/.*/command$' "$sockets"
printf '\0'
cd "$pve/nodes" 2>/dev/null && [ -r . ] || {
    printf 'unreadable\0\0'
    exit 0
}
if [ "$scope" = all ]; then
    set -- */lxc/*.conf
else
    for id; do
        shift
        set -- "$@" */lxc/"$id".conf
    done
fi
# What matched nothing stands for itself.
for file; do
    shift
    [ ! -e "$file" ] || set -- "$@" "$file"
done
[ $# != 0 ] || {
    printf 'no files\0\0'
    exit 0
}
printf 'files\0'
tar -cf - -b 1 --format=gnu -- "$@" 2>/dev/null
exit 0
