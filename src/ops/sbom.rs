//! `sbom`: a bill of materials of a set of packages, as CycloneDX 1.5 or SPDX 2.3 in JSON.
//!
//! The same packages give the same bytes: identifiers come from the digests of what is listed, and the time is the caller's.
//! Sources: the CycloneDX 1.5 JSON reference (ECMA-424's predecessor) and the SPDX specification 2.3, clauses 6 to 11.

use serde_json::{Value as Json, json};
use spdx::Expression;
use time::OffsetDateTime;
use uuid::Uuid;

use super::audit::Scope;
use super::publish::published_at;
use super::validate::published;
use super::{Catalog, OpError};
use crate::digest::Digest;
use crate::host::Host;
use crate::lockfile::{LockedPackage, Lockfile};
use crate::package::Package;
use crate::package::model::PackageType;
use crate::registry::Record;

/// The form of a bill of materials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// CycloneDX 1.5.
    CycloneDx,
    /// SPDX 2.3.
    Spdx,
}

/// One package with all that is known of it.
struct Part<'a> {
    locked: &'a LockedPackage,
    record: Record,
    package: Package,
}

impl Catalog {
    /// Writes a bill of materials.
    ///
    /// # Errors
    /// What keeps the set from being known, or a package of it that is not in the registry any more.
    pub fn sbom(&self, scope: &Scope, form: Form, host: &dyn Host) -> Result<Json, OpError> {
        let lockfile = self.lockfile_of(scope, host)?;
        let registry = self.registry();
        let mut parts = Vec::new();
        for locked in lockfile.packages() {
            let package = published(&registry, locked)?;
            if let Some(record) = registry.get(&locked.name, &locked.version)? {
                parts.push(Part { locked, record, package });
            }
        }
        // Named by its content: whoever makes it twice gets it twice.
        let identity = Uuid::new_v5(&Uuid::NAMESPACE_OID, Digest::of(lockfile.to_string().as_bytes()).as_bytes());
        Ok(match form {
            Form::CycloneDx => cyclonedx(&lockfile, &parts, identity, host.now()),
            Form::Spdx => spdx(&lockfile, &parts, identity, host.now()),
        })
    }
}

fn cyclonedx(lockfile: &Lockfile, parts: &[Part<'_>], identity: Uuid, now: OffsetDateTime) -> Json {
    let component = |part: &Part<'_>| {
        let (about, digests) = (&part.package.about, &part.record.release.digests);
        let mut component = json!({
            "type": component_type(part.package.kind),
            "bom-ref": part.purl(),
            "name": part.locked.name,
            "version": part.locked.version.to_string(),
            "purl": part.purl(),
            "hashes": [
                {"alg": "SHA-256", "content": digests.sha256},
                {"alg": "SHA-512", "content": digests.sha512},
                {"alg": "BLAKE3", "content": digests.blake3.to_hex()},
            ],
        });
        for (field, value) in [("description", &about.description), ("author", &about.author)] {
            if let Some(value) = value {
                component[field] = json!(value);
            }
        }
        if let Some(licence) = &about.license {
            let is_expression = Expression::parse(licence).is_ok();
            component["licenses"] = match is_expression {
                true => json!([{"expression": licence}]),
                false => json!([{"license": {"name": licence}}]),
            };
        }
        let links = [("website", &about.homepage), ("vcs", &about.repository)];
        let links: Vec<Json> =
            links.into_iter().filter_map(|(kind, url)| Some(json!({"type": kind, "url": url.as_ref()?}))).collect();
        if !links.is_empty() {
            component["externalReferences"] = json!(links);
        }
        component
    };
    let root = json!({"type": "platform", "bom-ref": "node", "name": "catalog node", "version": lockfile.platform()});
    let asked: Vec<String> = lockfile.roots().iter().filter_map(|root| lockfile.get(&root.name)).map(purl).collect();
    let mut dependencies = vec![json!({"ref": "node", "dependsOn": asked})];
    dependencies.extend(parts.iter().map(|part| {
        let needs = part.locked.dependencies.iter().filter_map(|name| lockfile.get(name)).map(purl);
        json!({"ref": part.purl(), "dependsOn": needs.collect::<Vec<_>>()})
    }));
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": format!("urn:uuid:{identity}"),
        "version": 1,
        "metadata": {"timestamp": published_at(to_second(now)), "tools": [tool()], "component": root},
        "components": parts.iter().map(component).collect::<Vec<_>>(),
        "dependencies": dependencies,
    })
}

fn spdx(lockfile: &Lockfile, parts: &[Part<'_>], identity: Uuid, now: OffsetDateTime) -> Json {
    let package = |part: &Part<'_>| {
        let (about, digests) = (&part.package.about, &part.record.release.digests);
        let declared = about.license.as_deref().filter(|licence| Expression::parse(licence).is_ok());
        let mut package = json!({
            "SPDXID": spdx_id(part.locked),
            "name": part.locked.name,
            "versionInfo": part.locked.version.to_string(),
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": declared.unwrap_or("NOASSERTION"),
            "copyrightText": "NOASSERTION",
            "checksums": [
                {"algorithm": "SHA256", "checksumValue": digests.sha256},
                {"algorithm": "SHA512", "checksumValue": digests.sha512},
                {"algorithm": "BLAKE3", "checksumValue": digests.blake3.to_hex()},
            ],
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                "referenceLocator": part.purl()}],
        });
        for (field, value) in [("description", &about.description), ("homepage", &about.homepage)] {
            if let Some(value) = value {
                package[field] = json!(value);
            }
        }
        package
    };
    let relation = |from: &str, kind: &str, to: &str| json!({"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to});
    let asked = lockfile.roots().iter().filter_map(|root| lockfile.get(&root.name));
    let mut relations: Vec<Json> =
        asked.map(|package| relation("SPDXRef-DOCUMENT", "DESCRIBES", &spdx_id(package))).collect();
    for part in parts {
        let needs = part.locked.dependencies.iter().filter_map(|name| lockfile.get(name));
        relations.extend(needs.map(|need| relation(&spdx_id(part.locked), "DEPENDS_ON", &spdx_id(need))));
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("catalog packages for {}", lockfile.platform()),
        "documentNamespace": format!("https://hypermesh.online/catalog/spdx/{identity}"),
        "creationInfo": {"created": published_at(to_second(now)), "creators": [format!("Tool: catalog-{}", env!("CARGO_PKG_VERSION"))]},
        "packages": parts.iter().map(package).collect::<Vec<_>>(),
        "relationships": relations,
    })
}

impl Part<'_> {
    fn purl(&self) -> String {
        purl(self.locked)
    }
}

/// Names a package as a package URL. Names hold nothing that would have to be escaped, and of versions only `+`.
fn purl(package: &LockedPackage) -> String {
    format!("pkg:hypermesh/{}@{}", package.name, package.version.to_string().replace('+', "%2B"))
}

/// Names a package within an SPDX document: letters, digits, `.` and `-` are allowed (clause 7.2).
fn spdx_id(package: &LockedPackage) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = format!("{}-{}", package.name, package.version).chars().map(plain).collect();
    // `a_b` and `a-b` would be one.
    format!("SPDXRef-{name}-{}", package.digest.short())
}

fn component_type(kind: PackageType) -> &'static str {
    match kind {
        PackageType::JuliaLibrary | PackageType::LuaLibrary => "library",
        PackageType::Container => "container",
        PackageType::MlModel => "machine-learning-model",
        PackageType::DataPipeline => "data",
        PackageType::JuliaProgram
        | PackageType::LuaScript
        | PackageType::WasmModule
        | PackageType::Binary
        | PackageType::Custom => "application",
    }
}

/// SPDX has no fractions of seconds (clause 6.9).
fn to_second(now: OffsetDateTime) -> OffsetDateTime {
    now.replace_nanosecond(0).unwrap_or(now)
}

fn tool() -> Json {
    json!({"vendor": "HyperMesh", "name": "catalog", "version": env!("CARGO_PKG_VERSION")})
}
