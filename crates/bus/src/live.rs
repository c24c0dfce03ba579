//! Live news of runs: sent to whoever watches, never stored.

use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use planfleet_core::id::{RunId, StepId};
use planfleet_proto::{Message as _, subjects, wire};

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
    /// Tells whoever watches a run.
    ///
    /// # Errors
    /// When the broker cannot be reached. Nothing depends on news.
    pub async fn tell(&self, run: &RunId, news: &News) -> Result<(), Error> {
        let wire = wire::RunChanged {
            run_id: run.to_string(),
            event: news.event.clone(),
            step: news.step.map(|step| step.step),
            item: news.step.and_then(|step| step.item),
            model: news.model.clone().unwrap_or_default(),
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
        Ok(messages.filter_map(|message| async move { news(&message.payload) }).boxed())
    }
}

fn news(payload: &[u8]) -> Option<News> {
    let changed = wire::RunChanged::decode(payload).ok()?;
    Some(News {
        event: changed.event,
        step: changed.step.map(|step| StepId { step, item: changed.item }),
        model: (!changed.model.is_empty()).then_some(changed.model),
    })
}
