#!/bin/sh
# Feature: what every container of the fleet has.
# Runs in the container; its first argument is the container's id.
set -eu

mkdir -p /etc/fleet /usr/local/bin
printf 'fleet container %s\n' "$1" > /etc/fleet/id
