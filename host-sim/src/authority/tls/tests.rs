//! Judging certificates without a connection, and asking with one that no home would show.

use std::net::SocketAddr;

use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use trustchain::ed25519;
use trustchain::revocation::Reason;

use super::super::{ANSWER_BYTES_MAX, Answer, QUESTION_BYTES_MAX, Question, broken, receive, send};
use super::*;
use crate::trust::{DEFAULT_PUBLISHER, InitOptions};

/// What stands before the secret of an Ed25519 key in PKCS #8 (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// Asks for lists with a certificate and its key as they are.
pub(crate) async fn ask_as(
    home: &Path,
    leaf: Certificate,
    keys: &ed25519::SecretKey,
    address: SocketAddr,
) -> Result<Answer, Error> {
    let pkcs8 = [&PKCS8_PREFIX[..], keys.expose()].concat();
    let key = aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8)).expect("is a key");
    let key = CertifiedKey::new(vec![leaf.der().clone()], key).into();
    let config = client(Believed::home(home)?, Some(key))?;
    let stream = TcpStream::connect(address).await.expect("connects");
    let name = ServerName::try_from(AUTHORITY_NAME).expect("is a name");
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.map_err(|error| broken(&error))?;
    send(&mut stream, &Question::Lists, QUESTION_BYTES_MAX).await?;
    receive(&mut stream, ANSWER_BYTES_MAX).await
}

#[test]
fn a_chain_is_judged_by_what_the_home_believes_when_a_connection_begins() {
    let home = tempfile::tempdir().expect("temporary directory");
    let unlock = Unlock::key_file();
    let trust = TrustHome::init(home.path(), &InitOptions::default(), &unlock).expect("makes certificates");
    let judge = |believed| Judge { believed, provider: provider() };
    let read = || judge(Believed::home(home.path()).expect("believes its root"));
    let own = read();
    let ders = |name: &str| -> Vec<CertificateDer<'static>> {
        trust.chain(name).expect("is there").iter().map(|one| one.der().clone()).collect()
    };
    let name = ServerName::try_from(AUTHORITY_NAME).expect("is a name");
    let as_server = |judge: &Judge, chain: &[CertificateDer<'_>]| {
        judge.verify_server_cert(&chain[0], &chain[1..], &name, &[], UnixTime::now()).map(drop)
    };
    let as_client = |judge: &Judge, chain: &[CertificateDer<'_>]| {
        judge.verify_client_cert(&chain[0], &chain[1..], UnixTime::now()).map(drop)
    };
    let node = ders(NODE);
    as_server(&own, &node).expect("the node of this home is the authority");
    as_client(&own, &node).expect("and a node");
    trust.issue(&crate::trust::IssueOptions::new(Purpose::Node, "n1"), &unlock).expect("issues");
    as_client(&own, &ders("n1")).expect("is a node");
    for (what, refused) in [
        ("a node that is not the authority", as_server(&own, &ders("n1"))),
        ("a publisher", as_client(&own, &ders(DEFAULT_PUBLISHER))),
        ("an authority", as_client(&own, &ders("node-authority"))),
        ("a leaf alone", as_client(&own, &node[..1])),
        ("no certificate", as_client(&own, &[CertificateDer::from(vec![0x30, 0])])),
        ("too many", as_client(&own, &vec![node[0].clone(); INTERMEDIATES_MAX + 2])),
    ] {
        assert!(matches!(refused, Err(rustls::Error::InvalidCertificate(_))), "{what}: {refused:?}");
    }
    let fingerprint = trust.root().expect("reads").fingerprint();
    let with_root = [&node[..], &[trust.root().expect("reads").der().clone()]].concat();
    as_server(&judge(Believed::Root(fingerprint)), &with_root).expect("its root comes along");
    assert!(as_server(&judge(Believed::Root(fingerprint)), &node).is_err(), "its root does not");
    let other = Fingerprint::from_bytes([7; 32]);
    assert!(as_server(&judge(Believed::Root(other)), &with_root).is_err());
    trust.revoke("n1", Reason::Superseded, None, &unlock).expect("revokes");
    assert!(as_client(&read(), &ders("n1")).expect_err("is revoked").to_string().contains("Revoked"));
}
