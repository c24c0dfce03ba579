//! The lines of a batch, one at a time, each with its number and within a bound.

use std::io;

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// Largest line: as large as a task over HTTP may be (design section 12).
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// What a file of lines is, before any of them is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Lines that are not blank.
    pub lines: u64,
    /// SHA-256 of all of it, in hexadecimal.
    pub digest: String,
}

/// Reads lines to their end, keeping none.
///
/// # Errors
/// When they cannot be read.
pub async fn survey<R: AsyncBufRead + Unpin>(mut input: R) -> io::Result<Survey> {
    let (mut hash, mut lines, mut blank) = (Sha256::new(), 0, true);
    loop {
        let read = input.fill_buf().await?;
        if read.is_empty() {
            lines += u64::from(!blank);
            return Ok(Survey { lines, digest: hex::encode(hash.finalize()) });
        }
        hash.update(read);
        for byte in read {
            if *byte == b'\n' {
                lines += u64::from(!std::mem::replace(&mut blank, true));
            } else {
                blank &= byte.is_ascii_whitespace();
            }
        }
        let bytes = read.len();
        input.consume(bytes);
    }
}

/// One line that is not blank.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: u64,
    /// Its text, or what is wrong with it.
    pub(super) text: Result<String, String>,
}

/// Reads lines. Whatever is read so far is kept here, so that a read may be given up at
/// any await and begun again.
pub(super) struct Lines<R> {
    input: R,
    number: u64,
    line: Vec<u8>,
    bytes: usize,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, number: 0, line: Vec::new(), bytes: 0 }
    }

    /// The next line, without the blank ones before it; `None` at the end.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let read = self.input.fill_buf().await?;
            let (part, ended) = match read.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end, true),
                None => (read.len(), false),
            };
            let at_end = read.is_empty();
            // What is over the limit is counted and let go.
            let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
            self.line.extend_from_slice(&read[..part.min(room)]);
            self.bytes += part;
            self.input.consume(part + usize::from(ended));
            if !ended && !at_end {
                continue;
            }
            if let Some(line) = self.take() {
                return Ok(Some(line));
            }
            if at_end {
                return Ok(None);
            }
        }
    }

    /// The line that has just ended, unless it is blank.
    fn take(&mut self) -> Option<Line> {
        self.number += 1;
        let bytes = std::mem::take(&mut self.bytes);
        let line = std::mem::take(&mut self.line);
        if bytes > LINE_BYTES_MAX {
            let text = Err(format!("has {bytes} bytes, more than the {LINE_BYTES_MAX} of a line"));
            return Some(Line { number: self.number, text });
        }
        let text = match String::from_utf8(line) {
            // Editors on some systems begin a file with this mark.
            Ok(text) if self.number == 1 => Ok(text.trim_start_matches('\u{feff}').to_owned()),
            Ok(text) => Ok(text),
            Err(error) => Err(format!("is not UTF-8: {}", error.utf8_error())),
        };
        let blank = text.as_ref().is_ok_and(|text| text.trim().is_empty());
        (!blank).then_some(Line { number: self.number, text })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    async fn read(text: &[u8], capacity: usize) -> Vec<(u64, Result<String, String>)> {
        let mut lines = Lines::new(BufReader::with_capacity(capacity, text));
        let mut all = Vec::new();
        while let Some(Line { number, text }) = lines.next().await.unwrap() {
            all.push((number, text));
        }
        all
    }

    #[tokio::test]
    async fn lines_have_their_numbers_and_blank_ones_are_passed_over() {
        for capacity in [1, 3, 64] {
            let found = read("\u{feff}a\n\n  \nbcd\r\ne".as_bytes(), capacity).await;
            let expected = [(1, "a"), (4, "bcd\r"), (5, "e")];
            assert_eq!(found, expected.map(|(number, text)| (number, Ok(text.to_owned()))), "{capacity}");
        }
        assert_eq!(read(b"", 8).await, []);
    }

    #[tokio::test]
    async fn a_survey_counts_the_lines_that_are_read() {
        for text in ["", "a", "a\n", "\n a \n\n\t\nb", "a\r\n\r\nb\r\n"] {
            for capacity in [1, 64] {
                let surveyed = survey(BufReader::with_capacity(capacity, text.as_bytes())).await.unwrap();
                assert_eq!(surveyed.lines, read(text.as_bytes(), capacity).await.len() as u64, "{text:?}");
                assert_eq!(surveyed.digest, hex::encode(Sha256::digest(text)));
            }
        }
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_or_no_text_is_one_bad_line() {
        let mut text = vec![b'x'; LINE_BYTES_MAX + 7];
        text.extend_from_slice(b"\n\xff\nok\n");
        let found = read(&text, 4096).await;
        assert_eq!(found.len(), 3);
        let said = |place: usize| found[place].1.clone().unwrap_err();
        assert!(said(0).contains(&format!("has {} bytes", LINE_BYTES_MAX + 7)), "{}", said(0));
        assert!(said(1).contains("is not UTF-8"), "{}", said(1));
        assert_eq!(found[2], (3, Ok("ok".to_owned())));
        let whole = vec![b'y'; LINE_BYTES_MAX];
        assert!(read(&whole, 4096).await[0].1.is_ok());
    }
}
