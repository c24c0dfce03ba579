//! Language models over HTTP: one request type, one response type, one error type.
//!
//! Start at [`ChatModel`] (what callers hold) and [`HttpChat`] (what speaks to a server).
//! Below them, [`wire`] turns requests into bytes and bytes into responses as pure functions,
//! [`Dialect`] says in what a compatible server differs, and `transport` does the I/O with a
//! timeout on every wait and a cap on every body. [`Retrying`] is the only place that repeats a
//! call, and it reports how many calls it made, so that money is reserved and settled for each.
//!
//! This crate must never know of runs, steps or the bus, never read the environment (keys are
//! handed in as [`Secret`]), and never put prompts, answers or keys in logs or errors, nor, unless it
//! is asked for, prompts and answers in spans.

pub mod cassette;
pub mod chat;
pub mod client;
pub mod dialect;
pub mod error;
pub mod fence;
pub mod handle;
mod instruments;
pub mod limits;
pub mod price;
pub mod purse;
pub mod rates;
pub mod retry;
pub mod secret;
mod tally;
mod telemetry;
mod transport;
pub mod wire;

pub use chat::{
    ChatModel, ChatRequest, ChatResponse, JsonSchemaFormat, Message, StablePrefix, StopReason, TextSink,
    ToolCall, ToolChoice, ToolDefinition, Usage,
};
pub use client::{Endpoint, HttpChat};
pub use dialect::{Dialect, MaxTokensField, Structured};
pub use error::{Error, ErrorClass};
pub use handle::{Called, ModelHandle};
pub use limits::{Hint, Hints, Limits, Standing};
pub use price::{LongPrompts, Price, Tariff, cost};
pub use purse::{Hold, Purse, Refusal};
pub use rates::{RateLimits, Window};
pub use retry::{Attempted, Retrying};
pub use secret::Secret;
pub use tally::Tally;
pub use transport::{Timeouts, install_crypto};
pub use wire::Wire;
