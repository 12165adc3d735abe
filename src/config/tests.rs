//! Tests of the reader as a whole.

use std::path::Path;

use super::load;

#[test]
fn by_hand() {
    let Ok(dir) = std::env::var("BY_HAND") else {
        return;
    };
    let start = std::time::Instant::now();
    let loaded = load(Path::new(&dir)).expect("files");
    println!("{:?}", start.elapsed());
    for found in &loaded.diagnostics {
        println!(
            "{:?} {found}\n      {}",
            found.severity,
            found.help.as_deref().unwrap_or("-")
        );
    }
    if std::env::var("SHOW").is_ok() {
        println!("{:#?}", loaded.desired);
    }
}
