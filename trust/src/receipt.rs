//! Receipts of runs: which program was given what, what it gave, what it used and in which sandbox, signed by a publisher of
//! the node that ran it.
//!
//! A receipt travels as a signed document ([`crate::document`]). It proves what the node says, not that the node says the
//! truth: whoever must know runs the same program with the same input and compares the digests.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::certificate::{Certificate, Purpose};
use crate::document::{self, Document, Verified};
use crate::envelope::{EnvelopeError, VerifyOptions};
use crate::moment;
use crate::signer::SignerKeys;

/// The kind of document that a receipt is; its version changes when a field does.
pub const RECEIPT_KIND: &str = "application/vnd.hypermesh.receipt.v1+json";
/// The longest text in a receipt, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024;
/// The most layers of a sandbox.
pub const LAYERS_MAX: usize = 64;

/// What a node says of one run that gave a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// How often it was tried, the last time included.
    pub attempts: u32,
    /// The execution's id on its node.
    pub execution: String,
    /// When it ended, by the node's clock.
    #[serde(with = "moment")]
    pub finished_at: OffsetDateTime,
    /// The digest of function and arguments, in their JSON form: `blake3:` and hexadecimal, as all digests here.
    pub input: String,
    /// The node's id.
    pub node: String,
    /// The digest of the value, in its JSON form.
    pub output: String,
    /// The package, `[namespace/]name`.
    pub package: String,
    /// The digest of the package's archive.
    pub package_digest: String,
    /// The digest of the program: the package and everything it requires.
    pub program: String,
    /// The proof to which validators agreed before it ran, if they were asked.
    pub proof: Option<String>,
    /// The sandbox it ran in.
    pub sandbox: Sandbox,
    /// When it started, by the node's clock.
    #[serde(with = "moment")]
    pub started_at: OffsetDateTime,
    /// What it used.
    pub usage: Usage,
    /// The version of the package.
    pub version: String,
}

/// The sandbox of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// How complete it was: `full`, or what was absent.
    pub grade: String,
    /// The layers that were active, by name.
    pub layers: Vec<String>,
    /// The level that the package asks for.
    pub level: String,
}

/// What a run used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Processor time, in microseconds.
    pub cpu_us: u64,
    /// The most memory that was resident, in bytes.
    pub memory_peak_bytes: u64,
    /// Time in the queue, in microseconds.
    pub queued_us: u64,
    /// Wall time, in microseconds.
    pub wall_us: u64,
}

/// A receipt that cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` of the receipt has more than its bound of {most}")]
pub struct TooLong {
    field: &'static str,
    most: usize,
}

impl Receipt {
    /// Checks the bounds of texts and lists.
    ///
    /// # Errors
    /// The first that is too long.
    pub fn check(&self) -> Result<(), TooLong> {
        let texts = [
            ("execution", &self.execution),
            ("input", &self.input),
            ("node", &self.node),
            ("output", &self.output),
            ("package", &self.package),
            ("package_digest", &self.package_digest),
            ("program", &self.program),
            ("version", &self.version),
            ("sandbox.grade", &self.sandbox.grade),
            ("sandbox.level", &self.sandbox.level),
        ];
        let proof = self.proof.iter().map(|proof| ("proof", proof));
        let layers = self.sandbox.layers.iter().map(|layer| ("sandbox.layers", layer));
        let mut all = texts.into_iter().chain(proof).chain(layers);
        if let Some((field, _)) = all.find(|(_, text)| text.len() > TEXT_BYTES_MAX) {
            return Err(TooLong { field, most: TEXT_BYTES_MAX });
        }
        let many = self.sandbox.layers.len() > LAYERS_MAX;
        if many { Err(TooLong { field: "sandbox.layers", most: LAYERS_MAX }) } else { Ok(()) }
    }
}

/// Signs a receipt with every key of a leaf; `chain` is the leaf and the intermediates above it, without the root.
///
/// # Errors
/// Keys that are not the leaf's, a chain that is empty or too long, no randomness.
pub fn seal<'a>(
    receipt: &Receipt,
    signed_at: OffsetDateTime,
    chain: &[Certificate],
    keys: impl Into<SignerKeys<'a>>,
) -> Result<Vec<u8>, EnvelopeError> {
    document::seal(RECEIPT_KIND, receipt, signed_at, chain, keys)
}

/// Checks who signed a receipt: a publisher below the roots of the options.
///
/// # Errors
/// The first reason not to believe it.
pub fn verify(bytes: &[u8], options: &VerifyOptions<'_>) -> Result<Verified<Receipt>, EnvelopeError> {
    Document::<Receipt>::parse(bytes, RECEIPT_KIND)?.verify(Purpose::Publisher, options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::{Hybrid, Revocation, Roots};
    use crate::testing::{NOW, Pki};

    pub(crate) fn receipt() -> Receipt {
        Receipt {
            attempts: 1,
            execution: "64a78dd2-e4f4-44cc-a303-fbae48570238".into(),
            finished_at: NOW,
            input: "blake3:00".into(),
            node: "node".into(),
            output: "blake3:01".into(),
            package: "vec3".into(),
            package_digest: "blake3:02".into(),
            program: "blake3:03".into(),
            proof: None,
            sandbox: Sandbox { grade: "full".into(), layers: vec!["seccomp".into()], level: "standard".into() },
            started_at: NOW,
            usage: Usage { cpu_us: 1, memory_peak_bytes: 2, queued_us: 3, wall_us: 4 },
            version: "1.0.0".into(),
        }
    }

    #[test]
    fn a_receipt_verifies_and_one_that_was_changed_does_not() {
        let pki = Pki::new();
        let chain = [vec![pki.leaf.clone()], pki.intermediates()].concat();
        let bytes = seal(&receipt(), NOW, &chain, &pki.publisher).expect("signs");
        let roots = Roots::new(vec![pki.root.certificate().clone()], Hybrid::Required).expect("a root");
        let options = VerifyOptions { roots: &roots, chain: None, at: NOW, revocation: Revocation::Unchecked };
        assert_eq!(verify(&bytes, &options).expect("verifies").value(), &receipt());
        let other = Receipt { output: "blake3:04".into(), ..receipt() };
        let other = seal(&other, NOW, &chain, &pki.publisher).expect("signs");
        let payload = |bytes: &[u8]| {
            let envelope: serde_json::Value = serde_json::from_slice(bytes).expect("is JSON");
            envelope["payload"].as_str().expect("has a payload").to_owned()
        };
        let forged = String::from_utf8(bytes.clone()).expect("is text").replace(&payload(&bytes), &payload(&other));
        verify(forged.as_bytes(), &options).expect_err("the signatures are of another receipt");
    }

    #[test]
    fn texts_and_lists_are_bounded() {
        receipt().check().expect("is within the bounds");
        let long = Receipt { node: "n".repeat(TEXT_BYTES_MAX + 1), ..receipt() };
        assert_eq!(
            long.check().expect_err("is too long").to_string(),
            "`node` of the receipt has more than its bound of 1024"
        );
        let mut many = receipt();
        many.sandbox.layers = vec![String::new(); LAYERS_MAX + 1];
        many.check().expect_err("are too many");
    }
}
