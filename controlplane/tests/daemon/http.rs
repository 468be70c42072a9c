//! The least HTTP client: one request per connection, over a Unix socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header lines, as they came.
    pub header: String,
    /// Body.
    pub body: String,
}

impl Answer {
    /// The body as JSON of this type.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The value of a header line.
    pub fn header_value(&self, name: &str) -> Option<String> {
        let line = |line: &str| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        };
        self.header.lines().find_map(line)
    }
}

/// Sends octets as they are and reads until the server closes.
pub fn raw(socket: &Path, request: &[u8]) -> Answer {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    over(stream, request).unwrap()
}

/// As [`raw`], over any stream. Gives the stream's error when there is no answer.
pub fn over(mut stream: impl Read + Write, request: &[u8]) -> std::io::Result<Answer> {
    // The server may answer and close before it has read everything.
    let written = stream.write_all(request);
    let mut text = Vec::new();
    let read = stream.read_to_end(&mut text);
    let text = String::from_utf8(text).unwrap();
    let Some((header, body)) = text.split_once("\r\n\r\n") else {
        written.and(read)?;
        panic!("no answer: {text:?}");
    };
    let status = header.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(Answer { status, header: header.to_owned(), body: body.to_owned() })
}

/// Sends a request, with a JSON body if there is one.
pub fn request(socket: &Path, method: &str, path: &str, body: Option<&str>) -> Answer {
    request_with(socket, method, path, &[], body)
}

/// As [`request`], with more header lines: name and value.
pub fn request_with(
    socket: &Path,
    method: &str,
    path: &str,
    lines: &[(&str, &str)],
    body: Option<&str>,
) -> Answer {
    let more: String = lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let content = body.map_or(String::new(), |body| {
        format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
    });
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}{content}\r\n");
    raw(socket, &[head.as_bytes(), body.unwrap_or("").as_bytes()].concat())
}

/// GETs a path that must answer 200. A machine with much else to do may be told to come again, and does.
pub fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> T {
    let started = Instant::now();
    loop {
        let answer = request(socket, "GET", path, None);
        if answer.status == 200 {
            return answer.json();
        }
        let busy = answer.status == 503 && answer.header.contains("retry-after");
        assert!(busy && started.elapsed() < crate::gateway::DEADLINE, "{path}: {answer:?}");
    }
}
