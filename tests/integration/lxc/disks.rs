//! Disks: they grow, never shrink, and a full pool leaves nothing half made.

use serde_json::json;

use super::able;
use super::site::Site;

/// What the root of a container holds, in MiB, as `df` inside says.
fn root_size(site: &Site, ctid: u32) -> u64 {
    let shown = site.inside(ctid, "df -m / | tail -n1");
    let size = shown.split_whitespace().nth(1);
    size.and_then(|size| size.parse().ok())
        .unwrap_or_else(|| panic!("a size: {shown}"))
}

#[test]
fn a_disk_grows_and_never_shrinks() {
    if !able("a_disk_grows_and_never_shrinks") {
        return;
    }
    let mut site = Site::new();
    site.feature("base", "echo kept >/kept");
    site.declare(800, &json!({ "features": ["base"] }));
    site.write();
    assert_eq!(site.apply()["failed"], 0);
    let size = root_size(&site, 800);
    assert!((900..1024).contains(&size), "{size} MiB");
    assert!(site.lxc("lxc-stop", 800, &["-k"]));
    site.change(800, "storage_size_gb", json!(3));
    site.run(&["plan"]).code(0).prints("grow 1G → 3G");
    assert_eq!(site.apply()["failed"], 0);
    let size = root_size(&site, 800);
    assert!((2800..3072).contains(&size), "{size} MiB");
    assert_eq!(site.inside(800, "cat /kept /etc/ran"), "kept\nbase 800");
    site.change(800, "storage_size_gb", json!(2));
    for verb in ["plan", "apply"] {
        site.run(&[verb]).code(3).says("unable to shrink disk size");
    }
    assert_eq!(root_size(&site, 800), size);
}
