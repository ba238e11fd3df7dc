//! Sessions over streams, and peers that stop, stall or send no frames.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};

use super::*;
use crate::records::limits::{FRAME_TIMEOUT, SESSION_TIMEOUT};
use crate::records::service::converse;

fn leader(set: &Arc<MemorySet>) -> Leader {
    Leader::synchronise(set.clone(), PeerId::random(), [1; 32], &Mode::Differential).expect("begins")
}

async fn lead(set: &Arc<MemorySet>, stream: DuplexStream) -> Result<Outcome, SessionError> {
    let (mut receive, mut send) = split(stream);
    converse(leader(set), PeerId::random(), &mut send, &mut receive).await
}

#[tokio::test]
async fn two_sides_agree_over_a_stream_that_takes_little_at_once() {
    let (ours, theirs) = (set_of(0..3000), set_of(1000..4000));
    let (near, far) = duplex(1000);
    let leader = leader(&ours);
    let follower = Follower::new(theirs.clone(), PeerId::random(), [2; 32], leader.opening()).expect("answers");
    let ((mut receive, mut send), (mut far_receive, mut far_send)) = (split(near), split(far));
    let (led, served) = tokio::join!(
        converse(leader, PeerId::random(), &mut send, &mut receive),
        converse(follower, PeerId::random(), &mut far_send, &mut far_receive)
    );
    let (led, served) = (led.expect("agrees"), served.expect("agrees"));
    assert_eq!((led.accepted, served.accepted), (1000, 1000));
    assert_eq!(ids(&ours), ids(&theirs));
    assert_eq!(led.received_bytes, served.sent_bytes);
}

#[tokio::test]
async fn a_peer_that_goes_leaves_what_was_accepted() {
    let (near, mut far) = duplex(1 << 20);
    let head = [9, 0, 0, 0, 1];
    far.write_all(&head).await.expect("is in memory");
    drop(far);
    let error = lead(&set_of(0..10), near).await.expect_err("is cut");
    assert!(matches!(error, SessionError::Left { .. }) && !error.is_misbehaviour(), "{error}");
}

#[tokio::test]
async fn a_frame_that_is_too_long_is_not_read() {
    let (near, mut far) = duplex(1 << 20);
    far.write_all(&[1, 0, 16, 0]).await.expect("is in memory");
    let error = lead(&set_of(0..10), near).await.expect_err("is too long");
    assert!(matches!(error, SessionError::Frame { .. }) && error.is_misbehaviour(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_left() {
    let begin = tokio::time::Instant::now();
    let (near, far) = duplex(1 << 20);
    let error = lead(&set_of(0..10), near).await.expect_err("is silent");
    assert!(matches!(error, SessionError::Left { .. }), "{error}");
    assert!(begin.elapsed() <= FRAME_TIMEOUT * 2);
    drop(far);
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_however_busy_the_peer_is() {
    let begin = tokio::time::Instant::now();
    let (near, mut far) = duplex(1 << 20);
    let leader = Leader::synchronise(set_of(0..10), PeerId::random(), [1; 32], &Mode::Full).expect("begins");
    let (mut receive, mut send) = split(near);
    let session = async move { converse(leader, PeerId::random(), &mut send, &mut receive).await };
    let session = tokio::spawn(session);
    let mut number = 100;
    let frame = |number| records([plain(number)], true).encode();
    while far.write_all(&frame(number)).await.is_ok() {
        number += 1;
        tokio::time::advance(FRAME_TIMEOUT / 2).await;
    }
    let error = session.await.expect("does not panic").expect_err("takes too long");
    assert!(matches!(error, SessionError::Left { .. }), "{error}");
    assert!(begin.elapsed() <= SESSION_TIMEOUT * 2);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_left() {
    let (near, mut far) = duplex(100);
    let ours = set_of(0..3000);
    let leader = leader(&ours);
    let mut follower = Follower::new(set_of(0..0), PeerId::random(), [2; 32], leader.opening()).expect("answers");
    let answer = follower.next_frame().expect("is in memory").expect("answers");
    let (mut receive, mut send) = split(near);
    let session = async move { converse(leader, PeerId::random(), &mut send, &mut receive).await };
    let session = tokio::spawn(session);
    far.write_all(&answer).await.expect("is read");
    let mut first = [0; 4];
    far.read_exact(&mut first).await.expect("the leader goes on");
    let error = session.await.expect("does not panic").expect_err("nobody takes the rest");
    assert!(matches!(error, SessionError::Left { .. }), "{error}");
}
