//! `queue`: look after the queues: what waits, what is paused, and the dead letters.

mod flow;
mod letter;

use std::process::ExitCode;

use futures::TryStreamExt as _;
use planfleet_api::dead_letters;
use planfleet_bus::{
    Bus,
    dead_letters::{Kept, Which},
};
use planfleet_core::id::check_name;
use planfleet_runtime::config::Settings;
use serde_json::{Value, json};

use super::connect;
use crate::{
    cli::{Cli, DlqCommand, LetterArgs, OriginArgs, QueueCommand},
    exit::{Code, Failure},
    output::{self, cell},
};

/// What is to be done with dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    Replay,
    Drop,
}

/// What has been done.
#[derive(Default)]
struct Done {
    letters: Vec<Value>,
    kept: usize,
    unknown: Vec<u64>,
}

pub(super) async fn queue(
    cli: &Cli,
    command: &QueueCommand,
    settings: &Settings,
) -> Result<ExitCode, Failure> {
    let bus = connect(settings).await?;
    let command = match command {
        QueueCommand::List => return flow::list(cli, &bus).await,
        QueueCommand::Pause { target, reason } => {
            return flow::pause(cli, &bus, target, reason, settings).await;
        }
        QueueCommand::Resume(target) => return flow::resume(cli, &bus, target).await,
        QueueCommand::Dlq(command) => command,
    };
    match command {
        DlqCommand::List { limit, of } => list(cli, &bus, *limit, of).await,
        DlqCommand::Show { seq } => show(cli, &bus, *seq).await,
        DlqCommand::Replay(args) => work_off(cli, &bus, Job::Replay, args).await,
        DlqCommand::Drop(args) => work_off(cli, &bus, Job::Drop, args).await,
    }
}

async fn list(cli: &Cli, bus: &Bus, limit: usize, of: &OriginArgs) -> Result<ExitCode, Failure> {
    let letters = bus.newest_dead_letters(&which(of)?, limit).await?;
    let letters: Vec<Value> = letters.iter().map(|kept| json!(dead_letters::summary(kept))).collect();
    output::list(cli.output, &letter::HEAD, &letters, letter::row)?;
    Ok(ExitCode::SUCCESS)
}

fn which(of: &OriginArgs) -> Result<Which, Failure> {
    match (&of.pool, of.shard) {
        (Some(pool), _) => {
            check_name("pool", pool).map_err(Failure::usage)?;
            Ok(Which::Pool(pool.clone()))
        }
        (None, Some(shard)) => Ok(Which::Shard(shard)),
        (None, None) => Ok(Which::All),
    }
}

async fn show(cli: &Cli, bus: &Bus, seq: u64) -> Result<ExitCode, Failure> {
    let kept = bus.dead_letter(seq).await?.ok_or_else(|| unknown(&[seq]))?;
    letter::print(cli, &dead_letters::detail(bus, &kept).await?)?;
    Ok(ExitCode::SUCCESS)
}

fn unknown(seqs: &[u64]) -> Failure {
    let named = seqs.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let message = format!("there is no dead letter {named}; `planfleet queue dlq list` shows those that are");
    Failure::new(Code::Unexpected, message)
}

/// Does a job with each letter that is asked for, and shows what was done even if
/// the broker is lost on the way.
async fn work_off(cli: &Cli, bus: &Bus, job: Job, args: &LetterArgs) -> Result<ExitCode, Failure> {
    let mut done = Done::default();
    let outcome = match args.all {
        true => work_off_all(bus, job, args, &mut done).await,
        false => work_off_named(bus, job, &args.seqs, &mut done).await,
    };
    if outcome.is_ok() || !done.letters.is_empty() {
        let row = |letter: &Value| {
            let shown = |name: &str| cell(&letter[name]);
            vec![shown("seq"), shown("outcome"), shown("run_id"), full(&letter["detail"])]
        };
        output::list(cli.output, &["seq", "outcome", "run", "detail"], &done.letters, row)?;
    }
    outcome?;
    done.exit()
}

fn full(text: &Value) -> String {
    text.as_str().unwrap_or_default().to_owned()
}

async fn work_off_named(bus: &Bus, job: Job, seqs: &[u64], done: &mut Done) -> Result<(), Failure> {
    let mut seqs = seqs.to_vec();
    seqs.sort_unstable();
    seqs.dedup();
    for seq in seqs {
        match bus.dead_letter(seq).await? {
            Some(kept) => done.note(job.carry_out(bus, &kept).await?),
            None => done.unknown.push(seq),
        }
    }
    Ok(())
}

async fn work_off_all(bus: &Bus, job: Job, args: &LetterArgs, done: &mut Done) -> Result<(), Failure> {
    let mut letters = bus.dead_letters(&which(&args.of)?).await?;
    let mut count = 0_u64;
    while let Some(kept) = letters.try_next().await? {
        count += 1;
        if args.yes {
            done.note(job.carry_out(bus, &kept).await?);
        }
    }
    if args.yes || count == 0 {
        return Ok(());
    }
    let letters = if count == 1 { "one dead letter".to_owned() } else { format!("{count} dead letters") };
    Err(Failure::usage(format!("--all would {} {letters}; say --yes to have it done", job.verb())))
}

impl Job {
    const fn verb(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Drop => "drop",
        }
    }

    async fn carry_out(self, bus: &Bus, kept: &Kept) -> Result<Value, Failure> {
        let run = kept.letter.about().run;
        let (outcome, detail) = match self {
            Self::Replay => match dead_letters::replay(bus, kept).await? {
                Ok(consequence) => ("replayed", consequence),
                Err(refused) => ("kept", refused),
            },
            // Somebody else has dropped it in between, which is as good.
            Self::Drop => bus.drop_dead_letter(kept.seq).await.map(|_| ("dropped", String::new()))?,
        };
        Ok(json!({"seq": kept.seq, "outcome": outcome, "run_id": run, "detail": detail}))
    }
}

impl Done {
    fn note(&mut self, letter: Value) {
        if letter["outcome"] == "kept" {
            self.kept += 1;
        }
        self.letters.push(letter);
    }

    fn exit(&self) -> Result<ExitCode, Failure> {
        if !self.unknown.is_empty() {
            return Err(unknown(&self.unknown));
        }
        if self.kept > 0 {
            let all = self.letters.len();
            let message = format!("{} of {all} dead letters could not be replayed and are kept", self.kept);
            return Err(Failure::new(Code::Unexpected, message));
        }
        Ok(ExitCode::SUCCESS)
    }
}
