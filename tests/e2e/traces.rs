//! One trace per run, through all processes, revisions and takeovers; metrics; and that nobody's
//! words are in either.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use planfleet_modelsim::Rule;
use planfleet_telemetry::names;
use serde_json::{Value, json};

use crate::support::{
    Fleet, Process, Receiver, Roles as _, Span, api_port, first_plan, free_port, http, plan, replan, slow,
    step, until,
};

const SERVICES: [&str; 3] = ["coordinator", "planner", "executor"];

/// A run that needs a second revision, whose last step calls a tool.
fn rules() -> Vec<Rule> {
    let number = |id, text: &str| step(id, text).must("matches", "^[0-9]+$");
    let mended = number(3, "Say it better.").with_tool("math_eval");
    vec![
        first_plan(plan([step(1, "Say hello."), number(2, "Say a number.").uses("x", 1, "")])),
        Rule::json(replan("again", [mended])).replans(),
        Rule::text("good morning").step("Say hello"),
        Rule::text("quite many").step("Say a number"),
        Rule::tool_call("math_eval", json!({"expression": "6*7+0"})).step("Say it better").times(1),
        Rule::text("42").step("Say it better"),
    ]
}

fn task() -> Value {
    json!({"goal": "Count the zebras."})
}

/// Words of the task, the plan, the prompts, the answers and the tool's arguments.
const WORDS: [&str; 6] = ["zebras", "Say hello", "good morning", "Say a number", "quite many", "6*7+0"];

/// Ended processes have sent what they had.
fn end(services: impl IntoIterator<Item = Process>) {
    let services: Vec<_> = services.into_iter().collect();
    services.iter().for_each(Process::terminate);
    for service in services {
        service.ended().code(0);
    }
}

/// The spans of the one trace that a run is in.
fn trace_of(receiver: &Receiver, run: &str) -> Vec<Span> {
    let spans = receiver.spans();
    let of_run = |span: &&Span| span.attribute("run_id") == Some(run);
    let traces: BTreeSet<_> = spans.iter().filter(of_run).map(|span| span.trace.clone()).collect();
    assert_eq!(traces.len(), 1, "of one run: {spans:#?}");
    spans.into_iter().filter(|span| traces.contains(&span.trace)).collect()
}

/// The tree of a trace's spans: one line each, below its parent, in the order of their starts.
fn tree(spans: &[Span]) -> String {
    let ids: BTreeSet<_> = spans.iter().map(|span| &span.id).collect();
    let mut below = BTreeMap::<_, Vec<&Span>>::new();
    for span in spans {
        let parent = ids.contains(&span.parent).then_some(&span.parent);
        below.entry(parent).or_default().push(span);
    }
    let mut lines = String::new();
    let mut open = vec![(0, None)];
    while let Some((depth, at)) = open.pop() {
        if let Some(span) = at {
            let Span { name, kind, .. }: &Span = span;
            lines += &format!("{}{name} ({kind})\n", "  ".repeat(depth - 1));
        }
        let mut children = below.get(&at.map(|span| &span.id)).cloned().unwrap_or_default();
        children.sort_by_key(|span| std::cmp::Reverse(span.start_ns));
        open.extend(children.into_iter().map(|child| (depth + 1, Some(child))));
    }
    lines
}

/// What comes from the queue to one worker.
fn work(inner: &str) -> String {
    let inner = inner.lines().map(|line| format!("        {line}\n")).collect::<String>();
    format!("    publish PF_STEPS_0 (producer)\n      process PF_STEPS_0 (consumer)\n{inner}")
}

#[test]
fn a_run_that_replanned_is_one_tree() {
    let receiver = Receiver::start();
    let mut fleet = Fleet::new(rules());
    fleet.rig.set(format!("telemetry.otlp_endpoint={}", receiver.endpoint));
    let services = SERVICES.map(|role| fleet.serve(role));
    let document = fleet.run(&task()).ended().code(0).json();
    end(services);

    let run = document["run_id"].as_str().unwrap();
    let spans = trace_of(&receiver, run);
    let expected = [
        "submit run (client)\n  invoke_workflow planfleet (internal)\n".to_owned(),
        work("plan planner (internal)\n  chat brain (client)"),
        work("invoke_agent step 1 (internal)\n  chat hands (client)"),
        work("invoke_agent step 2 (internal)\n  chat hands (client)\n  chat hands (client)"),
        work("plan planner (internal)\n  chat brain (client)"),
        work(
            "invoke_agent step 3 (internal)\n  chat hands (client)\n  execute_tool math_eval (internal)\n  \
             chat hands (client)",
        ),
    ];
    assert_eq!(tree(&spans), expected.concat());
    the_spans_say_what_they_should(&spans, run, &document);
    assert!(WORDS.iter().all(|word| !receiver.has_seen(word)), "nobody's words are exported");
    let metrics = receiver.metrics();
    let declared: BTreeSet<_> = names::metric::METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    assert!(metrics.is_subset(&declared), "{metrics:?}");
    for name in ["gen_ai.client.token.usage", "gen_ai.invoke_workflow.duration", "planfleet.queue_wait"] {
        assert!(metrics.contains(name), "{name} is not pushed: {metrics:?}");
    }
}

fn the_spans_say_what_they_should(spans: &[Span], run: &str, document: &Value) {
    for span in spans {
        let kind = names::SPANS.iter().find(|kind| {
            let title = kind.title.split('<').next().unwrap_or_default();
            span.name.starts_with(title)
        });
        let kind = kind.unwrap_or_else(|| panic!("{} is no declared kind of span", span.name));
        for name in span.attributes.keys() {
            assert!(kind.attributes.contains(&name.as_str()), "{}: {name} is not declared", span.name);
        }
    }
    let named = |name: &str| spans.iter().filter(|span| span.name.starts_with(name)).collect::<Vec<_>>();
    let [whole] = named("invoke_workflow")[..] else { panic!("{spans:#?}") };
    let total = Duration::from_millis(document["timings"]["total_ms"].as_u64().unwrap());
    assert_eq!(Duration::from_nanos(whole.end_ns - whole.start_ns), total, "the run's real duration");
    assert_eq!(
        whole.attribute("planfleet.run.cost_usd").unwrap().parse(),
        Ok(document["usd"].as_f64().unwrap())
    );
    for (name, value) in [
        ("gen_ai.conversation.id", run),
        ("planfleet.run.state", "succeeded"),
        ("planfleet.run.revisions", "2"),
        ("planfleet.run.steps", "3"),
    ] {
        assert_eq!(whole.attribute(name), Some(value), "{name}");
    }
    assert_eq!(whole.attribute("error.type"), None);
    let revisions: Vec<_> = named("plan ").iter().map(|span| span.attribute("revision")).collect();
    assert_eq!(BTreeSet::from_iter(revisions), BTreeSet::from([Some("1"), Some("2")]));
    let steps = named("invoke_agent");
    let errors: Vec<_> =
        steps.iter().map(|span| (span.attribute("step"), span.attribute("error.type"))).collect();
    assert!(errors.contains(&(Some("2"), Some("invalid_output"))), "{errors:?}");
    assert!(errors.contains(&(Some("1"), None)) && errors.contains(&(Some("3"), None)), "{errors:?}");
    let cost: f64 = named("chat")
        .iter()
        .map(|span| span.attribute("gen_ai.usage.cost").unwrap().parse::<f64>().unwrap())
        .sum();
    assert!((cost - document["usd"].as_f64().unwrap()).abs() < 1e-9, "{cost} of {}", document["usd"]);
    let chat = named("chat hands")[0];
    for name in ["gen_ai.usage.input_tokens", "gen_ai.response.model", "gen_ai.response.finish_reasons"] {
        assert!(chat.attribute(name).is_some(), "{name}: {chat:#?}");
    }
    assert_eq!(chat.attribute("server.address"), Some("127.0.0.1"));
    let process = named("process")[0];
    assert_eq!((process.links, process.attribute("messaging.message.conversation_id")), (1, Some(run)));
}

#[test]
fn a_run_whose_coordinator_dies_is_one_tree() {
    let receiver = Receiver::start();
    let steps = [
        step(1, "Take one."),
        step(2, "Take two.").uses("x", 1, ""),
        step(3, "Take three.").uses("x", 2, ""),
    ];
    let mut fleet = Fleet::new(vec![
        first_plan(plan(steps)),
        Rule::text("second").step("Take two").latency(slow(1_500)),
        Rule::text("done").when_model("hands"),
    ]);
    fleet.rig.set(format!("telemetry.otlp_endpoint={}", receiver.endpoint));
    let mut dead = fleet.serve("coordinator");
    let others = [fleet.serve("planner"), fleet.serve("executor")];
    let waiter = fleet.run(&task());
    fleet.rig.sim.await_step("Take two");
    dead.kill();
    let new = fleet.serve("coordinator");
    let document = waiter.ended().code(0).json();
    end(others.into_iter().chain([new]));

    // What the dead one had not sent is missing, and nothing else hangs in the air for it.
    let spans = trace_of(&receiver, document["run_id"].as_str().unwrap());
    let named = |name: &str| spans.iter().filter(|span| span.name.starts_with(name)).collect::<Vec<_>>();
    let ([root], [whole]) = (&named("submit")[..], &named("invoke_workflow")[..]) else {
        panic!("{spans:#?}")
    };
    assert_eq!((&root.parent, &whole.parent), (&Vec::new(), &root.id));
    assert_eq!((named("plan ").len(), named("invoke_agent").len()), (1, 3), "{spans:#?}");
    let known: BTreeSet<_> = spans.iter().map(|span| &span.id).collect();
    for span in spans.iter().filter(|span| !known.contains(&span.parent) && span.id != root.id) {
        assert!(span.name.starts_with("process"), "its publishing died unsent: {span:#?}");
    }
    assert!(spans.iter().filter(|span| span.name.starts_with("publish")).all(|span| span.parent == whole.id));
}

/// Laptops know no collector: the run's own span is the root. Callers who do have theirs above.
#[test]
fn whoever_submits_a_run_needs_no_collector() {
    let receiver = Receiver::start();
    let mut fleet = Fleet::new(vec![Rule::text("good morning")]);
    let exports = format!("telemetry.otlp_endpoint={}", receiver.endpoint);
    fleet.rig.set("telemetry.capture_content=true");
    // As for a backend of traces alone that wants to know who sends them.
    fleet.rig.set("telemetry.otlp_signals=traces");
    fleet.rig.home.set("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic cGs6c2s=,x-version=4");
    let mut services =
        vec![fleet.serve_with("coordinator", &exports), fleet.serve_with("executor", &exports)];
    let task = json!({"goal": "Count the zebras.", "mode": "direct"});
    let alone = fleet.run(&task).ended().code(0).json();
    let api = fleet.serve("api");
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let posted =
        http::post_with(api_port(&api), "/v1/runs?wait=30", &[("traceparent", parent)], &task.to_string());
    let posted: Value = serde_json::from_str(&posted.unwrap().body).unwrap();
    services.push(api);
    end(services);

    assert_eq!(receiver.senders(), BTreeSet::from(["Basic cGs6c2s=".to_owned()]));
    assert_eq!(receiver.metrics(), BTreeSet::new());
    let whole = |run: &Value| {
        let spans = trace_of(&receiver, run["run_id"].as_str().unwrap());
        spans.into_iter().find(|span| span.name.starts_with("invoke_workflow")).unwrap()
    };
    assert_eq!(whole(&alone).parent, Vec::<u8>::new(), "a root");
    let below = whole(&posted);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(format!("00-{}-{}-01", hex(&below.trace), hex(&below.parent)), parent);
    let spans = receiver.spans();
    let chat = spans.iter().find(|span| span.name.starts_with("chat")).unwrap();
    assert!(chat.attribute("gen_ai.input.messages").unwrap().contains("zebras"), "as was asked for");
    assert!(chat.attribute("gen_ai.output.messages").unwrap().contains("good morning"));
}

#[test]
fn metrics_show_what_a_run_did() {
    let fleet = Fleet::new(rules());
    let ports = SERVICES.map(|_| free_port());
    let _services: Vec<_> = SERVICES
        .iter()
        .zip(ports)
        .map(|(role, port)| fleet.serve_with(role, &format!("health.listen=127.0.0.1:{port}")))
        .collect();
    let document = fleet.run(&task()).ended().code(0).json();
    let shown = || ports.map(|port| http::get(port, "/metrics").unwrap().body).concat();
    // The document is there before its owner has counted the last of it.
    let shown = until("the run's end in the metrics", || {
        Some(shown()).filter(|shown| shown.contains("planfleet_runs_ended_total{state=\"succeeded\""))
    });
    let value = |name: &str, labels: &[&str]| -> f64 {
        let of_name = shown.lines().filter(|line| {
            line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label))
        });
        of_name.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    for (name, labels, expected) in [
        ("planfleet_runs_submitted_total", [].as_slice(), 1.0),
        ("planfleet_replans_total", &["reason=\"invalid_output\""], 1.0),
        ("planfleet_plans_total", &["kind=\"replan\"", "outcome=\"sealed\""], 1.0),
        ("planfleet_attempts_total", &["pool=\"default\"", "outcome=\"succeeded\""], 2.0),
        ("planfleet_attempts_total", &["outcome=\"invalid_output\""], 1.0),
        ("planfleet_attempts_total", &["pool=\"plan\"", "outcome=\"succeeded\""], 2.0),
        ("planfleet_queue_wait_seconds_count", &["pool=\"default\""], 3.0),
        ("planfleet_queue_wait_seconds_count", &["pool=\"plan\""], 2.0),
        ("planfleet_planning_duration_seconds_count", &[], 2.0),
        ("gen_ai_client_operation_duration_seconds_count", &["gen_ai_request_model=\"hands\""], 5.0),
        (
            "gen_ai_client_token_usage_count",
            &["gen_ai_request_model=\"brain\"", "gen_ai_token_type=\"input\""],
            2.0,
        ),
        ("gen_ai_execute_tool_duration_seconds_count", &["gen_ai_tool_name=\"math_eval\""], 1.0),
        ("gen_ai_invoke_agent_duration_seconds_count", &[], 3.0),
        ("gen_ai_invoke_workflow_duration_seconds_count", &["gen_ai_workflow_name=\"planfleet\""], 1.0),
        ("planfleet_unpriced_calls_total", &[], 0.0),
        ("planfleet_model_paused", &[], 0.0),
        ("planfleet_redeliveries_total", &[], 0.0),
    ] {
        assert!(
            (value(name, labels) - expected).abs() < 1e-9,
            "{name} {labels:?}: {}\n{shown}",
            value(name, labels)
        );
    }
    let cost = value("planfleet_cost_usd_total", &[]);
    assert!((cost - document["usd"].as_f64().unwrap()).abs() < 1e-9, "{cost} of {}", document["usd"]);
    assert!(value("planfleet_cost_usd_total", &["role=\"planner\"", "model=\"brain\""]) > 0.0, "{shown}");
    assert!(shown.contains("planfleet_model_paused{model=\"hands\""), "{shown}");
    let run = document["run_id"].as_str().unwrap();
    assert!(!shown.contains(run), "a run's id is no label");
    assert!(WORDS.iter().all(|word| !shown.contains(word)), "{shown}");
}
