#!/bin/sh
# Feature: tools for computing on a GPU.
# Runs on the host, because it reads the version of the host's driver; its first argument is the
# container's id. It may run more than once, so it only writes what it would write anyway.
set -eu

ctid=$1
driver=none
if [ -r /sys/module/nvidia/version ]; then
    driver=$(cat /sys/module/nvidia/version)
fi
pct exec "$ctid" -- mkdir -p /etc/fleet
pct exec "$ctid" -- sh -c 'printf "driver %s\n" "$1" > /etc/fleet/compute' sh "$driver"
