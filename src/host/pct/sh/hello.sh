# Who this is, and whether it can be worked on.
field() { printf '%s\0%s\0' "$1" "$2"; }
field node "$node"
field user "$(id -u)"
field machine "$(cat "$root/etc/machine-id" 2>/dev/null || cat /etc/machine-id 2>/dev/null)"
for tool in pct pvesm lxc-attach flock timeout tar sha1sum base64 stat xargs; do
    command -v "$tool" >/dev/null 2>&1 || field missing "$tool"
done
# BusyBox has a `timeout` as well, and a shell that takes it before all others.
timeout --foreground 9 true 2>/dev/null || field missing 'timeout (of coreutils)'
[ -r "$pve/nodes" ] || field unreadable "$pve/nodes"
