#!/bin/sh
# Feature: the directories of a web server.
# Runs in the container; its first argument is the container's id.
set -eu

mkdir -p /etc/fleet /srv/www
[ -f /srv/www/index.html ] || printf 'nothing here yet\n' > /srv/www/index.html
