//! Every verb and who has it: `c`oordinator, `p`lanner, executor of pool `d`efault, executor
//! of pool `s`trong, ap`i`, cl`u`ent. The admin has them all.

/// What is tried.
#[derive(Debug)]
pub(crate) enum Try {
    /// To publish there, a request of JetStream's API too.
    Publish(&'static str),
    /// To listen there.
    Listen(&'static str),
}

use Try::{Listen, Publish};

impl Try {
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

pub(crate) const VERBS: &[(Try, &str)] = &[
    // Records: each kind by who makes it.
    (Publish("pf.ev.00.submit"), "iu"),
    (Publish("pf.ev.01.cancel"), "ciu"),
    (Publish("pf.ev.01.control"), "iu"),
    (Publish("pf.ev.00.step"), "p"),
    (Publish("pf.ev.00.sealed"), "p"),
    (Publish("pf.ev.00.result"), "ds"),
    (Publish("pf.ev.00.failure"), "cpds"),
    (Publish("pf.ev.00.timer"), "c"),
    (Publish("pf.ev.00.epoch"), "c"),
    // Logs are read by who owns them.
    (Publish("$JS.API.STREAM.INFO.PF_EV_00"), "c"),
    (Publish("$JS.API.STREAM.MSG.GET.PF_EV_01"), "c"),
    (Publish("$JS.API.CONSUMER.CREATE.PF_EV_01"), "c"),
    (Publish("$JS.API.CONSUMER.MSG.NEXT.PF_EV_01.xyz"), "c"),
    (Publish("$JS.API.STREAM.PURGE.PF_EV_00"), "c"),
    (Publish("$JS.API.STREAM.MSG.DELETE.PF_EV_00"), NOBODY),
    (Publish("$JS.API.DIRECT.GET.PF_EV_00"), NOBODY),
    (Listen("pf.ev.>"), NOBODY),
    (Listen("pf.ev.00.submit"), NOBODY),
    // Work: put in by one, taken out by the pool that it is for.
    (Publish("pf.steps.default.1.t.00-a.1.1"), "c"),
    (Publish("pf.steps.plan.1.t.00-a.r1.1"), "c"),
    (Publish("$JS.API.CONSUMER.MSG.NEXT.PF_STEPS_0.pool_plan"), "p"),
    (Publish("$JS.API.CONSUMER.MSG.NEXT.PF_STEPS_0.pool_default"), "d"),
    (Publish("$JS.API.CONSUMER.MSG.NEXT.PF_STEPS_0.pool_strong"), "s"),
    (Publish("$JS.API.CONSUMER.INFO.PF_STEPS_0.pool_default"), "d"),
    (Publish("$JS.ACK.PF_STEPS_0.pool_default.1.1.1.1.0"), "d"),
    (Publish("$JS.ACK.PF_STEPS_0.pool_strong.1.1.1.1.0"), "s"),
    (Publish("$JS.ACK.PF_STEPS_0.pool_plan.1.1.1.1.0"), "p"),
    (Publish("$JS.ACK._.hash.PF_STEPS_0.pool_default.1.1.1.1.0"), "d"),
    (Publish("$JS.API.STREAM.INFO.PF_STEPS_0"), "c"),
    (Publish("$JS.API.STREAM.MSG.GET.PF_STEPS_0"), "c"),
    (Publish("$JS.API.STREAM.MSG.DELETE.PF_STEPS_0"), NOBODY),
    (Publish("$JS.API.STREAM.PURGE.PF_STEPS_0"), NOBODY),
    (Publish("$JS.API.CONSUMER.CREATE.PF_STEPS_0"), NOBODY),
    (Publish("$JS.API.CONSUMER.CREATE.PF_STEPS_0.mine.pf.steps.default.>"), NOBODY),
    (Publish("$JS.API.CONSUMER.DURABLE.CREATE.PF_STEPS_0.pool_default"), NOBODY),
    (Publish("$JS.API.CONSUMER.DELETE.PF_STEPS_0.pool_default"), NOBODY),
    (Publish("$JS.API.CONSUMER.PAUSE.PF_STEPS_0.pool_default"), NOBODY),
    (Listen("pf.steps.>"), NOBODY),
    // Documents of ended runs.
    (Publish("pf.done.t.00-a"), "c"),
    (Publish("$JS.API.STREAM.MSG.GET.PF_DONE"), "ciu"),
    (Publish("$JS.API.CONSUMER.CREATE.PF_DONE"), "ciu"),
    (Publish("$JS.API.STREAM.PURGE.PF_DONE"), NOBODY),
    (Publish("$JS.API.STREAM.MSG.DELETE.PF_DONE"), NOBODY),
    (Listen("pf.done.>"), NOBODY),
    // Dead letters: written by who finds them, read and removed by an operator.
    (Publish("pf.dlq.log.00"), "c"),
    (Publish("pf.dlq.work.plan"), "cp"),
    (Publish("pf.dlq.work.default"), "cd"),
    (Publish("pf.dlq.work.strong"), "cs"),
    (Publish("$JS.API.CONSUMER.CREATE.PF_DLQ"), "c"),
    (Publish("$JS.API.STREAM.MSG.DELETE.PF_DLQ"), NOBODY),
    // Live news and reads.
    (Publish("pf.live.00-a"), "cpds"),
    (Publish("pf.watched"), "iu"),
    (Publish("pf.read.01"), "iu"),
    (Listen("pf.live.00-a"), "iu"),
    (Listen("pf.watched"), "cpds"),
    (Listen("pf.read.01"), "c"),
    (Listen("pf.>"), NOBODY),
    (Listen("_INBOX.>"), NOBODY),
    (Listen("_INBOX.AAAAAAAAAAAAAAAA.>"), NOBODY),
    (Listen(">"), NOBODY),
    // Keys: ownership,
    (Publish("$KV.pf_shards.00"), "c"),
    (Publish("$KV.pf_members.me"), "c"),
    (Publish("$KV.pf_cancel.00-a"), "c"),
    (Publish("$JS.API.CONSUMER.CREATE.KV_pf_cancel"), "pds"),
    (Publish("$JS.API.CONSUMER.CREATE.KV_pf_shards"), NOBODY),
    // what users name,
    (Publish("$KV.pf_keys.k"), "iu"),
    (Publish("$JS.API.STREAM.MSG.GET.KV_pf_keys"), "iu"),
    (Publish("$JS.API.CONSUMER.CREATE.KV_pf_keys"), NOBODY),
    (Publish("$KV.pf_batches.b"), "iu"),
    (Publish("$KV.pf_templates.name.n"), "iu"),
    (Publish("$KV.pf_plans.p"), "cpiu"),
    // money,
    (Publish("$KV.pf_budgets.b"), "pdsiu"),
    (Publish("$JS.API.CONSUMER.CREATE.KV_pf_budgets"), NOBODY),
    // what workers tell each other,
    (Publish("$KV.pf_limits.paused.m"), "pds"),
    (Publish("$JS.API.CONSUMER.CREATE.KV_pf_limits"), "pds"),
    (Publish("$KV.pf_calls.c"), "ds"),
    (Publish("$JS.API.STREAM.MSG.GET.KV_pf_calls"), "ds"),
    // and what tools keep.
    (Publish("$KV.pf_tool_kv.t/k"), "ds"),
    (Publish("$O.pf_tool_objects.M.x"), "ds"),
    (Publish("$JS.API.STREAM.MSG.GET.OBJ_pf_tool_objects"), "ds"),
    (Publish("$JS.API.STREAM.INFO.OBJ_pf_tool_objects"), "ds"),
    (Publish("$JS.API.CONSUMER.CREATE.OBJ_pf_tool_objects"), "ds"),
    (Publish("$JS.FC.OBJ_pf_tool_objects.c.x"), "ds"),
    (Publish("$JS.API.STREAM.PURGE.OBJ_pf_tool_objects"), "ds"),
    (Listen("$KV.>"), NOBODY),
    (Listen("$O.>"), NOBODY),
    // Large bodies: everybody writes, only coordinators remove.
    (Publish("$O.pf_blobs.C.x"), "cpdsiu"),
    (Publish("$O.pf_blobs.M.x"), "cpdsiu"),
    (Publish("$JS.API.STREAM.MSG.GET.OBJ_pf_blobs"), "cpdsiu"),
    (Publish("$JS.API.STREAM.INFO.OBJ_pf_blobs"), "cpdsiu"),
    (Publish("$JS.API.CONSUMER.CREATE.OBJ_pf_blobs"), "cpdsiu"),
    (Publish("$JS.FC.OBJ_pf_blobs.c.x"), "cpdsiu"),
    (Publish("$JS.API.CONSUMER.MSG.NEXT.OBJ_pf_blobs.c"), "c"),
    (Publish("$JS.API.CONSUMER.DELETE.OBJ_pf_blobs.c"), NOBODY),
    (Publish("$JS.API.STREAM.PURGE.OBJ_pf_blobs"), "c"),
    (Publish("$JS.API.STREAM.MSG.DELETE.OBJ_pf_blobs"), "c"),
    (Publish("$O.pf_snapshots.C.x"), "c"),
    (Publish("$JS.API.STREAM.MSG.GET.OBJ_pf_snapshots"), "c"),
    // Streams are made, changed and removed by an operator.
    (Publish("$JS.API.INFO"), NOBODY),
    (Publish("$JS.API.STREAM.NAMES"), NOBODY),
    (Publish("$JS.API.STREAM.LIST"), NOBODY),
    (Publish("$JS.API.STREAM.CREATE.PF_EV_00"), NOBODY),
    (Publish("$JS.API.STREAM.UPDATE.PF_EV_00"), NOBODY),
    (Publish("$JS.API.STREAM.DELETE.PF_EV_00"), NOBODY),
    (Publish("$JS.API.STREAM.SNAPSHOT.PF_EV_00"), NOBODY),
    (Publish("$JS.API.STREAM.RESTORE.PF_EV_00"), NOBODY),
    (Publish("$JS.API.STREAM.LEADER.STEPDOWN.PF_EV_00"), NOBODY),
    (Publish("$JS.API.CONSUMER.NAMES.PF_STEPS_0"), NOBODY),
    (Publish("$JS.API.CONSUMER.LIST.PF_STEPS_0"), NOBODY),
    (Publish("$SYS.REQ.SERVER.PING"), NOBODY),
];
