//! The table of who may do what, against a real nats-server: every verb that any role has,
//! tried by every role. What is expected is written out here, verb by verb, and follows from
//! what the services are for, not from the code that makes the server's configuration.

mod verbs;

use std::{collections::BTreeMap, sync::Arc};

use async_nats::{Client, ConnectOptions};
use futures::StreamExt as _;
use nkeys::KeyPair;
use planfleet_bus::{
    Bus, Error, Manage, Pool, Topology,
    broker::{
        Broker as _,
        nats::{self, NatsBroker, Permissions, inbox},
    },
    permissions::{Role, User, configuration},
};
use planfleet_core::{id::RunId, record::Fact};
use planfleet_proto::{
    encode,
    subjects::{self, Kind},
};

use self::verbs::{Try, verbs};
use crate::{PATIENCE, soon, support::NatsServer};

/// As many as the verbs name.
const SHARDS: u16 = 2;

/// Who tries: a letter of the table each.
fn roles() -> BTreeMap<char, Role> {
    let [default, strong] = ["default", "strong"].map(|pool| Role::Executor(pool.to_owned()));
    BTreeMap::from([
        ('a', Role::Admin),
        ('c', Role::Coordinator),
        ('p', Role::Planner),
        ('d', default),
        ('s', strong),
        ('i', Role::Api),
        ('u', Role::Client),
    ])
}

struct Fleet {
    server: NatsServer,
    keys: BTreeMap<char, KeyPair>,
}

impl Fleet {
    async fn start() -> Self {
        let keys: BTreeMap<char, KeyPair> = roles().keys().map(|role| (*role, KeyPair::new_user())).collect();
        let user = |(role, key): (&char, &KeyPair)| User {
            role: roles()[role].clone(),
            public_key: key.public_key(),
        };
        let users: Vec<User> = keys.iter().map(user).collect();
        let fleet = Self { server: NatsServer::configured(&configuration(&users, SHARDS)).await, keys };
        let pool = |name: &str| Pool { name: name.to_owned(), slots: 1, ack_wait: PATIENCE };
        let pools = ["plan", "default", "strong"].map(pool).into();
        let topology = Topology { shards: SHARDS, replicas: 1, pools, manage: Manage::Create };
        let bus = Bus::new(Arc::new(fleet.broker('a').await), SHARDS);
        bus.bootstrap(&topology).await.expect("an admin makes everything");
        fleet
    }

    async fn broker(&self, role: char) -> NatsBroker {
        let file = tempfile::NamedTempFile::new().expect("an answer");
        std::fs::write(file.path(), self.keys[&role].seed().expect("an answer")).expect("an answer");
        let options = nats::ConnectOptions {
            url: self.server.url(),
            nkey_file: Some(file.path().to_owned()),
            ..nats::ConnectOptions::default()
        };
        NatsBroker::connect(options).await.expect("a connection")
    }

    async fn user(&self, role: char) -> Person {
        let key = &self.keys[&role];
        let connecting = ConnectOptions::with_nkey(key.seed().expect("a seed"))
            .custom_inbox_prefix(inbox(&key.public_key()))
            .connect(self.server.url());
        Person { client: connecting.await.expect("a connection"), key: key.public_key() }
    }

    /// What the server has refused a user, by its own log.
    fn refused(&self, user: &Person) -> Vec<String> {
        let log = self.server.log();
        let of_user = log.lines().filter(|line| line.contains(" Violation - ") && line.contains(&user.key));
        of_user.map(str::to_owned).collect()
    }
}

/// A user of the server.
struct Person {
    client: Client,
    key: String,
}

impl Person {
    async fn attempt(&self, verb: &Try) {
        match verb {
            Try::Publish(subject) => {
                let inbox = self.client.new_inbox();
                // Nothing that JetStream's API takes for a request of its own.
                self.client.publish_with_reply(subject.clone(), inbox, "{".into()).await.expect("sent");
            }
            Try::Listen(subject) => {
                let mut listening = self.client.subscribe(subject.clone()).await.expect("sent");
                listening.unsubscribe().await.expect("sent");
            }
        }
    }

    /// Waits until the server has read all that was sent.
    async fn settle(&self) {
        let nobody = self.client.new_inbox();
        let _ = soon("an answer", self.client.request(nobody, "".into())).await;
    }
}

#[tokio::test]
async fn each_role_may_do_what_it_is_for_and_nothing_else() {
    let fleet = Fleet::start().await;
    let (mut wrong, verbs) = (Vec::new(), verbs());
    for (letter, role) in roles() {
        let user = fleet.user(letter).await;
        for (verb, _) in &verbs {
            user.attempt(verb).await;
        }
        user.settle().await;
        let refused = fleet.refused(&user);
        let expected = |allowed: &str| letter == 'a' || allowed.contains(letter);
        for (verb, allowed) in &verbs {
            let said = verb.refusal();
            let is_refused = refused.iter().any(|line| line.contains(&said));
            if is_refused == expected(allowed) {
                let says = if is_refused { "refuses" } else { "allows" };
                wrong.push(format!("the server {says} {} to {verb:?}", role.name()));
            }
        }
        let should = verbs.iter().filter(|(_, allowed)| !expected(allowed)).count();
        assert_eq!(refused.len(), should, "{} refusals: {refused:#?}", role.name());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether a subject is one of a pattern's, as NATS has it.
fn matches(pattern: &str, subject: &str) -> bool {
    let (mut tokens, mut rest) = (subject.split('.'), pattern.split('.'));
    loop {
        match (rest.next(), tokens.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(wanted), Some(token)) if wanted == "*" || wanted == token => {}
            _ => return false,
        }
    }
}

/// Nothing is granted that the verbs do not try.
#[test]
fn the_verbs_are_all_that_is_granted() {
    // Shards are alike, and the one behind the last is a question about how many there are.
    let alike = |subject: &str| subject.replace("PF_EV_01", "PF_EV_00").replace("PF_EV_02", "PF_EV_00");
    let verbs = verbs();
    let mut untried = Vec::new();
    for (letter, role) in roles().into_iter().filter(|(letter, _)| *letter != 'a') {
        let Permissions { publish, subscribe } = role.permissions(SHARDS, "_INBOX.own", &[]);
        let all =
            publish.iter().map(|one| ("publish", one)).chain(subscribe.iter().map(|one| ("listen", one)));
        for (kind, granted) in all.filter(|(_, granted)| !granted.starts_with("_INBOX.own")) {
            let tried = verbs.iter().any(|(verb, by)| {
                let same = matches(&alike(granted), &alike(verb.subject()));
                verb.kind() == kind && by.contains(letter) && same
            });
            if !tried {
                untried.push(format!("{} may {kind} {granted}", role.name()));
            }
        }
    }
    assert!(untried.is_empty(), "{} untried:\n{}", untried.len(), untried.join("\n"));
}

/// What is asked by one role and answered by another goes to the inbox of who asked.
#[tokio::test]
async fn an_answer_is_heard_by_who_asked_alone() {
    let fleet = Fleet::start().await;
    let owner = fleet.user('c').await;
    let mut questions = owner.client.subscribe("pf.read.*").await.expect("an answer");
    owner.settle().await;
    let asker = fleet.broker('u').await;
    let asked = tokio::join!(asker.request("pf.read.01".to_owned(), "?".into(), PATIENCE), async {
        let question = questions.next().await.expect("an answer");
        let reply = question.reply.expect("an answer");
        owner.client.publish(reply.clone(), "!".into()).await.expect("an answer");
        reply
    });
    assert_eq!(asked.0.expect("an answer"), "!");
    let curious = fleet.user('d').await;
    let of_others = asked.1.rsplit_once('.').expect("an answer").0.to_owned() + ".>";
    let mut overheard = curious.client.subscribe(of_others).await.expect("an answer");
    curious.settle().await;
    assert_eq!(fleet.refused(&curious).len(), 1, "it may not listen there");
    owner.client.publish(asked.1, "again".into()).await.expect("an answer");
    owner.settle().await;
    curious.settle().await;
    assert!(futures::poll!(overheard.next()).is_pending());
}

/// Somebody without a key is nobody.
#[tokio::test]
async fn nobody_gets_in_without_a_key_that_is_known() {
    let fleet = Fleet::start().await;
    assert!(async_nats::connect(fleet.server.url()).await.is_err());
    let stranger = KeyPair::new_user().seed().expect("an answer");
    assert!(ConnectOptions::with_nkey(stranger).connect(fleet.server.url()).await.is_err());
}

/// What the table cannot hold: whoever asks JetStream for messages says where they go, and the
/// server looks at no permission then. They keep the subject that they had, and a record counts
/// in its own place only.
#[tokio::test]
async fn a_record_that_is_smuggled_into_a_log_is_no_record() {
    let fleet = Fleet::start().await;
    let executor = fleet.user('d').await;
    let run = RunId::new(0, "victim").expect("an id");
    let forged = encode::record(run.as_str(), &Fact::RunResumeRequested);
    let send = |subject: String| executor.client.publish(subject, forged.clone().into());
    // As what executors may write,
    send(subjects::record(0, Kind::Result)).await.expect("sent");
    // and out of a bucket that they may write and read.
    send(format!("$KV.{}.x", subjects::LIMITS)).await.expect("sent");
    executor.settle().await;
    let jetstream = async_nats::jetstream::new(executor.client.clone());
    let config = async_nats::jetstream::consumer::pull::Config::default();
    let consumer = jetstream.create_consumer_on_stream(config, "KV_pf_limits").await.expect("a consumer");
    let pull = format!("$JS.API.CONSUMER.MSG.NEXT.KV_pf_limits.{}", consumer.cached_info().name);
    let log = subjects::record(0, Kind::Control);
    executor.client.publish_with_reply(pull, log, "".into()).await.expect("sent");
    assert!(fleet.refused(&executor).is_empty(), "the server allows all of this");
    let owner = Bus::new(Arc::new(fleet.broker('c').await), SHARDS);
    let mut journal = owner.read_journal(0, 1).await.expect("an owner reads its log");
    for place in ["pf.ev.00.result", "$KV.pf_limits.x"] {
        let entry = soon("what was smuggled in", journal.next()).await.expect("endless").expect("an entry");
        assert_eq!((entry.subject.as_str(), entry.run), (place, None));
        assert!(matches!(entry.content, Err(Error::Misplaced { .. })), "{:?}", entry.content);
    }
}
