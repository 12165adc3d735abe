//! The recorded commands that cannot be played to the stand-in, each with the reason.

use crate::replay::Deed;

const MACHINE: &str = "what it prints is of the recording machine";
const PVEAM: &str = "pveam did not run on the recording machine";
const NOT_USED: &str = "phoenix never runs it, and the stand-in does not have it";
const REFUSED: &str = "the kernel of the recording machine refused it";
const UNRECORDED: &str = "a command before it was not recorded";
const PARALLEL: &str = "of two commands at once the other one's end was written down first";

/// What a person wrote into the file of container 103.
const HAND_WRITTEN: &str = "# hand comment
#second
arch: amd64
bogus: 1
hostname: sp
memory: 128
mp0: mp=/h,volume=/srv/host
net0: bridge=vmbr0,name=eth0,hwaddr=BC:24:11:00:00:99,ip=dhcp,type=veth
ostype: alpine
rootfs: local:103/subvol-103-disk-0.subvol,size=0T
swap: 512
lxc.mount.entry: /srv srv none bind,create=dir 0 0
lxc.cap.drop: sys_rawio
lxc.environment: FOO=bar
";

/// Container 700 when session 17 began.
const BEFORE_17: &str = "arch: amd64
cmode: tty
console: 1
cores: 2
cpulimit: 1
cpuunits: 2
features: keyctl=1,nesting=1
hostname: UPPER
memory: 256
mp1: local:700/vm-700-disk-1.raw,mp=/z,size=102M
mp2: local:700/vm-700-disk-2.raw,mp=/q,size=1G
mp3: local:700/subvol-700-disk-3.subvol,mp=/q2,size=0T
nameserver: 1.1.1.1 8.8.8.8
net1: name=eth1,bridge=vmbr0,firewall=1,hwaddr=BC:24:11:6B:F0:4D,ip=10.0.0.2/24,link_down=0,type=veth
ostype: alpine
rootfs: local:700/subvol-700-disk-0.subvol,size=0T
searchdomain: a.b c.d
startup: order=1,up=30
swap: 0
tty: 2
";

/// Session, how the command begins, why it does not fit, what is done instead.
pub const MISFITS: &[(&str, &str, &str, Deed)] = &[
    ("00", "pct exec 100 -- /bin/ip addr", MACHINE, Deed::Nothing),
    ("01", "pct status 100 --verbose", MACHINE, Deed::Nothing),
    ("02", "pveam list local", PVEAM, Deed::Nothing),
    ("02", "pvesm status", MACHINE, Deed::Nothing),
    ("02", "pvesm list local", MACHINE, Deed::Nothing),
    ("02", "pveam list nosuch", PVEAM, Deed::Nothing),
    ("02", "pveam available", PVEAM, Deed::Nothing),
    (
        "03",
        "pct set 100 --mp0 local:1,mp=/data",
        REFUSED,
        Deed::Nothing,
    ),
    (
        "03",
        "pct set 100 --mp1 /srv/host,mp=/mnt/h",
        REFUSED,
        Deed::Nothing,
    ),
    ("04", "pct exec 100 -- mount", MACHINE, Deed::Nothing),
    (
        "04",
        "pct set 100 --net0",
        REFUSED,
        Deed::Edit(
            "100",
            &[
                (
                    "net0: name=eth0,bridge=vmbr0,gw=10.99.0.1,hwaddr=bc:24:11:aa:bb:0c,ip=10.99.0.100/24,type=veth\n",
                    "",
                ),
                (
                    "nameserver: 1.1.1.1\n",
                    "nameserver: 1.1.1.1\nnet0: name=eth0,bridge=vmbr0,ip=10.99.0.101/24,gw=10.99.0.1,hwaddr=BC:24:11:AA:BB:0C\n",
                ),
            ],
        ),
    ),
    ("04", "pct set 100 --net1", REFUSED, Deed::Nothing),
    ("04", "pct exec 100 -- ip addr", MACHINE, Deed::Nothing),
    ("04", "pct exec 100 -- ip addr", MACHINE, Deed::Nothing),
    ("06", "pct enter 100", NOT_USED, Deed::Nothing),
    ("06", "pct df 100", MACHINE, Deed::Nothing),
    ("06", "pct exec 100 -- env", MACHINE, Deed::Nothing),
    ("06", "pct exec 100 -- ls -ln", MACHINE, Deed::Nothing),
    ("06", "pct df 100", MACHINE, Deed::Nothing),
    (
        "08",
        "pct stop 100",
        UNRECORDED,
        Deed::Before(&[
            &["set", "100", "--revert", "mp0"],
            &[
                "set",
                "100",
                "--mp0",
                "local:100/vm-100-disk-1.raw,mp=/data2",
            ],
        ]),
    ),
    (
        "11",
        "pct clone 101 201 --hostname cl1",
        REFUSED,
        Deed::Nothing,
    ),
    (
        "12",
        "pct create 300 local:vztmpl/alpine-bb_3.19_amd64.tar.gz --rootfs local:99999999",
        MACHINE,
        Deed::Nothing,
    ),
    ("12", "pct exec 300 -- ls -ln /root", MACHINE, Deed::Nothing),
    ("12", "pct exec 300 -- ls -ln /h", MACHINE, Deed::Nothing),
    (
        "13",
        "pct create 400 local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst --rootfs local:1 --hostname k400",
        UNRECORDED,
        Deed::Before(&[]),
    ),
    (
        "13",
        "pct create 400 local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst --rootfs local:1 --hostname k400",
        UNRECORDED,
        Deed::Before(&[&["clean", "400"]]),
    ),
    (
        "13",
        "pct create 401",
        UNRECORDED,
        Deed::Before(&[&["clean", "401"]]),
    ),
    (
        "13",
        "pct create 401",
        UNRECORDED,
        Deed::Before(&[&["clean", "401"]]),
    ),
    (
        "13",
        "pct create 401",
        UNRECORDED,
        Deed::Before(&[&["clean", "401"]]),
    ),
    (
        "13",
        "pct snapshot 105 k2",
        UNRECORDED,
        Deed::Before(&[&["delsnapshot", "105", "k1"]]),
    ),
    (
        "13",
        "pct clone 105 107 --snapname k3",
        UNRECORDED,
        Deed::Before(&[]),
    ),
    (
        "13",
        "pct clone 105 107 --snapname k3",
        UNRECORDED,
        Deed::Before(&[]),
    ),
    (
        "13",
        "pct clone 105 107 --snapname k3",
        UNRECORDED,
        Deed::Before(&[&["destroy", "107"]]),
    ),
    (
        "13",
        "pct clone 105 108",
        UNRECORDED,
        Deed::Before(&[&["destroy", "107"]]),
    ),
    (
        "13",
        "pct rollback 105 k3",
        UNRECORDED,
        Deed::Before(&[&["unlock", "105"], &["clean", "107"], &["clean", "109"]]),
    ),
    (
        "13",
        "pct rescan",
        NOT_USED,
        Deed::Edit(
            "105",
            &[(
                "swap: 512\n",
                "swap: 512\nunused0: local:105/vm-105-disk-0.raw\n",
            )],
        ),
    ),
    (
        "13",
        "pct destroy 105",
        "it was killed behind the last of its effects",
        Deed::Instead(&[&["clean", "105"]]),
    ),
    (
        "13",
        "pct destroy 106",
        UNRECORDED,
        Deed::Before(&[
            &["set", "106", "--mp0", "local:1,mp=/a"],
            &["set", "106", "--mp1", "local:1,mp=/b"],
        ]),
    ),
    (
        "14",
        "pct config 103",
        UNRECORDED,
        Deed::Before(&[&["clean", "106"], &["write", "103", HAND_WRITTEN]]),
    ),
    (
        "14",
        "pct mount 103",
        NOT_USED,
        Deed::Edit("103", &[("memory: 128\n", "lock: mounted\nmemory: 128\n")]),
    ),
    (
        "14",
        "pct exec 103 -- cat /proc/1/environ",
        MACHINE,
        Deed::Nothing,
    ),
    (
        "14",
        "pct unmount 103",
        NOT_USED,
        Deed::Edit("103", &[("lock: mounted\n", "")]),
    ),
    ("14", "pct fsck 400", NOT_USED, Deed::Nothing),
    ("14", "pct fstrim 400", NOT_USED, Deed::Nothing),
    (
        "14",
        "pct move-volume 400 rootfs btr",
        NOT_USED,
        Deed::Edit(
            "400",
            &[
                (
                    "rootfs: local:400/vm-400-disk-0.raw,size=1G\n",
                    "rootfs: btr:400/vm-400-disk-0.raw,size=1G\n",
                ),
                (
                    "swap: 512\n",
                    "swap: 512\nunused0: local:400/vm-400-disk-0.raw\n",
                ),
            ],
        ),
    ),
    (
        "14",
        "pct config 400",
        UNRECORDED,
        Deed::Before(&[&["volume", "mnt/btr/images/400/vm-400-disk-0.raw"]]),
    ),
    ("14", "pct rescan", NOT_USED, Deed::Nothing),
    (
        "14",
        "pct move-volume 400 rootfs local",
        NOT_USED,
        Deed::Nothing,
    ),
    ("14", "pct cpusets", NOT_USED, Deed::Nothing),
    ("15", "pct create 700", PARALLEL, Deed::Nothing),
    ("15", "pct start 700", PARALLEL, Deed::Nothing),
    (
        "15",
        "pct set 700 --cores 2",
        "somebody else held the lock",
        Deed::Held("700"),
    ),
    (
        "16",
        "pct set 700 --dev1 /dev/nosuch",
        NOT_USED,
        Deed::Nothing,
    ),
    (
        "16",
        "pct set 700 --cpuunits 0",
        MACHINE,
        Deed::Edit("700", &[("cpulimit: 1\n", "cpulimit: 1\ncpuunits: 2\n")]),
    ),
    ("16", "pct set 700 --hookscript", NOT_USED, Deed::Nothing),
    (
        "17",
        "pct set 700 --hostname hh",
        UNRECORDED,
        Deed::Before(&[&["write", "700", BEFORE_17], &["start", "700"]]),
    ),
    ("17", "pct resume", NOT_USED, Deed::Nothing),
    ("17", "pct suspend", NOT_USED, Deed::Nothing),
    (
        "18",
        "pct create 600",
        UNRECORDED,
        Deed::Before(&[
            &["stop", "103"],
            &["stop", "700"],
            &["clean", "101"],
            &["clean", "103"],
            &["clean", "104"],
            &["clean", "206"],
            &["clean", "700"],
            &["volume", "var/lib/vz/images/600/subvol-600-disk-0.subvol"],
        ]),
    ),
    ("18", "pct destroy 600", MACHINE, Deed::Before(&[])),
    ("18", "pvesm list local", MACHINE, Deed::Nothing),
];
