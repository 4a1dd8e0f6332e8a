//! Clients of the server, which check its answers.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use crate::AnyError;

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    answers: Lines<BufReader<OwnedReadHalf>>,
    requests: OwnedWriteHalf,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, requests) = stream.into_split();
        let answers = BufReader::new(reader).lines();
        Ok(Self { answers, requests })
    }

    /// Sends a request and returns its answer, or `None` if the server closed the connection.
    pub(crate) async fn request(&mut self, name: &str) -> io::Result<Option<String>> {
        let request = format!("{name}\n");
        self.requests.write_all(request.as_bytes()).await?;
        self.answers.next_line().await
    }
}

/// Sends requests until `stopped` is true. Greeting and signature of an answer must have the same
/// number, and numbers must not decrease. Returns the number of answers.
pub(crate) async fn send_requests(
    mut client: Client,
    stopped: watch::Receiver<bool>,
) -> Result<u64, AnyError> {
    let (mut answers, mut last) = (0, 0);
    while !*stopped.borrow() {
        let answer = client
            .request("me")
            .await?
            .ok_or("the server closed the connection")?;
        let number = number(&answer).ok_or_else(|| format!("mixed settings: {answer:?}"))?;
        if number < last {
            return Err(format!("settings went back from {last} to {number}").into());
        }
        last = number;
        answers += 1;
    }
    Ok(answers)
}

/// The number in an answer, if greeting and signature agree on it.
fn number(answer: &str) -> Option<u32> {
    let (greeting, signature) = answer.split_once(", me! -- server ")?;
    let number = greeting.strip_prefix("Hello ")?;
    if number != signature {
        return None;
    }
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_from_two_changes_are_detected() {
        assert_eq!(number("Hello 12, me! -- server 12"), Some(12));
        assert_eq!(number("Hello 12, me! -- server 13"), None);
        assert_eq!(number("Welcome, me! -- server 13"), None);
    }
}
