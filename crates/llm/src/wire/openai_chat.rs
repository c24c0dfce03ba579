//! OpenAI Chat Completions: the format that nearly every server accepts.
//!
//! Pure: no network, no clock. The golden files in `tests/golden/` fix both directions. Reading is
//! lenient where servers are known to differ (missing ids, content in parts, arguments as an
//! object) and strict where a guess could be wrong (no choices, an error in the answer).

mod body;
mod decode;
mod encode;
mod stream;

pub use decode::decode;
pub use encode::encode;
pub use stream::StreamDecoder;
