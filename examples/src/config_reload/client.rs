//! Clients of the server, and what they check.

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

    /// One request, and its answer; none if the server closed the connection.
    pub(crate) async fn ask(&mut self, name: &str) -> io::Result<Option<String>> {
        let request = format!("{name}\n");
        self.requests.write_all(request.as_bytes()).await?;
        self.answers.next_line().await
    }
}

/// Asks until told to stop; greeting and signature must be of one change, and never of an earlier
/// one than before. Returns how many answers there were.
pub(crate) async fn talk(
    mut client: Client,
    stopped: watch::Receiver<bool>,
) -> Result<u64, AnyError> {
    let (mut answers, mut last) = (0, 0);
    while !*stopped.borrow() {
        let answer = client.ask("me").await?.ok_or("the server hung up")?;
        let number = number(&answer).ok_or_else(|| format!("mixed settings: {answer:?}"))?;
        if number < last {
            return Err(format!("settings went back from {last} to {number}").into());
        }
        last = number;
        answers += 1;
    }
    Ok(answers)
}

/// The change that an answer comes from, if all of it does.
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
    fn mixed_answers_are_seen() {
        assert_eq!(number("Hello 12, me! -- server 12"), Some(12));
        assert_eq!(number("Hello 12, me! -- server 13"), None);
        assert_eq!(number("Welcome, me! -- server 13"), None);
    }
}
