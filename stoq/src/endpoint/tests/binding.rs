//! The second key: proved in every connection by whoever has one, and demanded of all where a node says so.

use super::*;
use crate::identity::{Credentials, Pending, SignError};

#[tokio::test]
async fn two_nodes_with_both_keys_prove_them() {
    let authority = Authority::new();
    let (a, mut b) =
        (Node::new(&authority, authority.hybrid_node("a")), Node::new(&authority, authority.hybrid_node("b")));
    for identity in [&a.identity, &b.identity] {
        authority.require_hybrid_peers(identity);
    }
    let made = a.dial(&b).await.expect("connects");
    assert!(made.is_hybrid() && b.taken().await.is_hybrid());
}

#[tokio::test]
async fn a_node_with_one_key_is_refused_by_who_demands_two() {
    let authority = Authority::new();
    let (strict, mut lax) =
        (Node::new(&authority, authority.hybrid_node("strict")), Node::new(&authority, authority.node("lax")));
    authority.require_hybrid_peers(&strict.identity);
    let error = strict.dial(&lax).await.expect_err("is refused");
    assert!(matches!(error, ConnectError::Refused { refusal: Refusal::Classical, .. }), "{error:?}");
    let error = lax.dial(&strict).await.expect_err("is refused");
    assert_eq!(error.name(), "access-denied", "{error:?}");
    until(|| strict.refusals("classical-only") == 2).await;
    assert!(lax.incoming.data.try_recv().is_err());
}

/// A node that has the Ed25519 key of a hybrid certificate and not the other one, as whoever broke Ed25519.
struct Half {
    of: Arc<TestIdentity>,
    answer: Answer,
}

/// What it sends in place of a signature.
#[derive(Clone, Copy)]
enum Answer {
    /// One of another FALCON key.
    OtherKey,
    /// One of the right key over other data, as a signature from another connection is.
    OtherConnection,
    /// Bytes that are no signature.
    Garbage,
}

impl Identity for Half {
    fn current(&self) -> Arc<Credentials> {
        self.of.current()
    }

    fn sign_handshake(&self, content: &[u8]) -> Result<[u8; 64], SignError> {
        self.of.sign_handshake(content)
    }

    fn sign_binding<'a>(&'a self, binding: &'a [u8]) -> Pending<'a, Result<Vec<u8>, SignError>> {
        Box::pin(async move {
            match self.answer {
                Answer::OtherKey => Authority::new().hybrid_node("other").sign_binding(binding).await,
                Answer::OtherConnection => self.of.sign_binding(&[binding, b"of another connection"].concat()).await,
                Answer::Garbage => Ok(vec![7; 1000]),
            }
        })
    }
}

#[tokio::test]
async fn a_second_key_that_is_not_proved_is_refused() {
    let authority = Authority::new();
    let mut right = Node::new(&authority, authority.node("right"));
    for answer in [Answer::OtherKey, Answer::OtherConnection, Answer::Garbage] {
        let half: Arc<dyn Identity> = Arc::new(Half { of: authority.hybrid_node("half"), answer });
        let listen = right.endpoint.local_address();
        let listen = SocketAddr::new(listen.ip(), 0);
        let (identity, clock) = (Arc::clone(&half), authority.clock());
        let options = EndpointOptions { identity, listen, limits: Limits::default(), clock };
        let (wrong, _incoming) = Endpoint::bind(options).expect("a port is free");
        let before = right.refusals("falcon-unproven");

        let error = soon(wrong.connect(right.endpoint.local_address(), None, Lane::Data)).await;
        let error = error.expect_err("is refused");
        assert!(matches!(error, ConnectError::RefusedByPeer { .. }) && error.name() == "falcon-unproven", "{error:?}");
        let error = soon(right.endpoint.connect(wrong.local_address(), None, Lane::Data)).await;
        let error = error.expect_err("is refused");
        assert!(matches!(error, ConnectError::Refused { .. }) && error.name() == "falcon-unproven", "{error:?}");
        until(|| right.refusals("falcon-unproven") == before + 2).await;
        assert!(right.incoming.data.try_recv().is_err());
    }
}
