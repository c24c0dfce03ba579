//! Requests to a server on this machine.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Such a server answers from memory; one that is stopped or hangs never does.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a server answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Asks `http://127.0.0.1:<port><path>`.
pub(crate) fn get(port: u16, path: &str) -> io::Result<Answer> {
    exchange(port, &format!("GET {path} HTTP/1.0\r\n{}", headers(0)), PATIENCE)
}

/// Posts a JSON body under an idempotency key to it.
pub(crate) fn post(port: u16, path: &str, key: &str, body: &str, patience: Duration) -> io::Result<Answer> {
    let headers = headers(body.len());
    let head =
        format!("POST {path} HTTP/1.0\r\ncontent-type: application/json\r\nidempotency-key: {key}\r\n");
    exchange(port, &format!("{head}{headers}{body}"), patience)
}

/// Posts a JSON body with headers of the caller's own, and waits for as long as it takes.
pub(crate) fn post_with(port: u16, path: &str, own: &[(&str, &str)], body: &str) -> io::Result<Answer> {
    let own = [&[("content-type", "application/json")], own].concat();
    ask(port, "POST", path, &own, body)
}

/// Asks anything, with headers of the caller's own, and waits for as long as it takes.
pub(crate) fn ask(
    port: u16,
    method: &str,
    path: &str,
    own: &[(&str, &str)],
    body: &str,
) -> io::Result<Answer> {
    let own: String = own.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("{method} {path} HTTP/1.0\r\n{own}");
    exchange(port, &format!("{head}{}{body}", headers(body.len())), super::PATIENCE)
}

fn headers(length: usize) -> String {
    format!("host: 127.0.0.1\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n")
}

fn exchange(port: u16, request: &str, patience: Duration) -> io::Result<Answer> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, answer))
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
}
