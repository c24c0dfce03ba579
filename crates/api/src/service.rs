//! What the routes ask of the fleet, each question with an end.

use std::{future::Future, sync::Arc, time::Duration};

use planfleet_bus::{
    Bus, Client,
    batches::Batch,
    client::{Found, Key},
};
use planfleet_core::{
    id::{RunId, check_name},
    record::ApprovalDecided,
    task::Submission,
};
use serde_json::Value;
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::{
    Config, FleetView,
    access::{Caller, Door, Shares},
    batch::Tallies,
    events::Feeds,
    index::Index,
    listing::Listing,
    looks::{Looks, Seen},
    problem::Problem,
    submission::{self, Scope},
    template::{self, Library, Template, library::LibraryError},
};

/// Longest wait for a run that a request may ask for: proxies and clients cut
/// off what is silent for longer.
pub(crate) const WAIT_S_MAX: u64 = 60;

/// A body and all else of a request beside its wait; a body of the largest size
/// takes this long only from a client that trickles.
const REQUEST_MARGIN: Duration = Duration::from_secs(60);

/// A run that nobody knows is asked for again after these: its record may just
/// be on its way to its owner, or its document to the store of ended runs.
const UNKNOWN_PAUSES: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(300)];

/// What all requests share.
pub(crate) struct Service {
    pub(crate) room: Semaphore,
    pub(crate) request_shares: Arc<Shares>,
    pub(crate) config: Config,
    pub(crate) bus: Bus,
    pub(crate) client: Client,
    pub(crate) templates: Library,
    pub(crate) scope: Scope,
    pub(crate) fleet: FleetView,
    pub(crate) door: Door,
    pub(crate) feeds: Feeds,
    pub(crate) listing: Listing,
    pub(crate) tallies: Tallies,
    looks: Looks,
    /// Streams of events that may be open at once.
    pub(crate) watchers: Arc<Semaphore>,
    pub(crate) watcher_shares: Arc<Shares>,
    pub(crate) stop: CancellationToken,
}

impl Service {
    pub(crate) fn new(
        bus: Bus,
        config: Config,
        scope: Scope,
        fleet: FleetView,
        (index, door): (Index, Door),
        stop: CancellationToken,
    ) -> Arc<Self> {
        let client = Client::new(bus.clone());
        let (room, templates) = (Semaphore::new(config.requests_max), Library::on(bus.clone()));
        let feeds = Feeds::new(bus.clone(), stop.clone());
        let listing = Listing::new(client.clone(), index);
        let watchers = Arc::new(Semaphore::new(config.watchers_max));
        let request_shares = Shares::of(config.requests_max, "requests");
        let watcher_shares = Shares::of(config.watchers_max, "streams of events");
        Arc::new(Self {
            door,
            listing,
            tallies: Tallies::default(),
            looks: Looks::default(),
            watchers,
            watcher_shares,
            room,
            request_shares,
            config,
            bus,
            client,
            templates,
            scope,
            fleet,
            feeds,
            stop,
        })
    }

    /// Longest life of a request.
    pub(crate) const fn request_max(&self) -> Duration {
        Duration::from_secs(WAIT_S_MAX).saturating_add(REQUEST_MARGIN)
    }

    /// The same of a task whose tenant the caller's credentials say.
    pub(crate) async fn freeze_for(
        &self,
        caller: &Caller,
        task: &mut Value,
        span: &Span,
    ) -> Result<Submission, Problem> {
        if let Some(fields) = task.as_object_mut() {
            let asked = fields.get("tenant").filter(|tenant| !tenant.is_null());
            // What is no text is the task's fault, which freezing it says.
            if asked.is_none_or(Value::is_string)
                && let Some(tenant) = caller.tenant_for(asked.and_then(Value::as_str))?
            {
                fields.insert("tenant".to_owned(), tenant.into());
            }
        }
        self.freeze(task.clone(), span).await
    }

    /// Checks a task. Templates are found by name: files are the command line's.
    pub(crate) async fn freeze(&self, task: Value, span: &Span) -> Result<Submission, Problem> {
        let found = match submission::template_of(&task) {
            Some(path) if template::is_path(path) => Err(vec![format!(
                "{path:?} looks like a file, and a request cannot name files; add it with \
                 `planfleet templates add`, and give its name"
            )]),
            Some(name) => match self.answer(found(&self.templates, name)).await? {
                Ok(template) => Ok(template),
                Err(reason) => Err(vec![reason]),
            },
            None => Err(Vec::new()),
        };
        let frozen = span.in_scope(|| submission::freeze(task, &self.scope, &|_| found.clone()));
        frozen.map_err(Problem::task)
    }

    pub(crate) async fn submit(&self, submission: Submission, key: Option<&Key>) -> Result<RunId, Problem> {
        self.answer(self.client.submit(submission, key)).await
    }

    pub(crate) async fn cancel(&self, run: &RunId, reason: &str) -> Result<(), Problem> {
        self.answer(self.client.cancel(run, reason)).await
    }

    pub(crate) async fn pause(&self, run: &RunId, reason: &str) -> Result<(), Problem> {
        self.answer(self.client.pause(run, reason)).await
    }

    pub(crate) async fn resume(&self, run: &RunId) -> Result<(), Problem> {
        self.answer(self.client.resume(run)).await
    }

    pub(crate) async fn decide(&self, run: &RunId, decided: ApprovalDecided) -> Result<(), Problem> {
        self.answer(self.client.decide(run, decided)).await
    }

    pub(crate) async fn rerun(&self, run: &RunId, key: Option<&str>) -> Result<RunId, Problem> {
        self.answer(self.client.rerun(run, key)).await
    }

    /// A run by the id in a path. A shard that is not there has no runs.
    pub(crate) fn run_id(&self, text: &str) -> Result<RunId, Problem> {
        let id = text.parse::<RunId>().ok().filter(|run| run.shard() < self.bus.shards());
        id.ok_or_else(|| Problem::unknown_run(text))
    }

    pub(crate) async fn find(&self, run: &RunId) -> Result<Found, Problem> {
        for pause in UNKNOWN_PAUSES {
            match self.answer(self.client.find(run)).await? {
                Found::Unknown => sleep(pause).await,
                found => return Ok(found),
            }
        }
        self.answer(self.client.find(run)).await
    }

    /// A run by the id in a path, as far as it is the caller's.
    ///
    /// # Errors
    /// When there is none, or it is another tenant's, which is the same answer.
    pub(crate) async fn of(&self, caller: &Caller, id: &str) -> Result<(RunId, Found), Problem> {
        let run = self.run_id(id)?;
        let found = self.find(&run).await?;
        match &found {
            Found::Active(document) | Found::Ended(document)
                if caller.owns(document["tenant"].as_str().unwrap_or_default()) =>
            {
                Ok((run, found))
            }
            _ => Err(Problem::unknown_run(id)),
        }
    }

    /// The same for who only looks, together with others.
    pub(crate) async fn look(&self, caller: &Caller, id: &str) -> Result<(RunId, Arc<Seen>), Problem> {
        let run = self.run_id(id)?;
        // In a box: it is large, and whoever waits for the look of another has no use for the room.
        let look = Box::pin(self.find(&run));
        let seen = self.answer(self.looks.at(&run, look)).await?;
        let tenant = seen.document()["tenant"].as_str();
        if tenant.is_some_and(|tenant| caller.owns(tenant)) {
            Ok((run, seen))
        } else {
            Err(Problem::unknown_run(id))
        }
    }

    /// A batch by the id in a path, likewise.
    pub(crate) async fn batch(&self, caller: &Caller, id: &str) -> Result<Batch, Problem> {
        let unknown = || Problem::unknown("batch", "batch_unknown", id);
        check_name("batch id", id).map_err(|_| unknown())?;
        let batch = self.answer(self.bus.batch(id)).await?;
        batch.filter(|batch| caller.owns(&batch.tenant)).ok_or_else(unknown)
    }

    /// The document of a run that ends within that time and before this process does.
    pub(crate) async fn wait(&self, run: &RunId, within: Duration) -> Result<Option<Value>, Problem> {
        if within.is_zero() {
            return Ok(None);
        }
        let waited = ended_by(within + self.config.answer_timeout, self.client.wait(run, within));
        tokio::select! {
            waited = waited => waited,
            () = self.stop.cancelled() => Ok(None),
        }
    }

    pub(crate) async fn answer<T, E: Into<Problem>>(
        &self,
        asked: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Problem> {
        ended_by(self.config.answer_timeout, asked).await
    }
}

/// The template of that name, or why there is none.
async fn found(
    templates: &Library,
    name: &str,
) -> Result<Result<Arc<Template>, String>, planfleet_bus::Error> {
    match templates.find(name).await {
        Ok(template) => Ok(Ok(template)),
        Err(LibraryError::Refused(reason)) => Ok(Err(reason)),
        Err(LibraryError::Bus(error)) => Err(error),
    }
}

async fn ended_by<T, E: Into<Problem>>(
    within: Duration,
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, Problem> {
    match timeout(within, asked).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(Problem::unavailable("broker_unreachable", format!("no answer within {within:?}"))),
    }
}
