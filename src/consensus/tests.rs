//! What a host may answer, and what of it counts. The validators are host-sim's real ones.

#[path = "../../host-sim/src/consensus/tests/cluster.rs"]
mod cluster;

use std::future::ready;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use host_sim::consensus::{Ask as HostAsk, Consensus as Validators, ConsensusOptions};
use tempfile::TempDir;
use time::macros::datetime;

use self::cluster::Cluster;
use super::*;
use crate::asset::AssetNeed;
use crate::host::{Lease, Network, Pending, Progress, Signed, ToSign};

const NOW: OffsetDateTime = datetime!(2030-01-01 12:00 UTC);

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::new(NOW, 1_000));
static OTHER: LazyLock<Cluster> = LazyLock::new(|| Cluster::new(NOW, 1_000));

/// A host that has validators and does not always pass on what they say.
struct Liar {
    validators: Arc<Validators>,
    _home: TempDir,
    /// Changes what is asked.
    ask: fn(&mut HostAsk),
    /// Changes what is believed.
    believe: fn(&mut TrustAnchors),
    /// Is shown instead of a new certificate.
    old: Option<Vec<u8>>,
    now: OffsetDateTime,
}

impl Liar {
    fn new(cluster: &Cluster) -> Self {
        let home = tempfile::tempdir().expect("temporary directory");
        let options = ConsensusOptions {
            roots: cluster.roots.clone(),
            genesis: cluster.genesis.clone(),
            validators: cluster.validators.clone(),
            requester: cluster.requester.clone(),
            lists: Vec::new(),
            directory: home.path().to_path_buf(),
            profile: Profile::LOCALHOST,
            clock: Arc::new(|| NOW),
        };
        let validators = Arc::new(Validators::open(options).expect("opens"));
        Self { validators, _home: home, ask: |_| {}, believe: |_| {}, old: None, now: NOW }
    }
}

impl Host for Liar {
    fn now(&self) -> OffsetDateTime {
        self.now
    }

    fn platform(&self) -> String {
        "linux-x86_64".into()
    }

    fn progress(&self, _: Progress) {}

    fn network(&self) -> Network {
        Network::NotGranted
    }

    fn lease<'a>(
        &'a self,
        _: &'a str,
        _: &'a [AssetNeed],
        _: Duration,
    ) -> Pending<'a, Result<Box<dyn Lease>, Refusal>> {
        Box::pin(ready(Err(refusal("nothing is leased"))))
    }

    fn sign<'a>(&'a self, _: Option<&'a str>, _: &'a ToSign) -> Pending<'a, Result<Signed, Refusal>> {
        Box::pin(ready(Err(refusal("nothing is signed"))))
    }

    fn consensus<'a>(&'a self, operation: &'a Operation) -> Pending<'a, Result<Vec<u8>, Refusal>> {
        Box::pin(async move {
            if let Some(old) = &self.old {
                return Ok(old.clone());
            }
            let mut ask = HostAsk {
                kind: Kind::named(operation.kind.as_str()).expect("a kind"),
                digest: operation.digest.to_hex().parse().expect("a digest"),
                nonce: operation.nonce.parse().expect("a number"),
                minimum: operation.minimum as usize,
            };
            (self.ask)(&mut ask);
            let agreed = self.validators.agree(ask).await.map_err(|error| refusal(&error.to_string()))?;
            Ok(agreed.certificate.into_bytes())
        })
    }

    fn anchors<'a>(&'a self) -> Pending<'a, Result<TrustAnchors, Refusal>> {
        let record = self.validators.anchors();
        let mut anchors = TrustAnchors {
            cluster: record.cluster,
            roots: record.roots,
            authorities: record.authorities,
            revocations: record.revocations,
            validators: record.validators,
            genesis: record.genesis,
        };
        (self.believe)(&mut anchors);
        Box::pin(ready(Ok(anchors)))
    }
}

fn refusal(message: &str) -> Refusal {
    Refusal { code: 15, message: message.into(), help: None }
}

fn ask() -> Ask {
    Ask { kind: OperationKind::Execute, digest: Digest::of(b"program"), required: true, minimum: 3 }
}

fn consensus(change: fn(&mut ConsensusConfig)) -> Consensus {
    let mut config = ConsensusConfig::default();
    change(&mut config);
    Consensus::new(config)
}

fn agreed(consensus: &Consensus, host: &Liar, ask: &Ask) -> Result<Option<Agreement>, ConsensusError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
    runtime.block_on(consensus.agreed(ask, host))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {}", with_causes(cause)))
}

#[test]
fn what_a_quorum_signed_for_this_operation_counts() {
    let (host, consensus) = (Liar::new(&CLUSTER), consensus(|_| {}));
    let agreement = agreed(&consensus, &host, &ask()).expect("agrees").expect("was asked");
    assert!(agreement.validators() >= 3 && agreement.epoch() == 1 && agreement.expires() > NOW);
    let again = agreed(&consensus, &host, &ask()).expect("agrees").expect("was asked");
    assert_ne!(agreement.proof(), again.proof(), "each time is proved anew");
    assert!(matches!(consensus.take(&again, NOW), Err(ConsensusError::Used)));
}

#[test]
fn what_the_host_bends_is_refused() {
    let check = |bend: fn(&mut Liar), named: &str| {
        let mut host = Liar::new(&CLUSTER);
        bend(&mut host);
        let error = agreed(&consensus(|_| {}), &host, &ask()).expect_err("refused");
        let text = with_causes(&error);
        assert!(text.contains(named), "{named}: {text}");
    };
    check(|it| it.old = Some(Vec::new()), "malformed");
    check(|it| it.old = Some(b"{\"certificate\": true}".to_vec()), "malformed");
    check(|it| it.ask = |ask| ask.digest = Blake3::of(b"another program"), "is about");
    check(|it| it.ask = |ask| ask.kind = Kind::Generic, "`generic`, expected `compute`");
    check(|it| it.ask = |ask| ask.nonce = Nonce::from_bytes([7; 32]), "another time");
    check(|it| it.now = NOW + time::Duration::minutes(6), "expired");
    check(|it| it.believe = |it| it.roots.clear(), "no root");
    check(|it| it.believe = |it| it.genesis.clear(), "no cluster");
    check(|it| it.believe = |it| it.validators.truncate(2), "is no validator of this epoch");
    check(|it| it.believe = |it| it.roots = other().roots, "no pinned root");
    check(|it| it.believe = |it| it.genesis = other().genesis, "no pinned root");
    check(|it| it.believe = |it| it.validators = other().validators, "is no validator");
    check(|it| it.believe = |it| it.validators[0] = "x".into(), "cannot be read");
    check(|it| it.believe = |it| it.revocations = vec!["{}".into()], "revocation");
}

fn other() -> TrustAnchors {
    let record = Liar::new(&OTHER).validators.anchors();
    TrustAnchors {
        roots: record.roots,
        validators: record.validators,
        genesis: record.genesis,
        ..TrustAnchors::default()
    }
}

#[test]
fn an_old_certificate_is_refused_even_by_who_has_forgotten_it() {
    let mut host = Liar::new(&CLUSTER);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
    let operation = Operation {
        kind: OperationKind::Execute,
        digest: Digest::of(b"program"),
        minimum: 3,
        nonce: Nonce::random().expect("random bytes").to_string(),
        profile: "localhost".into(),
    };
    host.old = Some(runtime.block_on(host.consensus(&operation)).expect("agrees"));
    let error = agreed(&consensus(|_| {}), &host, &ask()).expect_err("refused");
    assert!(matches!(error, ConsensusError::Certificate(QuorumError::Replayed)), "{error}");
}

#[test]
fn who_is_asked_is_the_configurations_to_say() {
    let host = Liar::new(&CLUSTER);
    let (wanted, not) = (ask(), Ask { required: false, ..ask() });
    let check = |change: fn(&mut ConsensusConfig), ask: &Ask| agreed(&consensus(change), &host, ask);
    assert_eq!(check(|_| {}, &not).expect("nobody is asked"), None);
    assert!(check(|it| it.execute = When::Always, &not).expect("agrees").is_some());
    assert_eq!(check(|it| it.execute = When::Never, &not).expect("nobody is asked"), None);
    let error = check(|it| it.execute = When::Never, &wanted).expect_err("refused");
    assert!(matches!(error, ConsensusError::SwitchedOff { setting: "execute" }), "{error}");
    assert!(check(|it| it.execute = When::Never, &Ask { kind: OperationKind::Publish, ..wanted }).is_ok());
    // The validators judged by another profile than this node asks for.
    let error = check(|it| it.profile = ProfileName::Default, &wanted).expect_err("refused");
    assert!(matches!(error, ConsensusError::Certificate(QuorumError::Proof(_))), "{error}");
    let error = check(|_| {}, &Ask { minimum: 5, ..wanted }).expect_err("refused");
    assert!(error.to_string().contains("`5` validators must agree"), "{error}");
}
