//! Runs go in, are found, summed up, and go.

use std::{
    collections::BTreeMap,
    io::{Seek as _, SeekFrom, Write as _},
    time::Instant,
};

use planfleet_bus::{Bus, Manage, Topology, broker::memory::MemoryBroker};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::view::RunState;

/// A document of a run, as its owner writes it, as far as the index reads it.
fn document(n: u64) -> String {
    let state = if n % 10 == 3 { "failed" } else { "succeeded" };
    let usd = if n % 100 == 7 { json!(null) } else { json!((n % 1000) as f64 / 1e6) };
    json!({
        "run_id": format!("{:02x}-{n:08x}", n % 4),
        "custom_id": format!("c-{n}"),
        "tenant": if n.is_multiple_of(5) { "acme" } else { "other" },
        "class": format!("class-{}", n % 50),
        "batch_id": n.is_multiple_of(3).then(|| format!("batch-{}", n / 10_000)),
        "goal": format!("Summarise the quarterly report number {n} about {} and tell what is new.", TOPICS[(n % 7) as usize]),
        "template": n.is_multiple_of(11).then_some("code-review@0123456789ab"),
        "priority": "normal",
        "labels": {"team": if n.is_multiple_of(4) { "books" } else { "maps" }},
        "created_at": "2026-01-01T00:00:00.000Z",
        "ended_at": "2026-01-01T00:00:01.000Z",
        "state": state,
        "partial": state == "failed",
        "reason": (state == "failed").then_some("step 3: the criterion is not met"),
        "revisions": [{"revision": 1}],
        "steps": [{"id": 1, "state": "succeeded"}, {"id": 2, "state": state}, {"id": "2[0]", "state": "failed"}],
        "models": [
            {"model": "large", "role": "planner", "calls": 1, "input_tokens": 900, "output_tokens": 80, "cached_tokens": 0, "usd": 0.000_001},
            {"model": "small", "role": "executor", "calls": 2, "input_tokens": 70, "output_tokens": 8, "cached_tokens": 7, "usd": usd},
        ],
        "usd": usd,
        "timings": {"queued_ms": 1, "planning_ms": 2, "executing_ms": 3, "total_ms": n * 7919 % 60_000},
    })
    .to_string()
}

const TOPICS: [&str; 7] = ["wheat", "tides", "glaciers", "motors", "bridges", "violins", "orchards"];
const DAY_MS: u64 = 86_400_000;

fn rows(from: u64, to: u64) -> Vec<row::Row> {
    (from..to).map(|n| row::Row::of(n, DAY_MS + n * 1_000, &document(n)).unwrap()).collect()
}

pub(crate) async fn filled(count: u64) -> Index {
    let index = Index::open(&IndexFile::Temporary).unwrap();
    let mut from = 1;
    while from <= count {
        let to = (from + 2_000).min(count + 1);
        index.change(move |connection| write::add(connection, &rows(from, to))).await.unwrap();
        from = to;
    }
    index
}

async fn seqs(
    index: &Index,
    filter: &Filter,
    order: Order,
    after: Option<(i64, i64)>,
    limit: usize,
) -> Vec<i64> {
    let page = index.page(filter.clone(), order, after, limit, Vec::new()).await.unwrap();
    page.hits.into_iter().map(|hit| hit.key.1).collect()
}

fn of(text: &str) -> Filter {
    Filter { words: words(text), ..Filter::default() }
}

#[tokio::test]
async fn words_and_filters_find_runs_in_every_order() {
    let index = filled(300).await;
    let newest = |filter| {
        let index = index.clone();
        async move { seqs(&index, &filter, Order::Newest, None, 3).await }
    };
    assert_eq!(newest(Filter::default()).await, [300, 299, 298]);
    assert_eq!(newest(of("GLACIERS")).await, [296, 289, 282]);
    assert_eq!(newest(of("report glac")).await, [296, 289, 282], "a beginning");
    assert_eq!(newest(of("glac report")).await, Vec::<i64>::new(), "only the last word may be one");
    assert_eq!(newest(of("\"; DROP TABLE runs; --")).await, Vec::<i64>::new());
    assert_eq!(newest(of("c-17")).await, [267, 217, 167], "a name's parts are words");
    let failed = Filter { states: vec![RunState::Failed], ..Filter::default() };
    assert_eq!(newest(failed.clone()).await, [293, 283, 273]);
    let acme = Filter { tenant: Some("acme".to_owned()), ..failed.clone() };
    assert_eq!(newest(acme).await, Vec::<i64>::new());
    let team =
        Filter { labels: BTreeMap::from([("team".to_owned(), "books".to_owned())]), ..Filter::default() };
    assert_eq!(newest(team).await, [300, 296, 292]);
    for template in ["code-review", "code-review@0123456789ab"] {
        let filter = Filter { template: Some(template.to_owned()), ..Filter::default() };
        assert_eq!(newest(filter).await, [297, 286, 275]);
    }
    let between =
        Filter { since_ms: Some(DAY_MS + 100_000), until_ms: Some(DAY_MS + 103_000), ..Filter::default() };
    assert_eq!(newest(between.clone()).await, [102, 101, 100]);
    assert_eq!(seqs(&index, &between, Order::Oldest, None, 2).await, [100, 101]);
    let later = Filter { since_ms: Some(DAY_MS * 2), ..Filter::default() };
    assert_eq!(newest(later).await, Vec::<i64>::new());
}

#[tokio::test]
async fn a_position_that_nothing_has_is_none_to_fall_over() {
    let index = filled(3).await;
    let at = async |order, seq| seqs(&index, &Filter::default(), order, Some((0, seq)), 9).await;
    assert_eq!(at(Order::Newest, i64::MIN).await, Vec::<i64>::new());
    assert_eq!(at(Order::Newest, i64::MAX).await, [3, 2, 1]);
    assert_eq!(at(Order::Oldest, i64::MIN).await, [1, 2, 3]);
    // The last position there is: nobody can come behind it, and what is on it is not in use.
    assert_eq!(at(Order::Oldest, i64::MAX).await, Vec::<i64>::new());
}

#[tokio::test]
async fn a_file_that_is_damaged_is_made_anew() {
    let index = filled(2_000).await;
    let in_file = "PRAGMA wal_checkpoint(TRUNCATE)";
    index.change(move |connection| connection.query_row(in_file, [], |_| Ok(()))).await.unwrap();
    let all = async || index.page(Filter::default(), Order::Oldest, None, 5_000, Vec::new()).await;
    assert_eq!(all().await.unwrap().hits.len(), 2_000);

    // Everything behind the first page, which says that it is one of SQLite's.
    let mut file = std::fs::OpenOptions::new().write(true).open(index.path()).unwrap();
    let size = file.metadata().unwrap().len();
    file.seek(SeekFrom::Start(4_096)).unwrap();
    file.write_all(&vec![0xa5; usize::try_from(size - 4_096).unwrap()]).unwrap();
    assert!(all().await.is_err());

    let bus = Bus::new(Arc::new(MemoryBroker::new()), 1);
    bus.bootstrap(&Topology { shards: 1, replicas: 1, pools: Vec::new(), manage: Manage::Create })
        .await
        .unwrap();
    let filled = async {
        while !(index.is_whole() && all().await.is_ok_and(|page| page.hits.is_empty())) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let filling = fill(index.clone(), bus, CancellationToken::new());
    tokio::select! {
        () = filling => unreachable!("it goes on until it is stopped"),
        healed = timeout(Duration::from_secs(60), filled) => healed.unwrap(),
    }
    index.change(|connection| write::add(connection, &rows(1, 4))).await.unwrap();
    assert_eq!(all().await.unwrap().hits.len(), 3);
}

#[tokio::test]
async fn pages_go_through_all_of_it_once() {
    let index = filled(500).await;
    let books =
        Filter { labels: BTreeMap::from([("team".to_owned(), "books".to_owned())]), ..Filter::default() };
    let acme = Filter { tenant: Some("acme".to_owned()), ..Filter::default() };
    for order in [Order::Newest, Order::Oldest, Order::Cost, Order::Duration] {
        for (filter, count) in [(Filter::default(), 500), (books.clone(), 125), (acme.clone(), 100)] {
            let (mut all, mut after) = (Vec::new(), None);
            loop {
                let page = index.page(filter.clone(), order, after, 33, Vec::new()).await.unwrap();
                let Some(last) = page.hits.last() else { break };
                after = Some(last.key);
                all.extend(page.hits.iter().map(|hit| hit.key));
            }
            assert_eq!(all.len(), count, "{order:?}");
            let ascending = order == Order::Oldest;
            assert!(all.windows(2).all(|pair| (pair[0] < pair[1]) == ascending), "{order:?}");
        }
    }
}

#[tokio::test]
async fn sums_are_what_is_there_and_go_with_it() {
    let index = filled(400).await;
    let all = index.counts(Filter::default()).await.unwrap().by_state;
    assert_eq!((all["succeeded"].runs, all["failed"].runs), (360, 40));
    assert_eq!(all["succeeded"].unknown, 4);
    // Counted one by one it is the same.
    let one_by_one = index.counts(of("quarterly")).await.unwrap().by_state;
    assert_eq!(one_by_one, all);
    let costs = index.costs(Filter::default(), By::Model, None).await.unwrap();
    let small = costs.iter().find(|row| row.key.as_deref() == Some("small")).unwrap();
    assert_eq!((small.runs, small.calls, small.input_tokens, small.usd), (400, 800, 28_000, None));
    let large = costs.iter().find(|row| row.key.as_deref() == Some("large")).unwrap();
    assert_eq!(large.usd, Some(0.0004));
    let days = index.costs(Filter::default(), By::Day, None).await.unwrap();
    assert_eq!(days[0].key.as_deref(), Some("1970-01-02"));
    let runs = index.costs(Filter::default(), By::Run, None).await.unwrap();
    assert!(runs.windows(2).all(|pair| pair[0].known_usd >= pair[1].known_usd || pair[1].usd.is_none()));
    while index.change(|connection| write::forget(connection, 301)).await.unwrap() {}
    let left = index.counts(Filter::default()).await.unwrap().by_state;
    assert_eq!((left["succeeded"].runs, left["failed"].runs), (90, 10));
    assert_eq!(index.counts(of("quarterly")).await.unwrap().by_state, left);
    assert_eq!(seqs(&index, &of("quarterly"), Order::Oldest, None, 2).await, [301, 302]);
    index.change(write::clear).await.unwrap();
    assert!(index.counts(Filter::default()).await.unwrap().by_state.is_empty());
}

/// What a million runs are found in follows from these: nothing that is common is gathered,
/// sorted or counted as a whole.
#[tokio::test]
async fn what_is_common_is_met_from_the_newest_on_and_no_further_than_needed() {
    let index = filled(300).await;
    let counted = |filter: Filter, most| index.ask(move |c| counts::by_state(c, &filter, most));
    let some = counted(of("quarterly"), 100).await.unwrap();
    let runs: u64 = some.by_state.values().map(|count| count.runs).sum();
    assert_eq!((runs, some.capped), (100, true));
    assert!(!counted(of("quarterly"), 300).await.unwrap().capped);
    // Sums know all of it.
    assert!(!counted(Filter::default(), 100).await.unwrap().capped);

    let steps = |filter: Filter| {
        index.ask(move |connection| {
            let (sql, values) = filter.newest(connection)?;
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql} LIMIT 51"))?;
            let steps = plan.query_map(rusqlite::params_from_iter(values), |row| row.get(3))?;
            let steps: Vec<String> = steps.collect::<rusqlite::Result<_>>()?;
            Ok(steps.join("; "))
        })
    };
    for filter in [of("quarterly"), of("orchards quarterl"), Filter { since_ms: Some(1), ..of("rep") }] {
        let steps = steps(filter).await.unwrap();
        assert!(steps.contains("VIRTUAL TABLE INDEX") && !steps.contains("B-TREE"), "{steps}");
    }
}

#[tokio::test]
async fn a_beginning_is_the_words_that_begin_so() {
    let index = filled(300).await;
    let expression = |text: &str| {
        let filter = of(text);
        index.ask(move |connection| Ok(filter.source(connection)?.1.pop()))
    };
    let text = |value: Option<rusqlite::types::Value>| match value {
        Some(rusqlite::types::Value::Text(text)) => text,
        other => panic!("no text: {other:?}"),
    };
    assert_eq!(text(expression("orchar").await.unwrap()), "(text:\"orchards\" OR text:\"orchar\")");
    assert_eq!(text(expression("orc").await.unwrap()), "text:\"orc\"*", "there is a list of it");
    assert_eq!(text(expression("or").await.unwrap()), "text:\"or\"", "as short as that, it is a word");
    assert_eq!(text(expression("zürich").await.unwrap()), "text:\"zürich\"*");
    // Run ids begin so in their hundreds: each of them is rare.
    assert_eq!(text(expression("0000").await.unwrap()), "text:\"0000\"*");
    for whole in ["quarterly", "quarterl", "quar", "qua"] {
        assert_eq!(seqs(&index, &of(whole), Order::Newest, None, 2).await, [300, 299], "{whole}");
    }
}

#[tokio::test]
async fn a_file_is_one_process_s_and_survives_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/runs.sqlite");
    let index = Index::open(&IndexFile::At(path.clone())).unwrap();
    index.change(|connection| write::add(connection, &rows(1, 4))).await.unwrap();
    let taken = Index::open(&IndexFile::At(path.clone())).map(drop).unwrap_err().to_string();
    assert!(taken.contains("in use by another process"), "{taken}");
    let other = Index::open(&IndexFile::Preferably(path.clone())).unwrap();
    assert_ne!(other.path(), path);
    drop(index);
    let again = Index::open(&IndexFile::At(path.clone())).unwrap();
    assert_eq!(seqs(&again, &Filter::default(), Order::Newest, None, 9).await, [3, 2, 1]);
    again.change(|connection| connection.pragma_update(None, "user_version", 0)).await.unwrap();
    drop(again);
    let anew = Index::open(&IndexFile::At(path.clone())).unwrap();
    assert!(seqs(&anew, &Filter::default(), Order::Newest, None, 9).await.is_empty(), "another version");
    drop(anew);
    std::fs::write(&path, "no database at all, but long enough to look like one to somebody".repeat(100))
        .unwrap();
    let anew = Index::open(&IndexFile::At(path)).unwrap();
    assert!(seqs(&anew, &Filter::default(), Order::Newest, None, 9).await.is_empty(), "damaged");
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_insisted_on_only_where_it_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a file");
    std::fs::write(&file, "no folder").unwrap();
    // Below a file nobody makes anything, root included.
    let path = file.join("runs.sqlite");
    let refused = Index::open(&IndexFile::At(path.clone())).map(drop).unwrap_err().to_string();
    assert!(refused.starts_with("api.index_file: ") && refused.contains("a file"), "{refused}");
    let elsewhere = Index::open(&IndexFile::Preferably(path)).unwrap();
    elsewhere.change(|connection| write::add(connection, &rows(1, 3))).await.unwrap();
    assert_eq!(seqs(&elsewhere, &Filter::default(), Order::Newest, None, 9).await, [2, 1]);
}

/// Runs of the list, unless more are asked for.
const MANY: u64 = 2_000;

/// What each question of a page takes, printed; with `PLANFLEET_INDEX_RUNS=1000000` and
/// `--release` it is the measurement of `make bench BENCH=index`.
#[tokio::test]
async fn a_long_list_is_found_in() {
    let count = std::env::var("PLANFLEET_INDEX_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(MANY);
    let began = Instant::now();
    let index = filled(count).await;
    println!("{count} runs written in {:.1?}", began.elapsed());
    let labels = |team: &str| BTreeMap::from([("team".to_owned(), team.to_owned())]);
    let failed = Filter { states: vec![RunState::Failed], ..Filter::default() };
    let questions = [
        ("all", Filter::default()),
        ("failed", failed.clone()),
        ("a tenant", Filter { tenant: Some("acme".to_owned()), ..Filter::default() }),
        ("a class that failed", Filter { class: Some("class-13".to_owned()), ..failed.clone() }),
        ("a batch", Filter { batch: Some("batch-0".to_owned()), ..Filter::default() }),
        ("a label", Filter { labels: labels("books"), ..Filter::default() }),
        ("a word that all have", of("quarterly")),
        ("words", of("orchards report new")),
        ("a beginning", of("orch")),
        ("one run", of("c 1742")),
        ("nothing", of("zeppelin")),
        ("words, a label, a state", Filter { labels: labels("maps"), words: words("violins"), ..failed }),
        (
            "a while",
            Filter { since_ms: Some(DAY_MS + count * 500), words: words("tides"), ..Filter::default() },
        ),
    ];
    for order in [Order::Newest, Order::Oldest, Order::Cost, Order::Duration] {
        for (name, filter) in &questions {
            let began = Instant::now();
            let found = seqs(&index, filter, order, None, 50).await;
            println!(
                "{:>9.3} ms  {order:?}, {name}: {} runs",
                began.elapsed().as_secs_f64() * 1e3,
                found.len()
            );
            assert_eq!(found.is_empty(), *name == "nothing", "{order:?}, {name}");
        }
    }
    for (name, filter) in &questions {
        let began = Instant::now();
        let counted = index.counts(filter.clone()).await.unwrap();
        let runs: u64 = counted.by_state.values().map(|count| count.runs).sum();
        let more = if counted.capped { "+" } else { "" };
        println!("{:>9.3} ms  counts, {name}: {runs}{more}", began.elapsed().as_secs_f64() * 1e3);
        assert_eq!(runs == 0, *name == "nothing", "{name}");
    }
    for by in [By::Class, By::Model, By::Run, By::Batch, By::Role, By::Day] {
        let began = Instant::now();
        let rows = index.costs(Filter::default(), by, None).await.unwrap();
        println!("{:>9.3} ms  costs by {by:?}: {} rows", began.elapsed().as_secs_f64() * 1e3, rows.len());
        assert!(!rows.is_empty());
    }
}
