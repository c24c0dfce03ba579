//! Every name that leaves a process: spans, their attributes, metrics and theirs.
//!
//! Pinned to the GenAI conventions of OpenTelemetry semconv **v1.41** (the last release that
//! has them; backends read these), the messaging conventions of **v1.44**, and from the GenAI
//! conventions' new repository what renames nothing: the span `plan` and the durations of
//! workflows, agents and tools. What no convention has begins with `planfleet.`.
//! `docs/observability.md` shows the same tables; a test compares them.

use crate::metric::{
    Kind::{Counter, Gauge, Histogram, UpDownCounter},
    Metric,
};

/// Of all spans and instruments.
pub const SCOPE: &str = "planfleet";

/// The target of spans that are there for traces alone: no log line shows them.
pub const TRACE_ONLY: &str = "planfleet::trace_only";

/// `messaging.system`: the conventions have no word of their own for NATS.
pub const NATS: &str = "nats";

/// `gen_ai.workflow.name` of every run.
pub const WORKFLOW: &str = "planfleet";

/// A kind of span.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// What `tracing` knows it by, and the beginning of its name.
    pub name: &'static str,
    /// Its name; what is in angle brackets differs.
    pub title: &'static str,
    /// OpenTelemetry's kind.
    pub kind: &'static str,
    /// What it may carry.
    pub attributes: &'static [&'static str],
}

/// Attributes of spans and of measurements.
pub mod attribute {
    #![allow(missing_docs, reason = "each is documented by the convention that it is of")]

    // Own, and in log lines under the same names.
    pub const RUN_ID: &str = "run_id";
    pub const STEP: &str = "step";
    pub const ATTEMPT: &str = "attempt";
    pub const REVISION: &str = "revision";

    // Own.
    pub const STATE: &str = "planfleet.run.state";
    pub const REVISIONS: &str = "planfleet.run.revisions";
    pub const STEPS: &str = "planfleet.run.steps";
    pub const COST_USD: &str = "planfleet.run.cost_usd";
    pub const POOL: &str = "planfleet.pool";
    pub const DELIVERIES: &str = "planfleet.deliveries";

    // General conventions.
    pub const ERROR_TYPE: &str = "error.type";
    pub const SERVER_ADDRESS: &str = "server.address";
    pub const SERVER_PORT: &str = "server.port";
    pub const SESSION_ID: &str = "session.id";
    pub const USER_ID: &str = "user.id";

    // GenAI.
    pub const OPERATION: &str = "gen_ai.operation.name";
    pub const WORKFLOW: &str = "gen_ai.workflow.name";
    pub const CONVERSATION: &str = "gen_ai.conversation.id";
    pub const AGENT: &str = "gen_ai.agent.name";
    pub const PROVIDER: &str = "gen_ai.provider.name";
    pub const REQUEST_MODEL: &str = "gen_ai.request.model";
    pub const REQUEST_MAX_TOKENS: &str = "gen_ai.request.max_tokens";
    pub const REQUEST_TEMPERATURE: &str = "gen_ai.request.temperature";
    pub const REQUEST_SEED: &str = "gen_ai.request.seed";
    pub const REQUEST_STOP: &str = "gen_ai.request.stop_sequences";
    pub const REQUEST_STREAM: &str = "gen_ai.request.stream";
    pub const OUTPUT_TYPE: &str = "gen_ai.output.type";
    pub const RESPONSE_ID: &str = "gen_ai.response.id";
    pub const RESPONSE_MODEL: &str = "gen_ai.response.model";
    pub const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
    pub const FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
    pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
    pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
    pub const CACHE_READ_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
    pub const CACHE_WRITE_TOKENS: &str = "gen_ai.usage.cache_creation.input_tokens";
    pub const REASONING_TOKENS: &str = "gen_ai.usage.reasoning.output_tokens";
    /// Of no convention; Langfuse and others read it as the call's cost in USD.
    pub const USAGE_COST: &str = "gen_ai.usage.cost";
    pub const TOKEN_TYPE: &str = "gen_ai.token.type";
    pub const OPENAI_API: &str = "openai.api.type";
    pub const TOOL: &str = "gen_ai.tool.name";
    pub const TOOL_TYPE: &str = "gen_ai.tool.type";

    // GenAI, content: only where `telemetry.capture_content` asks for it.
    pub const SYSTEM_INSTRUCTIONS: &str = "gen_ai.system_instructions";
    pub const INPUT_MESSAGES: &str = "gen_ai.input.messages";
    pub const OUTPUT_MESSAGES: &str = "gen_ai.output.messages";
    pub const TOOL_ARGUMENTS: &str = "gen_ai.tool.call.arguments";
    pub const TOOL_RESULT: &str = "gen_ai.tool.call.result";

    // Messaging.
    pub const MESSAGING_SYSTEM: &str = "messaging.system";
    pub const MESSAGING_OPERATION: &str = "messaging.operation.name";
    pub const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
    pub const DESTINATION: &str = "messaging.destination.name";
    pub const CONSUMER_GROUP: &str = "messaging.consumer.group.name";
    pub const MESSAGE_CONVERSATION: &str = "messaging.message.conversation_id";
    pub const BODY_SIZE: &str = "messaging.message.body.size";

    /// Content: what people and models have written.
    pub const CONTENT: [&str; 5] =
        [SYSTEM_INSTRUCTIONS, INPUT_MESSAGES, OUTPUT_MESSAGES, TOOL_ARGUMENTS, TOOL_RESULT];
}

use attribute as a;

/// The submission of a run: the root of its trace, below the caller's span where it sends one.
pub const SUBMIT: Span = Span {
    name: "submit",
    title: "submit run",
    kind: "client, server (API) or producer (batch)",
    attributes: &[a::RUN_ID],
};

/// A run from its submission to its end. Exported at the end.
pub const RUN: Span = Span {
    name: "invoke_workflow",
    title: "invoke_workflow planfleet",
    kind: "internal",
    attributes: &[
        a::OPERATION,
        a::WORKFLOW,
        a::CONVERSATION,
        a::RUN_ID,
        a::STATE,
        a::REVISIONS,
        a::STEPS,
        a::COST_USD,
        a::USER_ID,
        a::SESSION_ID,
        a::ERROR_TYPE,
    ],
};

/// Work is queued.
pub const PUBLISH: Span = Span {
    name: "publish",
    title: "publish <stream>",
    kind: "producer",
    attributes: &[
        a::MESSAGING_SYSTEM,
        a::MESSAGING_OPERATION,
        a::MESSAGING_OPERATION_TYPE,
        a::DESTINATION,
        a::MESSAGE_CONVERSATION,
        a::BODY_SIZE,
        a::POOL,
    ],
};

/// Queued work is with a worker, from delivery to ack.
pub const PROCESS: Span = Span {
    name: "process",
    title: "process <stream>",
    kind: "consumer",
    attributes: &[
        a::MESSAGING_SYSTEM,
        a::MESSAGING_OPERATION,
        a::MESSAGING_OPERATION_TYPE,
        a::DESTINATION,
        a::CONSUMER_GROUP,
        a::MESSAGE_CONVERSATION,
        a::BODY_SIZE,
        a::POOL,
        a::DELIVERIES,
    ],
};

/// A planner writes a plan or a revision.
pub const PLAN: Span = Span {
    name: "plan",
    title: "plan planner",
    kind: "internal",
    attributes: &[
        a::OPERATION,
        a::AGENT,
        a::CONVERSATION,
        a::REQUEST_MODEL,
        a::RUN_ID,
        a::REVISION,
        a::ATTEMPT,
        a::ERROR_TYPE,
    ],
};

/// An attempt of a step.
pub const STEP: Span = Span {
    name: "step",
    title: "invoke_agent step <step>",
    kind: "internal",
    attributes: &[
        a::OPERATION,
        a::AGENT,
        a::CONVERSATION,
        a::REQUEST_MODEL,
        a::RUN_ID,
        a::STEP,
        a::ATTEMPT,
        a::ERROR_TYPE,
    ],
};

/// One try of a model call: each retry has its own.
pub const CHAT: Span = Span {
    name: "chat",
    title: "chat <gen_ai.request.model>",
    kind: "client",
    attributes: &[
        a::OPERATION,
        a::PROVIDER,
        a::REQUEST_MODEL,
        a::REQUEST_MAX_TOKENS,
        a::REQUEST_TEMPERATURE,
        a::REQUEST_SEED,
        a::REQUEST_STOP,
        a::REQUEST_STREAM,
        a::OUTPUT_TYPE,
        a::RESPONSE_ID,
        a::RESPONSE_MODEL,
        a::FINISH_REASONS,
        a::FIRST_CHUNK,
        a::INPUT_TOKENS,
        a::OUTPUT_TOKENS,
        a::CACHE_READ_TOKENS,
        a::CACHE_WRITE_TOKENS,
        a::REASONING_TOKENS,
        a::USAGE_COST,
        a::OPENAI_API,
        a::SERVER_ADDRESS,
        a::SERVER_PORT,
        a::ERROR_TYPE,
        a::SYSTEM_INSTRUCTIONS,
        a::INPUT_MESSAGES,
        a::OUTPUT_MESSAGES,
    ],
};

/// A call of a tool.
pub const EXECUTE_TOOL: Span = Span {
    name: "execute_tool",
    title: "execute_tool <gen_ai.tool.name>",
    kind: "internal",
    attributes: &[a::OPERATION, a::TOOL, a::TOOL_TYPE, a::ERROR_TYPE, a::TOOL_ARGUMENTS, a::TOOL_RESULT],
};

/// All kinds of spans, as they lie inside of each other.
pub const SPANS: [&Span; 8] = [&SUBMIT, &RUN, &PUBLISH, &PROCESS, &PLAN, &STEP, &CHAT, &EXECUTE_TOOL];

/// Metrics.
pub mod metric {
    use super::{Counter, Gauge, Histogram, Metric, UpDownCounter, a};

    /// Buckets of the GenAI conventions for one operation, in seconds.
    const SECONDS: &[f64] =
        &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

    /// From a tool of a millisecond to a queue of some hours.
    const WAITS: &[f64] =
        &[0.001, 0.004, 0.016, 0.064, 0.25, 1.0, 4.0, 15.0, 60.0, 240.0, 900.0, 3_600.0, 14_400.0];

    /// From a run that a template makes quick to one that people approve the next day.
    const RUNS: &[f64] =
        &[0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0];

    /// Buckets of the GenAI conventions for tokens.
    const TOKENS: &[f64] = &[
        1.0,
        4.0,
        16.0,
        64.0,
        256.0,
        1_024.0,
        4_096.0,
        16_384.0,
        65_536.0,
        262_144.0,
        1_048_576.0,
        4_194_304.0,
        16_777_216.0,
        67_108_864.0,
    ];

    /// Attributes of the conventions' metrics of model calls.
    const CALL: &[&str] = &[
        a::OPERATION,
        a::PROVIDER,
        a::REQUEST_MODEL,
        a::RESPONSE_MODEL,
        a::SERVER_ADDRESS,
        a::SERVER_PORT,
        a::ERROR_TYPE,
    ];

    macro_rules! metrics {
        ($($id:ident = $name:literal, $kind:expr, $unit:literal, $attributes:expr, $description:literal;)*) => {
            $(
                #[doc = $description]
                pub const $id: Metric = Metric {
                    name: $name,
                    kind: $kind,
                    unit: $unit,
                    description: $description,
                    attributes: $attributes,
                };
            )*
            /// All of them.
            pub const METRICS: &[&Metric] = &[$(&$id),*];
        };
    }

    metrics! {
        CHAT_DURATION = "gen_ai.client.operation.duration", Histogram(SECONDS), "s", CALL,
            "Duration of one try of a model call";
        CHAT_FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk", Histogram(SECONDS), "s", CALL,
            "Time to the first chunk of a streamed answer";
        CHAT_TOKENS = "gen_ai.client.token.usage", Histogram(TOKENS), "{token}",
            &[a::OPERATION, a::PROVIDER, a::REQUEST_MODEL, a::RESPONSE_MODEL, a::SERVER_ADDRESS,
              a::SERVER_PORT, a::TOKEN_TYPE],
            "Tokens of a model call by the provider's own count, input and output apart";
        WORKFLOW_DURATION = "gen_ai.invoke_workflow.duration", Histogram(RUNS), "s",
            &[a::WORKFLOW, a::ERROR_TYPE],
            "Duration of a run from its submission to its end";
        AGENT_DURATION = "gen_ai.invoke_agent.duration", Histogram(SECONDS), "s", &["pool", "outcome"],
            "Duration of one attempt of a step";
        TOOL_DURATION = "gen_ai.execute_tool.duration", Histogram(WAITS), "s", &[a::TOOL, a::ERROR_TYPE],
            "Duration of one call of a tool";

        RUNS_SUBMITTED = "planfleet.runs_submitted", Counter, "{run}", &[],
            "Runs submitted";
        RUNS_ENDED = "planfleet.runs_ended", Counter, "{run}", &["state"],
            "Runs ended, by state";
        ACTIVE_RUNS = "planfleet.active_runs", UpDownCounter, "{run}", &[],
            "Runs in the memory of this process, as their owner or as a standby";
        RECORDS = "planfleet.records", Counter, "{record}", &["outcome"],
            "Log records folded, by outcome: applied, or why they changed nothing";
        COMMANDS = "planfleet.commands", Counter, "{command}", &["kind"],
            "Commands carried out, by kind";
        REPLANS = "planfleet.replans", Counter, "{replan}", &["reason"],
            "Revisions asked of planners, by reason: the class of the failure, reviewed or rejected";
        TAKEOVERS = "planfleet.takeovers", Counter, "{takeover}", &[],
            "Shards taken over";
        DEAD_LETTERS = "planfleet.dead_letters", Counter, "{message}", &[],
            "Messages set aside because nobody could read them";
        SNAPSHOTS = "planfleet.snapshots", Counter, "{snapshot}", &["outcome"],
            "Snapshots of shards, by what became of them";

        READY_BACKLOG = "planfleet.ready_backlog", Gauge, "{step}", &["pool", "priority", "tenant", "state"],
            "Ready work that waits for its turn, by state (ready, paused); of tenants the largest, and other";
        READY_WAIT = "planfleet.ready_wait", Histogram(WAITS), "s", &["pool", "priority"],
            "Time from being ready to being let go to the workers";
        WORK_OUT = "planfleet.work_out", Gauge, "{step}", &["pool"],
            "Work that was let go and has not come back";
        WINDOW = "planfleet.window", Gauge, "{step}", &["pool"],
            "The most work that may be out just now";

        ATTEMPTS = "planfleet.attempts", Counter, "{attempt}", &["pool", "outcome"],
            "Attempts carried out, plannings in pool plan too, by outcome: succeeded, or the class of the failure";
        QUEUE_WAIT = "planfleet.queue_wait", Histogram(WAITS), "s", &["pool"],
            "Time from the dispatch of work to its beginning, by the broker's and the worker's clocks";
        REDELIVERIES = "planfleet.redeliveries", Counter, "{message}", &["pool"],
            "Work delivered again after a worker was lost";
        PLANS = "planfleet.plans", Counter, "{plan}", &["kind", "outcome"],
            "Plans written, by kind (plan, replan) and outcome";
        PLANNING_DURATION = "planfleet.planning.duration", Histogram(SECONDS), "s", &["kind"],
            "Duration of the writing of a plan, by kind (plan, replan)";
        CACHE_LOOKUPS = "planfleet.plan_cache.lookups", Counter, "{lookup}", &["outcome"],
            "Looks into the plan cache, by outcome (hit, miss, unfit)";
        CACHE_SAVED_USD = "planfleet.plan_cache.saved_usd", Counter, "{USD}", &[],
            "What plans from the cache would have cost anew, where that is known";
        CACHE_SAVED_TOKENS = "planfleet.plan_cache.saved_tokens", Counter, "{token}", &[],
            "Tokens that plans from the cache would have used anew";

        COST_USD = "planfleet.cost_usd", Counter, "{USD}", &["role", "model"],
            "What model calls have cost, by role and model; unknown costs are in unpriced_calls";
        UNPRICED_CALLS = "planfleet.unpriced_calls", Counter, "{call}", &["role", "model"],
            "Model calls whose cost is not known";
        BUDGET_REFUSALS = "planfleet.budget_refusals", Counter, "{call}", &["role", "model"],
            "Model calls that were not made as their budget does not pay for them";
        RATE_LIMIT_WAIT = "planfleet.rate_limit_wait", Histogram(WAITS), "s", &["model"],
            "Time that model calls have waited for a rate or a place, of those that had to";
        MODEL_PAUSED = "planfleet.model_paused", Gauge, "", &["model"],
            "1 while a model is left alone until people mend its account, key or name";

        BROKER_CONNECTED = "planfleet.broker.connected", Gauge, "", &["connection"],
            "1 while a connection to the broker is up, 0 while it is lost";
        BROKER_RECONNECTS = "planfleet.broker.reconnects", Counter, "{connection}", &["connection"],
            "Connections to the broker that were lost and made again";
    }
}
