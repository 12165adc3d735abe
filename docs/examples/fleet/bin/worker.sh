#!/bin/sh
# Application: a worker that computes on a GPU.
# Runs in the container; its first argument is the container's id.
set -eu

mkdir -p /etc/fleet
devices=none
for device in /dev/nvidia[0-9]*; do
    [ -e "$device" ] && devices=$device
done
printf 'models /models\ndevices %s\n' "$devices" > /etc/fleet/worker.conf
