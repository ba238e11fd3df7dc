//! The verbs about advisories.

use std::collections::BTreeMap;
use std::path::Path;

use hypermesh_abi::records::Response;
use hypermesh_abi::sdk::Call;
use hypermesh_abi::{Code, Error};

use super::parameters::{Audit, ImportAdvisories, ListAdvisories};
use super::scope;
use crate::advisory::{Leftovers, Rating};
use crate::extension::{CatalogExtension, answers};
use crate::ops::OpError;

/// What stands for standard output.
const STANDARD_OUTPUT: &str = "-";

pub(super) async fn audit(extension: &CatalogExtension, call: Call, params: Audit) -> Result<Response, Error> {
    let level: Rating = params.level.parse().map_err(|error| Error::wrap(Code::INVALID_ARGUMENT, &error))?;
    let ignored = ignored(&params.ignore)?;
    let scope = scope(params.packages, params.lockfile)?;
    let of = scope.clone();
    let audited = extension.blocking(call, move |catalog, host| catalog.audit(&of, &ignored, host)).await?;
    let sarif = params.sarif.map(|path| (path, answers::sarif(&audited, &scope).to_string()));
    let printed = sarif.as_ref().filter(|(path, _)| path == Path::new(STANDARD_OUTPUT)).map(|(_, text)| text.clone());
    if let Some((path, text)) = sarif.filter(|_| printed.is_none()) {
        let written = std::fs::write(&path, text);
        written.map_err(|source| crate::extension::errors::to_error(&OpError::File { path, source }))?;
    }
    answers::audited(&audited, level, printed)
}

pub(super) async fn import(
    extension: &CatalogExtension,
    call: Call,
    params: ImportAdvisories,
) -> Result<Response, Error> {
    let leftovers = if params.replace { Leftovers::Remove } else { Leftovers::Keep };
    extension
        .blocking(call, move |catalog, host| {
            let imported = catalog.advisories_import(&params.path, leftovers, host)?;
            Ok(answers::advisories_imported(&imported, &catalog.advisories_status()?))
        })
        .await
}

pub(super) async fn list(extension: &CatalogExtension, call: Call, params: ListAdvisories) -> Result<Response, Error> {
    extension
        .blocking(call, move |catalog, _| {
            let (listed, status) = catalog.advisories_list(params.package.as_deref())?;
            Ok(answers::advisories(&listed, params.limit, &status))
        })
        .await
}

/// Reads `ID=REASON`: an exception without a reason is one that nobody can review.
fn ignored(words: &[String]) -> Result<BTreeMap<String, String>, Error> {
    let pair = |word: &String| {
        let pair = word.split_once('=').map(|(id, reason)| (id.trim(), reason.trim()));
        let whole = pair.filter(|(id, reason)| !id.is_empty() && !reason.is_empty());
        whole.map(|(id, reason)| (id.to_owned(), reason.to_owned())).ok_or_else(|| {
            let message = format!("parameter `ignore`: `{word}` has no reason");
            Error::new(Code::INVALID_ARGUMENT, message).help("write it as `ID=REASON`")
        })
    };
    words.iter().map(pair).collect()
}
