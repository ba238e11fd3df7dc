//! An authority and homes that ask it, over TLS on the loopback: who is answered, and every reason to refuse.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use trustchain::certificate::{LeafKey, LeafOptions, Purpose, SubjectName, Validity};
use trustchain::ed25519;

use super::*;
use crate::trust::{
    Anchors, DEFAULT_PUBLISHER, InitOptions, KeyKind, NODE, TOKENS_MAX, Token, TrustHome, Unlock, directory,
};

/// A home that serves until it is dropped.
struct Authority {
    home: TempDir,
    trust: TrustHome,
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

/// A home that asks.
struct Member {
    home: TempDir,
    trust: TrustHome,
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Authority {
    async fn new() -> Self {
        let home = empty();
        TrustHome::init(home.path(), &InitOptions::default(), &unlock()).expect("makes certificates");
        Self::of(home).await
    }

    async fn of(home: TempDir) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        let revokers = vec!["chief".to_owned()];
        let options = ServeOptions { home: home.path().to_owned(), unlock: unlock(), revokers, keys: KeyKind::Hybrid };
        let task = tokio::spawn(async move { serve(listener, options, std::future::pending()).await.expect("serves") });
        let trust = TrustHome::open(home.path()).expect("opens");
        Self { home, trust, address, task }
    }

    async fn join(&self, name: &str) -> Member {
        let token = self.trust.token(name, time::Duration::HOUR).expect("makes one");
        let home = empty();
        join(home.path(), self.address, &token, &unlock()).await.expect("joins");
        let trust = TrustHome::open(home.path()).expect("opens");
        Member { home, trust }
    }
}

impl Member {
    async fn ask(&self, question: Question) -> Result<Answer, Error> {
        ask(self.home.path(), &question, &unlock()).await
    }

    async fn refused(&self, question: Question) -> (Code, String) {
        let error = self.ask(question).await.expect_err("refused");
        (error.code, error.to_string())
    }

    async fn standing(&self, serial: &str) -> Standing {
        match self.ask(Question::Status { serial: serial.to_owned() }).await.expect("answers") {
            Answer::Status(standing) => standing,
            other => panic!("{other:?}"),
        }
    }

    fn serial(&self) -> String {
        self.trust.chain(NODE).expect("is there")[0].serial().to_string()
    }

    /// Sends bytes as they are and gives the answer.
    async fn raw(&self, address: SocketAddr, bytes: &[u8]) -> Result<Answer, Error> {
        let config = tls::member(self.home.path(), &unlock()).expect("has a certificate");
        raw(address, config, bytes).await
    }
}

async fn raw(address: SocketAddr, config: rustls::ClientConfig, bytes: &[u8]) -> Result<Answer, Error> {
    let stream = TcpStream::connect(address).await.expect("connects");
    let name = ServerName::try_from(AUTHORITY_NAME).expect("is a name");
    let mut stream =
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| broken(&error))?;
    stream.write_all(bytes).await.map_err(|error| broken(&error))?;
    receive(&mut stream, ANSWER_BYTES_MAX).await
}

fn framed(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len()).expect("is short").to_be_bytes(), text.as_bytes()].concat()
}

fn refusal(answer: Result<Answer, Error>) -> String {
    match answer.expect("answers") {
        Answer::Refused(record) => format!("{} {}", record.code, record.message),
        other => panic!("{other:?}"),
    }
}

fn empty() -> TempDir {
    tempfile::tempdir().expect("temporary directory")
}

fn unlock() -> Unlock {
    Unlock::key_file()
}

#[tokio::test]
async fn a_home_joins_and_is_given_what_is_new() {
    let authority = Authority::new().await;
    let (one, other) = (authority.join("n1").await, authority.join("n2").await);
    let now = OffsetDateTime::now_utc();
    let anchors = Anchors::read(one.home.path(), now).expect("believes the root");
    for (name, purpose) in [(NODE, Purpose::Node), (DEFAULT_PUBLISHER, Purpose::Publisher)] {
        let chain = other.trust.chain(name).expect("is there");
        anchors.validate(&chain[0], &chain[1..], purpose, now).expect("is believed");
    }
    assert_eq!(one.trust.authority().expect("reads"), Some(authority.address));
    assert!(is_member(one.home.path()) && !is_member(authority.home.path()));

    assert_eq!(one.standing(&other.serial()).await, Standing::Good);
    assert_eq!(one.standing("4242").await, Standing::Unknown);
    let Ok(Answer::Chain(pem)) = one.ask(Question::Chain { name: "n2".to_owned() }).await else { panic!("no chain") };
    assert_eq!(
        trustchain::certificate::from_pem(pem.as_bytes()).expect("is PEM"),
        other.trust.chain(NODE).expect("is there")
    );
    assert_eq!(one.refused(Question::Chain { name: "../node".to_owned() }).await.0, Code::NOT_FOUND);
    let Ok(Answer::Lists(lists)) = one.ask(Question::Lists).await else { panic!("no lists") };
    assert_eq!(
        lists.keys().collect::<Vec<_>>(),
        ["node-authority", "publisher-authority", "root", "validator-authority"]
    );

    authority
        .trust
        .renew("n1", crate::trust::NewKeys::Keep, Some(time::Duration::hours(5)), &unlock())
        .expect("renews");
    let before = one.serial();
    fetch(one.home.path(), &unlock()).await.expect("is given");
    assert_ne!(one.serial(), before, "5 hours are less than NODE_RENEWAL");
    let alone = Member { home: empty(), trust: authority.trust.clone() };
    TrustHome::init(alone.home.path(), &InitOptions::default(), &unlock()).expect("makes certificates");
    assert_eq!(alone.refused(Question::Lists).await.0, Code::NOT_FOUND, "it has joined nobody");
}

#[tokio::test]
async fn a_token_lets_one_home_join_once_and_in_time() {
    let authority = Authority::new().await;
    let token = authority.trust.token("n1", time::Duration::HOUR).expect("makes one");
    let try_join = async |token: &Token| {
        let answer = join(empty().path(), authority.address, token, &unlock()).await;
        answer.map(drop).map_err(|error| error.code)
    };
    let text = token.expose();
    let read: Token = text.parse().expect("is one");
    assert_eq!((read.name(), read.root(), read.secret()), (token.name(), token.root(), token.secret()));
    try_join(&read).await.expect("joins");
    assert_eq!(try_join(&token).await, Err(Code::POLICY_DENIED), "it was used");

    // Who knows the secret of one root does not send it to whoever stands below another.
    let fresh = authority.trust.token("n2", time::Duration::HOUR).expect("makes one").expose();
    let other = Authority::new().await;
    let foreign = join(empty().path(), other.address, &fresh.parse().expect("is one"), &unlock()).await;
    assert_eq!(foreign.expect_err("refused").code, Code::CERTIFICATE_VALIDATION_FAILED);
    let renamed = fresh.replace(".n2.", ".n3.").parse().expect("is one");
    assert!(try_join(&renamed).await.is_err(), "it was made for another name");
    let (head, _) = fresh.rsplit_once('.').expect("has parts");
    let guessed = format!("{head}.{}", data_encoding::BASE64URL_NOPAD.encode(&[7; 32]));
    assert_eq!(try_join(&guessed.parse().expect("is one")).await, Err(Code::POLICY_DENIED));

    let ended = authority.trust.token("n4", time::Duration::MINUTE).expect("makes one");
    let file = authority.trust.directory().join("tokens.json");
    let book = std::fs::read_to_string(&file).expect("reads");
    let mut book: serde_json::Value = serde_json::from_str(&book).expect("is JSON");
    let last = book["tokens"].as_array_mut().and_then(|tokens| tokens.last_mut()).expect("is there");
    last["expires"] = "2026-01-01T00:00:00Z".into();
    std::fs::write(&file, book.to_string()).expect("written");
    assert_eq!(try_join(&ended).await, Err(Code::POLICY_DENIED));
    for text in ["", "hmjoin1", &text[1..], &text[..text.len() - 1], &format!("{}{}", *text, "x".repeat(256))] {
        assert!(text.parse::<Token>().is_err(), "{text}");
    }
    let long = authority.trust.token("n5", time::Duration::days(8));
    assert!(matches!(long, Err(crate::trust::TrustError::Token { .. })));
    for number in 0..TOKENS_MAX {
        authority.trust.token(&format!("m{number}"), time::Duration::HOUR).expect("there is room");
    }
    let more = authority.trust.token("n6", time::Duration::HOUR);
    assert!(matches!(more, Err(crate::trust::TrustError::TooMany { most: TOKENS_MAX, .. })), "{more:?}");
}

#[tokio::test]
async fn only_believed_certificates_are_answered() {
    let authority = Authority::new().await;
    let member = authority.join("n1").await;

    // A stranger who believes the authority, and is not believed.
    let stranger = empty();
    let own = TrustHome::init(stranger.path(), &InitOptions::default(), &unlock()).expect("makes certificates");
    own.set_authority(authority.address).expect("written");
    let stranger = Member { home: stranger, trust: own };
    assert_eq!(stranger.refused(Question::Lists).await.0, Code::CERTIFICATE_VALIDATION_FAILED);
    for (from, to) in [
        ("root.pem", "roots/other.pem"),
        ("node-authority.pem", "authorities/other.pem"),
        ("lists/root.json", "lists/other-root.json"),
        ("lists/node-authority.json", "lists/other-node.json"),
    ] {
        let to = stranger.trust.directory().join(to);
        std::fs::create_dir_all(to.parent().expect("has one")).expect("made");
        std::fs::copy(authority.trust.directory().join(from), to).expect("copied");
    }
    let (code, message) = stranger.refused(Question::Lists).await;
    assert!(code == Code::IO && message.contains("does not answer"), "{message}");

    // Nobody at all: a token joins, and nothing else is answered.
    let nobody = tls::stranger(authority.trust.root().expect("reads").fingerprint()).expect("configures");
    let answer = refusal(raw(authority.address, nobody, &framed(r#"{"ask":"lists"}"#)).await);
    assert!(answer.starts_with("POLICY_DENIED"), "{answer}");

    // A member is believed, and is still not the authority.
    let impostor = Authority::of(member.home).await;
    let victim = authority.join("n2").await;
    victim.trust.set_authority(impostor.address).expect("written");
    let (code, message) = victim.refused(Question::Lists).await;
    assert!(code == Code::CERTIFICATE_VALIDATION_FAILED && message.contains("NotValidForName"), "{message}");

    victim.trust.set_authority(authority.address).expect("written");
    victim.ask(Question::Lists).await.expect("answers");
    authority.trust.revoke("n2", Reason::KeyCompromise, None, &unlock()).expect("revokes");
    let (code, message) = victim.refused(Question::Membership).await;
    assert!(code == Code::IO && message.contains("does not answer"), "{message}");
}

#[tokio::test]
async fn an_expired_certificate_is_not_believed() {
    let authority = Authority::new().await;
    let keys = ed25519::SecretKey::generate().expect("generates");
    let now = OffsetDateTime::now_utc();
    let root = authority.trust.root_authority(&unlock()).expect("opens");
    let leaf = |end: OffsetDateTime| {
        let begin = root.certificate().validity().not_before;
        let options = LeafOptions {
            common_name: "late",
            key: LeafKey::Classical(&keys.public()),
            purpose: Purpose::Node,
            names: &[SubjectName::dns(AUTHORITY_NAME).expect("is a name")],
            validity: Validity { not_before: begin, not_after: end.replace_nanosecond(0).expect("0 is one") },
        };
        root.leaf(&options).expect("issues")
    };
    let member = authority.join("n1").await;
    let ask = async |end| tls::tests::ask_as(member.home.path(), leaf(end), &keys, authority.address).await;
    assert!(matches!(ask(now + time::Duration::HOUR).await, Ok(Answer::Lists(_))));
    let late = ask(now - time::Duration::SECOND).await.expect_err("refused");
    assert!(late.to_string().contains("is lost"), "{late}");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_and_the_next_is_answered() {
    let authority = Authority::new().await;
    let member = authority.join("n1").await;
    let unknown = refusal(member.raw(authority.address, &framed(r#"{"ask":"dance"}"#)).await);
    assert!(unknown.starts_with("INVALID_ARGUMENT") && unknown.contains("dance"), "{unknown}");
    let more = refusal(member.raw(authority.address, &framed(r#"{"ask":"status","serial":"1","more":1}"#)).await);
    assert!(more.starts_with("INVALID_ARGUMENT"), "{more}");
    let lists = r#"{"ask":"lists"}"#;
    let largest = format!("{lists}{}", " ".repeat(QUESTION_BYTES_MAX - lists.len()));
    let answer = member.raw(authority.address, &framed(&largest)).await.expect("is as large as may be");
    assert!(matches!(answer, Answer::Lists(_)));
    let length = u32::try_from(QUESTION_BYTES_MAX + 1).expect("fits").to_be_bytes();
    let large = refusal(member.raw(authority.address, &length).await);
    assert!(large.starts_with("RESOURCE_LIMIT_EXCEEDED"), "{large}");
    // No TLS at all, and a message that ends before it should.
    let mut plain = TcpStream::connect(authority.address).await.expect("connects");
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("is taken");
    let _ = plain.read_to_end(&mut Vec::new()).await;
    let (mut client, mut server) = tokio::io::duplex(64);
    client.write_all(&framed("{}")[..5]).await.expect("is taken");
    drop(client);
    assert_eq!(receive::<Question>(&mut server, 64).await.expect_err("cut short").code, Code::IO);
    let (mut client, mut server) = tokio::io::duplex(64);
    client.write_all(&u32::MAX.to_be_bytes()).await.expect("is taken");
    let large = receive::<Answer>(&mut server, ANSWER_BYTES_MAX).await.expect_err("nobody answers so much");
    assert_eq!(large.code, Code::RESOURCE_LIMIT_EXCEEDED);
    assert!(send(&mut client, &"too long", 3).await.is_err());
    member.ask(Question::Lists).await.expect("answers");
}

#[tokio::test]
async fn a_member_revokes_its_own_and_who_may_all() {
    let authority = Authority::new().await;
    let (one, other, chief) = (authority.join("n1").await, authority.join("n2").await, authority.join("chief").await);
    let revoke = |target: &str| Question::Revoke { target: target.to_owned(), reason: Reason::KeyCompromise };
    for target in ["n2", &other.serial(), "n2-publisher", "node", "node-authority", "root", "4242"] {
        assert_eq!(one.refused(revoke(target)).await.0, Code::POLICY_DENIED, "{target}");
    }
    assert_eq!(chief.refused(revoke("root")).await.0, Code::INVALID_ARGUMENT);
    assert_eq!(chief.refused(revoke("4242")).await.0, Code::NOT_FOUND);
    one.ask(revoke("n1-publisher")).await.expect("is its own");
    let serial = one.serial();
    assert!(matches!(one.ask(revoke(&serial)).await, Ok(Answer::Revoked { serial: revoked, .. }) if revoked == serial));
    assert_eq!(one.refused(Question::Lists).await.0, Code::IO, "from then on it is not believed");
    assert!(matches!(other.standing(&serial).await, Standing::Revoked(_)));
    chief.ask(revoke("n2")).await.expect("may revoke all");
    assert!(matches!(chief.standing(&other.serial()).await, Standing::Revoked(_)));
}

/// Time is that of tokio here: it goes on when nothing else does.
#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_let_go_and_keeps_nobody_out_for_long() {
    let authority = Authority::new().await;
    let member = authority.join("n1").await;
    let started = tokio::time::Instant::now();
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        silent.push(TcpStream::connect(authority.address).await.expect("connects"));
    }
    member.ask(Question::Lists).await.expect("is answered once there is room");
    assert!(started.elapsed() >= CONNECTION_TIMEOUT, "{:?}", started.elapsed());
    for mut stream in silent {
        assert_eq!(stream.read(&mut [0]).await.expect("is closed"), 0);
    }
}

/// Time is that of tokio here, as above.
#[tokio::test(start_paused = true)]
async fn an_authority_stops_at_once_though_nobody_finds_room() {
    let home = empty();
    TrustHome::init(home.path(), &InitOptions::default(), &unlock()).expect("makes certificates");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("is bound");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let options =
        ServeOptions { home: home.path().to_owned(), unlock: unlock(), revokers: Vec::new(), keys: KeyKind::Usual };
    let serving = tokio::spawn(serve(listener, options, async { drop(stopped.await) }));
    let mut silent = Vec::new();
    for _ in 0..=CONNECTIONS_MAX {
        silent.push(TcpStream::connect(address).await.expect("connects"));
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let asked = tokio::time::Instant::now();
    stop.send(()).expect("it serves");
    serving.await.expect("no panic").expect("serves");
    assert!(asked.elapsed() < std::time::Duration::from_secs(1), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn keys_that_do_not_open_are_told_at_once() {
    let home = empty();
    TrustHome::init(home.path(), &InitOptions::default(), &unlock()).expect("makes certificates");
    std::fs::remove_file(directory(home.path()).join("unlock.key")).expect("is there");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let options =
        ServeOptions { home: home.path().to_owned(), unlock: unlock(), revokers: Vec::new(), keys: KeyKind::Usual };
    let refused = serve(listener, options, std::future::pending()).await.expect_err("nobody can be answered");
    assert!(refused.to_string().contains("unlock.key"), "{refused}");
}

#[tokio::test]
async fn the_keys_of_the_node_are_opened_once_for_a_certificate() {
    let authority = Authority::new().await;
    let member = authority.join("n1").await;
    // From now on they could not be opened again.
    let (key, aside) = (authority.trust.directory().join("node.key"), authority.trust.directory().join("aside"));
    std::fs::rename(&key, &aside).expect("is there");
    member.ask(Question::Lists).await.expect("is answered");
    std::fs::rename(&aside, &key).expect("is there");
    authority.trust.renew(NODE, crate::trust::NewKeys::Make, None, &unlock()).expect("renews");
    member.ask(Question::Lists).await.expect("the new keys are opened");
}
