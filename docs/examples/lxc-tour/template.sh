#!/bin/sh
# Makes a template of a tiny system from the machine's own static BusyBox: template.sh ARCHIVE
set -e
archive=$(realpath "$1")
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
cd "$root"
mkdir -p bin sbin etc/rc.d proc sys dev tmp root var/lib var/log
cp /bin/busybox bin/busybox
for tool in sh cat ls mkdir rm mv echo printf sync tail df true grep httpd wget sleep chmod hostname; do
    ln -s busybox "bin/$tool"
done
ln -s ../bin/busybox sbin/init
echo '::sysinit:/etc/rc' >etc/inittab
echo 'root:x:0:0:root:/root:/bin/sh' >etc/passwd
printf '#!/bin/sh\nfor file in /etc/rc.d/*; do [ -x $file ] && $file; done\n' >etc/rc
chmod 755 etc/rc
tar -czf "$archive" --owner=0 --group=0 .
