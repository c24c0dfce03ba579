//! Bodies that are too large for a message: they arrive whole, and are removed when
//! nothing refers to them any more.

use futures::TryStreamExt as _;
use planfleet_bus::{Bus, Lease};
use planfleet_core::id::RunId;
use planfleet_proto::subjects;
use serde_json::{Value, json};

use crate::support::{Fleet, plan, tool};

/// A text of a mebibyte that no two files share.
fn large_text(word: &str) -> String {
    word.repeat((1 << 20) / word.len())
}

/// A fleet that may read files of its home.
fn fleet() -> Fleet {
    let mut fleet = Fleet::new(Vec::new());
    let root = fleet.rig.home.path("files");
    std::fs::create_dir(&root).unwrap();
    fleet.rig.set(format!("tools.roots=[{root:?}]"));
    fleet
}

/// Runs a task that reads a file, and gives its document.
fn read_file(fleet: &Fleet, name: &str, text: &str) -> Value {
    let path = fleet.rig.home.write(&format!("files/{name}"), text);
    let read = tool(1, "file_read").literal("path", path.to_str().unwrap());
    fleet.run(&json!({"plan": plan([read])})).ended().code(0).json()
}

fn run_id(document: &Value) -> RunId {
    document["run_id"].as_str().unwrap().parse().unwrap()
}

async fn bodies(bus: &Bus) -> usize {
    let listed = bus.broker().object_list(subjects::BLOBS).await.unwrap();
    listed.try_collect::<Vec<_>>().await.unwrap().len()
}

/// Makes a run's document as gone as it is after a week, and the log before its end as
/// settled as it is after a minute.
fn age(fleet: &Fleet, run: &RunId) {
    fleet.broker.bus(async |bus| {
        let kept = bus.broker().last_on_subject(subjects::DONE, &subjects::done_of(run)).await.unwrap();
        assert!(bus.broker().remove(subjects::DONE, kept.unwrap().seq).await.unwrap());
        let held = bus.lease(0).await.unwrap().unwrap();
        let replay_from = bus.journal_tail(0).await.unwrap() + 1;
        let lease = Lease { replay_from, ..held.lease };
        bus.write_lease(0, &lease, held.revision).await.unwrap().unwrap();
    });
}

fn gc(fleet: &Fleet, args: &[&str]) -> Value {
    let args = [&["admin", "gc", "-o", "json"], args].concat();
    fleet.rig.planfleet(&args).code(0).json()
}

#[test]
fn a_large_output_comes_back_whole_and_is_removed_when_its_run_is_forgotten() {
    let fleet = fleet();
    let serving = fleet.serve("coordinator,executor");
    let (old, new) = (large_text("old "), large_text("new "));
    let forgotten = read_file(&fleet, "old.txt", &old);
    let kept = read_file(&fleet, "new.txt", &new);
    assert!(forgotten["answer"]["text"] == old, "the first document is not whole");
    assert!(kept["answer"]["text"] == new, "the second document is not whole");

    // Nobody reads the log now, so the test may say how much of it is settled.
    serving.terminate();
    serving.ended().code(0);
    let before = fleet.broker.bus(async |bus| bodies(&bus).await);
    assert!(before >= 4, "a result and a document of each run: {before}");

    // All of them are wanted, and all are young.
    assert_eq!(gc(&fleet, &["--grace", "0"])["removed"], 0);
    age(&fleet, &run_id(&forgotten));
    let young = gc(&fleet, &[]);
    assert_eq!((&young["removed"], &young["young"]), (&json!(0), &json!(before)));

    let would = gc(&fleet, &["--grace", "0", "--dry-run"]);
    assert_eq!((&would["dry_run"], &would["bodies"]), (&json!(true), &json!(before)));
    assert_eq!(fleet.broker.bus(async |bus| bodies(&bus).await), before, "a dry run removes nothing");

    let shown = fleet.rig.planfleet(&["admin", "gc", "--grace", "0"]).code(0);
    let removed = would["removed"].as_u64().unwrap();
    assert!(removed >= 2, "{would}");
    let bytes = would["removed_bytes"].as_u64().unwrap();
    assert!(bytes >= 2 << 20, "{would}");
    assert!(shown.out.contains("removed") && shown.out.contains(&bytes.to_string()), "{}", shown.out);
    let left = fleet.broker.bus(async |bus| bodies(&bus).await);
    assert_eq!(left as u64, before as u64 - removed);
    assert_eq!(gc(&fleet, &["--grace", "0"])["removed"], 0, "once is enough");

    // What is kept of the other run is whole, and the fleet goes on.
    let _serving = fleet.serve("coordinator,executor");
    let again = fleet.watch(run_id(&kept).as_str()).code(0).json();
    assert!(again["answer"]["text"] == new, "the kept document is not whole any more");
    let third = read_file(&fleet, "old.txt", &old);
    assert!(third["answer"]["text"] == old, "what was removed can be stored again");
}
