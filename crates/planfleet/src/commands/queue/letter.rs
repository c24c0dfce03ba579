//! One dead letter as data and for people.

use std::fmt::Write as _;

use planfleet_api::dead_letters::DeadLetterDetail;
use serde_json::{Value, json};

use crate::{
    cli::{Cli, Format},
    exit::Failure,
    output::{self, cell},
};

/// Nobody reads more of it on a terminal; `-o json` has all.
const DUMPED_BYTES_MAX: usize = 2048;

const DUMPED_BYTES_A_LINE: usize = 16;

pub(super) const HEAD: [&str; 8] = ["seq", "set aside", "from", "subject", "run", "step", "why", "bytes"];

pub(super) fn row(letter: &Value) -> Vec<String> {
    let shown = |name: &str| cell(&letter[name]);
    vec![
        shown("seq"),
        shown("set_aside_at"),
        from(letter),
        shown("subject"),
        shown("run_id"),
        step(letter),
        shown("reason"),
        shown("bytes"),
    ]
}

fn from(letter: &Value) -> String {
    match letter["stream_seq"].as_u64() {
        Some(seq) => format!("{} {seq}", cell(&letter["stream"])),
        None => cell(&letter["stream"]),
    }
}

fn step(letter: &Value) -> String {
    match letter["planning"].as_u64() {
        Some(revision) => format!("plan {revision}"),
        None => cell(&letter["step"]),
    }
}

/// Prints a letter whole: its body, or why that is gone.
pub(super) fn print(cli: &Cli, letter: &DeadLetterDetail) -> Result<(), Failure> {
    if cli.output == Format::Table {
        let body = letter.payload_hex.as_deref().and_then(|text| hex::decode(text).ok());
        output::data(&text(letter, &body.unwrap_or_default()));
        return Ok(());
    }
    output::value(cli.output, letter)
}

fn text(whole: &DeadLetterDetail, body: &[u8]) -> String {
    let letter = &json!(whole.letter);
    let mut text = String::new();
    let cells = HEAD.into_iter().zip(row(letter)).filter(|(name, _)| *name != "why");
    for (name, cell) in cells {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<10} {cell}");
    }
    let _ = writeln!(text, "{:<10} {}\n", "why", letter["reason"].as_str().unwrap_or_default());
    text.push_str(&dump(body));
    match &whole.decoded {
        Some(value) => text.push_str(&serde_json::to_string_pretty(value).unwrap_or_default()),
        None => {
            let _ = write!(text, "It does not decode: {}", whole.not_decoded.as_deref().unwrap_or("-"));
        }
    }
    text
}

fn dump(body: &[u8]) -> String {
    let mut text = String::new();
    let shown = &body[..body.len().min(DUMPED_BYTES_MAX)];
    for (line, bytes) in shown.chunks(DUMPED_BYTES_A_LINE).enumerate() {
        let at = line * DUMPED_BYTES_A_LINE;
        let readable = bytes.iter().map(|&byte| match byte {
            b' '..=b'~' => char::from(byte),
            _ => '.',
        });
        let pairs = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        let width = DUMPED_BYTES_A_LINE * 3;
        let _ = writeln!(text, "{at:08x}  {pairs:<width$} {}", readable.collect::<String>());
    }
    if body.len() > shown.len() {
        let _ = writeln!(text, "… {} bytes more; -o json has them", body.len() - shown.len());
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}
