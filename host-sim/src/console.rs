//! A web page of the running node, for whoever has its token: what is loaded, runs and ran, and a few things to do about it.
//!
//! It is off until somebody names an address, and that is one of this machine unless told otherwise. The page asks by the same
//! [`Operation`](crate::operation::Operation)s as every other command, of the node alone, and of extensions only verbs that they
//! offer to consoles. It never reads a file. What is sent is embedded in this program; connections, their time and what they may
//! send are bounded, and one connection carries one answer.

mod access;
mod answer;
mod page;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hypermesh_abi::{Code, Error};
use tokio::net::TcpListener;

use self::access::{Access, Token};
use crate::accept;
use crate::host::Host;
use crate::http::{self, Names};

/// Connections at the same time; more wait. A page that follows several programs has one for each of them.
pub const CONNECTIONS_MAX: usize = 32;
/// How long a connection may take from its first byte to its last: longer than a verb may by default, so that its answer arrives.
pub const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);

/// From where a console may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// From this machine alone.
    ThisMachine,
    /// From wherever its address is.
    Anywhere,
}

/// A port on which the page is served.
#[derive(Debug)]
pub struct Console {
    listener: TcpListener,
    url: String,
    access: Access,
}

impl Console {
    /// Binds an address, whose port 0 takes a free one, and draws a token that counts until the node stops.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for an address that other machines reach, where that is not wanted; `IO` if it cannot be had.
    pub async fn bind(address: SocketAddr, reach: Reach, names: Names) -> Result<Self, Error> {
        if reach == Reach::ThisMachine && !address.ip().is_loopback() {
            let message =
                format!("other machines reach the console at `{address}`, and nothing is encrypted on the way");
            return Err(Error::new(Code::INVALID_ARGUMENT, message).help(
                "give an address of this machine, such as 127.0.0.1:0, and reach it through a tunnel; or add --console-remote",
            ));
        }
        let fault = |error: &std::io::Error| {
            Error::new(Code::IO, format!("cannot listen at `{address}` for the console: {error}"))
                .help("give another address with --console, such as 127.0.0.1:0 for a free port")
        };
        let listener = TcpListener::bind(address).await.map_err(|error| fault(&error))?;
        let address = listener.local_addr().map_err(|error| fault(&error))?;
        let (token, secret) = Token::random()?;
        // Browsers send what stands behind `#` to nobody, so the token is in no log and no other page hears of it.
        let url = format!("http://{address}/#token={secret}");
        Ok(Self { listener, url, access: Access { token, names } })
    }

    /// Gives the address of the page, with the token: whoever has it can do what the page can.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Answers until the future that is given ends; what is being answered then is ended, too.
    pub async fn serve(self, host: Host, until: impl Future<Output = ()>) {
        let access = Arc::new(self.access);
        let connection = |(stream, _)| {
            let (host, access) = (host.clone(), Arc::clone(&access));
            let answer = move |request| answer::answer(host.clone(), Arc::clone(&access), request);
            http::connection(stream, CONNECTION_TIMEOUT, answer)
        };
        drop(accept::serve(&self.listener, CONNECTIONS_MAX, until, connection).await);
    }
}

#[cfg(test)]
mod tests;
