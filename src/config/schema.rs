//! JSON Schemas of the files, made from the types that read them.

use serde_json::{Value, json};

use super::keys::SECTIONS;
use super::raw::RawLxcFile;
use super::raw_host::RawHypervisor;

/// The schema of `phoenix_hypervisor_config.json`.
#[must_use]
pub fn schema_hypervisor() -> Value {
    let mut schema = schemars::schema_for!(RawHypervisor).to_value();
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for section in SECTIONS {
            let text = "Accepted, and not managed by phoenix.";
            properties
                .entry(section)
                .or_insert_with(|| json!({ "description": text }));
        }
    }
    schema
}

/// The schema of `phoenix_lxc_configs.json`.
#[must_use]
pub fn schema_lxc() -> Value {
    schemars::schema_for!(RawLxcFile).to_value()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::decode::fields_of;
    use crate::config::raw::RawContainer;

    /// The published schema is what the types say. After a change of the types:
    /// `PHOENIX_REGENERATE=1 cargo test schema`.
    #[test]
    fn the_published_schema_is_current() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema");
        for (name, schema) in [
            ("phoenix_hypervisor_config.schema.json", schema_hypervisor()),
            ("phoenix_lxc_configs.schema.json", schema_lxc()),
        ] {
            let text = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
            let path = dir.join(name);
            if std::env::var_os("PHOENIX_REGENERATE").is_some() {
                std::fs::create_dir_all(&dir).expect("a directory");
                std::fs::write(&path, &text).expect("a file");
            }
            let published = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                published == text,
                "{} is out of date: run `PHOENIX_REGENERATE=1 cargo test schema` and commit it",
                path.display()
            );
        }
    }

    #[test]
    fn the_schema_describes_every_key_that_is_read() {
        let schema = schema_lxc();
        let properties = &schema["$defs"]["container"]["properties"];
        for key in fields_of::<RawContainer>() {
            assert!(properties[key].is_object(), "{key} in {properties}");
            let described = properties[key]["description"].is_string();
            assert!(described, "{key} has no description");
        }
    }
}
