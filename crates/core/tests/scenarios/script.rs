//! Stories: records as a small text script, and the transcript of what the core
//! decides on each. [`tell`] folds a script and writes the transcript anew.
//!
//! ```text
//! submit goal="report" replans=2        a task; review=, approve_plan=yes, approve=send, timeout=ms; indented step lines below make an inline plan
//! planned 2 model "b" after=1 x=@1/text a step of the draft dispatched last (take=1 for a takeover)
//! sealed final=2                        the first plan is whole; steps=3 where some are still to come
//! revise drop=3 final=5                 likewise for a replan; or `finish "answer"`, `giveup "why"`
//! planfail transient "why"              the planner could not plan
//! ok 2 "output"                         the newest attempt of step 2 succeeded; `ok 3[0] 7 attempt=1`
//! failed 2 tool_error "why"             or failed; `retry_after=500` as its provider asked
//! retry 2 attempt=2                     a timer fires; `replan revision=1 attempt=2`, `timer deadline`
//! timeout 2 attempt=1                   nobody waits for that attempt any more
//! cancel "why"                          somebody wants it to end; `pause "why"`, `resume`
//! approve plan=2                        a person decides; `approve step=3`, `reject step=3,4 "why"`
//! rerun run=b of=a                      a new run that goes on from where another has ended
//! told run=a/2.1                        what that run was told first is in its log
//! report of=a/2.1                       so is its end, in its parent's
//! ```
//! `run=b` at the end of any line speaks of another run, `run=a/2.1` of the one that is
//! attempt 1 of step 2 of run a.

#[path = "transcript.rs"]
mod transcript;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    sync::Arc,
};

use planfleet_core::{
    command::Command,
    document::RunState,
    failure::{Failure, FailureClass},
    id::{RunId, StepId},
    json::Json,
    plan::{ForEach, Input, Plan, PlanStep, StepKind},
    record::{
        ApprovalDecided, AttemptReport, Decision, Draft, Fact, Gate, PlanSealed, Record, Report, StepFailed,
        StepSucceeded, Timer,
    },
    run::Ignored,
    shard::Shard,
    sub_task,
    task::{Approval, Brief, Budget, Envelope, Priority, Review, Submission},
    tool::Effect,
    usage::{Account, Charge, Usage},
};

use self::transcript::render;

/// Records come a second apart.
const TICK_MS: u64 = 1_000;

/// One record and what followed from it.
#[derive(Debug)]
pub(crate) struct Beat {
    pub(crate) record: Record,
    pub(crate) outcome: Result<(), Ignored>,
    pub(crate) commands: Vec<Command>,
    /// The states of its run before and after, as its document says them.
    pub(crate) moved: (&'static str, &'static str),
}

/// A story told: its text with a fresh transcript, and its beats.
#[derive(Debug)]
pub(crate) struct Telling {
    pub(crate) text: String,
    pub(crate) beats: Vec<Beat>,
}

/// Folds the script in `text`, whatever transcript it has, and writes the transcript anew.
pub(crate) fn tell(text: &str) -> Telling {
    let mut teller = Teller::default();
    let mut told = String::new();
    let mut lines = text.lines().filter(|line| !is_transcript(line)).peekable();
    while let Some(line) = lines.next() {
        told.push_str(line);
        told.push('\n');
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let mut below = Vec::new();
        while let Some(step) = lines.next_if(|next| next.starts_with("  ")) {
            told.push_str(step);
            told.push('\n');
            below.push(step.trim().to_owned());
        }
        teller.line(line, &below, &mut told);
    }
    Telling { text: told, beats: teller.beats }
}

fn is_transcript(line: &str) -> bool {
    ["=> ", "   | ", "ignored: "].iter().any(|mark| line.starts_with(mark))
}

#[derive(Default)]
struct Teller {
    shard: Shard,
    beats: Vec<Beat>,
    /// The draft dispatched last, by run.
    drafts: BTreeMap<RunId, Draft>,
    /// How many steps were planned of each draft.
    planned: BTreeMap<(RunId, Draft), u32>,
    /// The newest attempt of each step, by run.
    attempts: BTreeMap<(RunId, StepId), u32>,
    /// How runs have ended.
    ends: BTreeMap<RunId, RunState>,
    /// What runs were told that is not in their logs yet.
    tellings: BTreeMap<RunId, VecDeque<Fact>>,
    /// What the ends of runs are for their parents.
    reports: BTreeMap<RunId, Report>,
    /// What to submit for reruns of runs that have ended.
    reruns: BTreeMap<RunId, Arc<Submission>>,
}

impl Teller {
    fn line(&mut self, line: &str, below: &[String], told: &mut String) {
        let words = Words::read(line);
        let run = run_id(words.key("run").unwrap_or("a"));
        let seq = self.beats.len() as u64 + 1;
        let at_ms = seq * TICK_MS;
        let fact = self.fact(&run, &words, below, at_ms);
        let before = self.state(&run);
        let record = Record { run: run.clone(), at_ms, fact };
        let mut commands = Vec::new();
        let outcome = self.shard.apply(seq, record.clone(), &mut commands);
        if let Err(ignored) = &outcome {
            writeln!(told, "ignored: {ignored}").expect("text");
        }
        for command in &commands {
            self.remember(command);
            render(command, at_ms, told);
        }
        let moved = (before, self.state(&run));
        self.beats.push(Beat { record, outcome, commands, moved });
    }

    fn state(&self, run: &RunId) -> &'static str {
        let active = self.shard.document(run, 0).map(|document| document.state);
        active.or(self.ends.get(run).copied()).map_or("[*]", RunState::as_str)
    }

    fn remember(&mut self, command: &Command) {
        match command {
            Command::DispatchPlan(order) => {
                self.drafts.insert(order.run.clone(), order.draft);
            }
            Command::DispatchStep(order) => {
                self.attempts.insert((order.run.clone(), order.step), order.attempt);
            }
            Command::FinishRun(document) => {
                self.ends.insert(document.run_id.clone(), document.state);
                if let Some(report) = &document.report {
                    self.reports.insert(document.run_id.clone(), report.as_ref().clone());
                }
                if let Some(rerun) = &document.rerun {
                    self.reruns.insert(document.run_id.clone(), Arc::clone(rerun));
                }
            }
            Command::TellRun { run, fact } => {
                self.tellings.entry(run.clone()).or_default().push_back(fact.as_ref().clone());
            }
            Command::ArmTimer { .. } | Command::BroadcastCancel { .. } | Command::AskApproval { .. } => {}
        }
    }

    fn fact(&mut self, run: &RunId, words: &Words, below: &[String], at_ms: u64) -> Fact {
        match words.at(0) {
            "submit" => Fact::TaskSubmitted(Box::new(submission(words, below))),
            "planned" => {
                let draft = self.draft(run, words);
                *self.planned.entry((run.clone(), draft)).or_default() += 1;
                Fact::StepPlanned { draft, step: Box::new(step(words, 1)) }
            }
            "sealed" | "revise" | "finish" | "giveup" => {
                Fact::PlanSealed(Box::new(self.sealed(run, words, at_ms)))
            }
            "planfail" => Fact::PlanFailed {
                draft: self.draft(run, words),
                failure: failure(words, 1),
                usage: vec![used(Account::Planner, "planner-model", words)],
            },
            "ok" => Fact::StepSucceeded(Box::new(StepSucceeded {
                attempt: self.report(run, words, at_ms),
                output: Json::from_text(words.at(2)).expect("an output is JSON"),
            })),
            "failed" => Fact::StepFailed(Box::new(StepFailed {
                attempt: self.report(run, words, at_ms),
                failure: failure(words, 2),
            })),
            "rerun" => {
                let of = run_id(words.key("of").expect("of="));
                Fact::TaskSubmitted(Box::new(self.reruns[&of].as_ref().clone()))
            }
            "told" => {
                let told = self.tellings.get_mut(run).and_then(VecDeque::pop_front);
                told.unwrap_or_else(|| panic!("{run} was told nothing"))
            }
            "report" => {
                let report = &self.reports[&run_id(words.key("of").expect("of="))];
                assert_eq!(report.run, *run);
                report.fact.clone()
            }
            "pause" => Fact::RunPauseRequested { reason: text(words.at(1)) },
            "resume" => Fact::RunResumeRequested,
            "approve" | "reject" => Fact::ApprovalDecided(decided(words)),
            "cancel" => Fact::RunCancelRequested { reason: text(words.at(1)) },
            "timer" => Fact::TimerFired(Timer::Deadline),
            "timeout" => Fact::TimerFired(Timer::StepTimeout {
                step: step_id(words.at(1)),
                attempt: words.number("attempt").expect("attempt="),
            }),
            "retry" => Fact::TimerFired(Timer::Retry {
                step: step_id(words.at(1)),
                attempt: words.number("attempt").expect("attempt="),
            }),
            "replan" => Fact::TimerFired(Timer::Replan {
                revision: words.number("revision").expect("revision="),
                attempt: words.number("attempt").expect("attempt="),
            }),
            other => panic!("no such line: {other}"),
        }
    }

    fn draft(&self, run: &RunId, words: &Words) -> Draft {
        let last = self.drafts.get(run).copied().unwrap_or(Draft { revision: 1, attempt: 1, take: 0 });
        Draft {
            revision: words.number("revision").unwrap_or(last.revision),
            attempt: words.number("attempt").unwrap_or(last.attempt),
            take: words.number("take").unwrap_or(last.take),
        }
    }

    fn sealed(&self, run: &RunId, words: &Words, at_ms: u64) -> PlanSealed {
        let draft = self.draft(run, words);
        let planned = self.planned.get(&(run.clone(), draft)).copied().unwrap_or_default();
        let final_step = words.number("final");
        let decision = match words.at(0) {
            "sealed" => Decision::Plan { final_step: final_step.expect("final=") },
            "revise" => Decision::Revise { drop: words.numbers("drop"), final_step },
            "finish" => Decision::Finish { answer: Json::from_text(words.at(1)).expect("an answer is JSON") },
            _ => Decision::GiveUp,
        };
        let reason = words.key("reason").map(text);
        PlanSealed {
            draft,
            steps: words.number("steps").unwrap_or(planned),
            decision,
            reason: reason.unwrap_or_else(|| words.list.get(1).map_or_else(String::new, |word| text(word))),
            usage: vec![used(Account::Planner, "planner-model", words)],
            model: "planner-model".to_owned(),
            started_ms: at_ms - TICK_MS / 2,
            cache: None,
        }
    }

    fn report(&self, run: &RunId, words: &Words, at_ms: u64) -> AttemptReport {
        let step = step_id(words.at(1));
        let newest = self.attempts.get(&(run.clone(), step)).copied().unwrap_or(1);
        AttemptReport {
            step,
            attempt: words.number("attempt").unwrap_or(newest),
            model: Some("executor-model".to_owned()),
            usage: vec![used(Account::Executor, "executor-model", words)],
            started_ms: at_ms - TICK_MS / 2,
            ended_ms: at_ms,
            calls: Vec::new(),
        }
    }
}

/// A line's words: those in order, and those that are `key=value`.
struct Words {
    list: Vec<String>,
    keys: Vec<(String, String)>,
}

impl Words {
    fn read(line: &str) -> Self {
        let mut words = Self { list: Vec::new(), keys: Vec::new() };
        for word in split(line) {
            let key =
                word.find('=').filter(|at| word[..*at].chars().all(|c| c.is_ascii_lowercase() || c == '_'));
            match key {
                Some(at) => words.keys.push((word[..at].to_owned(), word[at + 1..].to_owned())),
                None => words.list.push(word),
            }
        }
        words
    }

    fn at(&self, position: usize) -> &str {
        self.list.get(position).unwrap_or_else(|| panic!("word {position} is missing in {:?}", self.list))
    }

    fn key(&self, name: &str) -> Option<&str> {
        self.keys.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.key(name).map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
    }

    fn numbers(&self, name: &str) -> Vec<u32> {
        self.key(name).map_or_else(Vec::new, |list| {
            list.split(',').map(|id| id.parse().expect("numbers with commas between")).collect()
        })
    }
}

/// Splits at spaces that are in no quotes and no brackets.
fn split(line: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let (mut quoted, mut escaped, mut depth) = (false, false, 0);
    for c in line.chars() {
        match c {
            '"' if !escaped => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth -= 1,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        if c == ' ' && !quoted && depth == 0 {
            words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
        } else {
            word.push(c);
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

fn text(word: &str) -> String {
    if word.starts_with('"') { serde_json::from_str(word).expect("a quoted text") } else { word.to_owned() }
}

/// `a`, or `a/2.1`: attempt 1 of its step 2.
fn run_id(word: &str) -> RunId {
    match word.rsplit_once('/') {
        None => format!("00-{word}").parse().expect("a run id"),
        Some((parent, work)) => {
            let (step, attempt) = work.rsplit_once('.').expect("step.attempt");
            sub_task::run_id(&run_id(parent), step_id(step), attempt.parse().expect("an attempt"))
        }
    }
}

fn step_id(word: &str) -> StepId {
    match word.split_once('[') {
        None => StepId::plain(word.parse().expect("a step")),
        Some((step, item)) => {
            let item = item.trim_end_matches(']').parse().expect("an item");
            StepId::item(step.parse().expect("a step"), item)
        }
    }
}

fn decided(words: &Words) -> ApprovalDecided {
    let plan = words.number("plan").map(|revision| Gate::Plan { revision });
    let steps = words.numbers("step").into_iter().map(|step| Gate::Step { step });
    let reason = words.list.get(1).map_or_else(String::new, |word| text(word));
    ApprovalDecided {
        gates: plan.into_iter().chain(steps).collect(),
        approved: words.at(0) == "approve",
        reason,
    }
}

fn used(account: Account, model: &str, words: &Words) -> Charge {
    let output_tokens = words.number("tokens").unwrap_or_default().into();
    Charge::new(account, model, Usage { calls: 1, output_tokens, ..Usage::NONE })
}

fn failure(words: &Words, at: usize) -> Failure {
    let class = FailureClass::from_name(words.at(at)).expect("a failure class");
    let retry_after_ms = words.number("retry_after").map(u64::from);
    Failure { retry_after_ms, ..Failure::new(class, text(words.at(at + 1))) }
}

fn submission(words: &Words, below: &[String]) -> Submission {
    let effects = [
        ("calc", Effect::Pure),
        ("lookup", Effect::Read),
        ("send", Effect::Write),
        (sub_task::NAME, Effect::Write),
    ];
    let tokens = words.number("tokens").map(u64::from);
    let envelope = Envelope {
        tools: effects.map(|(name, effect)| (name.to_owned(), effect)).into(),
        hosts: Vec::new(),
        pools: vec!["strong".to_owned()],
        budget: Budget { nano_usd: None, tokens },
        deadline_ms: words.number("deadline").map(u64::from),
        replans_max: words.number("replans").unwrap_or(3),
        steps_max: words.number("steps").unwrap_or(100),
        items_max: words.number("items").unwrap_or(100),
        attempts_max: words.number("attempts").unwrap_or(3),
        review: match words.key("review") {
            Some("never") => Review::Never,
            Some("after_each_step") => Review::AfterEachStep,
            _ => Review::OnFailure,
        },
        approval: Approval {
            plan: words.key("approve_plan").is_some(),
            tools: words.key("approve").into_iter().map(str::to_owned).collect(),
        },
        step_timeout_ms: words.number("timeout").map(u64::from),
        quota_wait_ms: words.number("quota_wait").map_or(0, u64::from),
        lineage: Vec::new(),
    };
    let steps: Vec<PlanStep> = below.iter().map(|line| step(&Words::read(line), 0)).collect();
    let last = steps.last().map_or(0, |step| step.id);
    let plan = Plan::new(steps, words.number("final").unwrap_or(last));
    Submission {
        task: Brief {
            goal: words.key("goal").map(text),
            inputs: words.key("inputs").map_or_else(serde_json::Map::new, |json| {
                serde_json::from_str(json).expect("inputs are an object")
            }),
            priority: Priority::Normal,
            ..Brief::default()
        },
        envelope: Arc::new(envelope),
        plan: (!below.is_empty()).then(|| Arc::new(plan)),
        traceparent: None,
        carried: None,
        parent: None,
    }
}

/// `2 model "b" after=1 tools=lookup each=@1/items x=@1/text y="literal"`, or `2 tool:lookup ...`.
fn step(words: &Words, at: usize) -> PlanStep {
    let (kind, tools) = match words.at(at + 1).split_once(':') {
        Some((_, tool)) => (StepKind::Tool, vec![tool.to_owned()]),
        None => {
            let named = words.key("tools").map(|tools| tools.split(',').map(str::to_owned).collect());
            (StepKind::Model, named.unwrap_or_default())
        }
    };
    let own = ["after", "tools", "each", "tier", "timeout_s", "take", "attempt", "revision", "run"];
    // A tool may have an argument of that name; a model's step says so of its tools.
    let is_own = |key: &str| own.contains(&key) && !(key == "tools" && kind == StepKind::Tool);
    let inputs = words.keys.iter().filter(|(key, _)| !is_own(key));
    let each = words.key("each").map(|list| reference(list).expect("each=@step/path"));
    PlanStep {
        id: words.at(at).parse().expect("a step"),
        description: words.list.get(at + 2).map_or_else(String::new, |word| text(word)),
        kind,
        tools,
        inputs: inputs.map(|(name, value)| input(name, value)).collect(),
        for_each: each.map(|(from_step, path)| ForEach { from_step, path, item_name: None }),
        depends_on: words.numbers("after"),
        expected_output: String::new(),
        success_criteria: Vec::new(),
        tier: words.key("tier").unwrap_or("default").to_owned(),
        timeout_s: words.number("timeout_s"),
    }
}

fn reference(word: &str) -> Option<(u32, String)> {
    let target = word.strip_prefix('@')?;
    let slash = target.find('/').unwrap_or(target.len());
    Some((target[..slash].parse().expect("@step/path"), target[slash..].to_owned()))
}

fn input(name: &str, value: &str) -> Input {
    let name = name.to_owned();
    match reference(value) {
        Some((from, path)) => Input { name, value: None, from_step: Some(from), path: Some(path) },
        None => Input { name, value: Some(text(value)), from_step: None, path: None },
    }
}
