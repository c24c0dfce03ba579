//! What a log line says, whatever the filter.

use std::sync::{Arc, Mutex};

use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::Value;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `work` under a subscriber of its own, of a process that exports traces to nobody who
/// listens; gives the lines it logged.
fn logged(filter: &str, format: LogFormat, work: impl FnOnce()) -> String {
    let lines = Lines::default();
    let settings = TelemetrySettings {
        log_filter: filter.to_owned(),
        log_format: format,
        otlp_endpoint: "http://127.0.0.1:9".to_owned(),
        ..TelemetrySettings::default()
    };
    let writer = lines.clone();
    let target = LogTarget::Writer(BoxMakeWriter::new(move || writer.clone()));
    let provider = SdkTracerProvider::builder().build();
    let subscriber = subscriber(&settings, target, &provider).unwrap();
    tracing::subscriber::with_default(subscriber, work);
    String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn a_json_line_names_run_step_and_trace() {
    let mut expected = String::new();
    let text = logged("warn", LogFormat::Json, || {
        let run = tracing::info_span!("run", run_id = "r1", otel.kind = "internal");
        let _run = run.enter();
        let draft = tracing::info_span!("draft", step = tracing::field::Empty);
        draft.record("step", 3);
        let _draft = draft.enter();
        expected = draft.context().span().span_context().trace_id().to_string();
        assert_eq!(LevelFilter::current(), LevelFilter::INFO);
        tracing::info!("below the filter");
        tracing::warn!(attempt = 2, "slow \"tool\"");
    });
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["run_id"], "r1");
    assert_eq!(line["step"], 3);
    assert_eq!(line["attempt"], 2);
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["message"], "slow \"tool\"");
    assert_eq!(line["span"], "draft");
    assert_eq!(line["trace_id"], expected.as_str());
    assert_eq!(line["span_id"].as_str().unwrap().len(), 16);
    assert_eq!(line.get("otel.kind"), None);
}

#[test]
fn spans_are_part_of_a_trace_where_somebody_exports_it() {
    let to = |otlp_endpoint: &str| TelemetrySettings {
        otlp_endpoint: otlp_endpoint.to_owned(),
        ..TelemetrySettings::default()
    };
    let metrics_alone = TelemetrySettings { otlp_signals: vec![Signal::Metrics], ..to("http://127.0.0.1:9") };
    for (settings, traced) in [(to(""), false), (to("http://127.0.0.1:9"), true), (metrics_alone, false)] {
        let provider = SdkTracerProvider::builder().build();
        let made = subscriber(&settings, LogTarget::Stderr, &provider).unwrap();
        tracing::subscriber::with_default(made, || {
            let step = tracing::info_span!("step");
            assert_eq!(step.context().span().span_context().is_valid(), traced, "{settings:?}");
        });
    }
}

#[test]
fn no_line_shows_a_span_that_is_for_traces_alone() {
    let text = logged("info", LogFormat::Json, || {
        let run = tracing::info_span!("run", run_id = "r1").entered();
        let span = tracing::info_span!(target: names::TRACE_ONLY, "process", secret = "s3cret");
        assert!(span.context().span().span_context().is_valid());
        span.in_scope(|| tracing::info!("hello"));
        drop(run);
    });
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&line["run_id"], &line["message"]), (&"r1".into(), &"hello".into()));
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn a_human_line_is_plain_text_off_a_terminal() {
    let text = logged("info", LogFormat::Human, || {
        let _run = tracing::info_span!("run", run_id = "r1").entered();
        tracing::info!("hello");
    });
    assert!(text.contains("hello") && text.contains("r1"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_filter_that_is_none_is_refused() {
    let settings = TelemetrySettings { log_filter: "info,=,".to_owned(), ..TelemetrySettings::default() };
    let provider = SdkTracerProvider::builder().build();
    let made = subscriber(&settings, LogTarget::Stderr, &provider);
    assert!(matches!(made, Err(TelemetryError::Filter(_))));
}

#[test]
fn a_process_sets_up_once_and_its_instruments_show() {
    let settings = TelemetrySettings::default();
    let lines = || LogTarget::Writer(BoxMakeWriter::new(io::sink));
    let telemetry = Telemetry::init(&settings, "api", lines()).unwrap();
    telemetry.meter().u64_counter("planfleet.runs").build().add(1, &[]);
    let text = telemetry.metrics().render().unwrap();
    assert!(text.contains("planfleet_runs_total 1"), "{text}");
    assert!(text.contains("planfleet_role=\"api\""), "{text}");
    let again = Telemetry::init(&settings, "api", lines());
    assert!(matches!(again, Err(TelemetryError::AlreadyInstalled(_))));
    telemetry.shutdown(Duration::from_secs(5)).unwrap();
}
