//! The real small model on this machine. Shapes and thresholds only: its words
//! change with what else is in its batch. A test group lets one of these run at
//! a time, for the model has one thread.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
};

use serde_json::{Value, json};

use crate::support::{Home, Process, local_model, until};

const GOALS: [&str; 15] = [
    "Organise a book club for the neighbourhood.",
    "Write a newsletter about the new library.",
    "Find out why the shop sells less coffee this year.",
    "Plan a weekend trip to the sea for four people.",
    "Compare three phones and recommend one.",
    "Collect the complaints of last month and sum them up.",
    "Prepare a talk about bees for children.",
    "Move the company's website to a new server.",
    "Translate the manual and check the translation.",
    "Hire a gardener for the school.",
    "Find the cheapest way to heat a small house.",
    "Make a list of birds that can be seen in winter.",
    "Review the budget and propose savings.",
    "Write a short biography of Ada Lovelace.",
    "Repair the bicycle and test the brakes.",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn home() -> Home {
    let mut home = Home::new();
    home.set("PLANFLEET_CACHE", local_model());
    home
}

/// The model alone, as planfleet starts it for itself.
fn serve_model(home: &mut Home) -> (Process, String) {
    let cache = local_model();
    let entries: Vec<PathBuf> = cache.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    let find = |end: fn(&str) -> bool| entries.iter().find(|path| path.to_str().is_some_and(end)).unwrap();
    home.set("PYTHONPATH", find(|path| path.contains("xllamacpp-")));
    let gguf = find(|path| path.ends_with(".gguf"));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let script = root().join("scripts/local_model_server.py");
    let args = [script.as_os_str(), "--gguf".as_ref(), gguf.as_os_str(), "--port".as_ref(), port.as_ref()];
    let mut process = home.start_program(Path::new("python3"), args);
    until("the local model", || {
        assert!(!process.has_ended(), "{}", process.err());
        process.out().contains("\"ready\"").then_some(())
    });
    (process, format!("http://127.0.0.1:{port}/v1"))
}

/// Whether a plan can be carried out: every step after those that it needs.
fn is_sound(plan: &Value) -> bool {
    let steps = plan["steps"].as_array().unwrap();
    let earlier = |step: &Value, on: &Value| {
        let (on, id) = (on.as_u64(), step["id"].as_u64());
        on.zip(id).is_some_and(|(on, id)| on < id)
    };
    let sound = |step: &Value| {
        let described = step["description"].as_str().is_some_and(|text| text.len() >= 8);
        described && step["depends_on"].as_array().unwrap().iter().all(|on| earlier(step, on))
    };
    !steps.is_empty() && steps.iter().all(sound)
}

#[test]
fn a_small_model_plans_under_the_positional_schema() {
    let mut home = home();
    let (_model, url) = serve_model(&mut home);
    let configuration = format!(
        "[models.local]\nbase_url = \"{url}\"\nmodel = \"smollm2\"\ndialect = \"llama.cpp\"\nsmall_model = true\n\
         max_output_tokens = 256\n[roles]\nplanner = \"local\"\nexecutor = \"local\"\n"
    );
    home.write("planfleet.toml", configuration);
    let (left, unsound) = (Mutex::new(GOALS.to_vec()), Mutex::new(Vec::new()));
    let work = || {
        while let Some(goal) = { left.lock().unwrap().pop() } {
            let outcome = home.planfleet(["plan", goal, "-o", "json"]);
            let plan = outcome.status.success().then(|| outcome.json());
            if !plan.is_some_and(|plan| is_sound(&plan)) {
                unsound.lock().unwrap().push((goal, outcome));
            }
        }
    };
    // The model answers four at a time.
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
    let unsound = unsound.into_inner().unwrap();
    assert!(unsound.len() <= 1, "{unsound:#?}");
}

#[test]
fn a_small_model_tells_pleased_customers_from_others() {
    let folder = root().join("examples/feedback");
    let labels: Value =
        serde_json::from_str(&fs::read_to_string(folder.join("labels.json")).unwrap()).unwrap();
    let roots = format!("tools.roots={}", folder.display());
    let task = folder.join("task.json");
    let args = ["run", "--local", "-f", task.to_str().unwrap(), "-o", "json", "--set", &roots];

    let document = home().planfleet(args).code(0).json();

    assert_eq!((&document["state"], &document["partial"]), (&json!("succeeded"), &json!(false)));
    let classes = document["steps"].as_array().unwrap().iter().find(|step| step["id"] == 3).unwrap();
    let classes = classes["output"].as_array().unwrap();
    assert_eq!(classes.len(), labels.as_array().unwrap().len());
    let right =
        classes.iter().zip(labels.as_array().unwrap()).take(40).filter(|(class, label)| class == label);
    let right = right.count();
    assert!(right >= 30, "{right} of the first 40 are right");
    let answer = document["answer"]["text"].as_str().unwrap();
    assert!(answer.starts_with("Of 64 messages"), "{answer}");
    // Tokens are the model's own figures, and it costs nothing.
    assert!(
        document["usage"]["executor"]["input_tokens"].as_u64() > Some(64 * 20),
        "{:#}",
        document["usage"]
    );
    assert_eq!(document["usd"], 0.0);
}

/// Free-form goals end too, whatever such a model makes of them.
#[test]
fn a_run_planned_by_a_small_model_ends() {
    let outcome = home().planfleet(["run", "--local", "Name three uses of a paper clip.", "-o", "json"]);
    let document = outcome.json();
    let state = document["state"].as_str().unwrap();
    assert!(["succeeded", "failed"].contains(&state), "{document:#}");
    assert_eq!(outcome.status.code(), Some(if state == "succeeded" { 0 } else { 3 }), "{document:#}");
    assert_eq!(document["revisions"][0]["added"], json!([1, 2, 3, 4]));
    // The planner was asked, and at least the first step was.
    for account in ["planner", "executor"] {
        let used = &document["usage"][account];
        for figure in ["calls", "input_tokens", "output_tokens"] {
            assert!(used[figure].as_u64() > Some(0), "{account} {figure}: {document:#}");
        }
    }
}

/// The server's own refusal, of a prompt that is longer than its window of 2,048 tokens.
#[test]
fn a_prompt_that_is_too_long_for_the_model_is_told_as_that() {
    let home = home();
    let plan = json!({"final": 1, "steps": [{
        "id": 1,
        "description": "Sum the text up.",
        "inputs": [{"name": "text", "from_step": 0, "path": "/text"}]
    }]});
    let task = json!({"plan": plan, "inputs": {"text": "one two three four five ".repeat(2_000)}});
    home.write("task.json", task.to_string());

    let outcome = home.planfleet(["run", "--local", "-f", "task.json", "-o", "json"]).code(3);

    let document = outcome.json();
    assert_eq!(document["state"], "failed", "{document:#}");
    let error = &document["steps"][0]["error"];
    assert_eq!(error["class"], "context_overflow", "{error:#}");
    assert!(error["message"].as_str().unwrap().contains("the server answered 400"), "{error:#}");
    assert_eq!(document["steps"][0]["attempts"], 1, "the same prompt is not sent again");
}
