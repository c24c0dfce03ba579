//! Bodies: what a message is about, then as many bytes as the engine's has.

use bytes::{BufMut as _, Bytes, BytesMut};

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct About {
    /// The run's number.
    pub(super) run: u32,
    /// The stage of its step; [`SUBMIT`] and [`DONE`] are none.
    pub(super) stage: u32,
}

/// In place of a stage: the run is to begin.
pub(super) const SUBMIT: u32 = u32::MAX;
/// In place of a stage: the run has ended.
pub(super) const DONE: u32 = u32::MAX - 1;

/// Two numbers.
const HEAD_BYTES: usize = 8;

impl About {
    /// A body of that length.
    pub(super) fn body(self, bytes: usize) -> Bytes {
        let mut body = BytesMut::with_capacity(bytes.max(HEAD_BYTES));
        body.put_u32(self.run);
        body.put_u32(self.stage);
        body.resize(bytes.max(HEAD_BYTES), b'x');
        body.freeze()
    }

    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let (run, rest) = body.split_first_chunk::<4>()?;
        let (stage, _) = rest.split_first_chunk::<4>()?;
        Some(Self { run: u32::from_be_bytes(*run), stage: u32::from_be_bytes(*stage) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_as_long_as_asked_and_says_what_it_is_about() {
        let about = About { run: 7, stage: DONE };
        let body = about.body(300);
        assert_eq!((body.len(), About::read(&body)), (300, Some(about)));
        assert_eq!(About::read(&body[..7]), None);
    }
}
