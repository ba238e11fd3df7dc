//! One run on several nodes whose results are compared: what enough of them give counts, and who gave something else is named.
//!
//! Nobody is believed alone. Digests are made here, from the values; a receipt that says something else than what came with it is
//! forged, and so is one of other arguments. A node that fails, refuses or is slow holds nobody up: as soon as enough agree, or no
//! longer can, the others are told to end. Whether nodes are independent of each other is for whoever chooses them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use stoq::PeerId;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::runs::{self, RanThere, RunAsk};
use super::{Catalog, NetworkError};
use crate::digest::Digest;
use crate::host::{Host, Progress};
use crate::ops::OpError;
use crate::ops::execute::{Execute, Executed, input_digest};
use crate::ops::executions::off_thread;
use crate::vm::Call;
use crate::vm::execution::ExecutionId;

/// The most nodes that run the same: each may answer 16 MiB.
pub const NODES_MAX: usize = 16;
/// How long all nodes together may take, if nobody says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(300);

/// How a run is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Where it runs.
    pub nodes: Nodes,
    /// How many must give the same; more than half, if nobody says.
    pub agree: Option<usize>,
    /// How long all together may take.
    pub deadline: Duration,
}

/// On which nodes something is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// So many: connected peers, those that are least busy and nearest first, and this node if they are too few.
    Count(usize),
    /// These, by their ids, the ends of them, their addresses or names; this one by its own id.
    Named(Vec<String>),
}

/// A result that enough nodes gave.
#[derive(Clone, Debug)]
pub struct Agreed {
    /// What the first of them gave.
    pub executed: Executed,
    /// Who gave what.
    pub agreement: Agreement,
}

/// Who gave what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// How many had to give the same.
    pub agree: usize,
    /// One for each node, in the order in which they were chosen.
    pub votes: Vec<Vote>,
}

/// What one node gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The node's name, or its id where it has none.
    pub node: String,
    /// Its id in the network.
    pub peer: String,
    /// What came of the run there.
    pub given: Given,
    /// What it signs of that; asked for only where nodes differ.
    pub evidence: Option<Evidence>,
}

/// What a node signs of its run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A receipt, by a signer that this node believes, of what it gave.
    Signed {
        /// The text of its envelope.
        envelope: String,
        /// Who signed it.
        signer: String,
    },
    /// None that counts.
    Missing {
        /// Why.
        reason: String,
    },
}

/// What came of a run on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// A value, with what its receipt binds it to.
    Value {
        /// The execution there, whose receipt that node signs when it is asked to.
        execution: ExecutionId,
        /// The digest of the program: the package and everything it requires.
        program: Digest,
        /// The digest of the value.
        output: Digest,
    },
    /// No value: it refuses, cannot be reached, or the program failed.
    Nothing {
        /// Why.
        reason: String,
    },
    /// What it says of the value is not so.
    Forged {
        /// What is not.
        reason: String,
    },
    /// It had not answered when it was decided.
    Unfinished,
}

/// How long nodes that differ may take to sign what they gave.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(10);

/// A node that runs something.
#[derive(Clone)]
struct Chosen {
    name: String,
    peer: PeerId,
    is_here: bool,
}

impl Agreement {
    /// Says what most nodes gave; nothing if as many gave something else.
    pub fn most(&self) -> Option<(Digest, Digest)> {
        let count = self.most_count();
        let results = self.votes.iter().filter_map(|vote| vote.given.result());
        let mut most = results.filter(|result| self.count(*result) == count);
        let first = most.next()?;
        most.all(|other| other == first).then_some(first)
    }

    /// Says how many nodes gave the same, at most.
    pub fn most_count(&self) -> usize {
        let results = self.votes.iter().filter_map(|vote| vote.given.result());
        results.map(|result| self.count(result)).max().unwrap_or_default()
    }

    /// Says who gave what most did not give, or something forged; where there is no most, all who gave something.
    pub fn dissenters(&self) -> impl Iterator<Item = &Vote> {
        let most = self.most();
        self.votes.iter().filter(move |vote| match &vote.given {
            Given::Value { .. } => vote.given.result() != most,
            Given::Forged { .. } => true,
            Given::Nothing { .. } | Given::Unfinished => false,
        })
    }

    fn count(&self, result: (Digest, Digest)) -> usize {
        self.votes.iter().filter(|vote| vote.given.result() == Some(result)).count()
    }

    /// Whether enough can agree yet, if those who have not answered give what most gave.
    fn is_open(&self) -> bool {
        let open = self.votes.iter().filter(|vote| vote.given == Given::Unfinished).count();
        self.most_count() + open >= self.agree
    }
}

impl Given {
    /// The same value of another program is another result.
    fn result(&self) -> Option<(Digest, Digest)> {
        match self {
            Self::Value { program, output, .. } => Some((*program, *output)),
            Self::Nothing { .. } | Self::Forged { .. } | Self::Unfinished => None,
        }
    }

    /// Reads what a node gave of what it was asked.
    fn of(executed: &Executed, ask: &RunAsk) -> Self {
        let forged = |reason: &str| Self::Forged { reason: reason.into() };
        let receipt = &executed.receipt;
        let output = Digest::of(executed.outcome.value.to_json().to_string().as_bytes());
        let call = Call { function: ask.function.clone(), args: ask.arguments.clone() };
        if receipt.output != output {
            return forged("its receipt is of another value than it gave");
        }
        if receipt.input != input_digest(&call) {
            return forged("its receipt is of other arguments than it was asked with");
        }
        let package = &executed.package;
        if (&package.name, package.digest, &*package.version) != (&ask.package, ask.digest, &*ask.version.to_string()) {
            return forged("its receipt is of another package than it was asked for");
        }
        Self::Value { execution: executed.id, program: receipt.program, output }
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.most_count();
        write!(f, "{} of {} nodes must give the same, and {most} did", self.agree, self.votes.len())?;
        self.votes.iter().try_for_each(|vote| write!(f, "; {vote}"))
    }
}

impl fmt::Display for Vote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = &self.node;
        match &self.given {
            Given::Value { execution, program, output } => {
                write!(f, "`{node}` gave `{output}` by program `{}`, execution {execution}", program.short())
            }
            Given::Nothing { reason } => write!(f, "`{node}` gave nothing: {reason}"),
            Given::Forged { reason } => write!(f, "`{node}` cannot be believed: {reason}"),
            Given::Unfinished => write!(f, "`{node}` had not answered"),
        }
    }
}

impl Catalog {
    /// Runs a release on several nodes, and gives what enough of them give.
    ///
    /// # Errors
    /// Nodes that cannot be had; [`NetworkError::NoAgreement`] with what each node gave.
    pub async fn execute_agreed(
        self: &Arc<Self>,
        execute: Execute,
        comparison: Comparison,
        host: Arc<dyn Host>,
    ) -> Result<Agreed, OpError> {
        let until = Instant::now() + comparison.deadline;
        let chosen = self.choose(&comparison.nodes).await?;
        let agree = comparison.agree.unwrap_or(chosen.len() / 2 + 1);
        if agree == 0 || agree > chosen.len() {
            return Err(NetworkError::Agree { agree, nodes: chosen.len() }.into());
        }
        let ask = self.run_ask(execute, false, &host).await?;
        let vote = |node: &Chosen| {
            let (node, peer) = (node.name.clone(), node.peer.to_string());
            Vote { node, peer, given: Given::Unfinished, evidence: None }
        };
        let agreement = Agreement { agree, votes: chosen.iter().map(vote).collect() };
        let mut running = JoinSet::new();
        for (index, node) in chosen.clone().into_iter().enumerate() {
            let (catalog, ask, host) = (Arc::clone(self), ask.clone(), Arc::clone(&host));
            running.spawn(async move { (index, catalog.execute_at(&node, ask, host).await) });
        }
        let told = |vote: &Vote| {
            host.progress(Progress { stage: "agree", subject: vote.to_string(), done: 0, total: 0 });
        };
        match compare(agreement, &ask, running, until, told).await {
            Ok(mut agreed) => {
                if agreed.agreement.dissenters().next().is_some() {
                    self.gather(&mut agreed.agreement, &chosen, &host).await;
                }
                Ok(agreed)
            }
            Err(mut agreement) => {
                self.gather(&mut agreement, &chosen, &host).await;
                Err(NetworkError::NoAgreement(Box::new(agreement)).into())
            }
        }
    }

    /// Has every node that gave a value sign it, so that others can be shown who gave what.
    async fn gather(self: &Arc<Self>, agreement: &mut Agreement, chosen: &[Chosen], host: &Arc<dyn Host>) {
        let mut asking = JoinSet::new();
        for (index, (vote, node)) in agreement.votes.iter().zip(chosen).enumerate() {
            let Given::Value { execution, output, .. } = vote.given else { continue };
            let (catalog, node, host) = (Arc::clone(self), node.clone(), Arc::clone(host));
            asking.spawn(async move {
                let asked = catalog.evidence(&node, execution, output, host);
                let evidence = match tokio::time::timeout(RECEIPT_TIMEOUT, asked).await {
                    Ok(Ok(evidence)) => evidence,
                    Ok(Err(error)) => Evidence::Missing { reason: with_causes(&error) },
                    Err(_) => Evidence::Missing { reason: "it does not answer in time".into() },
                };
                (index, evidence)
            });
        }
        for (index, evidence) in asking.join_all().await {
            agreement.votes[index].evidence = Some(evidence);
        }
    }

    async fn evidence(
        self: Arc<Self>,
        node: &Chosen,
        id: ExecutionId,
        output: Digest,
        host: Arc<dyn Host>,
    ) -> Result<Evidence, OpError> {
        let envelope = if node.is_here {
            let (catalog, host) = (Arc::clone(&self), Arc::clone(&host));
            off_thread(move || catalog.receipt(id, &*host)).await?.envelope
        } else {
            let pool = self.node().await?.pool();
            runs::receipt(&*pool, node.peer, id, &*host).await?
        };
        let checked = off_thread(move || self.check_receipt(envelope.as_bytes(), &*host)).await?;
        let signed = (&*checked.receipt.execution, &*checked.receipt.output);
        if signed != (&*id.to_string(), &*output.to_string()) {
            return Ok(Evidence::Missing { reason: "it signs something else than it gave".into() });
        }
        Ok(Evidence::Signed { envelope: checked.envelope, signer: checked.signer })
    }

    async fn execute_at(
        self: &Arc<Self>,
        node: &Chosen,
        ask: RunAsk,
        host: Arc<dyn Host>,
    ) -> Result<Executed, OpError> {
        if node.is_here {
            return self.execute(ask.into_execute(None), host).await;
        }
        let pool = self.node().await?.pool();
        match runs::run(&*pool, node.peer, &ask, &*host).await? {
            RanThere::Done(executed) => Ok(*executed),
            RanThere::Detached(_) => Err(runs::unexpected(node.peer).into()),
        }
    }

    /// Chooses nodes, each once.
    async fn choose(&self, nodes: &Nodes) -> Result<Vec<Chosen>, OpError> {
        let here = self.node().await?;
        let chosen = |peer: PeerId| {
            let name = here.name_of(peer).unwrap_or_else(|| peer.to_string());
            Chosen { name, peer, is_here: peer == here.peer_id() }
        };
        let asked = match nodes {
            Nodes::Count(count) => *count,
            Nodes::Named(words) => words.len(),
        };
        if !(1..=NODES_MAX).contains(&asked) {
            return Err(NetworkError::Nodes {
                reason: format!("1 to {NODES_MAX} nodes run the same, and not {asked}"),
            }
            .into());
        }
        let mut found: Vec<Chosen> = Vec::with_capacity(asked);
        match nodes {
            Nodes::Count(_) => {
                let mut candidates = self.peer_candidates().await;
                candidates
                    .sort_by_key(|(peer, candidate)| (candidate.load_permille, candidate.round_trip, peer.to_string()));
                found.extend(candidates.into_iter().take(asked).map(|(peer, _)| chosen(peer)));
                if found.len() < asked {
                    found.push(chosen(here.peer_id()));
                }
            }
            Nodes::Named(words) => {
                for word in words {
                    let is_here = *word == here.peer_id().to_string();
                    let peer = if is_here { here.peer_id() } else { self.find_peer(&here, word).await? };
                    if found.iter().any(|other| other.peer == peer) {
                        let reason = format!("`{word}` is named twice; nobody agrees with itself");
                        return Err(NetworkError::Nodes { reason }.into());
                    }
                    found.push(chosen(peer));
                }
            }
        }
        if found.len() < asked {
            let reason = format!("{asked} nodes are asked for, and {} are connected, this one included", found.len());
            return Err(NetworkError::Nodes { reason }.into());
        }
        Ok(found)
    }
}

/// Waits until enough nodes agree, or no longer can. Runs that go on then end when they are dropped.
async fn compare(
    mut agreement: Agreement,
    ask: &RunAsk,
    mut running: JoinSet<(usize, Result<Executed, OpError>)>,
    until: Instant,
    told: impl Fn(&Vote),
) -> Result<Agreed, Agreement> {
    let mut first_of_each: Vec<Executed> = Vec::new();
    while agreement.is_open() {
        let Ok(Some(ended)) = tokio::time::timeout_at(until, running.join_next()).await else { break };
        let (index, result) = match ended {
            Ok(ended) => ended,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => break,
        };
        let given = match &result {
            Ok(executed) => Given::of(executed, ask),
            Err(error) => Given::Nothing { reason: with_causes(error) },
        };
        let vote = &mut agreement.votes[index];
        vote.given = given;
        told(vote);
        let Some(mine) = agreement.votes[index].given.result() else { continue };
        let result_of = |executed: &Executed| (executed.receipt.program, executed.receipt.output);
        if let Ok(executed) = result
            && !first_of_each.iter().any(|other| result_of(other) == mine)
        {
            first_of_each.push(executed);
        }
        if agreement.count(mine) >= agreement.agree
            && let Some(at) = first_of_each.iter().position(|executed| result_of(executed) == mine)
        {
            return Ok(Agreed { executed: first_of_each.swap_remove(at), agreement });
        }
    }
    Err(agreement)
}

fn with_causes(error: &OpError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
