//! Many tasks at once: every good line is run once, whoever dies, and every bad one is named.

use std::collections::{BTreeMap, BTreeSet};

use planfleet_modelsim::{Rule, UsageFigures};
use serde_json::{Value, json};

use crate::support::{Fleet, Outcome, Rig, Roles as _, plan, slow, step, tool, until};

/// A task that adds one to a number, without a model.
fn sum(custom_id: &str, number: u32) -> Value {
    let plan = plan([tool(1, "math_eval").literal("expression", &format!("{number} + 1"))]);
    json!({"plan": plan, "custom_id": custom_id})
}

/// A task of one model step.
fn ask(custom_id: &str, what: &str) -> Value {
    json!({"plan": plan([step(1, what)]), "custom_id": custom_id})
}

fn lines(tasks: impl IntoIterator<Item = Value>) -> String {
    tasks.into_iter().map(|task| format!("{task}\n")).collect()
}

/// The documents on standard output, by custom id.
fn documents(outcome: &Outcome) -> BTreeMap<String, Value> {
    let read = |line: &str| -> Value { serde_json::from_str(line).unwrap() };
    let all: Vec<Value> = outcome.out.lines().map(read).collect();
    let by_name: BTreeMap<String, Value> =
        all.iter().map(|one| (one["custom_id"].as_str().unwrap().to_owned(), one.clone())).collect();
    assert_eq!(by_name.len(), all.len(), "a task has one document: {}", outcome.out);
    by_name
}

fn status(fleet: &Fleet, id: &str) -> Value {
    fleet.rig.planfleet(&["batch", "status", id, "-o", "json"]).code(0).json()
}

#[test]
fn a_local_batch_prints_the_document_of_each_task() {
    let rig = Rig::new(Vec::new());
    let submit = |name: &str, text: String| {
        rig.home.write(name, text);
        rig.planfleet(&["batch", "submit", "--local", "--wait", name, "-o", "jsonl"])
    };
    let good = submit("good.jsonl", lines((0..40).map(|n| sum(&format!("n{n}"), n)))).code(0);
    let found = documents(&good);
    assert_eq!(found.len(), 40);
    for n in 0..40_u32 {
        let document = &found[&format!("n{n}")];
        assert_eq!((&document["state"], &document["answer"]["value"]), (&json!("succeeded"), &json!(n + 1)));
        assert!(document["batch_id"].is_string());
    }
    let mixed = [
        sum("a", 1),
        json!({"plan": plan([tool(1, "math_eval").literal("expression", "1 / 0")]),
                                    "max_replans": 0}),
    ];
    let failed = submit("mixed.jsonl", lines(mixed)).code(3);
    let found = documents(&failed);
    assert_eq!((&found["a"]["state"], &found["line-2"]["state"]), (&json!("succeeded"), &json!("failed")));
    let refused = submit("refused.jsonl", format!("{}not json\n", lines([sum("a", 1)]))).code(2);
    assert_eq!(documents(&refused).len(), 1, "the good line has run");
    assert!(refused.err.contains("line 2: not JSON"), "{}", refused.err);
    let empty = submit("empty.jsonl", "\n \n".to_owned()).code(2);
    assert!(empty.err.contains("there are no tasks in it"), "{}", empty.err);
}

#[test]
fn every_bad_line_is_named_and_the_good_ones_run() {
    let fleet = Fleet::new(Vec::new());
    let _serving = fleet.serve("coordinator,executor");
    let mut text = lines([sum("good", 1), sum("good", 2)]);
    text.push_str("\n{\"goal\": \"x\"\n");
    text.push_str("{\"goal\": \"x\", \"custom_id\": \"odd\", \"colour\": \"red\", \"deadline_s\": -1}\n");
    text.push_str(&format!("{{\"goal\": \"{}\"}}\n", "x".repeat(1 << 20)));
    text.push_str(&lines([
        json!({"template": "nope"}),
        json!({"goal": "g", "tenant": "other"}),
        sum("last", 3),
    ]));
    fleet.rig.home.write("tasks.jsonl", text);
    let args = ["batch", "submit", "tasks.jsonl", "--id", "mixed", "--wait", "-o", "jsonl"];
    let outcome = fleet.rig.planfleet(&args).code(2);
    let found: BTreeSet<String> = documents(&outcome).into_keys().collect();
    assert_eq!(found, BTreeSet::from(["good".to_owned(), "last".to_owned()]));
    for said in [
        "line 2 (good): custom_id: an earlier line is \"good\" already",
        "line 4: not JSON",
        "line 5 (odd): deadline_s: ",
        "colour: unknown",
        "line 6: has 1048588 bytes, more than the 1048576 of a line",
        "line 7 (line-7): template: there is no template \"nope\"",
        "line 8 (line-8): tenant: \"other\" is not the batch's",
    ] {
        assert!(outcome.err.contains(said), "{said}\n{}", outcome.err);
    }
    let errors = fleet.rig.planfleet(&["batch", "errors", "mixed", "-o", "json"]).code(0).json();
    let numbers: Vec<&Value> = errors.as_array().unwrap().iter().map(|error| &error["line"]).collect();
    assert_eq!(numbers, [2, 4, 5, 6, 7, 8]);
    let standing = status(&fleet, "mixed");
    for (name, expected) in
        [("state", json!("completed")), ("total", json!(8)), ("rejected", json!(6)), ("succeeded", json!(2))]
    {
        assert_eq!(standing[name], expected, "{name} of {standing:#}");
    }
}

/// Killed in the middle, submitted again, and again when all is done: each task is one run
/// and one call.
#[test]
fn a_batch_goes_on_where_its_submitter_was_killed() {
    const TASKS: usize = 60;
    let mut fleet = Fleet::new(vec![Rule::text("done").step("Task").latency(slow(60))]);
    fleet.rig.set("nats.shards=3");
    fleet.rig.set("pools.default.slots=4");
    let _serving = fleet.serve("coordinator,executor");
    let text = lines((0..TASKS).map(|n| ask(&format!("t{n}"), &format!("Task {n}."))));
    fleet.rig.home.write("tasks.jsonl", text);
    let args = ["batch", "submit", "tasks.jsonl", "--window", "8"];
    let mut submitting = fleet.rig.start(&args);
    until("some calls", || (fleet.rig.sim.executor("Task").count() >= TASKS / 4).then_some(()));
    let calls = fleet.rig.sim.executor("Task").count();
    submitting.kill();
    assert!(calls < TASKS, "it was killed in the middle");
    let listed = fleet.rig.planfleet(&["batch", "list", "-o", "json"]).code(0).json();
    let id = listed[0]["batch_id"].as_str().unwrap().to_owned();
    assert_eq!(listed[0]["total"], TASKS);

    // Window is what is open at once, also when it is taken up again.
    let mut again = fleet.rig.start(&[&args[..], &["--wait", "-o", "jsonl"]].concat());
    let mut most = 0;
    until("the end of the batch", || {
        most = most.max(status(&fleet, &id)["active"].as_u64().unwrap());
        again.status()
    });
    let outcome = again.ended().code(0);
    assert!((1..=8).contains(&most), "{most} runs were open at once");
    assert_eq!(documents(&outcome).len(), TASKS);
    assert!(outcome.err.contains(&format!("going on with batch {id}")), "{}", outcome.err);
    assert!(outcome.err.contains(&format!("{TASKS} tasks submitted, ")), "{}", outcome.err);

    let third = fleet.rig.planfleet(&[&args[..], &["--wait", "-o", "json"]].concat()).code(0).json();
    assert_eq!((&third["state"], &third["succeeded"]), (&json!("completed"), &json!(TASKS)));
    assert_eq!(fleet.rig.sim.executor("Task").count(), TASKS, "nothing was done twice");
    assert_eq!(fleet.broker.messages("PF_DONE"), TASKS as u64);
}

#[test]
fn another_task_under_a_name_of_the_batch_is_refused() {
    let fleet = Fleet::new(Vec::new());
    let _serving = fleet.serve("coordinator,executor");
    fleet.rig.home.write("one.jsonl", lines([sum("a", 1), sum("b", 1)]));
    fleet.rig.home.write("two.jsonl", lines([sum("a", 2), sum("b", 1), sum("c", 3)]));
    fleet.rig.planfleet(&["batch", "submit", "one.jsonl", "--id", "b1", "--wait"]).code(0);
    let more = ["batch", "submit", "two.jsonl", "--id", "b1", "--wait", "-o", "jsonl"];
    let outcome = fleet.rig.planfleet(&more).code(2);
    assert!(outcome.err.contains("line 1 (a): custom_id: was submitted in this batch with another task"));
    let found = documents(&outcome);
    assert_eq!(found.len(), 3, "the new line has run");
    assert_eq!(found["a"]["answer"]["value"], 2, "and the first task stands");
    let others = ["batch", "submit", "one.jsonl", "--id", "b1", "--tenant", "other"];
    let refused = fleet.rig.planfleet(&others).code(2);
    assert!(refused.one_line().contains("the batch id \"b1\" is taken"), "{}", refused.err);
}

#[test]
fn a_cancelled_batch_ends_and_is_submitted_no_further() {
    let fleet = Fleet::new(vec![Rule::text("done").step("Task").latency(slow(60_000))]);
    let _serving = fleet.serve("coordinator,executor");
    let text = lines((0..30).map(|n| ask(&format!("t{n}"), &format!("Task {n}."))));
    fleet.rig.home.write("tasks.jsonl", text);
    let args = ["batch", "submit", "tasks.jsonl", "--id", "slow", "--window", "5", "--wait"];
    let submitting = fleet.rig.start(&args);
    until("a full window", || {
        // It may not be there yet.
        let standing = fleet.rig.planfleet(&["batch", "status", "slow", "-o", "json"]);
        standing.out.contains("\"active\": 5").then_some(())
    });
    let cancel = ["batch", "cancel", "slow", "--reason", "wrong file", "-o", "json"];
    let cancelled = fleet.rig.planfleet(&cancel).code(0).json();
    assert_eq!(cancelled["cancelled_runs"], 5);
    let outcome = submitting.ended().code(4);
    assert!(outcome.err.contains("batch slow was cancelled: wrong file"), "{}", outcome.err);
    let standing = status(&fleet, "slow");
    assert_eq!(
        (&standing["state"], &standing["cancelled"], &standing["submitted"]),
        (&json!("cancelled"), &json!(5), &json!(5)),
        "{standing:#}"
    );
    let refused = fleet.rig.planfleet(&args).code(2);
    assert!(refused.one_line().contains("was cancelled (wrong file)"), "{}", refused.err);
}

#[test]
fn what_failed_is_tried_again_once_and_counts_as_its_last_try() {
    let refused = |times| Rule::refusal("I cannot do that.").step("Task 1").times(times);
    let fleet = Fleet::new(vec![refused(2), Rule::text("done").step("Task")]);
    let _serving = fleet.serve("coordinator,executor");
    let task = |n: u32| {
        let mut task = ask(&format!("t{n}"), &format!("Task {n}."));
        task["review"] = json!("never");
        task
    };
    fleet.rig.home.write("tasks.jsonl", lines((0..4).map(task)));
    let submit = ["batch", "submit", "tasks.jsonl", "--id", "b", "--wait", "-o", "json"];
    let counts = |standing: &Value| {
        let count = |name: &str| standing[name].as_u64().unwrap();
        (count("succeeded"), count("failed"), count("retried"))
    };
    assert_eq!(counts(&fleet.rig.planfleet(&submit).code(3).json()), (3, 1, 0));
    let errors = fleet.rig.planfleet(&["batch", "errors", "b", "-o", "json"]).code(0).json();
    assert_eq!((errors.as_array().unwrap().len(), &errors[0]["custom_id"]), (1, &json!("t1")), "{errors:#}");
    assert!(errors[0]["message"].as_str().unwrap().contains("refused"), "{errors:#}");

    let retry = ["batch", "retry-failed", "b", "-o", "json"];
    let first = fleet.rig.planfleet(&retry).code(0).json();
    assert_eq!(first.as_array().unwrap().len(), 1, "{first:#}");
    until("its end", || (status(&fleet, "b")["retried"] == 1).then_some(()));
    assert_eq!(counts(&status(&fleet, "b")), (3, 1, 1), "it was refused again");
    let second = fleet.rig.planfleet(&["batch", "retry-failed", "b", "--wait", "-o", "json"]).code(0).json();
    assert_eq!((counts(&second), &second["state"]), ((4, 0, 2), &json!("completed")));
    assert_eq!(fleet.rig.planfleet(&retry).code(0).json(), json!([]), "nothing is left to try");
    let results = documents(&fleet.rig.planfleet(&["batch", "results", "b", "-o", "jsonl"]).code(0));
    assert_eq!((results.len(), &results["t1"]["state"]), (4, &json!("succeeded")));
    // Submitted again, all of it has succeeded.
    fleet.rig.planfleet(&submit).code(0);
    assert_eq!(fleet.rig.sim.executor("Task").count(), 6);
}

#[test]
fn results_and_progress_are_there_while_a_batch_runs() {
    let fleet = Fleet::new(vec![
        Rule::text("done").step("Quick"),
        Rule::text("done").step("Slow").latency(slow(60_000)),
    ]);
    let _serving = fleet.serve("coordinator,executor");
    let tasks = [ask("q1", "Quick one."), ask("s1", "Slow one."), ask("q2", "Quick two.")];
    fleet.rig.home.write("tasks.jsonl", lines(tasks));
    let budget = ["--budget-usd", "0.5", "--budget-tokens", "90000", "--label", "team=books"];
    let submit = [&["batch", "submit", "tasks.jsonl", "--id", "b", "-o", "json"][..], &budget].concat();
    let submitted = fleet.rig.planfleet(&submit).code(0).json();
    assert_eq!(
        (&submitted["submitted"], &submitted["rejected"], &submitted["new"]),
        (&json!(3), &json!(0), &json!(true))
    );
    let standing = until("two results", || {
        let standing = status(&fleet, "b");
        (standing["succeeded"] == 2).then_some(standing)
    });
    assert_eq!((&standing["state"], &standing["active"]), (&json!("running"), &json!(1)), "{standing:#}");
    assert_eq!(standing["budget"], json!({"usd": 0.5, "tokens": 90_000}));
    assert!(standing["usd"].as_f64().unwrap() > 0.0 && standing["tokens"].as_u64().unwrap() > 0);
    let results = fleet.rig.planfleet(&["batch", "results", "b", "-o", "jsonl"]).code(0);
    let found: BTreeSet<String> = documents(&results).into_keys().collect();
    assert_eq!(found, BTreeSet::from(["q1".to_owned(), "q2".to_owned()]));
    // Said again, a budget replaces the one before.
    let other = ["batch", "submit", "tasks.jsonl", "--id", "b", "--budget-usd", "2"];
    fleet.rig.planfleet(&other).code(0);
    assert_eq!(status(&fleet, "b")["budget"], json!({"usd": 2.0, "tokens": null}));
    let waited = fleet.rig.planfleet(&[&other[..], &["--wait", "--timeout", "1"]].concat()).code(5);
    assert!(waited.err.contains("3 tasks of batch b are submitted and go on"), "{}", waited.err);
    let unknown = fleet.rig.planfleet(&["batch", "status", "nope"]).code(2);
    assert!(unknown.one_line().contains("there is no batch \"nope\""), "{}", unknown.err);
}

#[test]
fn requests_in_the_form_of_openai_s_batches_come_by_standard_input() {
    let fleet = Fleet::new(vec![
        Rule::text("Bonjour").when("Say hello in French."),
        Rule::text("tidy").when("Instructions: Be brief."),
    ]);
    let _serving = fleet.serve("coordinator,executor");
    let request = |custom_id: &str, body: Value| json!({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body});
    let user = |text: &str| json!({"role": "user", "content": text});
    let text = lines([
        request("one", json!({"model": "gpt", "temperature": 0, "messages": [user("Say hello in French.")]})),
        request("two", json!({"messages": [{"role": "system", "content": "Be brief."}, user("Clean up.")]})),
        request("three", json!({"messages": [user("x")], "tools": []})),
    ]);
    let submit = ["batch", "submit", "-", "--id", "in", "-o", "jsonl", "--wait", "--mode", "direct"];
    let mut submitting = fleet.rig.start(&submit);
    submitting.feed(text);
    let outcome = submitting.ended().code(2);
    let found = documents(&outcome);
    assert_eq!((&found["one"]["answer"], &found["two"]["answer"]), (&json!("Bonjour"), &json!("tidy")));
    assert_eq!(found.len(), 2);
    assert!(outcome.err.contains("line 3 (three): body.tools: a task cannot say this"), "{}", outcome.err);
    assert!(outcome.err.contains("model, temperature: left out"), "{}", outcome.err);
}

/// One cap for all of its runs: those that it does not reach for end with what they have.
#[test]
fn the_runs_of_a_batch_share_its_budget() {
    // No more than the prompt can be and the answer may be: what is held covers it.
    let usage = UsageFigures { prompt_tokens: 20, completion_tokens: 60, ..UsageFigures::default() };
    let fleet = Fleet::new(vec![Rule { usage: Some(usage), ..Rule::text("done").step("Task") }]);
    let _serving = fleet.serve("coordinator,executor");
    let text = lines((0..20).map(|n| ask(&format!("t{n}"), &format!("Task {n}."))));
    fleet.rig.home.write("tasks.jsonl", text);
    let submit = ["batch", "submit", "tasks.jsonl", "--id", "b", "--wait", "-o", "json"];
    let capped = [&submit[..], &["--budget-tokens", "1000"]].concat();
    let standing = fleet.rig.planfleet(&capped).code(6).json();
    let calls = fleet.rig.sim.all().count() as u64;
    assert!((1..=12).contains(&calls), "{calls} calls of 80 tokens each");
    assert_eq!((&standing["succeeded"], &standing["failed"]), (&json!(calls), &json!(20 - calls)));
    assert_eq!(standing["tokens"], json!(calls * 80));
    // With a larger one, what was left out is done.
    let raised = [&submit[..], &["--budget-tokens", "400000"]].concat();
    fleet.rig.planfleet(&raised).code(6);
    let retried = fleet.rig.planfleet(&["batch", "retry-failed", "b", "--wait", "-o", "json"]).code(0).json();
    assert_eq!((&retried["succeeded"], &retried["budget"]["tokens"]), (&json!(20), &json!(400_000)));
    assert_eq!(fleet.rig.sim.all().count(), 20);
}
