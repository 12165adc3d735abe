//! Real containers: they need root, LXC's tools and a static BusyBox. Without these the tests
//! say aloud that they were skipped; where `CI=true` says that they must run, they fail instead.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use phoenix::host::lxc::{LxcHost, LxcNeeds, LxcOptions};
use phoenix::host::sim::{FaultPlan, Latency, SimFacts, SimHost, SimOptions};
use phoenix::host::{Host, ObserveRequest};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Done, phoenix, tool};

const BUSYBOX: &str = "/bin/busybox";

/// Why real containers cannot be made here.
fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("root is needed".to_owned());
    }
    for file in [
        "/usr/bin/lxc-start",
        "/usr/bin/lxc-usernsexec",
        BUSYBOX,
        "/dev/loop-control",
    ] {
        if !Path::new(file).exists() {
            return Some(format!(
                "{file} is missing (apt-get install lxc busybox-static uidmap iproute2)"
            ));
        }
    }
    let ids = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let root = ids.lines().any(|line| line.starts_with("root:"));
    (!root).then(|| {
        "root has no ids in /etc/subuid (usermod --add-subuids 100000-165535 --add-subgids \
         100000-165535 root)"
            .to_owned()
    })
}

/// Whether to run; says why not.
fn able(test: &str) -> bool {
    let Some(why) = obstacle() else { return true };
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "real containers must be tested in CI: {why}"
    );
    eprintln!("SKIPPED {test}: {why}");
    false
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    tool(program, &arguments)
}

/// A configuration, a state directory, a directory of containers and a bridge, all of this
/// test's own.
struct Site {
    dir: TempDir,
    bridge: String,
    subnet: String,
    lxc: Value,
    hypervisor: Value,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("opened");
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let bridge = format!("phx{}-{number}", std::process::id() % 100_000);
        let subnet = format!("10.{}.{}", 200 + number, std::process::id() % 250);
        assert!(
            run("ip", &["link", "add", &bridge, "type", "bridge"]),
            "a bridge"
        );
        let address = format!("{subnet}.1/24");
        assert!(
            run("ip", &["address", "add", &address, "dev", &bridge]),
            "an address"
        );
        assert!(
            run("ip", &["link", "set", &bridge, "up"]),
            "the bridge is up"
        );
        let site = Self {
            dir,
            bridge,
            subnet,
            lxc: json!({ "lxc_configs": {} }),
            hypervisor: json!({}),
        };
        for dir in [
            "etc",
            "bin/features",
            "lxc/storage/pool",
            "lxc/template/cache",
        ] {
            fs::create_dir_all(site.path(dir)).expect("made");
        }
        site.template();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    /// A tiny system: BusyBox, and an init that starts what is in `/etc/rc.d`.
    fn template(&self) {
        let root = self.path("root");
        for dir in [
            "bin", "sbin", "etc/rc.d", "proc", "sys", "dev", "tmp", "root", "var/lib",
        ] {
            fs::create_dir_all(root.join(dir)).expect("made");
        }
        fs::copy(BUSYBOX, root.join("bin/busybox")).expect("copied");
        for tool in [
            "sh", "cat", "ls", "mkdir", "rm", "mv", "echo", "printf", "sync", "tail", "df", "true",
            "grep", "httpd", "wget", "sleep", "hostname", "ip", "id", "stat", "dirname", "chmod",
            "ps",
        ] {
            symlink("busybox", root.join("bin").join(tool)).expect("linked");
        }
        symlink("../bin/busybox", root.join("sbin/init")).expect("linked");
        fs::write(root.join("etc/inittab"), "::sysinit:/etc/rc\n").expect("written");
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").expect("written");
        let rc = root.join("etc/rc");
        fs::write(
            &rc,
            "#!/bin/sh\nfor file in /etc/rc.d/*; do [ -x $file ] && $file; done\n",
        )
        .expect("written");
        fs::set_permissions(&rc, fs::Permissions::from_mode(0o755)).expect("set");
        let archive = self.path("lxc/template/cache/tiny.tar.gz");
        let (archive, root) = (archive.to_string_lossy(), root.to_string_lossy());
        assert!(run(
            "tar",
            &["-czf", &archive, "--owner=0", "--group=0", "-C", &root, "."]
        ));
    }

    /// Declares a container.
    fn declare(&mut self, ctid: u32, own: &Value) {
        let mut container = json!({
            "name": format!("c{ctid}"),
            "memory_mb": 64,
            "swap_mb": 0,
            "cores": 1,
            "storage_pool": "pool",
            "storage_size_gb": 1,
            "unprivileged": true,
            "network_config": {
                "name": "eth0", "bridge": self.bridge,
                "ip": format!("{}.{}/24", self.subnet, ctid - 700), "gw": format!("{}.1", self.subnet),
            },
        });
        let all = container.as_object_mut().expect("an object");
        for (key, value) in own.as_object().expect("an object") {
            all.insert(key.clone(), value.clone());
        }
        if !all.contains_key("clone_from_ctid") {
            all.insert("template".to_owned(), json!("local:vztmpl/tiny.tar.gz"));
        }
        self.lxc["lxc_configs"][ctid.to_string()] = container;
    }

    fn change(&mut self, ctid: u32, key: &str, value: Value) {
        self.lxc["lxc_configs"][ctid.to_string()][key] = value;
        self.write();
    }

    fn write(&self) {
        self.text("etc/phoenix_lxc_configs.json", &self.lxc.to_string());
        self.text(
            "etc/phoenix_hypervisor_config.json",
            &self.hypervisor.to_string(),
        );
    }

    /// A feature; each run of it is counted in the container.
    fn feature(&self, name: &str, lines: &str) {
        let text = format!("#!/bin/sh\nset -e\necho \"{name} $1\" >>/etc/ran\n{lines}\n");
        self.text(&format!("bin/features/{name}.sh"), &text);
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = phoenix();
        command
            .arg("--host")
            .arg(format!("lxc:{}", self.path("lxc").display()))
            .arg("--config")
            .arg(self.dir.path())
            .arg("--state")
            .arg(self.path("state"))
            .args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Done {
        Done::of(&self.command(arguments).output().expect("it starts"))
    }

    #[track_caller]
    fn apply(&self) -> Value {
        self.run(&["apply", "--format", "json"]).code(0).json()
    }

    /// One of LXC's tools.
    fn lxc(&self, tool: &str, ctid: u32, arguments: &[&str]) -> bool {
        let (dir, ctid) = (self.path("lxc"), ctid.to_string());
        let dir = dir.to_string_lossy();
        run(tool, &[&["-P", &dir, "-n", &ctid], arguments].concat())
    }

    /// What a command inside prints.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's own look into a container"
    )]
    fn inside(&self, ctid: u32, line: &str) -> String {
        let output = std::process::Command::new("lxc-attach")
            .arg("-P")
            .arg(self.path("lxc"))
            .args([
                "-n",
                &ctid.to_string(),
                "--clear-env",
                "-v",
                "PATH=/bin",
                "--",
                "sh",
                "-c",
                line,
            ])
            .stdin(std::process::Stdio::null())
            .output()
            .expect("it starts");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn config(&self, ctid: u32) -> PathBuf {
        self.path("lxc").join(ctid.to_string()).join("config")
    }

    /// Edits a configuration as a person would.
    fn edit(&self, ctid: u32, edit: impl Fn(&str) -> String) {
        let path = self.config(ctid);
        let text = fs::read_to_string(&path).expect("a configuration");
        let edited = edit(&text);
        assert_ne!(edited, text, "nothing was edited");
        fs::write(path, edited).expect("written");
    }

    fn ids(&self) -> Vec<u32> {
        let all = self.lxc["lxc_configs"].as_object().expect("an object");
        all.keys().map(|key| key.parse().expect("an id")).collect()
    }

    /// Loop devices and mounts of this site that the host shows.
    fn left_over(&self) -> Vec<String> {
        let dir = self.dir.path().to_string_lossy().into_owned();
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
        let mut found: Vec<String> = mounts
            .lines()
            .filter(|line| line.contains(&dir))
            .map(str::to_owned)
            .collect();
        for entry in fs::read_dir("/sys/block").expect("devices").flatten() {
            let file = fs::read_to_string(entry.path().join("loop/backing_file"));
            found.extend(file.ok().filter(|file| file.starts_with(&dir)));
        }
        let interfaces = fs::read_dir(format!("/sys/class/net/{}/brif", self.bridge));
        let interfaces = interfaces.into_iter().flatten().flatten();
        found.extend(interfaces.map(|entry| format!("{:?}", entry.file_name())));
        found
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for ctid in self.ids() {
            self.lxc("lxc-stop", ctid, &["-k"]);
        }
        run("ip", &["link", "del", &self.bridge]);
    }
}

/// Two levels of templates and five services: clones, dependencies, a bind mount, a volume, a
/// web server and checks that fetch from it over the bridge.
fn fleet() -> Site {
    let mut site = Site::new();
    let server = "mkdir -p /www\necho hello >/www/index.html\n\
        printf '#!/bin/sh\\nhttpd -p 80 -h /www\\n' >/etc/rc.d/httpd\n\
        chmod 755 /etc/rc.d/httpd\n/etc/rc.d/httpd";
    site.feature("base", "echo base >/etc/base");
    site.feature("runtime", "grep base /etc/base");
    site.feature("httpd", server);
    site.feature("data", "echo kept >/data/file; ls /srv/site");
    site.text(
        "bin/app.sh",
        "#!/bin/sh\nset -e\necho \"app $1\" >>/etc/ran\n\
         grep -q '\"ports\"' \"$(dirname \"$0\")/phoenix_lxc_configs.json\"\n\
         echo app >/www/app.html\n",
    );
    let web = format!("wget -q -O - http://{}.110/ | grep hello", site.subnet);
    let check = json!({ "shell": web, "retries": 20, "interval": 1 });
    site.hypervisor = json!({ "shared_volumes": { "site": {
        "host_path": site.path("shared"), "mode": "0750", "mounts": { "811": "/srv/site" },
    } } });
    site.declare(
        800,
        &json!({ "features": ["base"], "template_snapshot_name": "golden" }),
    );
    for ctid in [801, 802] {
        site.declare(ctid, &json!({
            "clone_from_ctid": "800", "features": ["base", "runtime"], "template_snapshot_name": "ready",
        }));
    }
    site.declare(810, &json!({
        "clone_from_ctid": "801", "features": ["base", "httpd"], "application_script": "app.sh",
        "ports": [80], "health_check": check, "start_at_boot": true, "boot_order": 3, "boot_delay": 1,
    }));
    site.declare(
        811,
        &json!({
            "clone_from_ctid": "802", "features": ["data"], "dependencies": ["810"],
            "volumes": [{ "name": "data", "pool": "pool", "size_gb": 1, "mount_point": "/data" }],
            "health_check": check,
        }),
    );
    site.declare(
        812,
        &json!({
            "clone_from_ctid": "802", "dependencies": ["810"], "health_check": check,
            "storage_size_gb": 2, "cores": 2,
        }),
    );
    site.declare(
        813,
        &json!({ "clone_from_ctid": "801", "dependencies": ["812"], "health_check": check }),
    );
    site.declare(
        814,
        &json!({
            "unprivileged": false, "dependencies": ["810"], "health_check": check,
            "pct_options": ["nesting=1"], "lxc_options": ["lxc.environment=A=b c"],
        }),
    );
    site.write();
    site
}

#[test]
fn a_fleet_of_real_containers_converges_and_drift_is_cured() {
    if !able("a_fleet_of_real_containers_converges_and_drift_is_cured") {
        return;
    }
    let mut site = fleet();
    let planned = site.run(&["plan", "--format", "json"]).code(0).json();
    let done = site.apply();
    assert_eq!(done["converged"], 8, "{done}");
    assert_eq!(
        done["mutations"].as_u64(),
        planned["changes"].as_u64().map(|all| all - 5),
        "{planned}"
    );
    let again = site.apply();
    assert_eq!(
        (&again["mutations"], &again["observations"]),
        (&json!(0), &json!(1)),
        "{again}"
    );
    site.run(&["plan", "--exit-code"]).code(0);

    assert_eq!(
        site.inside(810, "cat /etc/ran"),
        "base 800\nbase 801\nruntime 801\nhttpd 810\napp 810".replace("base 801\n", "")
    );
    assert_eq!(
        site.inside(811, "cat /data/file; stat -c %a:%u /srv/site"),
        "kept\n750:0"
    );
    assert_eq!(
        site.inside(812, "df -m / | tail -n1 | grep -c ' 1[89][0-9][0-9] '"),
        "1"
    );
    assert_eq!(
        site.inside(813, "hostname; cat /etc/hostname"),
        "c813\nc813"
    );
    assert!(
        site.inside(810, "df -m /").contains("9"),
        "a disk of its declared size"
    );
    let mode = fs::metadata(site.path("shared"))
        .expect("made")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o750);

    hotplug(&mut site);
    drift(&site);
    growth(&mut site);
    reboot(&site);

    for ctid in site.ids() {
        assert!(site.lxc("lxc-stop", ctid, &["-k"]), "{ctid}");
    }
    let quiet = || site.left_over().is_empty();
    for _ in 0..200 {
        if quiet() {
            break;
        }
        std::thread::yield_now();
        run("sleep", &["0.05"]);
    }
    assert!(quiet(), "{:?}", site.left_over());
}

/// What a running container takes at once: without a restart, and for good.
fn hotplug(site: &mut Site) {
    let init = site.inside(812, "stat -c %Z /proc/1");
    site.hypervisor["shared_volumes"]["site"]["mounts"]["812"] = json!("/srv/site");
    let volume =
        json!([{ "name": "late", "pool": "pool", "size_gb": 1, "mount_point": "/late/data" }]);
    site.change(812, "volumes", volume);
    site.change(812, "name", json!("renamed"));
    site.change(812, "memory_mb", json!(80));
    let network = &mut site.lxc["lxc_configs"]["812"]["network_config"];
    network["ip"] = json!(format!("{}.212/24", site.subnet));
    site.write();
    site.run(&["plan"]).code(0).prints(" 0 restarts, 0 scripts");
    let done = site.apply();
    assert_eq!(done["mutations"], 3, "{done}");
    let shown = site.inside(
        812,
        "hostname; cat /etc/hostname; stat -c %a /srv/site; ls /late/data; ip -4 -o addr show eth0",
    );
    assert!(
        shown.starts_with("renamed\nrenamed\n750\nlost+found\n"),
        "{shown}"
    );
    assert!(shown.contains(".212/24"), "{shown}");
    assert_eq!(
        site.inside(812, "stat -c %Z /proc/1"),
        init,
        "it was restarted"
    );
    site.run(&["plan", "--exit-code"]).code(0);
    site.change(812, "memory_mb", json!(64));
    assert_eq!(site.apply()["mutations"], 1);
}

/// What a person does by hand, what the plan says of it, and how many changes cure it.
fn drift(site: &Site) {
    let by_hand: [(&str, &dyn Fn(), &str); 8] = [
        (
            "memory in the file",
            &|| {
                site.edit(812, |text| {
                    text.replace("limit_in_bytes = 64M", "limit_in_bytes = 100M")
                        .replace("memory.max = 64M", "memory.max = 100M")
                })
            },
            "memory: 100 → 64",
        ),
        (
            "memory of the kernel",
            &|| {
                let v1 = site.lxc("lxc-cgroup", 812, &["memory.memsw.limit_in_bytes", "200M"])
                    && site.lxc("lxc-cgroup", 812, &["memory.limit_in_bytes", "200M"]);
                assert!(v1 || site.lxc("lxc-cgroup", 812, &["memory.max", "200M"]));
            },
            "memory: 200 → 64",
        ),
        (
            "address",
            &|| site.edit(812, |text| text.replace(".212/24", ".222/24")),
            ".222/24 → ",
        ),
        (
            "mount removed",
            &|| {
                site.edit(811, |text| {
                    text.lines()
                        .filter(|line| {
                            !(line.starts_with("lxc.mount.entry") && line.contains(" srv/site "))
                        })
                        .map(|line| format!("{line}\n"))
                        .collect()
                })
            },
            "mp=/srv/site",
        ),
        (
            "stopped",
            &|| assert!(site.lxc("lxc-stop", 813, &["-k"])),
            "start",
        ),
        (
            "snapshot deleted",
            &|| assert!(site.lxc("lxc-snapshot", 802, &["-d", "ready"])),
            "take snapshot ready",
        ),
        (
            "destroyed",
            &|| assert!(site.lxc("lxc-destroy", 813, &["-f"])),
            "clone 801@ready",
        ),
        (
            "environment",
            &|| site.edit(814, |text| text.replace("lxc.environment = A=b c\n", "")),
            "lxc.environment",
        ),
    ];
    for (what, act, shown) in by_hand {
        act();
        site.run(&["plan", "--exit-code"]).code(4).prints(shown);
        let done = site.apply();
        assert_eq!(
            (&done["failed"], &done["converged"]),
            (&json!(0), &json!(8)),
            "{what}: {done}"
        );
        site.run(&["plan", "--exit-code"]).code(0);
    }
    site.edit(812, |text| {
        format!("{text}# mine\nlxc.mount.entry = tmpfs mine tmpfs create=dir 0 0\n")
    });
    site.run(&["plan", "--exit-code"])
        .code(0)
        .prints("unmanaged, left as it is: lxc.mount.entry: tmpfs mine");
    let text = fs::read_to_string(site.config(812)).expect("a configuration");
    assert!(text.contains("# mine\n"));
}

fn growth(site: &mut Site) {
    site.lxc("lxc-stop", 813, &["-k"]);
    site.change(813, "storage_size_gb", json!(3));
    site.run(&["plan"]).code(0).prints("grow 1G → 3G");
    assert_eq!(site.apply()["failed"], 0);
    let size: u64 = site
        .inside(813, "df -m / | tail -n1")
        .split_whitespace()
        .nth(1)
        .and_then(|size| size.parse().ok())
        .expect("a size");
    assert!((2800..3072).contains(&size), "{size} MiB");
    site.change(813, "storage_size_gb", json!(2));
    site.run(&["plan"])
        .code(3)
        .says("unable to shrink disk size");
    site.change(813, "storage_size_gb", json!(3));
}

/// All stopped hard: they are started, and nothing else is done.
fn reboot(site: &Site) {
    for ctid in site.ids() {
        assert!(site.lxc("lxc-stop", ctid, &["-k"]), "{ctid}");
    }
    let done = site.apply();
    assert_eq!(
        (&done["failed"], &done["mutations"]),
        (&json!(0), &json!(8)),
        "{done}"
    );
    assert_eq!(site.inside(810, "cat /etc/ran | grep -c httpd"), "1");
}

#[test]
fn an_archive_cannot_write_outside_of_its_container() {
    if !able("an_archive_cannot_write_outside_of_its_container") {
        return;
    }
    let mut site = Site::new();
    site.declare(800, &json!({}));
    site.write();
    let (evil, outside) = (site.path("evil"), site.path("outside"));
    fs::create_dir_all(evil.join("a/b")).expect("made");
    fs::create_dir_all(&outside).expect("made");
    fs::write(evil.join("file"), "evil").expect("written");
    symlink(&outside, evil.join("a/link")).expect("linked");
    let archive = site.path("lxc/template/cache/tiny.tar.gz");
    let archive = archive.to_string_lossy().into_owned();
    let plain = site.path("lxc/template/plain.tar");
    let plain = plain.to_string_lossy().into_owned();
    let evil = evil.to_string_lossy().into_owned();
    for names in [
        "s,^file,../../escaped,",
        &format!("s,^file,{}/escaped,", outside.display()),
    ] {
        let transform = format!("--transform={names}");
        assert!(run(
            "tar",
            &["-czPf", &archive, &transform, "-C", &evil, "file"]
        ));
        let done = site.run(&["apply"]).code(5);
        assert!(
            done.out.contains("members with '..' or a leading '/'"),
            "{}",
            done.out
        );
    }
    // A link to the outside, and then a file through it.
    assert!(run("tar", &["-cPf", &plain, "-C", &evil, "a/link"]));
    assert!(run(
        "tar",
        &[
            "-rPf",
            &plain,
            "--transform=s,^file,a/link/escaped,",
            "-C",
            &evil,
            "file"
        ]
    ));
    assert!(run("gzip", &["-f", &plain]));
    fs::rename(format!("{plain}.gz"), &archive).expect("renamed");
    site.run(&["apply"]);
    let found: Vec<_> = fs::read_dir(&outside).expect("a directory").collect();
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(site.left_over(), Vec::<String>::new());
}

#[test]
fn what_others_made_in_the_directory_is_left_alone() {
    if !able("what_others_made_in_the_directory_is_left_alone") {
        return;
    }
    let mut site = Site::new();
    site.declare(800, &json!({}));
    site.write();
    let by_hand = "# by hand\nlxc.uts.name = hand\nlxc.rootfs.path = dir:/nowhere\n";
    for name in ["web", "777", "0800"] {
        fs::create_dir_all(site.path("lxc").join(name)).expect("made");
        fs::write(site.path("lxc").join(name).join("config"), by_hand).expect("written");
    }
    assert_eq!(site.apply()["converged"], 1);
    for name in ["web", "777", "0800"] {
        let dir = site.path("lxc").join(name);
        assert_eq!(
            fs::read_to_string(dir.join("config")).expect("there"),
            by_hand
        );
        assert_eq!(fs::read_dir(&dir).expect("there").count(), 1, "{name}");
    }
    let pool = |site: &Site| {
        let entries = fs::read_dir(site.path("lxc/storage/pool"));
        entries.expect("a pool").count()
    };
    assert_eq!(pool(&site), 1);
    // What phoenix did not make it does not destroy.
    site.run(&["destroy", "777", "--yes"])
        .code(3)
        .says("was not made by phoenix with this journal");
    assert!(site.path("lxc/777/config").exists());
    assert_eq!(pool(&site), 1);
    site.run(&["destroy", "800", "--yes"])
        .code(0)
        .prints("800 c800  destroyed in ");
    site.run(&["destroy", "800", "--yes"])
        .code(0)
        .prints("Nothing to destroy");
    assert_eq!(pool(&site), 0);
    assert!(!site.path("lxc/800").exists());
    assert_eq!(site.left_over(), Vec::<String>::new());
}

/// A process and everything below it, the deepest first.
fn family(pid: u32) -> Vec<i32> {
    let parent = |pid: i32| -> Option<i32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?
            .1
            .split_whitespace()
            .nth(1)?
            .parse()
            .ok()
    };
    let all = fs::read_dir("/proc").expect("processes").flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let all: Vec<(i32, i32)> = all.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut family = vec![i32::try_from(pid).expect("an id")];
    let mut index = 0;
    while index < family.len() {
        let above = family[index];
        family.extend(
            all.iter()
                .filter(|(_, parent)| *parent == above)
                .map(|(pid, _)| *pid),
        );
        index += 1;
    }
    family.reverse();
    family
}

/// Three containers whose scripts take a while.
fn small() -> Site {
    let mut site = Site::new();
    site.feature("base", "sleep 0.1");
    site.feature("more", "sleep 0.1");
    site.text(
        "bin/app.sh",
        "#!/bin/sh\necho \"app $1\" >>/etc/ran\nsleep 0.1\n",
    );
    site.declare(
        800,
        &json!({ "features": ["base"], "template_snapshot_name": "golden" }),
    );
    site.declare(
        801,
        &json!({
            "clone_from_ctid": "800", "features": ["base", "more"], "application_script": "app.sh",
            "volumes": [{ "name": "data", "pool": "pool", "size_gb": 1, "mount_point": "/data" }],
        }),
    );
    site.declare(802, &json!({ "features": ["base"], "unprivileged": false }));
    site.write();
    site
}

/// Kills phoenix, alone or with all that it started, again and again until a run comes to its
/// end; returns how many kills hit one that was under way.
fn kill_until_done(site: &Site, with_family: bool) -> u32 {
    let mut kills = 0;
    for round in 0..80_u32 {
        let runs = site.run(&["runs", "--format", "json"]).code(0).json();
        let begun = runs.as_array().is_some_and(|runs| !runs.is_empty());
        let verb = if begun { "resume" } else { "apply" };
        let mut command = site.command(&[verb, "--quiet", "--format", "json"]);
        let mut child = command
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("it starts");
        let wait = format!("0.{:03}", 40 + (round * 67) % 310);
        run("sleep", &[&wait]);
        if let Some(status) = child.try_wait().expect("it is ours") {
            assert!(status.success(), "{verb} ended with {status}");
            return kills;
        }
        let family = match with_family {
            true => family(child.id()),
            false => Vec::new(),
        };
        child.kill().expect("killed");
        for pid in family
            .into_iter()
            .filter_map(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        child.wait().expect("reaped");
        kills += 1;
    }
    site.run(&["resume"]).code(0);
    kills
}

/// Everything is there once, and nothing else is.
fn whole(site: &Site) {
    let again = site.apply();
    assert_eq!(again["mutations"], 0, "{again}");
    let receipts = |ctid| site.inside(ctid, "ls /var/lib/phoenix/receipts /var/lib/phoenix/run");
    assert_eq!(
        receipts(801),
        "/var/lib/phoenix/receipts:\napplication+script\nfeature+base\nfeature+more\n\n\
         /var/lib/phoenix/run:"
    );
    assert_eq!(site.inside(801, "ls /data"), "lost+found");
    let names = |dir: &str| {
        let entries = fs::read_dir(site.path(dir)).expect("a directory").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    assert_eq!(
        names("lxc/storage/pool"),
        [
            "vm-800-disk-0.raw",
            "vm-800-disk-0@golden.raw",
            "vm-801-disk-0.raw",
            "vm-801-disk-1.raw",
            "vm-802-disk-0.raw"
        ]
    );
    assert_eq!(
        names("lxc"),
        [".phoenix", "800", "801", "802", "storage", "template"]
    );
    assert_eq!(names("lxc/800/snaps"), ["golden"]);
    site.run(&["journal", "verify"]).code(0);
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    assert!(
        !mounts.contains(&*site.dir.path().to_string_lossy()),
        "{mounts}"
    );
}

#[test]
fn killed_at_many_moments_it_goes_on_and_does_nothing_twice() {
    if !able("killed_at_many_moments_it_goes_on_and_does_nothing_twice") {
        return;
    }
    let site = small();
    let kills = kill_until_done(&site, false);
    eprintln!("{kills} kills hit a run that was under way");
    assert!(kills > 2, "hardly a kill hit");
    whole(&site);
    assert_eq!(site.inside(800, "cat /etc/ran"), "base 800");
    assert_eq!(
        site.inside(801, "cat /etc/ran"),
        "base 800\nmore 801\napp 801"
    );
    assert_eq!(site.inside(802, "cat /etc/ran"), "base 802");
}

#[test]
fn killed_with_all_that_it_started_it_goes_on() {
    if !able("killed_with_all_that_it_started_it_goes_on") {
        return;
    }
    let site = small();
    let kills = kill_until_done(&site, true);
    eprintln!("{kills} kills hit a run that was under way");
    assert!(kills > 2, "hardly a kill hit");
    whole(&site);
    assert!(site.inside(801, "cat /etc/ran").ends_with("app 801"));
}

/// Ids that differ from run to run are taken out.
fn anonymous(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match key.as_str() {
                    "run" | "journal" => *value = Value::Null,
                    _ => anonymous(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(anonymous),
        _ => {}
    }
}

fn seen(host: &dyn Host) -> Value {
    let world = host
        .observe(&ObserveRequest::default())
        .expect("it is looked at");
    let containers = world.containers.iter().map(|(ctid, container)| {
        let mut value = serde_json::to_value(&**container).expect("a document");
        anonymous(&mut value);
        (ctid.to_string(), value)
    });
    Value::Object(containers.collect())
}

#[test]
fn the_simulated_host_shows_the_same_plan_and_the_same_world() {
    if !able("the_simulated_host_shows_the_same_plan_and_the_same_world") {
        return;
    }
    let mut site = fleet();
    // Scripts and checks are not run there.
    for ctid in site.ids() {
        site.lxc["lxc_configs"][ctid.to_string()]["health_check"] = Value::Null;
    }
    site.write();
    let facts = json!({
        "storages": { "pool": { "kind": "loop" } },
        "bridges": [site.bridge],
        "templates": ["tiny.tar.gz"],
    });
    site.text("facts.json", &facts.to_string());
    let simulated = |arguments: &[&str]| {
        let mut command = phoenix();
        command.env("PHOENIX_SIM_FACTS", site.path("facts.json"));
        command
            .arg("--host")
            .arg(format!("sim:{}", site.path("sim").display()));
        command.arg("--config").arg(site.dir.path());
        command
            .arg("--state")
            .arg(site.path("sim-state"))
            .args(arguments);
        Done::of(&command.output().expect("it starts")).code(0)
    };
    let plan = ["plan", "--format", "json"];
    assert_eq!(site.run(&plan).json(), simulated(&plan).json());
    assert_eq!(site.apply()["failed"], 0);
    simulated(&["apply"]);
    let real = LxcHost::open(LxcOptions {
        dir: site.path("lxc"),
        needs: LxcNeeds::default(),
        works: false,
        new_identity: uuid::Uuid::nil(),
    });
    let model = SimHost::open(SimOptions {
        dir: site.path("sim"),
        facts: SimFacts::read(&site.path("facts.json")).expect("facts"),
        latency: Latency::default(),
        faults: FaultPlan::default(),
        new_identity: uuid::Uuid::nil(),
    });
    let (real, model) = (seen(&real.expect("real")), seen(&model.expect("simulated")));
    for ctid in site.ids().iter().map(u32::to_string) {
        assert!(real[&ctid]["settings"].is_object(), "{ctid} was not seen");
        assert_eq!(real[&ctid], model[&ctid], "{ctid}");
    }
}

#[test]
fn what_the_machine_lacks_is_said_before_anything_is_done() {
    if !able("what_the_machine_lacks_is_said_before_anything_is_done") {
        return;
    }
    let mut site = Site::new();
    site.declare(800, &json!({}));
    site.write();
    // Looking makes nothing.
    let nowhere = format!("lxc:{}", site.path("nowhere").display());
    let host = ["--host", &nowhere];
    let mut command = phoenix();
    command.args(host).arg("--config").arg(site.dir.path());
    command.arg("--state").arg(site.path("state")).arg("plan");
    let done = Done::of(&command.output().expect("it starts")).code(3);
    done.says("the host has no storage 'pool'")
        .says("the host has no template 'tiny.tar.gz'");
    assert!(!site.path("nowhere").exists());
    // A pool without room.
    let pool = site.path("lxc/storage/pool");
    let pool = pool.to_string_lossy();
    assert!(run(
        "mount",
        &["-t", "tmpfs", "-o", "size=8m", "none", &pool]
    ));
    let done = site.run(&["apply"]).code(3);
    assert!(run("umount", &[&pool]));
    done.says("storage 'pool' has 8M free, and 1G are needed");
    site.change(
        800,
        "network_config",
        json!({ "name": "eth0", "bridge": "nobr", "ip": "manual" }),
    );
    site.run(&["apply"])
        .code(3)
        .says("the host has no bridge 'nobr'");
    // Nothing that is half made, and an error that names the cause.
    site.change(
        800,
        "network_config",
        json!({ "name": "eth0", "bridge": site.bridge, "ip": "manual" }),
    );
    fs::write(site.path("lxc/template/cache/tiny.tar.gz"), "no archive").expect("written");
    let done = site.run(&["apply"]).code(5);
    assert!(
        done.out.contains("cannot unpack the template tiny.tar.gz"),
        "{}",
        done.out
    );
    assert_eq!(
        fs::read_dir(site.path("lxc/storage/pool"))
            .expect("there")
            .count(),
        0
    );
    assert!(!site.path("lxc/800").exists() && !site.path("lxc/.800.creating").exists());
}
