//! What several targets share: a small TrustChain, documents signed around any payload, and edits that a fuzzer chooses.
//!
//! Flipped bytes of a signed document stay at its signatures. Here a valid payload is edited as JSON and signed again with keys
//! made at the start, so that what comes behind the signatures meets wrong values, too. The keys differ from run to run, and
//! an input that fails does so with any of them.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::LazyLock;

use data_encoding::BASE64;
use semver::Version;
use serde_json::{Value as Json, json};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use trustchain::certificate::{
    Authority, Certificate, INTERMEDIATE_LIFETIME, IntermediateOptions, LeafKey, LeafOptions, PUBLISHER_LIFETIME,
    Purpose, ROOT_LIFETIME, SubjectName, Validity,
};
use trustchain::digest::{Artifact, Blake3, Nonce, Sha256};
use trustchain::envelope::{Release, VerifyOptions};
use trustchain::feed::{Action, Entry};
use trustchain::genesis::{Allotment, Genesis};
use trustchain::hybrid::{ALGORITHMS, SecretKey};
use trustchain::path::{Hybrid, Revocation, Roots};
use trustchain::proof::space::Plot;
use trustchain::proof::work::solve;
use trustchain::proof::{
    self, Challenge, Claim, JudgeOptions, Operation, OperationKind, OperationProof, Profile, SignedStake, Space, Stake,
    Time, Work, WorkState, WorkloadType, combined,
};
use trustchain::quorum::{Attestation, Decision, Statement, ValidatorSet};

/// The time of every target.
pub const NOW: OffsetDateTime = datetime!(2030-01-01 12:00 UTC);
/// The domain of the publisher.
pub const ACME: &str = "acme.pub.trustchain";
/// What the validators ask for.
pub const PROFILE: Profile = Profile { space_bytes_min: SPACE_BYTES, ..Profile::LOCALHOST };
/// The most edits of one input; more say nothing new and cost time.
const EDITS_MAX: usize = 8;
/// How large edits let a document grow, in bytes: beyond every bound on one field, and small enough that copies of copies do
/// not fill the memory.
const EDITED_BYTES_MAX: usize = 64 * 1024;
/// The space that is proved: small, so that an input is read quickly, and with a tree above it.
const SPACE_BYTES: u64 = 256;

/// A root, an authority below it, and a publisher below that.
pub struct Pki {
    /// The root.
    pub root: Authority,
    /// The root's keys.
    pub root_keys: SecretKey,
    /// The publisher's keys.
    pub keys: SecretKey,
    /// The publisher's certificate and the authority's.
    pub chain: Vec<Certificate>,
    /// The root, pinned.
    pub roots: Roots,
}

/// A cluster of four validators, and a proof that all of them accept.
pub struct Cluster {
    /// The validators and stakes.
    pub genesis: Genesis,
    /// The keys of the validators.
    pub validators: Vec<SecretKey>,
    /// Who can agree.
    pub set: ValidatorSet,
    /// What a requester shows.
    pub claim: Claim,
    /// The same, signed.
    pub proof: OperationProof,
    /// What each validator says of it.
    pub attestations: Vec<Attestation>,
}

/// The TrustChain of a run.
pub static PKI: LazyLock<Pki> = LazyLock::new(|| Pki::new().expect("issues"));
/// The cluster of a run.
pub static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::new(&PKI).expect("issues"));

impl Pki {
    /// Makes one with new keys.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn new() -> Result<Self, Box<dyn Error>> {
        let root_keys = SecretKey::generate()?;
        let root = Authority::root("root", root_keys.clone(), validity(ROOT_LIFETIME))?;
        let authority = intermediate(&root, Purpose::Publisher, &[ACME.to_owned()])?;
        let keys = SecretKey::generate()?;
        let leaf = authority.leaf(&LeafOptions {
            common_name: "acme",
            key: LeafKey::Hybrid(&keys.public()),
            purpose: Purpose::Publisher,
            names: &[SubjectName::namespace("acme")?],
            validity: validity(PUBLISHER_LIFETIME),
        })?;
        let roots = Roots::new(vec![root.certificate().clone()], Hybrid::Required)?;
        Ok(Self { root, root_keys, keys, chain: vec![leaf, authority.certificate().clone()], roots })
    }

    /// Says how whatever is below the root is verified.
    pub fn options(&self) -> VerifyOptions<'_> {
        VerifyOptions { roots: &self.roots, chain: None, at: NOW, revocation: Revocation::Unchecked }
    }
}

impl Cluster {
    fn new(pki: &Pki) -> Result<Self, Box<dyn Error>> {
        let authority = intermediate(&pki.root, Purpose::Validator, &[])?;
        let (mut validators, mut chains) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let keys = SecretKey::generate()?;
            let leaf = authority.leaf(&LeafOptions {
                common_name: "validator",
                key: LeafKey::Hybrid(&keys.public()),
                purpose: Purpose::Validator,
                names: &[SubjectName::dns("v.hypermesh.online")?],
                validity: validity(Duration::days(90)),
            })?;
            validators.push(keys);
            chains.push(vec![leaf, authority.certificate().clone()]);
        }
        let mut ids: Vec<Sha256> = validators.iter().map(id).collect();
        ids.sort();
        let stakes = vec![Allotment { amount: 10_000, holder: "acme".into(), id: id(&pki.keys) }];
        let genesis = Genesis { cluster: "test".into(), epoch: 3, stakes, validators: ids };
        let (set, _) = ValidatorSet::new(&genesis, &chains, &pki.roots, NOW, Revocation::Unchecked)?;
        let claim = claim(&genesis, &pki.keys)?;
        let proof = OperationProof::parse(&proof::seal(&claim, &pki.chain, &pki.keys)?)?;
        let attest = |keys| {
            let statement = Statement::about(&proof, &PROFILE.name, id(keys), Decision::Accept);
            Attestation::seal(&statement, keys)
        };
        let attestations = validators.iter().map(attest).collect::<Result<_, _>>()?;
        Ok(Self { genesis, validators, set, claim, proof, attestations })
    }

    /// Says how a proof is judged.
    pub fn options<'a>(&'a self, pki: &'a Pki) -> JudgeOptions<'a> {
        let (roots, genesis, profile) = (&pki.roots, &self.genesis, &PROFILE);
        JudgeOptions { roots, genesis, profile, now: NOW, revocation: Revocation::Unchecked }
    }
}

/// Names keys by their fingerprint.
pub fn id(keys: &SecretKey) -> Sha256 {
    Sha256::from_bytes(keys.public().fingerprint())
}

/// Gives a release as a publisher states it.
pub fn release() -> Release {
    Release {
        package: "acme/vec".to_owned(),
        version: "1.2.0".parse().expect("a version"),
        artifact: Artifact::of(b"archive"),
        manifest: Blake3::of(b"manifest"),
        lock: Some(Blake3::of(b"lock")),
        signed_at: NOW,
        tool: "seeds".to_owned(),
    }
}

/// Gives a feed with every action in it.
pub fn feed() -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for number in 0..8_u64 {
        let action = match number % 4 {
            0 => Action::Publish { release: Sha256::of(&number.to_le_bytes()) },
            1 => Action::Yank { reason: "broken".into() },
            2 => Action::Restore,
            _ => Action::Own {
                after: (number > 4).then(|| Sha256::of(b"the step before")),
                former: BTreeMap::from([("former.pub.trustchain".to_owned(), number)]),
                owners: vec![ACME.to_owned(), "other.pub.trustchain".to_owned()],
            },
        };
        let version = Version::new(1, 0, number / 4);
        let about = (!matches!(action, Action::Own { .. })).then_some(&version);
        let entry = Entry::after(entries.last(), ACME, ("acme/vec", about), action, NOW);
        entries.push(entry.expect("a valid entry"));
    }
    entries
}

/// Signs a payload of a kind in an envelope as `trustchain` writes it.
pub fn sealed(kind: &str, payload: &[u8], keys: &SecretKey, chain: &[Certificate]) -> Vec<u8> {
    let signature = keys.sign(&pae(kind, payload)).expect("random bytes");
    envelope(kind, payload, [signature.ed25519.as_bytes(), signature.falcon.as_bytes()], chain)
}

/// Puts signatures of the right form and of nobody around a payload: what is refused by its form needs no others.
pub fn unsigned(kind: &str, payload: &[u8], chain: &[Certificate]) -> Vec<u8> {
    static SIGNATURE: LazyLock<Vec<u8>> =
        LazyLock::new(|| PKI.keys.sign(b"another").expect("random bytes").falcon.as_bytes().to_vec());
    envelope(kind, payload, [&[0; 64], &SIGNATURE], chain)
}

/// The same with the chain named by a digest: certificates take a hundred times as long to read as what is edited.
pub fn unsigned_apart(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut json: Json = serde_json::from_slice(&unsigned(kind, payload, &[])).expect("JSON");
    json["chain"] = json!(Sha256::of(b"chain").to_string());
    canonical(json)
}

/// Gives the payload of an envelope.
pub fn payload(envelope: &[u8]) -> Json {
    let envelope: Json = serde_json::from_slice(envelope).expect("an envelope");
    let payload = BASE64.decode(envelope["payload"].as_str().expect("a text").as_bytes()).expect("base64");
    serde_json::from_slice(&payload).expect("JSON")
}

/// Writes JSON in canonical form, if its numbers have one.
pub fn canonical(mut value: Json) -> Vec<u8> {
    value.sort_all_objects();
    serde_json::to_vec(&value).expect("writes")
}

/// Edits JSON as the bytes say: values are replaced, moved, doubled, removed and added.
pub fn edit(value: &mut Json, mut edits: &[u8]) {
    for _ in 0..EDITS_MAX {
        let (Some(which), Some(how)) = (next(&mut edits), next(&mut edits)) else { return };
        let mut pointers = Vec::new();
        collect(value, String::new(), &mut pointers);
        let pointer = &pointers[usize::from(which) % pointers.len()];
        let copy = value.pointer(&pointers[usize::from(how) % pointers.len()]).cloned();
        let Some(at) = value.pointer_mut(pointer) else { return };
        edit_one(at, how, &mut edits, copy.unwrap_or_default());
        if size(value) > EDITED_BYTES_MAX {
            return;
        }
    }
}

/// Takes one byte off.
pub fn next(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

/// Takes as many bytes off as the first says, or what is left.
pub fn take<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let length = usize::from(next(bytes).unwrap_or(0)).min(bytes.len());
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    taken
}

fn edit_one(at: &mut Json, how: u8, edits: &mut &[u8], copy: Json) {
    match (how % 8, &mut *at) {
        (0, Json::Object(fields)) => {
            let index = usize::from(next(edits).unwrap_or(0)) % fields.len().max(1);
            let name = fields.keys().nth(index).cloned();
            name.and_then(|name| fields.remove(&name));
        }
        (1, Json::Object(fields)) => {
            fields.insert(String::from_utf8_lossy(take(edits)).into_owned(), copy);
        }
        (0, Json::Array(items)) => {
            items.pop();
        }
        (1, Json::Array(items)) => items.push(copy),
        (2, Json::Array(items)) => items.extend(items.clone()),
        (3, Json::Array(items)) => items.reverse(),
        (0, Json::String(text)) => {
            let index = usize::from(next(edits).unwrap_or(0)) % (text.chars().count() + 1);
            let with = String::from_utf8_lossy(take(edits)).into_owned();
            let rest: String = text.chars().skip(index + with.chars().count()).collect();
            *text = text.chars().take(index).collect::<String>() + &with + &rest;
        }
        (1, Json::String(text)) => {
            let times = usize::from(next(edits).unwrap_or(0)).min(EDITED_BYTES_MAX / (text.len() + 1));
            *text = text.repeat(times);
        }
        (0 | 1, Json::Number(number)) => {
            let number = number.as_u64().unwrap_or(0);
            *at = json!(if how & 8 == 0 { number.wrapping_add(1) } else { number.wrapping_sub(1) });
        }
        (2 | 3, Json::Number(_)) => {
            let shift = u32::from(next(edits).unwrap_or(0)) % 64;
            *at = json!((1_u64 << shift).wrapping_sub(u64::from(next(edits).unwrap_or(0))));
        }
        (4, _) => *at = json!(String::from_utf8_lossy(take(edits))),
        (5, _) => *at = serde_json::from_slice(take(edits)).unwrap_or_default(),
        _ => *at = copy,
    }
}

/// Gives about as many bytes as a document has.
fn size(value: &Json) -> usize {
    match value {
        Json::Object(fields) => fields.iter().map(|(name, it)| name.len() + size(it)).sum::<usize>() + 8,
        Json::Array(items) => items.iter().map(size).sum::<usize>() + 8,
        Json::String(text) => text.len() + 8,
        _ => 8,
    }
}

fn collect(value: &Json, at: String, pointers: &mut Vec<String>) {
    match value {
        Json::Object(fields) => fields.iter().for_each(|(name, it)| {
            collect(it, format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), pointers);
        }),
        Json::Array(items) => {
            items.iter().enumerate().for_each(|(index, it)| collect(it, format!("{at}/{index}"), pointers));
        }
        _ => {}
    }
    pointers.push(at);
}

fn envelope(kind: &str, payload: &[u8], signatures: [&[u8]; 2], chain: &[Certificate]) -> Vec<u8> {
    let signature = |(keyid, sig): (&str, &[u8])| json!({"keyid": keyid, "sig": BASE64.encode(sig)});
    let signatures: Vec<Json> = ALGORITHMS.into_iter().zip(signatures).map(signature).collect();
    let mut json = json!({"payload": BASE64.encode(payload), "payloadType": kind, "signatures": signatures});
    if !chain.is_empty() {
        json["x5c"] = chain.iter().map(|certificate| json!(BASE64.encode(certificate.der()))).collect();
    }
    canonical(json)
}

/// The pre-authentication encoding of DSSE 1.0.
fn pae(kind: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

fn validity(lifetime: Duration) -> Validity {
    Validity::starting(NOW - Duration::DAY, lifetime)
}

fn intermediate(root: &Authority, purpose: Purpose, permitted: &[String]) -> Result<Authority, Box<dyn Error>> {
    let keys = SecretKey::generate()?;
    let certificate = root.intermediate(&IntermediateOptions {
        common_name: "authority",
        keys: &keys.public(),
        purpose,
        path_length: 0,
        permitted,
        validity: validity(INTERMEDIATE_LIFETIME),
    })?;
    Ok(Authority::new(certificate, keys)?)
}

/// Makes all four proofs of one operation.
fn claim(genesis: &Genesis, keys: &SecretKey) -> Result<Claim, Box<dyn Error>> {
    let operation = Operation {
        cluster: genesis.cluster.clone(),
        digest: Blake3::of(b"program"),
        epoch: genesis.epoch,
        expires: NOW + Duration::seconds(120),
        kind: OperationKind::Compute,
        nonce: Nonce::from_bytes([7; 32]),
    };
    let challenge = |validator: &Sha256| Challenge { validator: *validator, nonce: Nonce::from_bytes([9; 32]) };
    let challenges: Vec<Challenge> = genesis.validators.iter().map(challenge).collect();
    let challenge = combined(&operation, &challenges)?;
    let (requester, plot) = (id(keys), Plot::new(SPACE_BYTES)?);
    let nodes = plot.fill(requester);
    let stake = Stake {
        cluster: genesis.cluster.clone(),
        stake_amount: 10_000,
        stake_holder: "acme".into(),
        stake_holder_id: requester,
        timestamp: NOW,
    };
    let space = Space {
        file_hash: Sha256::from_bytes(nodes[1]),
        node_id: requester,
        openings: plot.answer_from(challenge, &nodes),
        storage_path: "space".into(),
        timestamp: NOW,
        total_size: plot.size_bytes(),
        total_storage: 1 << 40,
    };
    let work = Work {
        challenges: vec![challenge],
        computational_power: 100,
        difficulty: 5,
        owner_id: requester,
        pid: 1,
        solution: solve(challenge, 5).ok_or("no solution")?,
        timestamp: NOW,
        work_state: WorkState::Completed,
        workload_id: "run".into(),
        workload_type: WorkloadType::Compute,
    };
    Ok(Claim {
        challenges,
        operation,
        requester,
        space: Some(space),
        stake: Some(SignedStake::seal(&stake, keys)?),
        time: Some(Time::new(NOW, 0, 7)),
        work: Some(work),
    })
}
