//! What this process learns of models, told to the others, and what they tell taken in.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::StreamExt as _;
use planfleet_bus::{Bus, hints::Note};
use planfleet_llm::{Hint, Hints, ModelHandle, Standing};
use planfleet_runtime::{clock, tasks::Tasks};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// What each process says of itself: that it uses a model, and how much just now.
pub(crate) const SHARE: &str = "share";

/// How often a process says which models it uses.
const SAY_EVERY: Duration = Duration::from_secs(20);

/// A process that has not said so for this long is gone.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(70);

/// Hints that wait for a slow broker. More would be old news by the time they are told.
const WAITING_MAX: usize = 256;

/// A broker that takes longer to take a hint is not worth waiting for.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Wait before the board is asked for again.
const FOLLOW_RETRY: Duration = Duration::from_secs(2);

/// Tells and hears on the board of hints, for the models that this process uses.
pub(crate) fn join(bus: &Bus, models: Vec<ModelHandle>, name: &str, tasks: &Tasks, stop: &CancellationToken) {
    if models.is_empty() {
        return;
    }
    let (board, waiting) = mpsc::channel(WAITING_MAX);
    let board: Arc<dyn Hints> = Arc::new(Board(board));
    for model in &models {
        model.tell_others(Arc::clone(&board));
    }
    let teller = Teller { bus: bus.clone(), models: models.clone(), name: name.to_owned() };
    let until = stop.clone();
    tasks.spawn("hints", async move { teller.run(waiting, until).await });
    let (hearer, until) = (Hearer::new(models, name), stop.clone());
    let bus = bus.clone();
    tasks.spawn("hints of others", async move {
        until.run_until_cancelled(hearer.run(bus)).await;
    });
}

/// Where models leave what they learn; what finds no room is lost.
#[derive(Debug)]
struct Board(mpsc::Sender<(String, Hint)>);

impl Hints for Board {
    fn tell(&self, model: &str, hint: Hint) {
        if self.0.try_send((model.to_owned(), hint)).is_err() {
            tracing::debug!(model, "a hint about a model is lost: too many wait for the broker");
        }
    }
}

/// Writes on the board.
struct Teller {
    bus: Bus,
    models: Vec<ModelHandle>,
    name: String,
}

impl Teller {
    async fn run(self, mut waiting: mpsc::Receiver<(String, Hint)>, stop: CancellationToken) {
        let mut ticks = interval(SAY_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some((model, hint)) = waiting.recv() => {
                    self.write(hint.topic(), &model, None, serde_json::to_vec(&hint).ok()).await;
                }
                _ = ticks.tick() => self.say_shares(true).await,
            }
        }
        self.say_shares(false).await;
    }

    async fn say_shares(&self, uses: bool) {
        for model in &self.models {
            let standing = uses.then(|| serde_json::to_vec(&model.standing()).ok()).flatten();
            self.write(SHARE, model.key(), Some(&self.name), standing).await;
        }
    }

    async fn write(&self, topic: &str, model: &str, process: Option<&str>, body: Option<Vec<u8>>) {
        let note = Note {
            topic: topic.to_owned(),
            model: model.to_owned(),
            process: process.map(str::to_owned),
            body,
        };
        match timeout(WRITE_TIMEOUT, self.bus.write_hint(&note)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(model, topic, %error, "a hint about a model is not told"),
            Err(_) => tracing::debug!(model, topic, "a hint about a model is not told in time"),
        }
    }
}

/// Reads the board.
struct Hearer {
    models: BTreeMap<String, ModelHandle>,
    /// When each process, this one included, has last said that it uses a model.
    sharing: BTreeMap<String, BTreeMap<String, Instant>>,
    name: String,
}

impl Hearer {
    fn new(models: Vec<ModelHandle>, name: &str) -> Self {
        let models = models.into_iter().map(|model| (model.key().to_owned(), model)).collect();
        Self { models, sharing: BTreeMap::new(), name: name.to_owned() }
    }

    async fn run(mut self, bus: Bus) {
        loop {
            match bus.follow_hints().await {
                Ok(mut notes) => {
                    let mut ticks = interval(SAY_EVERY);
                    loop {
                        tokio::select! {
                            biased;
                            note = notes.next() => match note {
                                Some(Ok(note)) => self.hear(note),
                                Some(Err(error)) => {
                                    tracing::debug!(%error, "hints about models are not heard; starting over");
                                    break;
                                }
                                None => break,
                            },
                            _ = ticks.tick() => self.forget(),
                        }
                    }
                }
                Err(error) => tracing::debug!(%error, "hints about models are not heard; trying again"),
            }
            sleep(FOLLOW_RETRY).await;
        }
    }

    fn hear(&mut self, note: Note) {
        let Some(model) = self.models.get(&note.model) else { return };
        if note.topic == SHARE {
            return self.note_share(note);
        }
        let Some(body) = note.body else { return };
        match serde_json::from_slice::<Hint>(&body) {
            Ok(hint) => model.heed(&hint, clock::unix_ms()),
            // A later version may tell more.
            Err(error) => tracing::debug!(model = note.model, %error, "a hint that is not understood"),
        }
    }

    fn note_share(&mut self, note: Note) {
        let Some(process) = note.process else { return };
        let sharing = self.sharing.entry(note.model).or_default();
        match note.body {
            Some(_) => sharing.insert(process, Instant::now()),
            None => sharing.remove(&process),
        };
        self.forget();
    }

    /// Forgets who is gone, and tells each model how many are left.
    fn forget(&mut self) {
        for (model, sharing) in &mut self.sharing {
            sharing.retain(|_, said| said.elapsed() < FORGOTTEN_AFTER);
            let others = sharing.keys().filter(|process| **process != self.name).count();
            if let Some(model) = self.models.get(model) {
                model.share(others + 1);
            }
        }
    }
}

/// What the board says of one model, for people.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The last word of each topic.
    pub(crate) hints: Vec<Hint>,
    /// The processes that use it.
    pub(crate) processes: BTreeMap<String, Standing>,
}

/// What the board says, by model.
pub(crate) async fn known(bus: &Bus) -> Result<BTreeMap<String, Known>, planfleet_bus::Error> {
    let mut all = BTreeMap::<String, Known>::new();
    for note in bus.hints().await? {
        let (known, body) = (all.entry(note.model).or_default(), note.body.unwrap_or_default());
        match note.process {
            Some(process) if note.topic == SHARE => {
                if let Ok(standing) = serde_json::from_slice(&body) {
                    known.processes.insert(process, standing);
                }
            }
            _ => known.hints.extend(serde_json::from_slice::<Hint>(&body)),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use planfleet_bus::broker::memory::MemoryBroker;
    use planfleet_bus::{Manage, Topology};
    use planfleet_llm::{
        ChatModel, ChatRequest, ChatResponse, Error, ErrorClass, Limits, TextSink, handle::HandleSettings,
    };

    use super::*;

    /// An account without credit.
    struct Broke;

    #[async_trait]
    impl ChatModel for Broke {
        async fn chat(&self, _: &ChatRequest) -> Result<ChatResponse, Error> {
            Err(Error::new(ErrorClass::Quota, "no credit"))
        }

        async fn chat_stream(
            &self,
            request: &ChatRequest,
            _: &mut TextSink<'_>,
        ) -> Result<ChatResponse, Error> {
            self.chat(request).await
        }
    }

    fn model() -> ModelHandle {
        let limits = Limits { requests_per_minute: Some(60), ..Limits::default() };
        let key = "fast".to_owned();
        ModelHandle::new(
            Arc::new(Broke),
            HandleSettings { key, concurrency_max: 4, limits, ..Default::default() },
        )
    }

    async fn bus() -> Bus {
        let bus = Bus::new(Arc::new(MemoryBroker::new()), 1);
        let topology = Topology { shards: 1, replicas: 1, pools: Vec::new(), manage: Manage::Create };
        bus.bootstrap(&topology).await.unwrap();
        bus
    }

    async fn soon(what: &str, is: impl AsyncFn() -> bool) {
        for _ in 0..100 {
            if is().await {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("not in time: {what}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_known_to_others_and_who_shares_a_model_is_known_too() {
        let (bus, tasks, stop) = (bus().await, Tasks::new("test"), CancellationToken::new());
        let (one, other, stop_one) = (model(), model(), CancellationToken::new());
        join(&bus, vec![one.clone()], "one", &tasks, &stop_one);
        join(&bus, vec![other.clone()], "other", &tasks, &stop);
        let processes = async |count| known(&bus).await.unwrap()["fast"].processes.len() == count;
        soon("both are there", async || known(&bus).await.unwrap().contains_key("fast")).await;
        soon("both are there", async || processes(2).await).await;

        one.call(ChatRequest::default()).await.result.unwrap_err();
        soon("the pause is heard of", async || other.pause_left().is_some()).await;
        let hints = known(&bus).await.unwrap().remove("fast").unwrap().hints;
        assert!(matches!(&hints[..], [Hint::Paused { reason, .. }] if reason == "no credit"), "{hints:?}");

        stop_one.cancel();
        soon("one has said goodbye", async || processes(1).await).await;
        stop.cancel();
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_for_long_is_forgotten() {
        let mut hearer = Hearer::new(vec![model()], "one");
        let share = |process: &str| Note {
            topic: SHARE.to_owned(),
            model: "fast".to_owned(),
            process: Some(process.to_owned()),
            body: Some(Vec::new()),
        };
        hearer.hear(share("one"));
        hearer.hear(share("other"));
        assert_eq!(hearer.sharing["fast"].len(), 2);
        tokio::time::advance(FORGOTTEN_AFTER).await;
        hearer.hear(share("one"));
        assert_eq!(hearer.sharing["fast"].keys().collect::<Vec<_>>(), ["one"]);
        // What nobody understands, and what is about models that this process has not.
        hearer.hear(Note { topic: "paused".to_owned(), process: None, ..share("") });
        hearer.hear(Note { model: "unknown".to_owned(), ..share("other") });
        assert_eq!(hearer.models["fast"].pause_left(), None);
    }
}
