#!/bin/sh
# Application: installs the program that makes backups.
# Runs in the container; its first argument is the container's id.
set -eu

mkdir -p /usr/local/bin
cat > /usr/local/bin/fleet-backup <<'END'
#!/bin/sh
set -eu
tar -C /etc -cf "/backups/etc-$(date +%Y%m%d).tar" fleet
END
chmod 0755 /usr/local/bin/fleet-backup
