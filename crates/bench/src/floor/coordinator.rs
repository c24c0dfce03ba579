//! The floor's coordinator: reads all logs in order, counts each run's results, and
//! dispatches the next stage when one is complete.

use std::collections::VecDeque;

use async_nats::Subject;
use bytes::Bytes;
use futures::StreamExt as _;
use planfleet_core::{
    id::{RunId, StepId},
    task::Priority,
};
use planfleet_proto::subjects;

use super::{
    body::{About, DONE, SUBMIT},
    link::{Link, wrong},
};
use crate::{error::Error, messages::Messages, site::SHARDS};

/// Whose runs they are.
const TENANT: &str = "default";

pub(super) async fn run(url: &str, messages: &Messages) -> Result<(), Error> {
    let mut link = Link::<()>::open(url).await?;
    let logs: Vec<String> = (0..SHARDS).map(subjects::log).collect();
    let mut entries = link.read_logs(&logs).await?;
    let mut counting = Counting { messages, left: Vec::new(), next: VecDeque::new() };
    loop {
        while link.has_room() {
            let Some((subject, body)) = counting.pop()? else { break };
            link.publish(subject, body, ()).await?;
        }
        tokio::select! {
            acked = link.acked(), if link.is_waiting() => acked?,
            entry = entries.next() => {
                let entry = entry.ok_or_else(|| wrong("the connection is closed"))?;
                let about = About::read(&entry.payload).ok_or_else(|| wrong("an entry about nothing"))?;
                counting.count(about)?;
            }
        }
    }
}

/// How many results each run's stage still waits for, and what is to be published.
struct Counting<'a> {
    messages: &'a Messages,
    left: Vec<u32>,
    next: VecDeque<Batch>,
}

/// Messages about one stage, those before `from` published.
struct Batch {
    about: About,
    from: u32,
    width: u32,
}

impl Counting<'_> {
    fn count(&mut self, about: About) -> Result<(), Error> {
        let run = about.run as usize;
        if about.stage == SUBMIT {
            self.left.resize(self.left.len().max(run + 1), 0);
            return self.begin(About { stage: 0, ..about });
        }
        let left = self.left.get_mut(run).ok_or_else(|| wrong("a result of no run"))?;
        *left = left.checked_sub(1).ok_or_else(|| wrong("a result too many"))?;
        if *left == 0 { self.begin(About { stage: about.stage + 1, ..about }) } else { Ok(()) }
    }

    fn begin(&mut self, about: About) -> Result<(), Error> {
        let Some(stage) = self.messages.stages.get(about.stage as usize) else {
            self.next.push_back(Batch { about: About { stage: DONE, ..about }, from: 0, width: 1 });
            return Ok(());
        };
        self.left[about.run as usize] = stage.width;
        self.next.push_back(Batch { about, from: 0, width: stage.width });
        Ok(())
    }

    /// The next message to publish.
    fn pop(&mut self) -> Result<Option<(Subject, Bytes)>, Error> {
        let Some(batch) = self.next.front_mut() else { return Ok(None) };
        let Batch { about, from, width } = *batch;
        batch.from += 1;
        if batch.from == width {
            self.next.pop_front();
        }
        let run = run_id(about.run)?;
        let Some(stage) = self.messages.stages.get(about.stage as usize) else {
            return Ok(Some((subjects::done(TENANT, &run).into(), about.body(self.messages.done))));
        };
        let step = StepId::item(about.stage + 1, from);
        let subject = subjects::step("default", Priority::Normal, TENANT, &run, step, 1);
        Ok(Some((subject.into(), about.body(stage.dispatch))))
    }
}

/// A run's id, as long as the engine's are.
fn run_id(number: u32) -> Result<RunId, Error> {
    let shard = u16::try_from(number % u32::from(SHARDS)).unwrap_or_default();
    RunId::new(shard, &format!("{number:032x}")).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::Stage;

    #[test]
    fn stages_follow_each_other_and_then_the_end() {
        let stage = |width| Stage { width, dispatch: 10, result: 10 };
        let messages = Messages { submit: 10, stages: vec![stage(1), stage(2)], done: 20 };
        let mut counting = Counting { messages: &messages, left: Vec::new(), next: VecDeque::new() };
        let mut published = Vec::new();
        let mut todo = VecDeque::from([About { run: 5, stage: SUBMIT }]);
        while let Some(about) = todo.pop_front() {
            counting.count(about).unwrap();
            while let Some((subject, body)) = counting.pop().unwrap() {
                let about = About::read(&body).unwrap();
                published.push((subject.to_string(), body.len()));
                todo.extend((about.stage != DONE).then_some(about));
            }
        }
        let run = run_id(5).unwrap();
        let step = |step, item| {
            subjects::step("default", Priority::Normal, TENANT, &run, StepId::item(step, item), 1)
        };
        let expected = [step(1, 0), step(2, 0), step(2, 1), subjects::done(TENANT, &run)];
        assert_eq!(published.iter().map(|(subject, _)| subject.clone()).collect::<Vec<_>>(), expected);
        assert_eq!(published.last().unwrap().1, 20);
        assert!(counting.count(About { run: 5, stage: 1 }).is_err());
    }
}
