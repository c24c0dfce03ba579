//! Where a run is in its trace.
//!
//! A run outlives every process that works for it, so nobody can hold its span open. Its ids
//! follow from the run's own id instead: whoever dispatches, plans or executes puts its spans
//! below the run's span, before that exists and wherever it runs, after replans and takeovers
//! too, and the coordinator that keeps the run's document exports the span with the run's real
//! start and end. Exported twice, by an owner and the next one, it is the same span.

use std::cell::Cell;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use sha2::{Digest as _, Sha256};

/// The place of a run's span below `submitter`, the span that submitted it. One that nobody's
/// span submitted is the root of a trace of its own, which is kept.
#[must_use]
pub fn of_run(run: &str, submitter: Option<&SpanContext>) -> SpanContext {
    let digest = Sha256::digest(run.as_bytes());
    let (mut span, mut trace) = ([0; 8], [0; 16]);
    span.copy_from_slice(&digest[..8]);
    trace.copy_from_slice(&digest[8..24]);
    let (trace, flags) = match submitter.filter(|submitter| submitter.is_valid()) {
        Some(submitter) => (submitter.trace_id(), submitter.trace_flags()),
        None => (TraceId::from_bytes(trace), TraceFlags::SAMPLED),
    };
    SpanContext::new(trace, SpanId::from_bytes(span), flags, true, TraceState::default())
}

thread_local! {
    /// The ids of the span that this thread makes next, where they are not to be drawn.
    static GIVEN: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// Has `start` make one span with the ids of `place`. The tracer that it uses has to have
/// [`Ids`].
pub fn with_ids<T>(place: &SpanContext, start: impl FnOnce() -> T) -> T {
    GIVEN.set(Some((place.trace_id(), place.span_id())));
    let made = start();
    GIVEN.set(None);
    made
}

/// Draws ids at random, but for spans whose ids are given.
#[derive(Debug, Default)]
pub struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        GIVEN.get().map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        GIVEN.get().map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    #[test]
    fn a_run_is_at_one_place_of_its_submitter_s_trace() {
        let submitter = SpanContext::new(
            TraceId::from(7),
            SpanId::from(8),
            TraceFlags::default(),
            true,
            TraceState::default(),
        );
        let place = of_run("00-a", Some(&submitter));
        assert_eq!(place, of_run("00-a", Some(&submitter)));
        assert_eq!((place.trace_id(), place.is_sampled()), (TraceId::from(7), false));
        let own = of_run("00-a", None);
        assert_eq!((own.span_id(), own.is_sampled()), (place.span_id(), true));
        assert_ne!(own.trace_id(), place.trace_id());
        assert_ne!(of_run("00-b", None).trace_id(), own.trace_id());
    }

    #[test]
    fn one_span_gets_the_ids_that_are_given() {
        let provider = SdkTracerProvider::builder().with_id_generator(Ids::default()).build();
        let tracer = provider.tracer("test");
        let place = of_run("00-a", None);
        let given = with_ids(&place, || tracer.start("run"));
        assert_eq!(given.span_context().trace_id(), place.trace_id());
        assert_eq!(given.span_context().span_id(), place.span_id());
        let drawn = tracer.start("other");
        assert_ne!(drawn.span_context().span_id(), place.span_id());
    }
}
