//! `queue`: look after the queues. Today these are the dead letters.

mod letter;

use std::process::ExitCode;

use futures::TryStreamExt as _;
use planfleet_bus::{
    Bus, Error as BusError,
    dead_letters::{Kept, Replay, Which},
};
use planfleet_core::id::{RunId, check_name};
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
    let QueueCommand::Dlq(command) = command;
    let bus = connect(settings).await?;
    match command {
        DlqCommand::List { limit, of } => list(cli, &bus, *limit, of).await,
        DlqCommand::Show { seq } => show(cli, &bus, *seq).await,
        DlqCommand::Replay(args) => work_off(cli, &bus, Job::Replay, args).await,
        DlqCommand::Drop(args) => work_off(cli, &bus, Job::Drop, args).await,
    }
}

async fn list(cli: &Cli, bus: &Bus, limit: usize, of: &OriginArgs) -> Result<ExitCode, Failure> {
    let letters = bus.newest_dead_letters(&which(of)?, limit).await?;
    let letters: Vec<Value> = letters.iter().map(letter::summary).collect();
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
    let body = match bus.dead_body(&kept.letter).await {
        Ok(body) => Ok(body),
        // What the letter says without its body is worth reading.
        Err(error @ BusError::Blob { .. }) => Err(error.to_string()),
        Err(error) => return Err(error.into()),
    };
    letter::print(cli, &kept, body)?;
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
            Self::Replay => replay(bus, kept, run.as_ref()).await?,
            // Somebody else has dropped it in between, which is as good.
            Self::Drop => bus.drop_dead_letter(kept.seq).await.map(|_| ("dropped", String::new()))?,
        };
        Ok(json!({"seq": kept.seq, "outcome": outcome, "run_id": run, "detail": detail}))
    }
}

async fn replay(bus: &Bus, kept: &Kept, run: Option<&RunId>) -> Result<(&'static str, String), Failure> {
    let refused = match bus.replay(kept).await {
        Ok(Replay::Sent) => return Ok(("replayed", consequence(bus, kept, run).await)),
        Ok(Replay::NameTaken) => {
            "the queue holds work of this name already; replay it when that is done, or drop it".to_owned()
        }
        Ok(Replay::RunEnded) => "its run has ended, and its submit would run it again: drop it".to_owned(),
        Ok(Replay::NoOrigin) => {
            "the letter itself cannot be read: where it came from is not known".to_owned()
        }
        Err(error) if error.is_permanent() => error.to_string(),
        Err(error) => return Err(error.into()),
    };
    Ok(("kept", refused))
}

/// What the message can still bring about.
async fn consequence(bus: &Bus, kept: &Kept, run: Option<&RunId>) -> String {
    let ended = match run {
        Some(run) => bus.has_ended(run).await.unwrap_or(false),
        None => false,
    };
    let text = match (kept.letter.is_work(), run, ended) {
        (true, Some(_), true) => "its run has ended: the work is done again, and its result is ignored",
        // Whoever set it aside has reported the attempt as lost.
        (true, Some(_), false) => {
            "its run counts this attempt as lost: the work is done again, and its result is ignored"
        }
        (true, None, _) => "a worker takes it; whose work it is cannot be told",
        (false, _, true) => "its run has ended: the record is ignored",
        (false, _, false) => "the shard's owner reads it next",
    };
    format!("sent to {}; {text}", kept.letter.subject)
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
