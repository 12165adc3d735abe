#!/bin/sh
# Application: a data store; where it keeps its data follows from what is there.
# Runs in the container; its first argument is the container's id.
set -eu

for directory in /var/lib/store /var/cache/store /var/spool/store; do
    mkdir -p "$directory"
    chmod 0750 "$directory"
    printf 'container %s\n' "$1" > "$directory/READY"
done
