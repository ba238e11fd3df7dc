//! The verbs about to whom packages belong.

use hypermesh_abi::Error;
use hypermesh_abi::records::{Response, Verb};
use hypermesh_abi::sdk::Call;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::read;
use crate::extension::{CatalogExtension, answers};
use crate::ops::owners::Change;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct List {
    /// The package, published or not
    #[schemars(extend("x-cli" = {"position": 1, "value": "PKG"}))]
    package: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Changed {
    /// The package
    #[schemars(extend("x-cli" = {"position": 1, "value": "PKG"}))]
    package: String,
    /// The domain of a publisher; `acme` is short for acme.pub.trustchain
    #[schemars(extend("x-cli" = {"position": 2, "value": "PUBLISHER"}))]
    owner: String,
    /// The owner who signs; the first that signs on this node if not given
    #[serde(default)]
    #[schemars(extend("x-cli" = {"value": "PUBLISHER"}))]
    publisher: Option<String>,
}

/// Gives the rows of the request table.
pub(super) fn table() -> Vec<Verb> {
    vec![
        Verb::new::<List>("owner list", "Say who may publish under a name")
            .description(
                "A package belongs to the publisher of its first version, and to whom its owners made owners since. For a name \
                 with a namespace, a publisher's certificate must name the namespace besides.",
            )
            .example("owner list vec3", "its owners, the longest one first")
            .example("owner list acme/vec3", "those whose certificate names the namespace, too"),
        Verb::new::<Changed>("owner add", "Let another publisher publish under a name")
            .description(
                "An owner who signs on this node says so in its feed, as with releases and yanks, so that every node that gets the \
                 feed knows it. Who is added may release new versions, and add and remove owners.",
            )
            .example("owner add vec3 friend.pub.trustchain", "from now on it may release versions of vec3")
            .example("owner add vec3 friend --publisher acme", "signed by this owner"),
        Verb::new::<Changed>("owner remove", "Take a name from one of its owners")
            .taking_away()
            .description(
                "What it has released so far stays; what it releases later is refused. The last owner cannot be removed. Of two \
                 owners who remove each other at the same time, the one who has been an owner for longer stays.",
            )
            .example("owner remove vec3 friend", "it may release no more versions of vec3"),
    ]
}

/// Answers a verb of this table.
pub(super) async fn answer(
    extension: &CatalogExtension,
    call: Call,
    verb: &str,
    params: Json,
) -> Result<Response, Error> {
    let change = match verb {
        "owner list" => {
            let List { package } = read(params)?;
            let answer = extension.blocking(call, move |catalog, host| catalog.owners(&package, host));
            return Ok(answers::owners(&answer.await?));
        }
        "owner add" => Change::Add,
        _ => Change::Remove,
    };
    let Changed { package, owner, publisher } = read(params)?;
    extension
        .blocking(call, move |catalog, host| {
            let ownership = catalog.change_owner(&package, (change, &owner), publisher.as_deref(), host)?;
            Ok(answers::owners(&ownership))
        })
        .await
}
