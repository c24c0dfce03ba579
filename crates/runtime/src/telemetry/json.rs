//! Log lines as JSON objects, flat, for machines.
//!
//! A line has `timestamp`, `level`, `target`, `message`, the event's fields,
//! the fields of all spans around it (the inner ones win), and the `trace_id`
//! and `span_id` that the trace shows: `run_id` and `step` are fields of our
//! spans, so every line inside of them can be found by run and by trace.

use std::io::Write as _;
use std::sync::OnceLock;

use opentelemetry::trace::TraceContextExt as _;
use serde_json::{Map, Value};
use tracing::dispatcher::WeakDispatch;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use super::span_fields::Fields;

pub(super) struct JsonLayer {
    writer: BoxMakeWriter,
    /// The subscriber that this layer is part of, to ask the layer of traces.
    subscriber: OnceLock<WeakDispatch>,
}

impl JsonLayer {
    pub(super) fn new(writer: BoxMakeWriter) -> Self {
        Self { writer, subscriber: OnceLock::new() }
    }

    fn line<S>(&self, event: &Event<'_>, ctx: &Context<'_, S>) -> Map<String, Value>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let mut line = head(event);
        for span in ctx.event_scope(event).into_iter().flat_map(|s| s.from_root()) {
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.extend(fields.shown());
            }
        }
        if let Some(span) = ctx.event_span(event) {
            self.put_trace(&span, &mut line);
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        line.extend(fields.shown());
        line
    }

    fn put_trace<S>(&self, span: &SpanRef<'_, S>, line: &mut Map<String, Value>)
    where
        S: for<'a> LookupSpan<'a>,
    {
        line.insert("span".to_owned(), span.name().into());
        let Some(subscriber) = self.subscriber.get().and_then(WeakDispatch::upgrade) else {
            return;
        };
        let Some(context) = tracing_opentelemetry::get_otel_context(&span.id(), &subscriber) else {
            return;
        };
        let ids = context.span().span_context().clone();
        if ids.is_valid() {
            line.insert("trace_id".to_owned(), ids.trace_id().to_string().into());
            line.insert("span_id".to_owned(), ids.span_id().to_string().into());
        }
    }
}

impl<S> Layer<S> for JsonLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_register_dispatch(&self, subscriber: &Dispatch) {
        // Weak: the subscriber owns this layer.
        let _ = self.subscriber.set(subscriber.downgrade());
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let mut text = Value::Object(self.line(event, &ctx)).to_string();
        text.push('\n');
        // One write, so that lines of processes that share a pipe do not mix.
        // A log that cannot be written has nowhere to say so.
        let mut writer = self.writer.make_writer_for(event.metadata());
        let _ = writer.write_all(text.as_bytes());
    }
}

fn head(event: &Event<'_>) -> Map<String, Value> {
    let metadata = event.metadata();
    let mut timestamp = String::new();
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    Map::from_iter([
        ("timestamp".to_owned(), timestamp.into()),
        ("level".to_owned(), metadata.level().as_str().into()),
        ("target".to_owned(), metadata.target().into()),
    ])
}
