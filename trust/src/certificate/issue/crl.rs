//! X.509 revocation lists, for the path validation of transport peers. Their one signature is classical; publishers are
//! revoked by [`crate::revocation`].

use rcgen::{CertificateRevocationListParams, Issuer, RevokedCertParams, SerialNumber};
use time::OffsetDateTime;

use super::{Authority, IssueError, Signer};
use crate::certificate::Serial;

/// What a revocation list is to say.
#[derive(Debug)]
pub struct CrlOptions<'a> {
    /// Its number, higher than that of the one before.
    pub number: u64,
    /// When it is made.
    pub this_update: OffsetDateTime,
    /// When it stops to count.
    pub next_update: OffsetDateTime,
    /// What it revokes.
    pub revoked: &'a [Revoked],
}

/// A certificate that no longer counts for transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Its serial number.
    pub serial: Serial,
    /// Since when.
    pub at: OffsetDateTime,
}

impl Authority {
    /// Writes a revocation list over the certificates that this authority issued, as DER.
    ///
    /// # Errors
    /// A list that ends before it begins.
    pub fn crl(&self, options: &CrlOptions<'_>) -> Result<Vec<u8>, IssueError> {
        let params = self.issuer_params()?;
        let list = CertificateRevocationListParams {
            this_update: options.this_update,
            next_update: options.next_update,
            crl_number: SerialNumber::from(options.number),
            issuing_distribution_point: None,
            revoked_certs: options.revoked.iter().map(entry).collect(),
            key_identifier_method: params.key_identifier_method.clone(),
        };
        let signer = Signer { public: *self.keys.ed25519.public().as_bytes(), secret: &self.keys.ed25519 };
        Ok(list.signed_by(&Issuer::from_params(&params, signer))?.der().to_vec())
    }
}

fn entry(revoked: &Revoked) -> RevokedCertParams {
    RevokedCertParams {
        serial_number: SerialNumber::from_slice(revoked.serial.as_bytes()),
        revocation_time: revoked.at,
        reason_code: None,
        invalidity_date: None,
    }
}
