//! A dispatch is carried out under the envelope that it was sent with, or not at all.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use planfleet_proto::{Message as _, decode, wire};

fn sent() -> wire::StepOrder {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/step_order.hex");
    let text = fs::read_to_string(file).unwrap();
    let hex = text.lines().flat_map(|line| line.split('|').next().unwrap().split_whitespace());
    let bytes: Vec<u8> = hex.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    wire::StepOrder::decode(bytes.as_slice()).unwrap()
}

#[test]
fn another_envelope_is_refused() {
    assert!(decode::step_order(&sent().encode_to_vec()).is_ok());
    let mut wider = sent();
    wider.envelope.as_mut().unwrap().hosts.push("*".to_owned());
    assert_eq!(decode::step_order(&wider.encode_to_vec()), Err(decode::Error::Envelope));
    let mut moved = sent();
    moved.run_id = "01-another".to_owned();
    assert_eq!(decode::step_order(&moved.encode_to_vec()), Err(decode::Error::Envelope));
}

#[test]
fn a_limit_that_is_not_known_here_is_not_ignored() {
    // Field 99 of the envelope, as a newer sender might know it and have hashed it.
    let envelope = [sent().envelope.unwrap().encode_to_vec(), vec![0x98, 0x06, 0x01]].concat();
    let hashed = wire::StepOrder { envelope: None, envelope_sha256: vec![7; 32], ..sent() };
    let length = u8::try_from(envelope.len() & 0x7f).unwrap() | 0x80;
    let rest = u8::try_from(envelope.len() >> 7).unwrap();
    let bytes = [hashed.encode_to_vec(), vec![0x52, length, rest], envelope].concat();
    assert!(wire::StepOrder::decode(bytes.as_slice()).unwrap().envelope.is_some());
    assert_eq!(decode::step_order(&bytes), Err(decode::Error::Envelope));
}

#[test]
fn an_envelope_without_its_hash_is_refused() {
    let bare = wire::StepOrder { envelope_sha256: Vec::new(), ..sent() };
    assert_eq!(decode::step_order(&bare.encode_to_vec()), Err(decode::Error::Envelope));
}
