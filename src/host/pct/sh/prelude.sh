# What every script of the driver begins with. $1: what all paths begin with; nothing on a node,
# a directory in phoenix's own tests, where bin/ in it is looked into first for pct and the like.
set -u
umask 022
# In English, and in UTF-8: `pct` reads its arguments by this, and in plain C makes question marks
# of all that is not ASCII.
LC_ALL=C.UTF-8
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
root=$1
shift
[ -z "$root" ] || PATH=$root/bin:$PATH
# Tools of LVM speak of the lock that they inherit.
LVM_SUPPRESS_FD_WARNINGS=1
export LC_ALL PATH LVM_SUPPRESS_FD_WARNINGS
pve=$root/etc/pve own=$root/run/phoenix lxc=$root/var/lib/lxc
node=$(readlink "$pve/local") || node=$(uname -n)
node=${node%/} node=${node##*/}
node=${node%%.*}
sockets=$root/proc/net/unix
[ -e "$sockets" ] || sockets=/proc/net/unix
