//! Every verb and who has it: `c`oordinator, `p`lanner, executor of pool `d`efault, executor
//! of pool `s`trong, ap`i`, cl`u`ent. The admin has them all.

use self::Try::{Listen, Publish};

/// What is tried.
#[derive(Debug)]
pub(crate) enum Try {
    /// To publish there, a request of JetStream's API too.
    Publish(String),
    /// To listen there.
    Listen(String),
}

impl Try {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Publish(_) => "publish",
            Listen(_) => "listen",
        }
    }

    pub(crate) const fn subject(&self) -> &String {
        match self {
            Publish(subject) | Listen(subject) => subject,
        }
    }

    /// How the server's log tells that it was refused.
    pub(crate) fn refusal(&self) -> String {
        match self {
            Publish(subject) => format!("Publish Violation - Subject \"{subject}\""),
            Listen(subject) => format!("Subscription Violation - Subject \"{subject}\""),
        }
    }
}

/// Nobody but the admin.
const NOBODY: &str = "";

const PUBLISH: &[(&str, &str)] = &[
    // Records: each kind by who makes it.
    ("pf.ev.00.submit", "ciu"),
    ("pf.ev.01.cancel", "ciu"),
    ("pf.ev.01.control", "ciu"),
    ("pf.ev.00.step", "p"),
    ("pf.ev.00.sealed", "p"),
    ("pf.ev.00.result", "cds"),
    ("pf.ev.00.failure", "cpds"),
    ("pf.ev.00.timer", "c"),
    ("pf.ev.00.epoch", "c"),
    // Work, documents of ended runs, dead letters, live news, reads.
    ("pf.steps.default.1.t.00-a.1.1", "c"),
    ("pf.steps.plan.1.t.00-a.r1.1", "c"),
    ("pf.done.t.00-a", "c"),
    ("pf.dlq.log.00", "c"),
    ("pf.dlq.work.plan", "cp"),
    ("pf.dlq.work.default", "cd"),
    ("pf.dlq.work.strong", "cs"),
    ("pf.live.00-a", "cpds"),
    ("pf.watched", "iu"),
    ("pf.read.01", "iu"),
    // Buckets of which a role writes a part.
    ("$KV.pf_slots.worker.x", "pds"),
    ("$KV.pf_slots.taken.x", "c"),
    ("$KV.pf_budgets.run.00-a", "pds"),
    ("$KV.pf_budgets.batch.t.b", "pdsiu"),
    ("$KV.pf_budgets.tenant.t.2026-01-01", "pdsi"),
    // Streams are trimmed by who owns them, and made, changed and removed by an operator.
    ("$JS.API.STREAM.PURGE.PF_EV_00", "c"),
    ("$JS.API.STREAM.PURGE.PF_STEPS_0", NOBODY),
    ("$JS.API.STREAM.PURGE.PF_DONE", NOBODY),
    ("$JS.API.STREAM.PURGE.KV_pf_shards", NOBODY),
    ("$JS.API.STREAM.MSG.DELETE.PF_EV_00", NOBODY),
    ("$JS.API.STREAM.MSG.DELETE.PF_STEPS_0", NOBODY),
    ("$JS.API.STREAM.MSG.DELETE.PF_DONE", NOBODY),
    ("$JS.API.STREAM.MSG.DELETE.PF_DLQ", "i"),
    ("$JS.API.STREAM.CREATE.PF_EV_00", NOBODY),
    ("$JS.API.STREAM.UPDATE.PF_EV_00", NOBODY),
    ("$JS.API.STREAM.DELETE.PF_EV_00", NOBODY),
    ("$JS.API.STREAM.SNAPSHOT.PF_EV_00", NOBODY),
    ("$JS.API.STREAM.RESTORE.PF_EV_00", NOBODY),
    ("$JS.API.STREAM.LEADER.STEPDOWN.PF_EV_00", NOBODY),
    ("$JS.API.STREAM.NAMES", NOBODY),
    ("$JS.API.STREAM.LIST", NOBODY),
    ("$JS.API.INFO", NOBODY),
    // A direct read's answer goes where the asker says, under that subject.
    ("$JS.API.DIRECT.GET.PF_EV_00", NOBODY),
    ("$JS.API.DIRECT.GET.KV_pf_limits", NOBODY),
    ("$JS.API.CONSUMER.CREATE.PF_STEPS_0.mine.pf.steps.default.>", NOBODY),
    ("$JS.API.CONSUMER.DURABLE.CREATE.PF_STEPS_0.pool_default", NOBODY),
    ("$JS.API.CONSUMER.DELETE.PF_STEPS_0.pool_default", NOBODY),
    ("$JS.API.CONSUMER.DELETE.OBJ_pf_blobs.c", NOBODY),
    ("$JS.API.CONSUMER.PAUSE.PF_STEPS_0.pool_default", NOBODY),
    ("$JS.API.CONSUMER.NAMES.PF_STEPS_0", NOBODY),
    ("$JS.API.CONSUMER.LIST.PF_STEPS_0", NOBODY),
    ("$SYS.REQ.SERVER.PING", NOBODY),
];

const LISTEN: &[(&str, &str)] = &[
    ("pf.live.00-a", "iu"),
    ("pf.watched", "cpds"),
    ("pf.read.01", "c"),
    ("pf.ev.>", NOBODY),
    ("pf.ev.00.submit", NOBODY),
    ("pf.steps.>", NOBODY),
    ("pf.done.>", NOBODY),
    ("pf.>", NOBODY),
    ("$KV.>", NOBODY),
    ("$O.>", NOBODY),
    ("_INBOX.>", NOBODY),
    ("_INBOX.AAAAAAAAAAAAAAAA.>", NOBODY),
    (">", NOBODY),
];

/// Streams: who reads single messages, and who all of it.
const STREAMS: &[(&str, &str, &str)] = &[
    ("PF_EV_00", "ci", "ci"),
    ("PF_EV_01", "ci", "ci"),
    ("PF_STEPS_0", "c", NOBODY),
    ("PF_DONE", "ciu", "ciu"),
    ("PF_DLQ", "ci", "ci"),
];

/// Pools: who takes their work, and who asks how much there is.
const POOLS: &[(&str, &str, &str)] = &[("plan", "p", "pi"), ("default", "d", "di"), ("strong", "s", "si")];

/// Buckets of values: who reads a key, who follows all of them, who writes.
const VALUES: &[(&str, &str, &str, &str)] = &[
    ("pf_shards", "ciu", NOBODY, "c"),
    ("pf_members", "ci", "ci", "c"),
    ("pf_api_keys", "i", "i", "i"),
    ("pf_slots", "cpdsi", "ci", NOBODY),
    ("pf_pauses", "ciu", "ciu", "iu"),
    ("pf_cancel", "cpds", "pds", "c"),
    ("pf_keys", "iu", NOBODY, "iu"),
    ("pf_batches", "iu", "iu", "iu"),
    ("pf_templates", "iu", "iu", "iu"),
    ("pf_plans", "cpiu", "piu", "cpiu"),
    ("pf_budgets", "pdsiu", NOBODY, "pds"),
    ("pf_limits", "pdsi", "pdsi", "pds"),
    ("pf_calls", "ds", NOBODY, "ds"),
    ("pf_tool_kv", "ds", NOBODY, "ds"),
];

/// Buckets of objects: who reads and puts, who takes away what is replaced, who lists and removes.
const OBJECTS: &[(&str, &str, &str, &str)] = &[
    ("pf_blobs", "cpdsiu", "c", "c"),
    ("pf_snapshots", "c", "c", "c"),
    ("pf_tool_objects", "cds", "cds", "c"),
];

/// All of them.
pub(crate) fn verbs() -> Vec<(Try, &'static str)> {
    let mut all: Vec<(Try, &str)> = Vec::new();
    all.extend(PUBLISH.iter().map(|(subject, by)| (Publish((*subject).to_owned()), *by)));
    all.extend(LISTEN.iter().map(|(subject, by)| (Listen((*subject).to_owned()), *by)));
    let mut api = |by: &'static str, verb: &str, asset: &str| {
        all.push((Publish(format!("$JS.API.{verb}.{asset}")), by));
    };
    for (stream, look, read) in STREAMS {
        api(look, "STREAM.INFO", stream);
        api(look, "STREAM.MSG.GET", stream);
        api(read, "CONSUMER.CREATE", stream);
        api(read, "CONSUMER.MSG.NEXT", &format!("{stream}.xyz"));
    }
    for (bucket, get, follow, _) in VALUES {
        let stream = format!("KV_{bucket}");
        api(get, "STREAM.MSG.GET", &stream);
        api(follow, "STREAM.INFO", &stream);
        api(follow, "CONSUMER.CREATE", &stream);
        api(follow, "CONSUMER.MSG.NEXT", &format!("{stream}.xyz"));
    }
    for (bucket, store, replace, clear) in OBJECTS {
        let stream = format!("OBJ_{bucket}");
        api(store, "STREAM.INFO", &stream);
        api(store, "STREAM.MSG.GET", &stream);
        api(store, "CONSUMER.CREATE", &stream);
        api(replace, "STREAM.PURGE", &stream);
        api(clear, "STREAM.MSG.DELETE", &stream);
        api(clear, "CONSUMER.MSG.NEXT", &format!("{stream}.xyz"));
    }
    for (pool, by, count) in POOLS {
        let place = format!("PF_STEPS_0.pool_{pool}");
        api(count, "CONSUMER.INFO", &place);
        api(by, "CONSUMER.MSG.NEXT", &place);
    }
    for (pool, by, _) in POOLS {
        let place = format!("PF_STEPS_0.pool_{pool}.1.1.1.1.0");
        all.push((Publish(format!("$JS.ACK.{place}")), by));
        all.push((Publish(format!("$JS.ACK._.hash.{place}")), by));
    }
    all.extend(VALUES.iter().map(|(bucket, _, _, set)| (Publish(format!("$KV.{bucket}.k")), *set)));
    for (bucket, store, ..) in OBJECTS {
        all.extend(["C", "M"].map(|part| (Publish(format!("$O.{bucket}.{part}.x")), *store)));
        all.push((Publish(format!("$JS.FC.OBJ_{bucket}.c.x")), store));
    }
    all
}
