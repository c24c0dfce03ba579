//! A dispatch and its envelope belong together.
//!
//! The hash covers the envelope with every field that its sender knows, and the attempt that it
//! was sent for. A reader that knows fewer fields comes to another hash and refuses the work: it
//! would else carry it out under fewer limits than it was given. The same goes for an envelope
//! that was changed, or put into another dispatch, by mistake; it is no protection from who
//! writes to the broker, who could write the hash as well.

use prost::Message as _;
use sha2::{Digest, Sha256};

use crate::wire;

/// Another one where what is hashed changes.
const CONTEXT: &[u8] = b"planfleet.v1.StepOrder.envelope\n";

/// The hash of a dispatch's envelope; nothing where it has none.
pub(crate) fn of(order: &wire::StepOrder) -> Vec<u8> {
    let Some(envelope) = &order.envelope else { return Vec::new() };
    let item = order.item.map_or_else(String::new, |item| item.to_string());
    let name = format!("{}\n{}\n{item}\n{}\n", order.run_id, order.step, order.attempt);
    Sha256::new()
        .chain_update(CONTEXT)
        .chain_update(name)
        .chain_update(envelope.encode_to_vec())
        .finalize()
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_follows_the_envelope_and_the_attempt() {
        let envelope = wire::Envelope { hosts: vec!["a.example".to_owned()], ..Default::default() };
        let order = wire::StepOrder {
            run_id: "00-a".to_owned(),
            step: 1,
            attempt: 1,
            envelope: Some(envelope.clone()),
            ..Default::default()
        };
        let sealed = of(&order);
        assert_eq!((sealed.len(), &sealed), (32, &of(&order)));
        let wider = wire::Envelope { hosts: vec!["*".to_owned()], ..envelope };
        for other in [
            wire::StepOrder { envelope: Some(wider), ..order.clone() },
            wire::StepOrder { run_id: "00-b".to_owned(), ..order.clone() },
            wire::StepOrder { step: 2, ..order.clone() },
            wire::StepOrder { item: Some(0), ..order.clone() },
            wire::StepOrder { attempt: 2, ..order },
        ] {
            assert_ne!(of(&other), sealed);
        }
    }
}
