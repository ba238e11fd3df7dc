//! The JSON Schemas of what verbs answer: `manifests/schema/answers.schema.json` is made of these types.
//!
//! An answer is put together in `answers` and described here. That both say the same is held by tests: each
//! answer that the tests of this workspace get is held against its schema, which knows every field and no other.

mod machine;
mod memory;
mod network;
mod packages;
mod runs;
mod store;
mod templates;
mod trust;

use hypermesh_abi::records::ErrorRecord;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value as Json, json};

/// Defines answers and their parts: each knows every field.
macro_rules! shapes {
    ($($(#[$about:meta])* $name:ident { $($(#[$of:meta])* $field:ident: $kind:ty),* $(,)? })*) => { $(
        $(#[$about])*
        #[derive(schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        #[expect(dead_code, reason = "it is read as a schema and never made")]
        pub(super) struct $name { $($(#[$of])* $field: $kind),* }
    )* };
}
use shapes;

/// Makes the schema of all answers: an object with an answer for each verb, by its name.
pub fn answers() -> Json {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let verbs: Map<String, Json> = TABLE
        .iter()
        .map(|(verb, of)| {
            let mut schema = of(&mut generator);
            schema["title"] = format!("catalog {verb}").into();
            // What the command line prints is told from a failure by this field; the verb itself does not give it.
            schema["properties"]["ok"] = json!({"const": true, "description": "It is a success."});
            ((*verb).to_owned(), schema)
        })
        .collect();
    let failure = generator.subschema_for::<Failure>();
    let mut properties = verbs;
    properties.insert(FAILURE.into(), failure.to_value());
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Answers of Catalog",
        "description": "What `--json` prints, by the name of the verb; `failure` is what it prints of every verb that failed. \
            The schema of one is `#/properties/VERB`.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "$defs": generator.take_definitions(true),
    })
}

/// The name of what is printed of a verb that failed.
pub const FAILURE: &str = "failure";

/// What is printed of a verb that failed; beside `error` stands what the verb found in full before it was refused, if it did.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it is read as a schema and never made")]
struct Failure {
    /// It is a failure.
    #[schemars(extend("const" = false))]
    ok: bool,
    /// What went wrong, where, and what to do.
    error: ErrorRecord,
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Json {
    T::json_schema(generator).to_value()
}

type Row = (&'static str, fn(&mut SchemaGenerator) -> Json);

const TABLE: [Row; ROWS] = [
    ("new", of::<templates::Made>),
    ("template list", of::<templates::Templates>),
    ("template show", of::<templates::Template>),
    ("template update", of::<templates::Updated>),
    ("validate", of::<packages::Validated>),
    ("publish", of::<packages::PublishedAll>),
    ("yank", of::<packages::Yanked>),
    ("feeds", of::<trust::Feeds>),
    ("search", of::<packages::Found>),
    ("index import", of::<packages::Imported>),
    ("info", of::<packages::Details>),
    ("list", of::<packages::List>),
    ("resolve", of::<packages::Resolved>),
    ("install", of::<packages::Installation>),
    ("update", of::<packages::Installation>),
    ("remove", of::<packages::Installation>),
    ("rollback", of::<packages::Installation>),
    ("verify", of::<trust::Verified>),
    ("why", of::<packages::Why>),
    ("tree", of::<packages::Tree>),
    ("diff", of::<packages::Difference>),
    ("licenses", of::<packages::Licences>),
    ("sbom", of::<packages::Bill>),
    ("owner list", of::<packages::Owners>),
    ("owner add", of::<packages::Owners>),
    ("owner remove", of::<packages::Owners>),
    ("recommend", of::<packages::Recommended>),
    ("rate", of::<packages::Rated>),
    ("run", of::<runs::Run>),
    ("ps", of::<runs::Executions>),
    ("logs", of::<runs::Logs>),
    ("kill", of::<runs::Ended>),
    ("receipt", of::<runs::CheckedReceipt>),
    ("memory list", of::<memory::Kept>),
    ("memory read", of::<memory::Bytes>),
    ("memory write", of::<memory::Written>),
    ("memory add", of::<memory::Word>),
    ("memory swap", of::<memory::Word>),
    ("memory end", of::<memory::Ended>),
    ("bench-vm", of::<machine::Costs>),
    ("sandbox selftest", of::<machine::Attacks>),
    ("doctor", of::<machine::Diagnosis>),
    ("doc", of::<machine::Documented>),
    ("runtime list", of::<machine::Runtimes>),
    ("runtime install", of::<machine::Runtimes>),
    ("runtime remove", of::<machine::RuntimeRemoved>),
    ("pack", of::<store::Packed>),
    ("unpack", of::<store::Unpacked>),
    ("cache size", of::<store::CacheSize>),
    ("cache prune", of::<store::Pruned>),
    ("cache verify", of::<store::Checked>),
    ("cache repair", of::<store::Checked>),
    ("fsck", of::<store::Checked>),
    ("audit", of::<trust::Audited>),
    ("advisories import", of::<trust::AdvisoriesImported>),
    ("advisories list", of::<trust::Advisories>),
    ("registry export", of::<store::Exported>),
    ("registry rebuild", of::<store::Rebuilt>),
    ("registry status", of::<store::RemoteStatus>),
    ("peers", of::<network::Peers>),
    ("sync", of::<network::Synchronised>),
    ("replicas", of::<network::Replicas>),
    ("mirror add", of::<network::Mirrored>),
    ("mirror remove", of::<network::Mirrored>),
    ("mirror list", of::<network::Mirrors>),
];
const ROWS: usize = 65;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_verb_has_a_schema_and_every_schema_a_verb() {
        let table = crate::extension::verbs::table();
        let verbs: BTreeSet<&str> = table.iter().map(|verb| verb.name.as_str()).collect();
        let described: BTreeSet<&str> = TABLE.iter().map(|(verb, _)| *verb).collect();
        assert_eq!(verbs, described);
        assert_eq!(described.len(), ROWS);
    }

    #[test]
    fn the_committed_schema_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/schema/answers.schema.json");
        let fresh = serde_json::to_string_pretty(&answers()).expect("a schema is JSON") + "\n";
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(path, &fresh).expect("the repository is writable");
        }
        let committed = std::fs::read_to_string(path).expect("the schema is committed");
        assert!(committed == fresh, "UPDATE_SCHEMA=1 writes manifests/schema/answers.schema.json anew");
    }
}
