//! What can be typed behind `trust`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueHint};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use trustchain::certificate::Purpose;
use trustchain::revocation::Reason;

use crate::cli::arguments::Passphrase;

/// Certificates of this home.
#[derive(Debug, Args)]
pub(crate) struct Trust {
    #[command(subcommand)]
    pub(crate) command: TrustCommand,
    #[command(flatten)]
    pub(crate) passphrase: Passphrase,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TrustCommand {
    /// Make a root, its authorities, a publisher, the node's certificate, four validators and revocation lists
    #[command(
        after_help = "Examples:\n  host-sim trust init\n  host-sim trust init --name 'Acme Ltd' --namespace acme\n  host-sim trust init --passphrase-file /run/secrets/trust"
    )]
    Init(Init),
    /// Issue a certificate; its keys are made here, or stay with whoever sent a request
    #[command(
        after_help = "Examples:\n  host-sim trust issue publisher acme --namespace acme --days 90\n  host-sim trust issue node worker-7 --address 192.0.2.7 --hours 24\n  host-sim trust issue publisher acme --request acme.request.json\n  host-sim trust issue publisher small --classical"
    )]
    Issue(Issue),
    /// Make keys here and a request for a certificate, which the authority of another home issues within ten minutes
    #[command(
        after_help = "Examples:\n  host-sim trust request publisher acme --out acme.request.json\n\nThe authority answers with NAME.pem, which belongs into HOME/trust/; its root belongs into HOME/trust/roots/ and its\nrevocation lists into HOME/trust/lists/."
    )]
    Request(Request),
    /// Give a certificate a new serial number and time, or an authority
    #[command(
        after_help = "Examples:\n  host-sim trust renew node\n  host-sim trust renew acme --new-keys\n  host-sim trust renew publisher-authority --new-keys\n\nWhat is replaced counts until its end, unless it is revoked."
    )]
    Renew(Renew),
    /// Revoke a certificate and sign the new revocation lists
    #[command(
        after_help = "Examples:\n  host-sim trust revoke acme --reason key-compromise --effective 2030-01-01T00:00:00Z\n  host-sim trust revoke 4f3c9a1be2 --reason superseded"
    )]
    Revoke(Revoke),
    /// Let several roots decide together, so that the stolen keys of one decide nothing
    #[command(
        after_help = "Examples:\n  host-sim trust roots\n  host-sim trust roots propose --threshold 2 --with b/root.pem --with c/root.pem --out set.json\n  host-sim trust roots sign set.json\n  host-sim trust roots accept set.json\n\nA proposal goes from home to home until enough roots have signed it; each home accepts it then. Authorities and the start\nof the cluster count from then on as far as the set names them. If the keys of a root are stolen, another root certifies\nthe authorities (certify, and accept in their home), and the next set leaves it out: propose --without."
    )]
    Roots(Roots),
    /// Answer other homes: let them join with a token, renew what is due, give lists, say what was revoked
    #[command(
        after_help = "Examples:\n  host-sim trust serve --listen 127.0.0.1:8443\n  host-sim trust serve --listen 0.0.0.0:8443 --may-revoke n1\n\nThe keys of this home's authorities must be here. Homes that have joined are answered over TLS 1.3 with their certificates."
    )]
    Serve(Serve),
    /// Make a token that lets one home join under a name, once
    #[command(
        after_help = "Examples:\n  host-sim trust token n7 --out n7.token\n  host-sim trust token n7 --out n7.token --minutes 60"
    )]
    Token(MakeToken),
    /// Make this home a member of an authority that serves; it must have no certificates yet
    #[command(
        after_help = "Examples:\n  host-sim trust join 192.0.2.1:8443 --token-file n7.token\n  HYPERMESH_TOKEN=$(cat n7.token) host-sim trust join 192.0.2.1:8443\n\nKeys are made here and stay here. A node that is up asks its authority every minute."
    )]
    Join(Join),
    /// Fetch renewed certificates and the newest revocation lists from the authority of this home, or a chain by its name
    #[command(after_help = "Examples:\n  host-sim trust fetch\n  host-sim trust fetch n2")]
    Fetch(Fetch),
    /// Ask the authority of this home whether a certificate counts
    #[command(after_help = "Examples:\n  host-sim trust status 4f3c9a1be25d60718293a4b5c6d7e8f9")]
    Status(Status),
    /// Show the revocation lists; sign those again that are about to end
    #[command(after_help = "Examples:\n  host-sim trust crl\n  host-sim trust crl --renew")]
    Crl(Crl),
    /// Show the certificates of this home, or one of them, or those of a file
    #[command(
        after_help = "Examples:\n  host-sim trust show\n  host-sim trust show local\n  host-sim trust show ./somebody.pem --json"
    )]
    Show(Show),
    /// Say whether a certificate is trusted, by this home or by given roots; exit code 5 says that it is not
    #[command(
        after_help = "Examples:\n  host-sim trust verify --leaf local\n  host-sim trust verify --roots root.pem --intermediates authority.pem --leaf leaf.pem --eku codeSigning\n  host-sim trust verify --roots ca.pem --leaf site.pem --profile webpki --name example.org --at 2030-01-01T00:00:00Z\n  host-sim trust verify --batch < cases.jsonl\n\nThe profile trustchain is what hosts and extensions use: strict X.509 with Ed25519 keys, and both algorithms unless\n--classical is given. The profile webpki is rustls-webpki alone, with ECDSA, RSA and Ed25519.\n\nA batch is one JSON object a line: roots, intermediates and leaf (PEM or a list of PEM), crls, at, eku, name, profile,\nhybrid (false as --classical), and an id that the answer repeats."
    )]
    Verify(Verify),
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Who stands behind the root, up to 40 characters [default: a random name]
    #[arg(long, value_name = "ORG")]
    pub(crate) name: Option<String>,
    /// Let publishers have these namespaces only, as a constraint of their authority
    #[arg(long, value_name = "NS")]
    pub(crate) namespace: Vec<String>,
    /// Make a root and nothing below it, for a home that signs root sets
    #[arg(long, conflicts_with = "namespace")]
    pub(crate) root_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Roots {
    #[command(subcommand)]
    pub(crate) command: Option<RootsCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RootsCommand {
    /// Write down the next root set: the authorities and the start of the cluster of this home count by it
    #[command(
        after_help = "Examples:\n  host-sim trust roots propose --threshold 2 --with b/root.pem --with c/root.pem --out set.json\n  host-sim trust roots propose --without stolen.pem --with new/root.pem --out set-2.json"
    )]
    Propose(Propose),
    /// Sign a proposal with the root of this home
    #[command(after_help = "Examples:\n  host-sim trust roots sign set.json")]
    Sign(CosignRoots),
    /// Take a root set that enough roots have signed, or a certificate that another root gave an authority of this home
    #[command(
        after_help = "Examples:\n  host-sim trust roots accept set.json\n  host-sim trust roots accept publisher-authority.certified.json"
    )]
    Accept(Accept),
    /// Certify an authority of another home with the root of this one, which its root set must name
    #[command(
        after_help = "Examples:\n  host-sim trust roots certify a/publisher-authority.pem --out publisher-authority.certified.json\n\nThe revocation list of this root comes along; do it again before the list ends."
    )]
    Certify(Certify),
}

#[derive(Debug, Args)]
pub(crate) struct Propose {
    /// How many roots must sign [default: as before, or more than half of them]
    #[arg(long, value_name = "N")]
    pub(crate) threshold: Option<usize>,
    /// A root to take in
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) with: Vec<PathBuf>,
    /// A root to leave out
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) without: Vec<PathBuf>,
    /// An authority of another home that is to count
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) authority: Vec<PathBuf>,
    /// Where to write the proposal
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CosignRoots {
    /// The proposal, in which the signature is written
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Accept {
    /// The root set or the certification
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Certify {
    /// The authority
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) authority: PathBuf,
    /// Where to write its certificate and the lists of the root
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Issue {
    /// What it is for
    #[arg(value_name = "PURPOSE", value_parser = purposes())]
    pub(crate) purpose: Purpose,
    /// Its name in this home
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// A namespace that it speaks for, as `acme` or `acme.pub.trustchain` [default: its name]
    #[arg(long, value_name = "NS")]
    pub(crate) namespace: Vec<String>,
    /// An address that a node speaks for
    #[arg(long, value_name = "IP")]
    pub(crate) address: Vec<IpAddr>,
    #[command(flatten)]
    pub(crate) lifetime: Lifetime,
    /// A certificate request of whoever holds the keys
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) request: Option<PathBuf>,
    /// Give a publisher an Ed25519 key alone; only nodes of the trust level `basic` take packages of it
    #[arg(long, conflicts_with = "request")]
    pub(crate) classical: bool,
    /// Name both keys in the certificate of a node, which then proves both to its peers
    #[arg(long, conflicts_with = "classical")]
    pub(crate) hybrid: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Request {
    /// What it is for
    #[arg(value_name = "PURPOSE", value_parser = purposes())]
    pub(crate) purpose: Purpose,
    /// Its name in this home
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// A namespace that it is to speak for [default: its name]
    #[arg(long, value_name = "NS")]
    pub(crate) namespace: Vec<String>,
    /// Where to write the request
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Lifetime {
    /// How many days it is valid [default: 365, a node 1, an authority 1095]
    #[arg(long, value_name = "N", conflicts_with = "hours", value_parser = clap::value_parser!(i64).range(1..=3650))]
    pub(crate) days: Option<i64>,
    /// How many hours it is valid
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=87_600))]
    pub(crate) hours: Option<i64>,
}

#[derive(Debug, Args)]
pub(crate) struct Renew {
    /// The name of the certificate
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Make new keys, too
    #[arg(long)]
    pub(crate) new_keys: bool,
    /// Name both keys in the certificate of a node from now on
    #[arg(long, conflicts_with = "new_keys")]
    pub(crate) hybrid: bool,
    #[command(flatten)]
    pub(crate) lifetime: Lifetime,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The name or the serial number of the certificate
    #[arg(value_name = "NAME|SERIAL")]
    pub(crate) target: String,
    /// Why
    #[arg(long, value_name = "REASON", default_value = "cessation-of-operation", value_parser = reasons())]
    pub(crate) reason: Reason,
    /// Since when it does not count, for a compromise the earliest suspicion [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) effective: Option<OffsetDateTime>,
    /// Ask the authority of this home, which signs the lists; a member may revoke its own
    #[arg(long, conflicts_with = "effective")]
    pub(crate) remote: bool,
    /// Do it without asking at a terminal
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443")]
    pub(crate) listen: SocketAddr,
    /// A member that may revoke every certificate, and not only its own
    #[arg(long, value_name = "NAME")]
    pub(crate) may_revoke: Vec<String>,
    /// Name both keys in the certificates of nodes that join
    #[arg(long)]
    pub(crate) hybrid: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MakeToken {
    /// The name of the member
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Where to write the token; the file must not be there
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: PathBuf,
    /// How long it waits
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(i64).range(1..=10_080))]
    pub(crate) minutes: i64,
}

#[derive(Debug, Args)]
pub(crate) struct Join {
    /// Where the authority answers
    #[arg(value_name = "ADDRESS")]
    pub(crate) address: SocketAddr,
    /// Read the token from this file [default: HYPERMESH_TOKEN]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// The name of a certificate in the home of the authority
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The serial number in hexadecimal
    #[arg(value_name = "SERIAL")]
    pub(crate) serial: String,
}

#[derive(Debug, Args)]
pub(crate) struct Crl {
    /// Sign every list again, whether it is about to end or not
    #[arg(long)]
    pub(crate) renew: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The name of a certificate, or a file
    #[arg(value_name = "NAME|FILE", value_hint = ValueHint::FilePath)]
    pub(crate) what: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The roots that are believed [default: what this home believes]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) roots: Vec<PathBuf>,
    /// What came with the certificate
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) intermediates: Vec<PathBuf>,
    /// The certificate in question: a file, or a name in this home
    #[arg(long, value_name = "FILE|NAME", value_hint = ValueHint::FilePath, required_unless_present = "batch")]
    pub(crate) leaf: Option<String>,
    /// X.509 revocation lists; without any, given roots are asked about no revocation
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "roots")]
    pub(crate) crl: Vec<PathBuf>,
    /// The time for which the answer holds [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) at: Option<OffsetDateTime>,
    /// The usage: publisher, node, validator, codeSigning, serverAuth, clientAuth or a dotted number [default: the leaf's]
    #[arg(long, value_name = "EKU", value_parser = usage)]
    pub(crate) eku: Option<String>,
    /// The domain or address that the certificate must speak for
    #[arg(long, value_name = "DNS")]
    pub(crate) name: Option<String>,
    /// Who judges
    #[arg(long, default_value = "trustchain", value_parser = ["trustchain", "webpki"])]
    pub(crate) profile: String,
    /// Also accept paths with one algorithm; needs --roots
    #[arg(long)]
    pub(crate) classical: bool,
    /// Judge the cases on standard input, one JSON object a line
    #[arg(long, conflicts_with_all = ["leaf", "roots"])]
    pub(crate) batch: bool,
}

/// Reads a time.
pub(super) fn moment(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| format!("`{text}` is not a time as in 2030-01-01T00:00:00Z"))
}

/// Reads a usage.
pub(super) fn usage(text: &str) -> Result<String, String> {
    host_sim::trust::usage_of(text).ok_or_else(|| {
        format!("`{text}` is no usage, expected publisher, node, validator, codeSigning, serverAuth, clientAuth or a dotted number")
    })
}

fn purposes() -> impl TypedValueParser<Value = Purpose> {
    PossibleValuesParser::new(["publisher", "node", "validator"]).map(|text| match text.as_str() {
        "publisher" => Purpose::Publisher,
        "node" => Purpose::Node,
        _ => Purpose::Validator,
    })
}

fn reasons() -> impl TypedValueParser<Value = Reason> {
    let names =
        ["key-compromise", "affiliation-changed", "superseded", "cessation-of-operation", "privilege-withdrawn"];
    PossibleValuesParser::new(names).map(|text| match text.as_str() {
        "key-compromise" => Reason::KeyCompromise,
        "affiliation-changed" => Reason::AffiliationChanged,
        "superseded" => Reason::Superseded,
        "privilege-withdrawn" => Reason::PrivilegeWithdrawn,
        _ => Reason::CessationOfOperation,
    })
}
