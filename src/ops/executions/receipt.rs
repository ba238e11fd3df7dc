//! Receipts: what a node says of a run, signed by one of its publishers when somebody asks for it, and checked by anybody.

use std::path::Path;
use std::sync::Arc;

use time::OffsetDateTime;
use trustchain::envelope::{EnvelopeError, VerifyOptions};
use trustchain::path::Hybrid;
use trustchain::receipt::{self, Receipt};

use super::record::Record;
use super::{Catalog, OpError, RunError};
use crate::host::{Host, ToSign, wait};
use crate::trust::anchors::{Anchors, AnchorsError};
use crate::trust::policy::Level;
use crate::vm::execution::ExecutionId;

/// The largest receipt that is read, in bytes.
const RECEIPT_BYTES_MAX: u64 = 256 << 10;

/// A receipt that a publisher of a node vouches for.
#[derive(Clone, Debug)]
pub struct CheckedReceipt {
    /// What it says.
    pub receipt: Receipt,
    /// The subject of the signer's certificate.
    pub signer: String,
    /// When it was signed, by the signer's clock.
    pub signed_at: OffsetDateTime,
    /// The text of its envelope.
    pub envelope: String,
}

/// Why a receipt is not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// Nothing can be checked.
    #[error("the roots of this node cannot be used")]
    Anchors(#[from] AnchorsError),
    /// The signature, its chain, or the form.
    #[error("the receipt is not believed")]
    Envelope(#[from] EnvelopeError),
    /// The file cannot be read.
    #[error("cannot read `{path}`")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too large to be a receipt.
    #[error("`{path}` has more than {RECEIPT_BYTES_MAX} bytes and is no receipt")]
    TooLarge {
        /// The file.
        path: String,
    },
    /// It says something else about an execution than this node does.
    #[error("the receipt says something else of execution `{id}` than this node does, in `{field}`")]
    Differs {
        /// The execution.
        id: ExecutionId,
        /// Where.
        field: &'static str,
    },
}

impl Catalog {
    /// Gives the signed receipt of an execution that gave a value; the host signs it the first time. Blocks.
    ///
    /// # Errors
    /// There is no such execution, it gave no value, or nobody signs on this node.
    pub fn receipt(self: &Arc<Self>, id: ExecutionId, host: &dyn Host) -> Result<CheckedReceipt, OpError> {
        let mut record = self.execution(id, host.now())?;
        let envelope = match &record.signed {
            Some(signed) => signed.clone(),
            None => {
                let Some(receipt) = record.receipt.clone() else {
                    return Err(RunError::NoReceipt { id, state: record.state }.into());
                };
                let signed = wait(host.sign(None, &ToSign::Receipt(Box::new(receipt))))?;
                String::from_utf8_lossy(&signed.envelope).into_owned()
            }
        };
        let checked = self.check_receipt(envelope.as_bytes(), host)?;
        if let Some(field) = differs(&record, &checked.receipt) {
            return Err(RunError::from(ReceiptError::Differs { id, field }).into());
        }
        if record.signed.is_none() {
            record.signed = Some(envelope);
            self.runs.journal(host.now())?.note(record);
        }
        Ok(checked)
    }

    /// Checks a receipt in a file, of whatever node that this one believes; what this node knows of the execution must agree.
    /// Blocks.
    ///
    /// # Errors
    /// The first reason not to believe it.
    pub fn verify_receipt(self: &Arc<Self>, path: &Path, host: &dyn Host) -> Result<CheckedReceipt, OpError> {
        let place = || path.display().to_string();
        let unread = |source| ReceiptError::File { path: place(), source };
        if std::fs::metadata(path).map_err(unread).map_err(RunError::from)?.len() > RECEIPT_BYTES_MAX {
            return Err(RunError::from(ReceiptError::TooLarge { path: place() }).into());
        }
        let checked = self.check_receipt(&std::fs::read(path).map_err(unread).map_err(RunError::from)?, host)?;
        let own =
            checked.receipt.execution.parse().ok().and_then(|id| Some((id, self.execution(id, host.now()).ok()?)));
        match own.and_then(|(id, record)| Some((id, differs(&record, &checked.receipt)?))) {
            Some((id, field)) => Err(RunError::from(ReceiptError::Differs { id, field }).into()),
            None => Ok(checked),
        }
    }

    /// Checks a receipt of whatever node that this one believes. Blocks.
    pub(in crate::ops) fn check_receipt(&self, bytes: &[u8], host: &dyn Host) -> Result<CheckedReceipt, OpError> {
        if bytes.len() as u64 > RECEIPT_BYTES_MAX {
            return Err(RunError::from(ReceiptError::TooLarge { path: "the receipt".into() }).into());
        }
        let given = wait(host.anchors())?;
        let hybrid = match self.policy.level() {
            Level::Full => Hybrid::Required,
            Level::Basic => Hybrid::IfPresent,
        };
        let anchors = Anchors::pinned(&given, hybrid, host.now(), &mut self.freshness())
            .map_err(ReceiptError::from)
            .map_err(RunError::from)?;
        let options =
            VerifyOptions { roots: anchors.roots(), chain: None, at: anchors.now(), revocation: anchors.revocation() };
        let verified = receipt::verify(bytes, &options).map_err(ReceiptError::from).map_err(RunError::from)?;
        Ok(CheckedReceipt {
            signer: verified.signer().subject().to_owned(),
            signed_at: verified.signed_at(),
            receipt: verified.into_value(),
            envelope: String::from_utf8_lossy(bytes).into_owned(),
        })
    }
}

/// Names the first field in which a receipt is not that of a record.
fn differs(record: &Record, receipt: &Receipt) -> Option<&'static str> {
    let Some(own) = &record.receipt else { return Some("execution") };
    let pairs = [
        ("package", own.package == receipt.package && own.version == receipt.version),
        ("package_digest", own.package_digest == receipt.package_digest),
        ("program", own.program == receipt.program),
        ("input", own.input == receipt.input),
        ("output", own.output == receipt.output),
        ("proof", own.proof == receipt.proof),
        ("usage", own.usage == receipt.usage),
        ("sandbox", own.sandbox == receipt.sandbox),
    ];
    pairs.iter().find(|(_, same)| !same).map(|(field, _)| *field)
}
