#!/bin/sh
# Application: a reverse proxy.
# Runs in the container; its first argument is the container's id.
set -eu

mkdir -p /etc/fleet
{
    printf 'certificates /etc/ssl/fleet\n'
    for address in 10.20.0.27 10.20.0.28; do
        printf 'backend %s:8080\n' "$address"
    done
} > /etc/fleet/proxy.conf
