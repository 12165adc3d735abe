//! A fleet of eight: it converges, takes changes while it runs, and leaves nothing behind.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use phoenix::domain::action::Action;
use phoenix::domain::ids::RunId;
use phoenix::domain::secret::Secret;
use phoenix::domain::setting::{Key, Settings};
use phoenix::domain::step::Step;
use phoenix::host::{Call, Host as _};
use serde_json::json;

use super::able;
use super::remains::host;
use super::site::Site;

/// Two levels of templates and five services: clones, dependencies, a bind mount, a volume, a
/// web server and checks that fetch from it over the bridge.
pub fn fleet() -> Site {
    let mut site = Site::new();
    let server = "mkdir -p /www\necho hello >/www/index.html\n\
        printf '#!/bin/sh\\nhttpd -p 80 -h /www\\n' >/etc/rc.d/httpd\n\
        chmod 755 /etc/rc.d/httpd\n\
        wget -q -O - http://127.0.0.1/ >/dev/null 2>&1 || /etc/rc.d/httpd";
    site.feature("base", "echo base >/etc/base");
    site.feature("runtime", "grep base /etc/base");
    site.feature("httpd", server);
    site.feature("data", "echo kept >/data/file; ls /srv/site");
    site.text(
        "bin/app.sh",
        "#!/bin/sh\nset -e\necho \"app $1\" >>/etc/ran\nsleep 0.1\n\
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

/// What ran in each container, in order: each script once, and what a clone inherited.
pub const RAN: [(u32, &str); 8] = [
    (800, "base 800"),
    (801, "base 800\nruntime 801"),
    (802, "base 800\nruntime 802"),
    (810, "base 800\nruntime 801\nhttpd 810\napp 810"),
    (811, "base 800\nruntime 802\ndata 811"),
    (812, "base 800\nruntime 802"),
    (813, "base 800\nruntime 801"),
    (814, ""),
];

/// What ran in each container.
pub fn ran(site: &Site) -> Vec<(u32, String)> {
    let ids = site.ids().into_iter();
    ids.map(|ctid| (ctid, site.inside(ctid, "cat /etc/ran")))
        .collect()
}

#[test]
fn a_fleet_of_real_containers_converges() {
    if !able("a_fleet_of_real_containers_converges") {
        return;
    }
    let mut site = fleet();
    let planned = site.run(&["plan", "--format", "json"]).code(0).json();
    let done = site.apply();
    assert_eq!(done["converged"], 8, "{done}");
    assert!(done["processes"].as_u64() > Some(8 * 5), "{done}");
    assert_eq!(
        done["mutations"].as_u64(),
        planned["changes"].as_u64().map(|all| all - 5),
        "{planned}"
    );
    let again = site.apply();
    assert_eq!(
        (
            &again["mutations"],
            &again["observations"],
            &again["processes"]
        ),
        (&json!(0), &json!(1), &json!(0)),
        "{again}"
    );
    site.run(&["plan", "--exit-code"]).code(0);

    assert_eq!(ran(&site), RAN.map(|(ctid, ran)| (ctid, ran.to_owned())));
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

    assert_eq!(site.running(), site.ids());
    site.stop_all();
    assert_eq!(site.await_quiet(), Vec::<String>::new());
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

#[test]
fn a_mount_that_is_added_to_a_running_container_is_read_only_if_it_is_to_be() {
    if !able("a_mount_that_is_added_to_a_running_container_is_read_only_if_it_is_to_be") {
        return;
    }
    let mut site = Site::new();
    site.declare(800, &json!({}));
    site.write();
    assert_eq!(site.apply()["failed"], 0);
    site.text("shared-file", "kept");
    let dir = site.dir.path().display().to_string();
    let changes = [("mp4", "/ro,ro=1"), ("mp5", "/rw")].map(|(key, rest)| {
        let key: Key = key.parse().expect("a key");
        let value = key.parse_value(&format!("{dir}/root,mp={rest}"));
        (key, Some(value.expect("a value")))
    });
    let action = Action::Configure {
        changes: changes.into(),
        was: Settings::new(),
    };
    let call = Call {
        run: RunId::NONE,
        ctid: "800".parse().expect("an id"),
        step: Step::ApplySharedVolumes,
        attempt: 1,
        intent: 1,
        document: Secret::new("{}"),
    };
    host(&site, true).apply(&call, &action).expect("mounted");
    fs::set_permissions(site.path("root"), fs::Permissions::from_mode(0o777)).expect("opened");
    let tried = "for at in ro rw; do echo x >/$at/new && echo $at; done; ls -d /ro/bin /rw/bin";
    assert_eq!(site.inside(800, tried), "rw\n/ro/bin\n/rw/bin");
    assert_eq!(site.mounts(), Vec::<String>::new());
}
