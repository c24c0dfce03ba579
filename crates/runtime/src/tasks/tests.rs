//! Stories of tasks that end well, badly, or not at all; on a paused clock.

use std::sync::{Arc, Mutex};

use super::*;

const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
#[error("outer")]
struct Outer(#[source] std::io::Error);

async fn broken(message: &str) {
    panic!("{message}");
}

#[tokio::test(start_paused = true)]
async fn tasks_that_watch_the_token_stop_within_the_grace() {
    let tasks = Tasks::new("process");
    let token = tasks.token();
    tasks.spawn("polite", async move { token.cancelled().await });
    assert!(tasks.shutdown(GRACE).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stuck_task_is_named_and_aborted() {
    struct Dropped(Arc<Mutex<bool>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            *self.0.lock().unwrap() = true;
        }
    }
    let dropped = Arc::new(Mutex::new(false));
    let guard = Dropped(Arc::clone(&dropped));
    let tasks = Tasks::new("process");
    let child = tasks.child("executor");
    child.spawn("stuck", async move {
        let _guard = guard;
        std::future::pending::<()>().await;
    });
    let started = tokio::time::Instant::now();
    let unfinished = tasks.shutdown(GRACE).await;
    assert_eq!(unfinished, Unfinished(vec!["stuck"]));
    assert_eq!(started.elapsed(), GRACE);
    assert!(*dropped.lock().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_child_stops_alone() {
    let tasks = Tasks::new("process");
    let child = tasks.child("executor");
    let token = tasks.token();
    tasks.spawn("parent", async move { token.cancelled().await });
    let token = child.token();
    child.spawn("child", async move { token.cancelled().await });
    assert!(child.shutdown(GRACE).await.is_empty());
    assert!(!tasks.token().is_cancelled());
    assert!(tasks.shutdown(GRACE).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_child_is_the_trees_first_failure() {
    let tasks = Tasks::new("process");
    let child = tasks.child("executor");
    child.spawn("broken", broken("no luck"));
    let failure = tasks.first_failure().await;
    assert_eq!(failure.to_string(), "task broken of executor failed: panicked: no luck");
    child.spawn("second", async { Err(Outer(std::io::Error::other("x"))) });
    assert!(tasks.shutdown(GRACE).await.is_empty());
    assert_eq!(tasks.first_failure().await.name, "broken");
}

#[tokio::test(start_paused = true)]
async fn an_error_is_reported_with_its_sources() {
    let tasks = Tasks::new("process");
    tasks.spawn("failing", async { Err(Outer(std::io::Error::other("inner"))) });
    assert_eq!(tasks.first_failure().await.reason, "outer: inner");
}

#[tokio::test(start_paused = true)]
async fn stages_run_in_reverse_and_none_keeps_the_next_from_running() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let order = Arc::clone(&order);
        async move { order.lock().unwrap().push(name) }
    };
    let mut shutdown = Shutdown::new();
    shutdown.stage("telemetry", GRACE, note("telemetry"));
    shutdown.stage("bus", GRACE, std::future::pending::<()>());
    shutdown.stage("executor", GRACE, broken("oh"));
    shutdown.stage("api", GRACE, note("api"));
    let outcomes = shutdown.run().await;
    let results: Vec<_> = outcomes.into_iter().map(|o| (o.name, o.result)).collect();
    assert_eq!(
        results,
        [
            ("api", StageResult::Finished),
            ("executor", StageResult::Failed("panicked: oh".to_owned())),
            ("bus", StageResult::TimedOut),
            ("telemetry", StageResult::Finished),
        ]
    );
    assert_eq!(*order.lock().unwrap(), ["api", "telemetry"]);
}
