//! What a machine does to a journal: power cuts, images that a crash leaves, damage, full and
//! failing disks. `docs/reliability.md` says what each suite proves and what it counted.

mod power;
mod shim;

/// How many of something to try: few by default, as many as asked for by a variable.
fn wanted(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Whether to run; says why not. In CI nothing may be left out.
fn able(test: &str, obstacle: Option<String>) -> bool {
    let Some(why) = obstacle else { return true };
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{test} must run in CI: {why}"
    );
    eprintln!("SKIPPED {test}: {why}");
    false
}
