//! What is done with messages that nobody could read, and what the broker can lose.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use planfleet_bus::{DeadLetter, broker::LogEntry};
use planfleet_modelsim::Rule;
use planfleet_proto::subjects;
use serde_json::{Value, json};

use crate::support::{Fleet, Outcome, Rig, Roles as _, first_plan, plan, step, until};

const RUN: &str = "00-x";
const WORK: &str = "pf.steps.default.1.t.00-x.1.1";
const LOG: &str = "PF_EV_00";
const RECORD: &str = "pf.ev.00.result";
const SUBMIT: &str = "pf.ev.00.submit";
const CANCEL: &str = "pf.ev.00.cancel";

fn greeting() -> Vec<Rule> {
    vec![first_plan(plan([step(1, "Say hello.")])), Rule::text("hello").step("Say")]
}

fn dlq(fleet: &Fleet, args: &[&str]) -> Outcome {
    fleet.rig.planfleet(&[&["queue", "dlq"], args].concat())
}

fn letters(fleet: &Fleet) -> Vec<Value> {
    let listed = dlq(fleet, &["list", "-o", "json"]).code(0).json();
    listed.as_array().unwrap().clone()
}

/// A fleet at work with one dead letter of each kind: a record's, then work's.
fn fleet_with_letters() -> (Fleet, impl Sized) {
    let fleet = Fleet::new(greeting());
    let serving = fleet.serve("coordinator,planner,executor");
    fleet.broker.publish(RECORD, b"\xffno record");
    until("the record's letter", || (fleet.broker.messages("PF_DLQ") == 1).then_some(()));
    fleet.broker.publish(WORK, b"\xffno order");
    until("the work's letter", || (fleet.broker.messages("PF_DLQ") == 2).then_some(()));
    until("an empty queue", || (fleet.broker.messages("PF_STEPS_0") == 0).then_some(()));
    (fleet, serving)
}

#[test]
fn dead_letters_are_listed_and_only_shown_on_demand() {
    let (fleet, _serving) = fleet_with_letters();
    let found = letters(&fleet);
    assert_eq!(found.len(), 2, "{found:#?}");
    let (record, work) = (&found[0], &found[1]);
    assert_eq!((&record["seq"], &work["seq"]), (&json!(1), &json!(2)), "the newest last");
    assert_eq!((&record["stream"], &record["subject"]), (&json!("PF_EV_00"), &json!(RECORD)));
    assert!(record["stream_seq"].as_u64().is_some_and(|seq| seq > 0), "{record:#}");
    assert_eq!(record["run_id"], Value::Null, "nobody can tell");
    assert_eq!((&work["stream"], &work["run_id"]), (&json!("PF_STEPS_0"), &json!(RUN)));
    assert_eq!((&work["step"], &work["attempt"], &work["bytes"]), (&json!(1), &json!(1), &json!(9)));
    assert!(work["set_aside_at"].as_str().unwrap().starts_with("20"), "{work:#}");

    let table = dlq(&fleet, &["list"]).code(0).out;
    assert!(table.contains(RUN) && table.contains("unreadable message on pf.ev.00.result"), "{table}");
    assert!(!table.contains("no order") && !table.contains("6e6f"), "payloads stay where they are: {table}");
    assert_eq!(dlq(&fleet, &["list", "--limit", "1", "-o", "jsonl"]).code(0).json()["seq"], 2);
    assert_eq!(dlq(&fleet, &["list", "--shard", "0", "-o", "jsonl"]).code(0).json()["seq"], 1);
    assert_eq!(dlq(&fleet, &["list", "--pool", "default", "-o", "jsonl"]).code(0).json()["seq"], 2);
    assert_eq!(dlq(&fleet, &["list", "--pool", "gpu", "-o", "jsonl"]).code(0).out, "");

    let shown = dlq(&fleet, &["show", "2", "-o", "json"]).code(0).json();
    assert_eq!(shown["payload_hex"], "ff6e6f206f72646572");
    assert_eq!(shown["decoded"], Value::Null);
    assert!(shown["not_decoded"].is_string(), "{shown:#}");
    let dump = dlq(&fleet, &["show", "2"]).code(0).out;
    assert!(dump.contains("ff 6e 6f") && dump.contains(".no order"), "{dump}");
    assert!(dump.contains("It does not decode"), "{dump}");
}

#[test]
fn dead_letters_are_dropped_by_number_or_all_at_once() {
    let (fleet, _serving) = fleet_with_letters();
    let dropped = dlq(&fleet, &["drop", "1", "-o", "json"]).code(0).json();
    assert_eq!((&dropped[0]["seq"], &dropped[0]["outcome"]), (&json!(1), &json!("dropped")));
    let again = dlq(&fleet, &["drop", "1", "7"]).code(1);
    assert!(again.one_line().contains("there is no dead letter 1, 7"), "{again:#?}");
    assert!(dlq(&fleet, &["show", "1"]).code(1).one_line().contains("queue dlq list"));

    let asked = dlq(&fleet, &["drop", "--all"]).code(2);
    assert!(asked.one_line().contains("drop one dead letter") && asked.err.contains("--yes"), "{asked:#?}");
    assert_eq!(letters(&fleet).len(), 1, "nothing was done");
    dlq(&fleet, &["drop", "--all", "--yes", "--shard", "0"]).code(0);
    assert_eq!(letters(&fleet).len(), 1, "there was none of that shard");
    dlq(&fleet, &["drop", "--all", "--yes"]).code(0);
    assert_eq!(letters(&fleet), Vec::<Value>::new());
    assert_eq!(dlq(&fleet, &["drop", "--all", "-o", "json"]).code(0).json(), json!([]));

    for wrong in [&["drop"][..], &["replay"], &["drop", "1", "--all"], &["drop", "1", "--pool", "default"]] {
        dlq(&fleet, wrong).code(2);
    }
}

/// What is still unreadable comes back as another letter; nothing is lost on the way.
#[test]
fn replayed_messages_go_where_they_came_from() {
    let (fleet, _serving) = fleet_with_letters();
    let replayed = dlq(&fleet, &["replay", "--all", "--yes", "-o", "json"]).code(0).json();
    let told = |at: usize| replayed[at]["detail"].as_str().unwrap().to_owned();
    assert_eq!((&replayed[0]["outcome"], &replayed[1]["outcome"]), (&json!("replayed"), &json!("replayed")));
    assert!(told(0).contains(RECORD) && told(0).contains("reads it next"), "{replayed:#}");
    assert!(told(1).contains(WORK) && told(1).contains("its result is ignored"), "{replayed:#}");
    until("both as other letters", || {
        let seqs: Vec<_> = letters(&fleet).iter().filter_map(|letter| letter["seq"].as_u64()).collect();
        (seqs == [3, 4]).then_some(())
    });
    fleet.run(&json!({"goal": "go"})).ended().code(0);
}

/// A record that could not be read once, and can be now: its shard has gone on
/// without it, and takes it as any other. Its body travels by reference.
#[test]
fn a_replayed_submit_becomes_a_run_once() {
    let fleet = Fleet::new(greeting());
    // Makes the streams; no coordinator reads what is submitted then.
    drop(fleet.serve("executor"));
    let run = fleet.submit(&json!({"goal": "go", "inputs": {"text": "x".repeat(100_000)}}));
    let letter = fleet.broker.bus(async |bus| {
        let entry = bus.broker().first_on_subject(LOG, SUBMIT, 1).await.unwrap().unwrap();
        assert!(entry.payload.is_empty() && bus.broker().remove(LOG, entry.seq).await.unwrap());
        letter_of(entry)
    });
    let set_aside = || fleet.broker.bus(async |bus| bus.set_aside(letter.clone()).await.unwrap());
    set_aside();
    let _serving = fleet.serve("coordinator,planner,executor");
    let shown = dlq(&fleet, &["show", "1", "-o", "json"]).code(0).json();
    assert_eq!((&shown["run_id"], &shown["decoded"]["what"]), (&json!(run), &json!("TaskSubmitted")));
    assert_eq!(shown["decoded"]["task"]["goal"], "go");

    let replayed = dlq(&fleet, &["replay", "1", "-o", "json"]).code(0).json();
    assert!(replayed[0]["detail"].as_str().unwrap().contains("reads it next"), "{replayed:#}");
    assert_eq!(fleet.watch(&run).code(0).json()["answer"], "hello");

    set_aside();
    let refused = dlq(&fleet, &["replay", "2", "-o", "json"]).code(1);
    assert!(refused.json()[0]["detail"].as_str().unwrap().contains("would run it again"), "{refused:#?}");
    let cancel = DeadLetter { subject: CANCEL.to_owned(), payload: "x".into(), ..letter.clone() };
    fleet.broker.bus(async |bus| bus.set_aside(cancel).await.unwrap());
    let ignored = dlq(&fleet, &["replay", "3", "-o", "json"]);
    assert!(ignored.out.contains("its run has ended: the record is ignored"), "{ignored:#?}");
}

fn letter_of(entry: LogEntry) -> DeadLetter {
    let LogEntry { seq, subject, headers, payload, .. } = entry;
    let reason = "a body out of reach".to_owned();
    DeadLetter {
        to: subjects::dead_record(0),
        stream: LOG.to_owned(),
        seq,
        subject,
        reason,
        headers,
        payload,
    }
}

/// Nobody works: what is replayed stays queued, and its name is taken.
#[test]
fn work_whose_name_is_taken_is_kept() {
    let (fleet, serving) = fleet_with_letters();
    drop(serving);
    fleet.broker.publish(WORK, b"queued");
    let refused = dlq(&fleet, &["replay", "2", "-o", "json"]).code(1);
    assert_eq!(refused.json()[0]["outcome"], "kept");
    assert!(refused.json()[0]["detail"].as_str().unwrap().contains("name already"), "{refused:#?}");
    assert!(refused.one_line().contains("1 of 1 dead letters could not be replayed"), "{refused:#?}");
    assert_eq!(letters(&fleet).len(), 2);
}

#[test]
fn the_queue_of_a_broker_that_is_not_there_is_out_of_reach() {
    let mut rig = Rig::new(Vec::new());
    rig.set("nats.url=nats://127.0.0.1:1");
    assert!(rig.planfleet(&["queue", "dlq", "list"]).code(7).one_line().contains("planfleet dev"));
}

fn finding(rig: &Rig, what: &str, code: i32) -> (String, String) {
    let found = rig.planfleet(&["admin", "doctor", "-o", "json"]).code(code).json();
    let finding = found.as_array().unwrap().iter().find(|finding| finding["what"] == what);
    let finding = finding.unwrap_or_else(|| panic!("nothing about {what}: {found:#}"));
    let text = |name: &str| finding[name].as_str().unwrap().to_owned();
    (text("state"), text("detail"))
}

#[test]
fn the_doctor_says_what_a_power_cut_can_lose() {
    let mut fleet = Fleet::new(Vec::new());
    let serving = fleet.serve("executor");
    let said = serving.err();
    assert!(said.contains("what a power cut can lose is not known"), "the start-up check: {said}");

    let (state, broker) = finding(&fleet.rig, "broker", 0);
    assert_eq!(state, "ok");
    assert!(broker.contains("nats-server 2.") && broker.contains("replicas 1"), "{broker}");
    assert!(broker.contains("sync_interval unknown"), "{broker}");
    let (state, unknown) = finding(&fleet.rig, "power cut", 0);
    assert_eq!(state, "warning");
    assert!(unknown.contains("nats.monitoring_url") && unknown.contains("is not set"), "{unknown}");

    fleet.rig.set(format!("nats.monitoring_url={}", fleet.broker.monitoring_url()));
    assert!(finding(&fleet.rig, "broker", 0).1.contains("sync_interval 2m"));
    let (state, loss) = finding(&fleet.rig, "power cut", 0);
    assert_eq!(state, "warning");
    assert!(loss.starts_with("up to 2m of acknowledged work can be lost by a power cut"), "{loss}");

    drop(serving);
    fleet.broker.restart_with_sync(&fleet.rig.home, "always");
    let serving = fleet.serve("executor");
    assert!(serving.err().contains("a power cut loses nothing that was acknowledged"), "{}", serving.err());
    assert!(finding(&fleet.rig, "broker", 0).1.contains("sync_interval always"));
    assert_eq!(finding(&fleet.rig, "power cut", 0).0, "ok");
}

#[test]
fn a_monitoring_url_of_somebody_else_tells_nothing() {
    let (mut fleet, other) = (Fleet::new(Vec::new()), Fleet::new(Vec::new()));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, why) in [
        (other.broker.monitoring_url(), "another server than the one that nats.url names"),
        (format!("http://me:hunter2@{nobody}"), "refused"),
    ] {
        fleet.rig.set(format!("nats.monitoring_url={url}"));
        let (state, unknown) = finding(&fleet.rig, "power cut", 1);
        assert_eq!(state, "warning");
        assert!(unknown.contains("not known") && unknown.contains(why), "{unknown}");
        assert!(!unknown.contains("hunter2"), "{unknown}");
    }
    fleet.rig.set("nats.monitoring_url=ftp://here");
    assert!(fleet.rig.planfleet(&["admin", "doctor"]).code(2).err.contains("nats.monitoring_url"));
}

/// Its own server is known by its own configuration, to other commands too.
#[test]
fn the_server_of_dev_is_known() {
    let mut rig = Rig::new(Vec::new());
    for (setting, broker, verdict) in [
        (None, "sync_interval 2m", "rules that out"),
        (Some("nats.sync_interval=always"), "sync_interval always", "a power cut loses nothing"),
    ] {
        if let Some(setting) = setting {
            rig.set(setting);
        }
        let mut dev = rig.start(&["dev", "--no-local-model"]);
        dev.says("planfleet is up");
        assert!(dev.err().contains(verdict), "the start-up check: {}", dev.err());
        assert!(finding(&rig, "broker", 0).1.contains(broker));
        assert!(finding(&rig, "power cut", 0).1.contains(verdict));
        dev.terminate();
        dev.ended().code(0);
    }
}

/// Says that it is an old server, as servers do, and answers pings.
fn old_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || greet(stream.unwrap()));
        }
    });
    url
}

fn greet(mut stream: TcpStream) {
    let info = json!({"server_id": "OLD", "version": "2.9.10", "proto": 1, "headers": true,
        "max_payload": 1_048_576, "jetstream": true});
    let _ = write!(stream, "INFO {info}\r\n");
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        if buffer[..read].windows(4).any(|four| four == b"PING") {
            let _ = stream.write_all(b"PONG\r\n");
        }
    }
}

#[test]
fn an_old_server_is_refused_with_the_version_that_is_needed() {
    let mut rig = Rig::new(Vec::new());
    rig.set(format!("nats.url={}", old_server()));
    let refused = rig.planfleet(&["serve", "--roles", "executor"]).code(1);
    let line = refused.err.lines().last().unwrap();
    assert!(line.contains("nats-server 2.9.10 is too old: planfleet needs 2.12 or newer"), "{line}");
    let (state, detail) = finding(&rig, "broker", 1);
    assert_eq!(state, "bad");
    assert!(detail.contains("2.9.10 is too old"), "{detail}");
}
