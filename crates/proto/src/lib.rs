//! The wire: protobuf messages, the subjects they travel on, and conversions
//! between them and the core's types.
//!
//! [`wire`] is generated from `proto/` and committed; [`encode`] and [`decode`]
//! are the only places that know both sides; [`subjects`] is the topology.
//! Unknown enum values and missing parts are errors here, never defaults, so
//! that nothing half-understood reaches the fold.

pub mod decode;
pub mod encode;
mod seal;
pub mod subjects;
#[allow(clippy::all, clippy::pedantic, unreachable_pub, reason = "generated from proto/ by prost")]
#[rustfmt::skip]
pub mod wire;

pub use prost::Message;

/// The version that every stored message carries and that readers understand.
pub const VERSION: u32 = 1;

/// The version that every snapshot carries: of its own shape, for what is in it
/// are log entries with versions of their own.
pub const SNAPSHOT_VERSION: u32 = 1;

/// Bodies up to this size travel in the message itself; larger ones by
/// reference, so that streams stay small to read and quick to replicate.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;

/// Largest body that is taken at all, by reference.
pub const BLOB_BYTES_MAX: usize = 64 * 1024 * 1024;
