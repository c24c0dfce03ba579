//! Work on its way to a worker and acks on their way back: transport is at
//! least once, so that both may be lost and a delivery may be made twice.

use std::sync::Arc;

use async_trait::async_trait;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use planfleet_bus::broker::{Delivery, Error, Settle};

use super::{link::Link, witness::shown};

type Deliveries = BoxStream<'static, Result<Delivery, Error>>;

/// The deliveries of a pull, as they get through.
pub(crate) fn watched(link: Arc<Link>, pulled: Deliveries) -> Deliveries {
    stream::unfold((link, pulled), |(link, mut pulled)| async move {
        loop {
            let delivery = pulled.next().await?;
            link.lag().await;
            let Ok(delivery) = delivery else { return Some((delivery, (link, pulled))) };
            if let Some(delivery) = arrives(&link, delivery).await {
                return Some((Ok(delivery), (link, pulled)));
            }
        }
    })
    .boxed()
}

async fn arrives(link: &Arc<Link>, delivery: Delivery) -> Option<Delivery> {
    let subject = shown(&delivery.subject);
    let deliveries = delivery.deliveries;
    if link.dice.chance(link.weather.odds().delivery / 2) {
        link.witness.fault(&link.who, "deliveries lost", format_args!("{subject} ({deliveries})"));
        return None;
    }
    if link.dice.chance(link.weather.odds().delivery / 2) {
        link.witness.fault(&link.who, "deliveries doubled", format_args!("{subject} ({deliveries})"));
        // As if the ack wait were over: somebody else gets it as well.
        delivery.settle.give_back().await.ok()?;
    }
    if deliveries > 1 {
        link.witness.counter.count("redeliveries");
    }
    link.witness.line(&link.who, format_args!("takes {subject} ({deliveries})"));
    let settle = Arc::new(Receipt { link: Arc::clone(link), subject, settle: delivery.settle });
    Some(Delivery { settle, ..delivery })
}

/// A delivery's acks. They are sent without waiting for an answer: nobody is
/// told that one is lost.
struct Receipt {
    link: Arc<Link>,
    subject: String,
    settle: Arc<dyn Settle>,
}

impl Receipt {
    async fn arrives(&self, what: &str) -> bool {
        self.link.lag().await;
        let lost = self.link.dice.chance(self.link.weather.odds().ack);
        if lost {
            self.link.witness.fault(&self.link.who, "acks lost", format_args!("{what} of {}", self.subject));
        } else {
            self.link.witness.line(&self.link.who, format_args!("{what} {}", self.subject));
        }
        !lost
    }
}

#[async_trait]
impl Settle for Receipt {
    async fn ack(&self) -> Result<(), Error> {
        if self.arrives("ack").await { self.settle.ack().await } else { Ok(()) }
    }

    async fn progress(&self) -> Result<(), Error> {
        if self.arrives("progress").await { self.settle.progress().await } else { Ok(()) }
    }

    async fn give_back(&self) -> Result<(), Error> {
        if self.arrives("give back").await { self.settle.give_back().await } else { Ok(()) }
    }
}
