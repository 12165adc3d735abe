# Doing something. Lines of phoenix's follow, made of the functions below. What the commands say
# goes to a file, so that they are not held up or ended when nobody listens any more; its end
# goes to standard error. Standard output is `exit CODE`: without it nobody knows how it ended.
locks=$root/run/lock/lxc
[ -d "$own" ] || mkdir -p -m 0700 "$own"
out=$own/node.$$.out
: >"$out"

finish() {
    # One byte more than is kept: so it is known that it was cut.
    tail -c 4097 "$out" >&2
    rm -f "$out"
    # Whatever outlives a command that was stopped is still at work: it keeps the lock.
    case $1 in 124 | 137) ;; *) flock -u 9 2>/dev/null ;; esac
    printf 'exit %s\n' "$1"
    exit 0
}
fail() {
    printf '%s\n' "$1" >>"$out"
    finish "${2-1}"
}
conf() { printf %s "$pve/nodes/$node/lxc/$1.conf"; }
# A value in the live section of a configuration.
live() { sed -n "/^\\[/q; s/^$2: *//p" "$(conf "$1")" 2>/dev/null; }
# Whether phoenix made it.
marked() { sed '/^\[/q' "$(conf "$1")" | grep -q "^#phoenix made container $1, journal "; }
runs() { grep -aq "@/var/lib/lxc/$1/command\$" "$sockets"; }

# ID SECONDS: phoenix's lock of a container, or of the host's `directories`. Whatever is started
# below keeps it, also when phoenix is killed: so the next one finds it, and waits.
take() {
    : >>"$own/$1.lock" && exec 9<"$own/$1.lock" || fail "cannot make $own/$1.lock"
    flock -w "$2" 9 || fail "phoenix: still at work on $1" 75
    rm -f "$out" "$own/$1".*.out
    out=$own/$1.$$.out
    : >"$out"
}
# SECONDS COMMAND…: runs it.
within() {
    seconds=$1
    shift
    timeout --foreground -k 10 "$seconds" "$@" </dev/null >>"$out" 2>&1
}
# The same, and ends here if it fails.
step() { within "$@" || finish $?; }
# The same as `step`, for what may start something that stays.
loose() {
    seconds=$1
    shift
    timeout --foreground -k 10 "$seconds" "$@" </dev/null >>"$out" 2>&1 9<&- || finish $?
}
# SECONDS PATH OWNER MODE: makes a directory, or gives an owner and a mode to one; each is empty
# where it is to stay. A new one gets its name once it is whole: an owner that nobody declared is
# given only here, and a killed run would leave one that the container cannot use. Under the lock
# of the host's directories, and with the node's name: others share what storages of a cluster hold.
directory() {
    new=${2%/*}/.phoenix-$node.new
    within "$1" test -d "$2"
    case $? in
    0) new=$2 ;;
    1)
        step "$1" mkdir -p -- "${2%/*}/"
        # A killed run left it. If somebody has put something into it, it is theirs.
        if within "$1" test -d "$new"; then step "$1" rmdir -- "$new"; fi
        step "$1" mkdir -- "$new"
        ;;
    *) finish $? ;;
    esac
    { [ -z "$3" ] || within "$1" chown "$3" -- "$new"; } &&
        { [ -z "$4" ] || within "$1" chmod "$4" -- "$new"; } &&
        # Never into what has come to be there meanwhile.
        { [ "$new" = "$2" ] || within "$1" mv -T -- "$new" "$2"; } || {
        code=$?
        # What is said last is the reason.
        [ "$new" = "$2" ] || timeout --foreground -k 10 "$1" rmdir -- "$new" 2>/dev/null
        finish "$code"
    }
}
# ID: a backup is waited for, but not here: nothing is to begin on the node when nobody waits for
# it any more.
backup() { [ "$(live "$1" lock)" != backup ] || fail 'CT is locked (backup)'; }
# ID DIGEST: puts standard input in the place of a configuration, if that is still the one that
# was compared.
replace() {
    file=$(conf "$1")
    [ -d "$locks" ] || mkdir -p "$locks"
    exec 8>>"$locks/pve-config-$1.lock"
    flock -w 10 8 || fail "can't lock file '$locks/pve-config-$1.lock' - got timeout"
    found=$(sha1sum <"$file")
    [ "${found%% *}" = "$2" ] ||
        fail 'detected modified configuration - file changed by other user? Try again.'
    cat >"$file.tmp.$$" && mv -f "$file.tmp.$$" "$file" || {
        rm -f "$file.tmp.$$"
        fail "cannot write $file"
    }
    exec 8>&-
}
# ID TEXT: notes what a running container was started with, unless that is known already.
given() {
    printf '%s' "$2" >"$own/$1.given.new" && mv -f "$own/$1.given.new" "$own/$1.given" ||
        fail "cannot write $own/$1.given"
}
# ID: its next look is at the file alone.
forget() { rm -f "$own/$1.given"; }
# ID SECONDS: waits until the container's init answers.
answers() {
    patience=$(($(date +%s) + $2))
    # A container that has no `true` has answered as well.
    until timeout 10 lxc-attach -n "$1" --clear-env -- true </dev/null >/dev/null 2>&1 9<&- ||
        [ $? = 127 ]; do
        runs "$1" || fail "phoenix: the container stopped right after its start"
        [ "$(date +%s)" -lt "$patience" ] ||
            fail "phoenix: it runs, and its init does not answer"
        sleep 0.2
    done
}
# SECONDS ID…: waits until no worker of Proxmox VE is at these containers. One outlives the `pct`
# that started it.
workers() {
    patience=$1
    shift
    for id; do
        waited=0
        while grep -aql "task UPID:[^:]*:[0-9A-F]*:[0-9A-F]*:[0-9A-F]*:vz[a-z]*:$id:" \
            /proc/[0-9]*/cmdline 2>/dev/null; do
            [ "$waited" -lt "$patience" ] || fail "phoenix: a task of Proxmox VE is still at work on $id" 75
            sleep 1
            waited=$((waited + 1))
        done
    done
}
# ID SOURCE SECONDS: removes what a killed creation left; SOURCE is locked by a killed clone, or
# empty.
discard() {
    [ -r "$(conf "$1")" ] || fail "there is nothing left of CT $1"
    lock=$(live "$1" lock)
    half=no
    case $lock in create | destroyed | '') [ -n "$(live "$1" rootfs)" ] || half=yes ;; esac
    # One that phoenix made has its mark from the beginning, and the lock until its end.
    [ "$lock" != create ] || ! marked "$1" || half=yes
    [ "$half" = yes ] || fail "CT $1 is not half-created; it is not discarded"
    if [ -n "$2" ] && [ "$(live "$2" lock)" = disk ]; then
        step "$3" pct unlock "$2"
    fi
    for point in "$lxc/$1/rootfs" "$lxc/$1"/.copy-volume-*; do
        if grep -Fq " $point " /proc/self/mounts; then
            step "$3" umount -R "$point"
        fi
    done
    [ -z "$(live "$1" lock)" ] || step "$3" pct unlock "$1"
    step "$3" pct destroy "$1" --destroy-unreferenced-disks 1
}
# ID SECONDS: stops it hard, if it runs, and destroys it with its volumes and snapshots.
destroy() {
    file=$(conf "$1")
    [ -r "$file" ] || finish 0
    if runs "$1"; then loose "$2" pct stop "$1"; fi
    if [ -n "$(live "$1" rootfs)" ]; then
        timeout --foreground -k 10 "$2" pct destroy "$1" </dev/null >>"$out" 2>&1 && return
        code=$?
        [ -r "$file" ] || finish 0
        # Of one whose destruction broke off, Proxmox VE looks for volumes that are gone, and
        # never gets further. What it lists no more it frees by the container's number.
        gone="volume '[^']*' does not exist|dataset does not exist|No such file or directory"
        grep -Eq "$gone|Failed to find logical volume" "$out" || finish "$code"
        found=$(sha1sum <"$file")
        replace "$1" "${found%% *}" <<END
lock: destroyed
END
    fi
    [ -z "$(live "$1" lock)" ] || step "$2" pct unlock "$1"
    step "$2" pct destroy "$1" --destroy-unreferenced-disks 1
}
# A command of a person's that took too long is ended with all that it started.
ended() {
    case $1 in
    124 | 137)
        trap '' TERM
        kill -TERM 0
        ;;
    esac
    finish "$1"
}
# ID SECONDS COMMAND…: runs a command in a container with a clean environment. It reads what this
# script reads, by way of the lock's file, and so keeps the lock for as long as it lives.
inside() {
    id=$1 seconds=$2
    shift 2
    cat >"$own/$id.lock"
    timeout --foreground -k 10 "$seconds" lxc-attach -n "$id" --clear-env \
        -v "PATH=${PATH#"$root/bin:"}" -v HOME=/root -- "$@" <&9 >>"$out" 2>&1 9<&- || {
        code=$?
        : >"$own/$id.lock"
        ended "$code"
    }
    : >"$own/$id.lock"
}
# SECONDS COMMAND…: runs a person's command here.
outside() {
    seconds=$1
    shift
    timeout --foreground -k 10 "$seconds" "$@" </dev/null >>"$out" 2>&1 9<&- || {
        code=$?
        unstage
        ended "$code"
    }
}
# ID: unpacks the archive that is read into a private directory, named in $stage.
stage() {
    rm -rf /var/tmp/phoenix-"$1".??????
    stage=$(mktemp -d /var/tmp/phoenix-"$1".XXXXXX) || fail "cannot make a directory in /var/tmp"
    tar -xf - -C "$stage" --no-same-owner || {
        unstage
        fail "cannot unpack the scripts into $stage"
    }
}
# Their output can be long: not on the memory that /run is.
long_output() {
    rm -f "$out" /var/tmp/phoenix-"$1".output.??????
    out=$(mktemp /var/tmp/phoenix-"$1".output.XXXXXX) || out=/dev/null
}
stage=
unstage() { [ -z "$stage" ] || rm -rf "$stage"; }
# Where the original's scripts look for their configuration.
surroundings() {
    [ ! -f "$1/etc/phoenix_lxc_configs.json" ] ||
        export LXC_CONFIG_FILE="$1/etc/phoenix_lxc_configs.json"
    [ ! -f "$1/etc/phoenix_hypervisor_config.json" ] ||
        export HYPERVISOR_CONFIG_FILE="$1/etc/phoenix_hypervisor_config.json"
}
# SECONDS BASE SCRIPT ID ARGUMENT…: runs a person's script that is on this machine.
here() {
    seconds=$1
    surroundings "$2"
    shift 2
    outside "$seconds" "$@"
}
# The same for one that was unpacked.
staged() {
    seconds=$1 script=$stage/$3
    surroundings "$stage"
    shift 3
    outside "$seconds" "$script" "$@"
    unstage
}
