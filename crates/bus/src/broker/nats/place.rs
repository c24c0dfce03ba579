//! Where a delivery stands, as the subject of its acks says (ADR-15 of NATS).
//!
//! The client reads the same, and holds a copy of its context with each message for it.

/// What a delivery says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// How often the message has been delivered, this time included.
    pub(super) deliveries: u64,
    /// Its place in the stream.
    pub(super) stream_seq: u64,
    /// Its place among all that the consumer has delivered.
    pub(super) consumer_seq: u64,
    /// When it was stored, in nanoseconds since the Unix epoch.
    pub(super) stored_ns: u64,
    /// How many messages wait behind it.
    pub(super) pending: u64,
}

impl Place {
    /// Reads a subject of acks: `$JS.ACK.` followed, from server 2.14 on and where it is
    /// switched on, by domain and account, then by stream, consumer and the numbers.
    pub(super) fn read(subject: &str) -> Option<Self> {
        let tokens = subject.strip_prefix("$JS.ACK.")?;
        let numbers = if tokens.split('.').count() >= 9 { 4 } else { 2 };
        let mut numbers = tokens.split('.').skip(numbers).map(str::parse);
        let mut next = || numbers.next()?.ok();
        let place = Self {
            deliveries: next()?,
            stream_seq: next()?,
            consumer_seq: next()?,
            stored_ns: next()?,
            pending: next()?,
        };
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place {
        deliveries: 2,
        stream_seq: 30,
        consumer_seq: 4,
        stored_ns: 1_700_000_000_000_000_005,
        pending: 6,
    };

    #[test]
    fn both_forms_are_read() {
        let old = "$JS.ACK.S.c.2.30.4.1700000000000000005.6";
        let new = "$JS.ACK._.ACCOUNT.S.c.2.30.4.1700000000000000005.6";
        let with_token = "$JS.ACK.hub.ACCOUNT.S.c.2.30.4.1700000000000000005.6.random";
        for subject in [old, new, with_token] {
            assert_eq!(Place::read(subject), Some(PLACE), "{subject}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        for subject in ["", "_INBOX.1", "$JS.ACK.S.c", "$JS.ACK.S.c.2.x.4.5.6", "$JS.ACK.S.c.2.30.4.5"] {
            assert_eq!(Place::read(subject), None, "{subject}");
        }
    }
}
