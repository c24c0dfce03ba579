//! What tools do to the world outside, and what the world may do back.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use planfleet_modelsim::Rule;
use serde_json::{Value, json};

use crate::support::{Fleet, Receiver, Rig, Roles as _, first_plan, plan, step, tool, until};

/// A web server of a few lines: it keeps what it is sent, and answers with what `answer` makes
/// of that, or never.
struct Web {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Web {
    fn start(answer: impl Fn(&str) -> Option<String> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, seen) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<String>>>::default());
        let kept = Arc::clone(&seen);
        thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = read(&mut stream);
                let answer = answer(&request);
                kept.lock().unwrap().push(request);
                match answer {
                    Some(body) => {
                        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/plain\r\n\r\n";
                        let _ = stream.write_all(format!("{head}{body}").as_bytes());
                    }
                    None => held.push(stream),
                }
            }
        });
        Self { port, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn read(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut request = vec![0; 16 << 10];
    let read = stream.read(&mut request).unwrap_or(0);
    String::from_utf8_lossy(&request[..read]).into_owned()
}

#[test]
fn a_model_is_shown_every_tool_as_it_is() {
    let rig = Rig::new(vec![Rule::text("seen").step("Look at your tools")]);
    let listed = rig.planfleet(&["tools", "list", "-o", "json"]).code(0).json();
    // A run of its own is a step of its own, and no model's call.
    let of_models = |tool: &&Value| tool["name"] != "sub_task";
    let tools: Vec<&Value> = listed.as_array().unwrap().iter().filter(of_models).collect();
    assert_eq!(tools.len() + 1, listed.as_array().unwrap().len());
    let names: Vec<&str> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
    let looking = names.iter().fold(step(1, "Look at your tools."), |step, name| step.with_tool(name));
    rig.run_local(&json!({"plan": plan([looking]), "tools": names})).code(0);
    let asked = rig.sim.executor("Look at your tools").only().body;
    let offered = asked["tools"].as_array().unwrap();
    assert_eq!(offered.len(), tools.len());
    for tool in tools {
        let shown = offered.iter().find(|shown| shown["function"]["name"] == tool["name"]).unwrap();
        assert_eq!(shown["function"]["parameters"], tool["arguments"], "{}", tool["name"]);
    }
    // And a tool tells people more than it tells models.
    let details = rig.planfleet(&["tools", "show", "http_request", "-o", "json"]).code(0).json();
    assert_eq!((&details["effect"], &details["idempotent"]), (&json!("write"), &json!(false)));
    assert!(details["timeout_ms"].as_u64() > Some(0) && details["output_bytes_max"].as_u64() > Some(0));
}

#[test]
fn a_call_that_may_have_happened_is_not_made_again() {
    let web = Web::start(|_| None);
    let mut fleet = Fleet::new(Vec::new());
    fleet.rig.set("tools.allow_loopback=true");
    let _others = fleet.serve("coordinator,planner");
    let mut executor = fleet.serve("executor");
    let url = format!("http://127.0.0.1:{}/pay", web.port);
    let pay =
        tool(1, "http_request").literal("method", "POST").literal("url", &url).literal("body", "17 EUR");
    let task = json!({"plan": plan([pay]), "tools": ["http_request"], "max_replans": 0});
    let waiter = fleet.run(&task);
    until("the payment", || (!web.seen().is_empty()).then_some(()));
    executor.kill();
    let _another = fleet.serve("executor");
    let document = waiter.ended().code(3).json();
    let error = &document["steps"][0]["error"];
    assert_eq!(error["class"], "lost", "{document:#}");
    assert!(error["message"].as_str().unwrap().contains("may have been called"), "{error:#}");
    let seen = web.seen();
    assert_eq!(seen.len(), 1, "{seen:#?}");
    let key = format!("idempotency-key: {}.1\r\n", document["run_id"].as_str().unwrap());
    assert!(seen[0].to_ascii_lowercase().contains(&key.to_ascii_lowercase()), "{}", seen[0]);
}

#[test]
fn what_tools_keep_is_there_for_the_next_run() {
    let fleet = Fleet::new(Vec::new());
    let _serving = fleet.serve("coordinator,planner,executor");
    let put = |tenant: &str, value: &str| {
        let steps = [
            tool(1, "kv_put").literal("key", "notes/a").literal("value", value),
            tool(2, "object_put").literal("key", "notes/b").literal("text", value).after(1),
        ];
        let tools = ["kv_put", "object_put"];
        fleet.run(&json!({"plan": plan(steps), "tools": tools, "tenant": tenant})).ended().code(0);
    };
    put("default", "{\"n\": 1}");
    put("other", "\"theirs\"");
    let steps =
        [tool(1, "kv_get").literal("key", "notes/a"), tool(2, "object_get").literal("key", "notes/b")];
    let document = fleet.run(&json!({"plan": plan(steps), "goal": "Get."})).ended().code(0).json();
    let output = |nth: usize| document["steps"][nth]["output"].clone();
    assert_eq!(output(0), json!({"key": "notes/a", "found": true, "value": {"n": 1}}));
    assert_eq!(output(1), json!({"key": "notes/b", "found": true, "text": "{\"n\": 1}"}));
    // By hand too, under the same rules.
    let args = r#"{"key": "notes/a"}"#;
    let called =
        fleet.rig.planfleet(&["tools", "call", "kv_get", "--args", args, "-o", "json"]).code(0).json();
    assert_eq!(called["output"]["value"], json!({"n": 1}));
}

const CANARY: &str = "canary-2c9f41d07be3";

/// Files under a folder that hold the text.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if fs::read(&path)
            .is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_secret_reaches_its_host_and_nobody_else() {
    // A server that repeats all it is told, as some do in their errors.
    let web = Web::start(|request| Some(request.to_owned()));
    let planned = plan([
        tool(1, "http_fetch").literal("url", &format!("http://127.0.0.1:{}/repeat", web.port)),
        step(2, "Say what it said.").uses("page", 1, "/text").with_tool("http_fetch"),
    ]);
    let url = format!("http://127.0.0.1:{}/again", web.port);
    let mut rig = Rig::new(vec![
        first_plan(planned),
        Rule::tool_call("http_fetch", json!({"url": url})).step("Say what it said").times(1),
        Rule::text("It repeats what it is told.").step("Say what it said"),
    ]);
    let receiver = Receiver::start();
    rig.home.set("THE_SECRET", CANARY);
    let own = fs::read_to_string(rig.home.path("fleet.toml")).unwrap();
    let credential = "[credentials.web]\nhosts = [\"127.0.0.1\"]\nheader = \"authorization\"\n\
                      prefix = \"Bearer \"\nvalue_env = \"THE_SECRET\"\n[tools]\nallow_loopback = true\n";
    rig.home.write("fleet.toml", own + credential);
    rig.set(format!("data.dir={}", rig.home.path("kept").display()));
    rig.set(format!("telemetry.otlp_endpoint={}", receiver.endpoint));
    rig.set("telemetry.log_filter=trace");

    let outcome = rig.run_local(&json!({"goal": "What does it say?"})).code(0);

    let seen = web.seen();
    assert_eq!(seen.len(), 2, "{seen:#?}");
    assert!(
        seen.iter().all(|request| request.contains(&format!("Bearer {CANARY}"))),
        "it was sent: {seen:#?}"
    );
    let document = outcome.json();
    let text = document["steps"][0]["output"]["text"].as_str().unwrap();
    assert!(text.contains("Bearer [secret]"), "{text}");
    assert!(outcome.err.contains("http_fetch"), "there is a log to look at");
    let spans = format!("{:?}", receiver.spans());
    assert!(spans.contains("execute_tool"), "there are traces to look at");
    assert!(!spans.contains(CANARY), "in a trace");
    assert!(rig.sim.all().0.iter().all(|call| !call.body.to_string().contains(CANARY)), "a model was told");
    let files = files_with(&rig.home.path(""), CANARY);
    assert_eq!(files, [""; 0], "in the broker's files, a log or a result");
    assert!(!files_with(&rig.home.path("kept"), "repeat").is_empty(), "the broker's files were looked at");
    let shown = rig.planfleet(&["config", "show"]).code(0);
    assert!(shown.out.contains("THE_SECRET") && !shown.out.contains(CANARY), "{}", shown.out);
}

#[test]
fn a_tool_of_ones_own_is_a_table_in_the_configuration() {
    let web = Web::start(|_| Some("{\"output\": {\"meaning\": \"a vessel\"}}".to_owned()));
    let mut rig = Rig::new(Vec::new());
    let own = fs::read_to_string(rig.home.path("fleet.toml")).unwrap();
    let table = format!(
        "[tools]\nallow_loopback = true\n[tools.http.lookup]\nurl = \"http://127.0.0.1:{}/lookup\"\n\
         description = \"Looks a word up.\"\neffect = \"read\"\n\
         arguments = {{ type = \"object\", properties = {{ word = {{ type = \"string\" }} }}, required = [\"word\"] }}\n\
         output = {{ type = \"object\", required = [\"meaning\"] }}\n",
        web.port
    );
    rig.home.write("fleet.toml", own + &table);
    rig.set("limits.attempts=1");
    let document =
        rig.run_local(&json!({"plan": plan([tool(1, "lookup").literal("word", "ship")])})).code(0).json();
    assert_eq!(document["answer"], json!({"meaning": "a vessel"}));
    let request = web.seen().pop().unwrap();
    let body: Value = serde_json::from_str(request.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((&body["tool"], &body["arguments"]), (&json!("lookup"), &json!({"word": "ship"})));
    assert_eq!(body["idempotency_key"], format!("{}.1", document["run_id"].as_str().unwrap()));
}
