//! What it takes on a NATS server to be allowed something: the subjects of JetStream's API
//! that this crate uses for it.

use super::{kv, objects};

/// One thing that somebody may do. Streams, consumers and buckets by their names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// Publish on a subject (wildcards allowed), whether a stream keeps it or somebody listens.
    Publish(String),
    /// Listen on a subject (wildcards allowed).
    Listen(String),
    /// Ask for a stream's edges and for single messages of it.
    Look(String),
    /// That, and read it from any place on.
    Read(String),
    /// Drop the messages of a stream below a place.
    Trim(String),
    /// Remove single messages of a stream.
    Remove(String),
    /// Take work from a durable consumer of a stream and settle it.
    Take(String, String),
    /// Ask how much waits for the consumers of a stream.
    Count(String),
    /// Read single keys of a bucket.
    Get(String),
    /// That, and write and remove keys.
    Set(String),
    /// Read single keys of a bucket, and write and remove those that begin so; a beginning ends
    /// with a dot.
    SetBelow(String, &'static str),
    /// Read all keys of a bucket, and follow what becomes of them.
    Follow(String),
    /// Read objects of a bucket, whatever their names.
    Fetch(String),
    /// That, and put objects.
    Store(String),
    /// That, and take away what is replaced.
    Replace(String),
    /// That, and list and remove objects, and what interrupted puts have left.
    Clear(String),
    /// Everything in the account.
    Everything,
}

/// Subjects that a user may publish on and subscribe to, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Publish.
    pub publish: Vec<String>,
    /// Subscribe.
    pub subscribe: Vec<String>,
}

impl Permissions {
    /// What some grants come to for a user that is answered below `inbox`.
    ///
    /// The inbox is theirs to publish on, too: a question to nobody is how a connection
    /// knows that the server has read what was sent before.
    #[must_use]
    pub fn of(grants: &[Grant], inbox: &str) -> Self {
        let own = format!("{inbox}.>");
        let mut all = Self { publish: vec![own.clone()], subscribe: vec![own] };
        for grant in grants {
            all.add(grant);
        }
        for subjects in [&mut all.publish, &mut all.subscribe] {
            subjects.sort();
            subjects.dedup();
        }
        all
    }

    fn add(&mut self, grant: &Grant) {
        match grant {
            Grant::Publish(subject) => self.publish.push(subject.clone()),
            Grant::Listen(subject) => self.subscribe.push(subject.clone()),
            Grant::Look(stream) => self.api(&["STREAM.INFO", "STREAM.MSG.GET"], stream),
            Grant::Read(stream) => {
                self.add(&Grant::Look(stream.clone()));
                self.consume(stream);
            }
            Grant::Trim(stream) => self.api(&["STREAM.INFO", "STREAM.PURGE"], stream),
            Grant::Remove(stream) => self.api(&["STREAM.MSG.DELETE", "STREAM.MSG.GET"], stream),
            Grant::Take(stream, consumer) => self.take(stream, consumer),
            Grant::Count(stream) => self.api(&["CONSUMER.INFO"], &format!("{stream}.*")),
            Grant::Get(bucket) => self.api(&["STREAM.MSG.GET"], &kv::stream_of(bucket)),
            Grant::Set(bucket) => {
                self.add(&Grant::Get(bucket.clone()));
                self.publish.push(kv::subject_of(bucket, ">"));
            }
            Grant::SetBelow(bucket, prefix) => {
                self.add(&Grant::Get(bucket.clone()));
                self.publish.push(kv::subject_of(bucket, &format!("{prefix}>")));
            }
            Grant::Follow(bucket) => self.add(&Grant::Read(kv::stream_of(bucket))),
            Grant::Fetch(bucket) => {
                let stream = objects::stream_of(bucket);
                self.add(&Grant::Look(stream.clone()));
                // The client reads an object by a consumer that is pushed to its inbox.
                self.api(&["CONSUMER.CREATE"], &stream);
                self.publish.push(format!("$JS.FC.{stream}.>"));
            }
            Grant::Store(bucket) => {
                self.add(&Grant::Fetch(bucket.clone()));
                self.publish.push(format!("$O.{bucket}.>"));
            }
            Grant::Replace(bucket) => {
                self.add(&Grant::Store(bucket.clone()));
                self.add(&Grant::Trim(objects::stream_of(bucket)));
            }
            Grant::Clear(bucket) => {
                let stream = objects::stream_of(bucket);
                self.add(&Grant::Replace(bucket.clone()));
                self.add(&Grant::Remove(stream.clone()));
                self.consume(&stream);
            }
            Grant::Everything => {
                self.publish.push(">".to_owned());
                self.subscribe.push(">".to_owned());
            }
        }
    }

    /// A consumer that the server names, and pulls from it. What is read so is never acked.
    fn consume(&mut self, stream: &str) {
        self.api(&["CONSUMER.CREATE"], stream);
        self.api(&["CONSUMER.MSG.NEXT"], &format!("{stream}.*"));
    }

    fn take(&mut self, stream: &str, consumer: &str) {
        let place = format!("{stream}.{consumer}");
        self.api(&["CONSUMER.INFO", "CONSUMER.MSG.NEXT"], &place);
        // Acks name domain and account, too, where the server is told to (and some day by itself).
        self.publish.push(format!("$JS.ACK.{place}.>"));
        self.publish.push(format!("$JS.ACK.*.*.{place}.>"));
    }

    fn api(&mut self, verbs: &[&str], asset: &str) {
        self.publish.extend(verbs.iter().map(|verb| format!("$JS.API.{verb}.{asset}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taking_work_is_no_more_than_that() {
        let grants = [Grant::Take("S".to_owned(), "c".to_owned())];
        let Permissions { publish, subscribe } = Permissions::of(&grants, "_INBOX.a");
        let wanted = [
            "$JS.ACK.*.*.S.c.>",
            "$JS.ACK.S.c.>",
            "$JS.API.CONSUMER.INFO.S.c",
            "$JS.API.CONSUMER.MSG.NEXT.S.c",
            "_INBOX.a.>",
        ];
        assert_eq!(publish, wanted);
        assert_eq!(subscribe, ["_INBOX.a.>"]);
    }

    #[test]
    fn what_is_granted_twice_is_there_once() {
        let grants = [Grant::Get("b".to_owned()), Grant::Set("b".to_owned()), Grant::Follow("b".to_owned())];
        let mut publish = Permissions::of(&grants, "_INBOX.a").publish;
        let all = publish.len();
        publish.dedup();
        assert_eq!(publish.len(), all);
        assert!(publish.contains(&"$KV.b.>".to_owned()), "{publish:?}");
    }
}
