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
