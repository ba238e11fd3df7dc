//! Randomness of the operating system, asked for once and checked before anything depends on it.
//!
//! The generator of `fn-dsa` cannot report a failure, so it is never handed the operating system itself: it draws from
//! SHAKE-256 over 64 bytes that were read before.

use fn_dsa::{CryptoRng, RngCore, RngError, SHAKE256};
use zeroize::Zeroizing;

/// Bytes of seed: twice the security of the strongest key here.
const SEED_BYTES: usize = 64;

/// The operating system gave no randomness.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no randomness")]
pub struct EntropyError(#[source] getrandom::Error);

/// A stream of random bytes for one operation.
pub(crate) struct Entropy(SHAKE256);

impl Entropy {
    /// Seeds a stream.
    pub(crate) fn new() -> Result<Self, EntropyError> {
        let mut stream = SHAKE256::new();
        stream.inject(random::<SEED_BYTES>()?.as_ref());
        stream.flip();
        Ok(Self(stream))
    }
}

impl RngCore for Entropy {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, to: &mut [u8]) {
        self.0.extract(to);
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), RngError> {
        self.fill_bytes(to);
        Ok(())
    }
}

impl CryptoRng for Entropy {}

/// Reads random bytes that are wiped when dropped.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, EntropyError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut()).map_err(EntropyError)?;
    Ok(bytes)
}
