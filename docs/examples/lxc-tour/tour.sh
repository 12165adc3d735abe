#!/usr/bin/env bash
# A tour of phoenix on real containers, from nothing to nothing. Prints docs/lxc-tour.md.
#
#   docs/examples/lxc-tour/tour.sh [PHOENIX]            PHOENIX defaults to target/release/phoenix
#   docs/examples/lxc-tour/tour.sh PHOENIX --check      compares it with the page that is there
#
# Needs root, lxc, uidmap, busybox-static, e2fsprogs, iproute2; takes about ten seconds. Leaves
# nothing behind.
set -euo pipefail
cd "$(dirname "$0")/../../.."
program=$(realpath "${1:-target/release/phoenix}")
work=/tmp/phoenix-tour
if [ -e "$work" ] || [ -e /sys/class/net/phxtour ]; then
    echo "$work or the bridge phxtour is there already: remove them first" >&2
    exit 1
fi

page=$(mktemp) bin=$(mktemp -d)
ln -s "$program" "$bin/phoenix"
PATH=$bin:$PATH
clean() {
    for id in 700 701 702; do lxc-stop -k -P "$work/lxc" -n "$id" 2>/dev/null || :; done
    ip link del phxtour 2>/dev/null || :
    rm -rf "$work" "$page" "$bin"
}
trap clean EXIT

# What is printed goes to the page; a command that fails ends the tour, unless its code is named.
text() { printf '\n%s\n' "$*" >>"$page"; }
code=0
show() {
    local line
    printf '\n```console\n' >>"$page"
    for line in "$@"; do
        printf '$ %s\n' "$line" >>"$page"
        code=0
        eval "$line" >>"$page" 2>&1 || code=$?
        if [ "$code" != 0 ] && [ "$code" != "${expected:-0}" ]; then
            cat "$page" >&2
            echo "the tour ended at: $line (exit code $code)" >&2
            exit 1
        fi
    done
    printf '```\n' >>"$page"
}

cat >"$page" <<'PAGE'
# A tour on real containers

This page is what `docs/examples/lxc-tour/tour.sh` prints; CI runs it and compares. It needs root and
`apt-get install lxc uidmap busybox-static e2fsprogs iproute2`, and takes about ten seconds.
PAGE

text 'A directory for the containers, a template (a tiny system, made of the machine'"'"'s own BusyBox) and a bridge:'
show 'mkdir -p /tmp/phoenix-tour/lxc/storage/pool /tmp/phoenix-tour/lxc/template/cache' \
    'chmod 755 /tmp/phoenix-tour' \
    'docs/examples/lxc-tour/template.sh /tmp/phoenix-tour/lxc/template/cache/tiny.tar.gz' \
    'ip link add phxtour type bridge' \
    'ip address add 10.214.0.1/24 dev phxtour' \
    'ip link set phxtour up'

text 'Three containers are declared: `base`, with a web server and a snapshot; `web` and `reader`, cloned from it.'
show 'export PHOENIX_HOST=lxc:/tmp/phoenix-tour/lxc PHOENIX_STATE=/tmp/phoenix-tour/state' \
    'export PHOENIX_CONFIG=docs/examples/lxc-tour' \
    'phoenix plan'

text 'It is killed while the script of `web` runs. The script goes on; the next phoenix waits for it, and nothing is done twice:'
show 'phoenix apply --quiet &' \
    'until lxc-attach -P /tmp/phoenix-tour/lxc -n 701 -- cat /var/log/ran 2>/dev/null; do sleep 0.1; done' \
    'kill -KILL $!; wait $! 2>/dev/null || echo "ended with $?"' \
    'phoenix resume' \
    'lxc-attach -P /tmp/phoenix-tour/lxc -n 701 -- cat /var/log/ran' \
    'busybox wget -q -O - http://10.214.0.11/'

text 'A second time there is nothing to do:'
show 'phoenix apply'

text 'They are LXC'"'"'s own containers:'
show 'lxc-ls -P /tmp/phoenix-tour/lxc -f -F NAME,STATE,IPV4,UNPRIVILEGED'

text 'Somebody changes the limit of memory and stops a container. The plan names just that:'
show 'sed -i "s/= 64M/= 96M/" /tmp/phoenix-tour/lxc/701/config' \
    'lxc-stop -k -P /tmp/phoenix-tour/lxc -n 702'
show 'phoenix plan --exit-code || echo "exit code $?"' 'phoenix apply'

text 'A disk grows, also the one of a volume; it never shrinks:'
show 'cp -r docs/examples/lxc-tour /tmp/phoenix-tour/grown' \
    'sed -i "s/\"size_gb\": 1/\"size_gb\": 2/" /tmp/phoenix-tour/grown/etc/phoenix_lxc_configs.json' \
    'lxc-stop -k -P /tmp/phoenix-tour/lxc -n 702' \
    'phoenix apply --config /tmp/phoenix-tour/grown' \
    'lxc-attach -P /tmp/phoenix-tour/lxc -n 702 -- df -h /data'
expected=3 show 'phoenix plan'

text 'All go down, as when the power goes. What must run is started, and nothing else is done:'
show 'for id in 700 701 702; do lxc-stop -k -P /tmp/phoenix-tour/lxc -n $id; done' \
    'phoenix apply --config /tmp/phoenix-tour/grown' \
    'lxc-attach -P /tmp/phoenix-tour/lxc -n 701 -- cat /var/log/ran'

text 'What was done, and that nobody changed the record of it:'
show 'phoenix history 701 | head -n 24' 'phoenix journal verify'

text 'And away with it, in the right order:'
expected=3 show 'phoenix destroy --yes 700'
show 'phoenix destroy --yes 700 701 702' \
    'find /tmp/phoenix-tour/lxc -type f | sort' \
    'ip link del phxtour'

# What differs from run to run: times, ids, numbers of processes and devices, and which of two that
# are worked on side by side is ready first.
plain() {
    sed -E \
        -e 's/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/RUN/g' \
        -e 's/[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+Z/TIME/g' -e 's/[0-9.]+ (ms|s)\b/TOOK/g' \
        -e 's/started by .* with phoenix/started by SOMEBODY with phoenix/' \
        -e 's/resumed by .* with phoenix/resumed by SOMEBODY with phoenix/' \
        -e 's/\(pid [0-9]+\)/(pid N)/g' -e 's/, [0-9]+ jobs/, N jobs/' -e 's/holders=\[[^]]*\]/HOLDERS/' \
        -e 's/phoenix [0-9]+\.[0-9]+\.[0-9]+/phoenix VERSION/g' \
        -e 's/([0-9A-F]{2}:){5}[0-9A-F]{2}/MAC/g' -e 's/\([0-9a-f]{12}\)/(DIGEST)/g' \
        -e 's/[0-9]+ events in [0-9]+ records, head [0-9a-f]+/EVENTS/' \
        -e 's/^\/dev\/loop.*/DEVICE/' -e 's/ +$//' "$1" |
        awk '/converged in TOOK/ { print | "sort"; next } { close("sort"); print }'
}
if [ "${2:-}" = --check ]; then
    diff <(plain docs/lxc-tour.md) <(plain "$page")
else
    cat "$page"
fi
