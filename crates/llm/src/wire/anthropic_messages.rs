//! Anthropic Messages.
//!
//! Pure, like its neighbour; `tests/golden/anthropic_messages/` fixes both directions. Blocks and
//! events that are not known are passed over, as the API's versioning asks of its readers.

mod body;
mod decode;
mod encode;
mod stream;

pub use decode::decode;
pub use encode::encode;
pub use stream::StreamDecoder;

/// The version of the API that this is written for, sent with every request.
pub(crate) const VERSION: &str = "2023-06-01";
