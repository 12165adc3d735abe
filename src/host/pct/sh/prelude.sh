# What every script of the driver begins with. $1: what all paths begin with; nothing on a node,
# a directory in phoenix's own tests, where bin/ in it is looked into first for pct and the like.
set -u
umask 022
LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
root=$1
shift
[ -z "$root" ] || PATH=$root/bin:$PATH
export LC_ALL PATH
pve=$root/etc/pve own=$root/run/phoenix lxc=$root/var/lib/lxc
if node=$(readlink "$pve/local"); then node=${node##*/}; else node=$(uname -n); fi
node=${node%%.*}
sockets=$root/proc/net/unix
[ -e "$sockets" ] || sockets=/proc/net/unix
