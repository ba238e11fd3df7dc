//! The consensus service as extensions ask for it.

use std::sync::Arc;

use hypermesh_abi::host::Answer;
use hypermesh_abi::records::{ConsensusAnswer, ConsensusRequest};
use hypermesh_abi::{Bag, Code, Error};
use trustchain::digest::Nonce;
use trustchain::proof::OperationKind;

use super::{Ask, Consensus};

/// Answers an extension; a node without validators says what to do.
pub(crate) fn answer(opened: Answer<Arc<Consensus>>, request: Bag) -> Answer<Bag> {
    Box::pin(async move {
        let consensus = opened.await?;
        let ask = read(&consensus, &request.decode()?)?;
        let agreed = consensus.agree(ask).await.map_err(|error| error.to_error())?;
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(Bag::encode(&ConsensusAnswer {
            proof: agreed.agreement.proof().to_string(),
            asked: count(agreed.asked),
            agreed: count(agreed.agreement.validators().len()),
            epoch: agreed.agreement.epoch(),
            expires: agreed.agreement.expires().unix_timestamp(),
            certificate: agreed.certificate,
        })?)
    })
}

fn read(consensus: &Consensus, request: &ConsensusRequest) -> Result<Ask, Error> {
    let wrong = |field: &str, actual: &str, expected: &str| {
        let shown: String = actual.chars().take(80).collect();
        Error::new(Code::INVALID_ARGUMENT, format!("`{field}` is `{shown}`, expected {expected}"))
    };
    let names = OperationKind::ALL.map(OperationKind::as_str).join(", ");
    let kind = OperationKind::named(&request.operation);
    let digest = request.digest.parse();
    if let Some(profile) = request.profile.as_deref().filter(|name| *name != consensus.profile().name) {
        let message = format!("the validators judge by profile `{}` and not `{profile}`", consensus.profile().name);
        return Err(Error::new(Code::CONSENSUS_VALIDATION_FAILED, message)
            .help("ask for the profile of the cluster, or run the operation in another one"));
    }
    let nonce = match &request.nonce {
        Some(nonce) => nonce.parse().map_err(|_| wrong("nonce", nonce, "64 hexadecimal digits"))?,
        None => Nonce::random().map_err(|error| Error::wrap(Code::IO, &error))?,
    };
    Ok(Ask {
        kind: kind.ok_or_else(|| wrong("operation", &request.operation, &format!("one of {names}")))?,
        digest: digest.map_err(|_| wrong("digest", &request.digest, "64 hexadecimal digits"))?,
        nonce,
        minimum: request.minimum as usize,
    })
}
