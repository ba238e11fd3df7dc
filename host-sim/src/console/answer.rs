//! Requests and their answers: a file of the page, or lines of JSON as the socket of the node has them.

use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hypermesh_abi::records::Progress;
use hypermesh_abi::{Code, Error};
use serde::Deserialize;
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::access::{Access, Refusal};
use super::page;
use super::view::{Act, View, act, offered, view};
use crate::host::Host;
use crate::http;
use crate::operation::{Line, Operation, perform};

/// The most bytes of what is asked.
const BODY_BYTES_MAX: usize = 64 << 10;
/// How long they may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// Lines that wait for a reader who is slower than the work.
const LINES_MAX: usize = 64;
/// Where the node is asked.
const NODE: &str = "/node";

/// What the page may ask: nothing that would end the node, or hand over or replace a state.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ask {
    Offered,
    View(View),
    Act(Act),
    Status,
    Assets,
    Audit { before: Option<u64>, limit: usize },
    Pause { extension: String },
    Resume { extension: String },
    Upgrade { bundle: PathBuf },
}

/// Lines as they come. Dropping them, as when a browser goes away, ends the work.
pub(super) struct Lines {
    lines: mpsc::Receiver<Bytes>,
    _work: JoinSet<()>,
}

type Answer = Response<Either<Full<Bytes>, Lines>>;

/// Answers one request.
pub(super) async fn answer(host: Host, access: Arc<Access>, request: Request<Incoming>) -> Answer {
    let is_node = request.uri().path() == NODE;
    let admitted = if is_node { access.to_node(request.headers()) } else { access.to_page(request.headers()) };
    if let Err(refusal) = admitted {
        return whole(refused(refusal));
    }
    match (is_node, request.method().clone()) {
        (true, Method::POST) => match read(request.into_body()).await {
            Ok(ask) => lines(host, ask),
            Err(refused) => whole(*refused),
        },
        (true, _) => whole(only("POST")),
        (false, Method::GET | Method::HEAD) => {
            let missing = || http::text(StatusCode::NOT_FOUND, "there is no such page\n");
            whole(page::file(request.uri().path()).unwrap_or_else(missing))
        }
        (false, _) => whole(only("GET, HEAD")),
    }
}

async fn read(body: Incoming) -> Result<Ask, Box<Response<Full<Bytes>>>> {
    let told = |status, message| Box::new(http::text(status, message));
    let bytes = match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(_)) => return Err(told(StatusCode::PAYLOAD_TOO_LARGE, "it is cut off, or has more than 64 KiB\n")),
        Err(_) => return Err(told(StatusCode::REQUEST_TIMEOUT, "it took too long\n")),
    };
    serde_json::from_slice(&bytes).map_err(|error| {
        Box::new(http::answer(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", format!("{error}\n")))
    })
}

/// Begins the work and gives its lines.
fn lines(host: Host, ask: Ask) -> Answer {
    let (sender, lines) = mpsc::channel(LINES_MAX);
    let mut work = JoinSet::new();
    work.spawn(async move {
        let (progress, mut reports) = mpsc::channel(LINES_MAX);
        let told = async {
            while let Some(report) = reports.recv().await {
                send(&sender, &Line::Progress(report)).await;
            }
        };
        let (outcome, ()) = tokio::join!(done(&host, ask, progress), told);
        send(&sender, &Line::last(outcome)).await;
    });
    let mut response = Response::new(Either::Right(Lines { lines, _work: work }));
    page::guard(response.headers_mut());
    http::set(response.headers_mut(), CONTENT_TYPE, "application/x-ndjson");
    http::set(response.headers_mut(), CACHE_CONTROL, "no-store");
    response
}

async fn send(sender: &mpsc::Sender<Bytes>, line: &Line) {
    // A reader that has gone away has dropped this work.
    let Ok(bytes) = line.to_bytes() else { return };
    let _ = sender.send(bytes.into()).await;
}

async fn done(host: &Host, ask: Ask, progress: mpsc::Sender<Progress>) -> Result<Json, Error> {
    let operation = match ask {
        Ask::Offered => return Ok(offered(host)),
        Ask::View(wanted) => return view(host, wanted, progress).await,
        Ask::Act(wanted) => return act(host, wanted, progress).await,
        Ask::Status => Operation::Status,
        Ask::Assets => Operation::Assets,
        Ask::Audit { before, limit } => Operation::Audit { before, limit },
        Ask::Pause { extension } => Operation::Pause { extension },
        Ask::Resume { extension } => Operation::Resume { extension },
        Ask::Upgrade { bundle } if bundle.is_absolute() => Operation::Upgrade { bundle },
        Ask::Upgrade { bundle } => {
            let message = format!("`{}` does not say where it is on this node", bundle.display());
            return Err(Error::new(Code::INVALID_ARGUMENT, message).help("give the whole path, from `/` on"));
        }
    };
    perform(host, operation, Some(progress)).await
}

fn refused(refusal: Refusal) -> Response<Full<Bytes>> {
    match refusal {
        Refusal::Misdirected => http::misdirected(),
        Refusal::CrossSite => http::text(
            StatusCode::FORBIDDEN,
            "another page sent you here, which this console does not accept: open its address by hand\n",
        ),
        Refusal::Unauthorised => {
            http::text(StatusCode::UNAUTHORIZED, "the token is missing or wrong; `host-sim up` prints it\n")
        }
        Refusal::NoJson => http::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the node is asked in application/json\n"),
    }
}

fn only(methods: &'static str) -> Response<Full<Bytes>> {
    let mut response = http::text(StatusCode::METHOD_NOT_ALLOWED, "that is not asked so\n");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

fn whole(mut response: Response<Full<Bytes>>) -> Answer {
    page::guard(response.headers_mut());
    response.map(Either::Left)
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.lines.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}
