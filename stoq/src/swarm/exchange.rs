//! What a peer asks another directly, one question and one answer on a stream of the control lane: whom it knows, and to keep or
//! drop an entry, acknowledged. Kademlia's own messages for the latter have no answer, or one that says nothing.
//!
//! MessagePack with bounds on every part; nothing here decides.

use std::io;
use std::net::SocketAddr;

use libp2p::futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::{PeerId, StreamProtocol};
use serde::{Deserialize, Serialize};

use super::Settings;
use super::record::RECORD_BYTES_MAX;

/// The name and version of the questions.
const PROTOCOL: StreamProtocol = StreamProtocol::new("/hypermesh/peer/1");
/// The largest question in bytes: a record and what is around it.
pub(crate) const QUESTION_BYTES_MAX: u64 = RECORD_BYTES_MAX as u64 + 1024;
/// The largest answer in bytes: [`PEERS_PER_ANSWER_MAX`] peers with four addresses each.
pub(crate) const ANSWER_BYTES_MAX: u64 = 16 << 10;
/// The most peers in one answer.
pub(crate) const PEERS_PER_ANSWER_MAX: usize = 32;
/// The most questions of one peer that are answered at a time.
const QUESTIONS_PER_PEER_MAX: usize = 64;

/// The behaviour that asks and answers.
pub(crate) type Exchange = request_response::Behaviour<Codec>;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Question {
    /// Whom the peer knows.
    Peers,
    /// To keep that the asker provides a key, at these addresses.
    Provide { key: [u8; 32], addresses: Vec<SocketAddr> },
    /// To forget that the asker provides a key.
    Withdraw { key: [u8; 32] },
    /// To keep a record.
    Store {
        key: [u8; 32],
        #[serde(with = "serde_bytes")]
        record: Vec<u8>,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Some that the peer is connected to.
    Peers(Vec<Contact>),
    /// It was done.
    Done,
    /// It was not: this much has no place, or does not hold.
    Refused,
}

/// A peer and where it is said to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contact {
    #[serde(with = "serde_bytes")]
    pub(crate) peer: Vec<u8>,
    pub(crate) addresses: Vec<SocketAddr>,
}

/// Reads and writes them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Codec;

impl Contact {
    pub(crate) fn peer(&self) -> Option<PeerId> {
        PeerId::from_bytes(&self.peer).ok()
    }
}

pub(crate) fn behaviour(settings: &Settings) -> Exchange {
    let config = request_response::Config::default()
        .with_request_timeout(settings.request_timeout)
        .with_max_concurrent_streams(QUESTIONS_PER_PEER_MAX);
    Exchange::with_codec(Codec, [(PROTOCOL, ProtocolSupport::Full)], config)
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Question;
    type Response = Answer;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Question>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io, QUESTION_BYTES_MAX).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Answer>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io, ANSWER_BYTES_MAX).await
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, question: Question) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &question).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, answer: Answer) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &answer).await
    }
}

/// Reads a message to the end of the stream.
async fn read<M: for<'de> Deserialize<'de>>(io: &mut (impl AsyncRead + Unpin + Send), limit: u64) -> io::Result<M> {
    let mut bytes = Vec::new();
    io.take(limit + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message has at most `{limit}` bytes")));
    }
    rmp_serde::from_slice(&bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

async fn write(io: &mut (impl AsyncWrite + Unpin + Send), message: &impl Serialize) -> io::Result<()> {
    let bytes = rmp_serde::to_vec(message).map_err(io::Error::other)?;
    io.write_all(&bytes).await?;
    io.close().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::futures::executor::block_on;
    use libp2p::futures::io::Cursor;

    fn question_of(bytes: &[u8]) -> io::Result<Question> {
        block_on(read(&mut Cursor::new(bytes), QUESTION_BYTES_MAX))
    }

    #[test]
    fn questions_and_answers_go_through_their_written_form() {
        let key = [7; 32];
        let addresses = vec![SocketAddr::from(([192, 0, 2, 7], 9292))];
        let record = vec![1; RECORD_BYTES_MAX];
        for question in [
            Question::Peers,
            Question::Provide { key, addresses: addresses.clone() },
            Question::Withdraw { key },
            Question::Store { key, record },
        ] {
            let mut io = Cursor::new(Vec::new());
            block_on(write(&mut io, &question)).expect("writes");
            assert_eq!(question_of(io.get_ref()).expect("reads"), question);
        }
        let contact = Contact { peer: PeerId::random().to_bytes(), addresses: vec![addresses[0]; 4] };
        for answer in [Answer::Peers(vec![contact; PEERS_PER_ANSWER_MAX]), Answer::Done, Answer::Refused] {
            let mut io = Cursor::new(Vec::new());
            block_on(write(&mut io, &answer)).expect("writes");
            assert!((io.get_ref().len() as u64) <= ANSWER_BYTES_MAX);
            let read: Answer = block_on(read(&mut Cursor::new(&io.get_ref()[..]), ANSWER_BYTES_MAX)).expect("reads");
            assert_eq!(read, answer);
        }
    }

    #[test]
    fn oversized_truncated_and_senseless_questions_are_refused() {
        let large = Question::Store { key: [0; 32], record: vec![0; QUESTION_BYTES_MAX as usize] };
        let bytes = rmp_serde::to_vec(&large).expect("writes");
        assert!(question_of(&bytes).is_err());
        let bytes = rmp_serde::to_vec(&Question::Withdraw { key: [3; 32] }).expect("writes");
        for end in 0..bytes.len() {
            assert!(question_of(&bytes[..end]).is_err(), "{end}");
        }
        assert!(question_of(&[0xff; 64]).is_err());
    }
}
