#!/bin/sh
# Feature: the account and directories of a data store.
# Runs in the container; its first argument is the container's id.
set -eu

mkdir -p /etc/fleet /var/lib/store /var/cache/store /var/spool/store
if ! grep -q '^store:' /etc/passwd; then
    printf 'store:x:900:900:data store:/var/lib/store:/usr/sbin/nologin\n' >> /etc/passwd
    printf 'store:x:900:\n' >> /etc/group
fi
