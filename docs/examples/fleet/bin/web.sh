#!/bin/sh
# Application: a web site; its pages come from the shared directory.
# Runs in the container; its first argument is the container's id.
set -eu

mkdir -p /srv/www
if [ -d /srv/site ] && [ -n "$(ls -A /srv/site)" ]; then
    cp -R /srv/site/. /srv/www/
fi
[ -s /srv/www/index.html ] || printf 'container %s\n' "$1" > /srv/www/index.html
