//! Addresses that a server gives out.

use std::process::{Child, Command};

use serde_json::json;

use super::able;
use super::site::Site;

/// A DHCP server on a site's bridge, for as long as this lives.
struct Server(Child);

impl Server {
    #[expect(clippy::disallowed_methods, reason = "a test's own server")]
    fn of(site: &Site) -> Self {
        let (net, leases) = (&site.subnet, site.path("leases"));
        let config = format!(
            "start {net}.50\nend {net}.60\ninterface {}\nlease_file {}\npidfile {}\n\
             option subnet 255.255.255.0\noption lease 600\n",
            site.bridge,
            leases.display(),
            site.path("udhcpd.pid").display()
        );
        site.text("udhcpd.conf", &config);
        site.text("leases", "");
        let mut command = Command::new(super::BUSYBOX);
        command.args(["udhcpd", "-f"]).arg(site.path("udhcpd.conf"));
        command.stderr(std::process::Stdio::null());
        Self(command.spawn().expect("it starts"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_address_is_asked_for_at_the_start_and_when_it_is_declared_later() {
    if !able("an_address_is_asked_for_at_the_start_and_when_it_is_declared_later") {
        return;
    }
    let mut site = Site::new();
    let server = Server::of(&site);
    let dhcp = json!({ "name": "eth0", "bridge": site.bridge, "ip": "dhcp" });
    site.declare(800, &json!({ "network_config": dhcp }));
    site.declare(801, &json!({}));
    site.write();
    assert_eq!(site.apply()["failed"], 0);
    let leased = |ctid| {
        let shown = site.inside(ctid, "ip -4 -o addr show eth0");
        let given = (50..=60).any(|host| shown.contains(&format!(" {}.{host}/24 ", site.subnet)));
        assert!(given, "{ctid}: {shown}");
    };
    leased(800);
    site.run(&["plan", "--exit-code"]).code(0);
    // From a fixed one, without a restart.
    let init = site.init(801);
    let lxc = site.lxc.clone();
    let mut changed = lxc.clone();
    changed["lxc_configs"]["801"]["network_config"] = dhcp;
    site.text("etc/phoenix_lxc_configs.json", &changed.to_string());
    assert_eq!(site.apply()["failed"], 0);
    leased(801);
    assert_eq!(site.init(801), init, "it was restarted");
    site.run(&["plan", "--exit-code"]).code(0);
    drop(server);
}
