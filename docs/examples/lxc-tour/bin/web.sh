#!/bin/sh
# The page, after some work.
set -e
echo "the script of $1 ran" >>/var/log/ran
sleep 3
echo '<h1>phoenix</h1>' >/www/index.html
