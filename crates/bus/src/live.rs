//! Live news of runs: sent to whoever watches, never stored.
//!
//! Hardly any run is watched, and news of all of them would be as many messages as the
//! work itself. So whoever watches says so, again and again, and those with news send
//! what is asked for, see [`Watched`].

mod watched;

use std::sync::Arc;

use bytes::Bytes;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use planfleet_core::id::{RunId, StepId};
use planfleet_proto::{Message as _, subjects, wire};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

pub use self::watched::Watched;
use crate::{Bus, Error, broker::Headers};

/// Something about a run has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The record or event that changed it, such as `StepSucceeded` or `StepStarted`.
    pub event: String,
    /// The step it is about.
    pub step: Option<StepId>,
    /// The model at work, when a step has just started.
    pub model: Option<String>,
}

/// The event of a run whose document is kept.
pub const RUN_FINISHED: &str = "RunFinished";
/// The event of something that waits for a person.
pub const APPROVAL_ASKED: &str = "ApprovalAsked";
/// The event of an executor that has begun a step.
pub const STEP_STARTED: &str = "StepStarted";

impl Bus {
    /// Learns from now on, for as long as it is polled, which runs are watched: until then
    /// [`Bus::tell`] tells of all.
    pub async fn follow_watchers(&self) {
        self.watched.follow(self.broker()).await;
    }

    /// Tells whoever watches a run; `news` is only asked where somebody may.
    ///
    /// # Errors
    /// When the broker cannot be reached. Nothing depends on news.
    pub async fn tell(&self, run: &RunId, news: impl FnOnce() -> News) -> Result<(), Error> {
        if !self.watched.is_watched(run) {
            return Ok(());
        }
        let news = news();
        let wire = wire::RunChanged {
            run_id: run.to_string(),
            event: news.event,
            step: news.step.map(|step| step.step),
            item: news.step.and_then(|step| step.item),
            model: news.model.unwrap_or_default(),
        };
        let payload = Bytes::from(wire.encode_to_vec());
        Ok(self.broker().publish_live(subjects::live(run), Headers::new(), payload).await?)
    }

    /// News of a run from now on. May miss some: read the document for the truth.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn watch(&self, run: &RunId) -> Result<BoxStream<'static, News>, Error> {
        let messages = self.broker().subscribe(&subjects::live(run)).await?;
        watched::say(&**self.broker(), run).await?;
        let news = messages.filter_map(|message| async move { Some(Some(news(&message.payload)?)) });
        let again = again(self.clone(), run.clone());
        Ok(stream::select(news, again).filter_map(|news| async move { news }).boxed())
    }
}

/// Says now and then that a run is still watched, for as long as it is polled.
fn again(bus: Bus, run: RunId) -> impl futures::Stream<Item = Option<News>> + Send {
    let mut ticks = interval_at(Instant::now() + watched::SAY_EVERY, watched::SAY_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let state = Arc::new((bus, run));
    stream::unfold(ticks, move |mut ticks| {
        let state = Arc::clone(&state);
        async move {
            ticks.tick().await;
            let (bus, run) = &*state;
            if let Err(error) = watched::say(&**bus.broker(), run).await {
                tracing::debug!(%run, %error, "cannot say that a run is watched");
            }
            Some((None, ticks))
        }
    })
}

fn news(payload: &[u8]) -> Option<News> {
    let changed = wire::RunChanged::decode(payload).ok()?;
    Some(News {
        event: changed.event,
        step: changed.step.map(|step| StepId { step, item: changed.item }),
        model: (!changed.model.is_empty()).then_some(changed.model),
    })
}
