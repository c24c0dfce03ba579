//! The span of a whole run.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::{
    Context, KeyValue, global,
    trace::{Span as _, SpanKind, Status, Tracer as _},
};
use planfleet_core::document::{RunDocument, RunState};
use planfleet_telemetry::{
    exports_traces, ids,
    names::{self, attribute as a},
};

use super::{read, remote};

/// Exports the span of a run that has ended. Exported again, it is the same span.
pub fn run_ended(document: &RunDocument) {
    let Some(ended_ms) = document.ended_ms.filter(|_| exports_traces()) else { return };
    let submitter = document.submission.traceparent.as_deref().and_then(read);
    let place = ids::of_run(document.run_id.as_str(), submitter.as_ref());
    let tracer = global::tracer(names::SCOPE);
    let span = tracer
        .span_builder(names::RUN.title)
        .with_kind(SpanKind::Internal)
        .with_start_time(at(document.created_ms))
        .with_attributes(attributes(document));
    let parent = submitter.map_or_else(Context::new, remote);
    let mut span = ids::with_ids(&place, || span.start_with_context(&tracer, &parent));
    if document.state != RunState::Succeeded {
        // Why it ended may quote the task.
        span.set_status(Status::error(document.state.as_str()));
    }
    span.end_with_timestamp(at(ended_ms));
}

fn at(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

fn attributes(document: &RunDocument) -> Vec<KeyValue> {
    let RunDocument { run_id, state, tenant, batch_id, nano_usd, revisions, steps, .. } = document;
    let count = |items: usize| i64::try_from(items).unwrap_or(i64::MAX);
    let mut attributes = vec![
        KeyValue::new(a::OPERATION, names::RUN.name),
        KeyValue::new(a::WORKFLOW, names::WORKFLOW),
        KeyValue::new(a::CONVERSATION, run_id.to_string()),
        KeyValue::new(a::RUN_ID, run_id.to_string()),
        KeyValue::new(a::STATE, state.as_str()),
        KeyValue::new(a::REVISIONS, count(revisions.len())),
        KeyValue::new(a::STEPS, count(steps.len())),
        KeyValue::new(a::USER_ID, tenant.clone()),
    ];
    attributes.extend(batch_id.clone().map(|batch| KeyValue::new(a::SESSION_ID, batch)));
    // Not as `gen_ai.usage.cost`: backends would add it to that of the calls.
    attributes.extend(nano_usd.map(|nano_usd| KeyValue::new(a::COST_USD, usd(nano_usd))));
    if *state != RunState::Succeeded {
        let class = document.end.as_ref().and_then(|end| end.class);
        let error = class.map_or(state.as_str(), |class| class.as_str());
        attributes.push(KeyValue::new(a::ERROR_TYPE, error));
    }
    attributes
}

#[expect(clippy::cast_precision_loss, reason = "shown, never added up")]
fn usd(nano_usd: u64) -> f64 {
    nano_usd as f64 / 1e9
}
