#!/bin/sh
# A web server that starts with the container.
set -e
mkdir -p /www
printf '#!/bin/sh\nhttpd -p 80 -h /www\n' >/etc/rc.d/httpd
chmod 755 /etc/rc.d/httpd
/etc/rc.d/httpd
