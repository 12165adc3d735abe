//! The simulated host beside the real one.

use phoenix::host::sim::{FaultPlan, Latency, SimFacts, SimHost, SimOptions};
use serde_json::json;

use super::able;
use super::fleet::fleet;
use super::remains::{host, seen};
use crate::support::{Done, phoenix};

#[test]
fn the_simulated_host_shows_the_same_plan_and_the_same_world() {
    if !able("the_simulated_host_shows_the_same_plan_and_the_same_world") {
        return;
    }
    let mut site = fleet();
    // Scripts and checks are not run there.
    for ctid in site.ids() {
        site.lxc["lxc_configs"][ctid.to_string()]["health_check"] = json!(null);
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
    let model = SimHost::open(SimOptions {
        dir: site.path("sim"),
        facts: SimFacts::read(&site.path("facts.json")).expect("facts"),
        latency: Latency::default(),
        faults: FaultPlan::default(),
        new_identity: uuid::Uuid::nil(),
    });
    let (real, model) = (seen(&host(&site, false)), seen(&model.expect("simulated")));
    for ctid in site.ids().iter().map(u32::to_string) {
        assert!(real[&ctid]["settings"].is_object(), "{ctid} was not seen");
        assert_eq!(real[&ctid], model[&ctid], "{ctid}");
    }
}
