//! The real fold, asked once for each state and entry.
//!
//! What a coordinator knows follows from the prefix of the log that it has
//! read, so states of the model hold the number of a class of prefixes: two
//! prefixes are of one class if the fold's state after them is the same, field
//! by field, and so is the [`Book`] that is kept of them from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use planfleet_core::{command::Command, id::StepId, record::Timer, shard::Shard};

use super::{
    cases::{Brief, Case},
    promises,
    words::{Cmd, Entry, Fault, Name},
};

/// The number of a class of log prefixes. 0 is the empty log.
pub(crate) type ClassId = u32;

/// What a prefix says, kept from outside.
#[derive(Debug, Clone, Default)]
pub(crate) struct Book {
    /// Everything that was ever ordered, and the number of its content.
    pub(crate) orders: BTreeMap<Cmd, u32>,
    /// Attempts with a result in the log.
    pub(crate) reported: BTreeSet<Name>,
    /// Attempts whose result was taken.
    pub(crate) taken: BTreeSet<Name>,
    /// The newest output that was taken, by attempt and whether it was another than the first.
    pub(crate) outputs: BTreeMap<StepId, (u32, bool)>,
    /// What was ordered when the run ended.
    pub(crate) ends: Vec<Cmd>,
}

impl Book {
    pub(crate) fn has_ended(&self) -> bool {
        !self.ends.is_empty()
    }

    /// The document of the run, once it has ended.
    pub(crate) fn document(&self) -> Option<u16> {
        self.ends.iter().find_map(|end| if let Cmd::Finish(document) = end { Some(*document) } else { None })
    }
}

/// What follows from one entry.
#[derive(Debug)]
pub(crate) struct Folded {
    pub(crate) class: ClassId,
    pub(crate) commands: Vec<Cmd>,
}

/// What the real fold says of an entry.
pub(crate) struct Answer {
    pub(crate) taken: bool,
    pub(crate) commands: Vec<Command>,
    pub(crate) owed: Vec<Command>,
    /// The fold's whole state.
    state: String,
}

#[derive(Debug)]
struct Class {
    /// The shortest prefix of the class.
    entries: Vec<Entry>,
    book: Book,
    owed: Vec<Cmd>,
}

/// All classes that were met.
pub(crate) struct Fold {
    pub(crate) case: Case,
    classes: Vec<Class>,
    by_key: BTreeMap<String, ClassId>,
    known: BTreeMap<(ClassId, Entry), Rc<Folded>>,
    briefs: Vec<Brief>,
    contents: BTreeMap<String, u32>,
    documents: BTreeMap<String, u16>,
}

impl Fold {
    pub(crate) fn new(case: Case) -> Self {
        let empty = Class { entries: Vec::new(), book: Book::default(), owed: Vec::new() };
        Self {
            case,
            classes: vec![empty],
            by_key: BTreeMap::new(),
            known: BTreeMap::new(),
            briefs: vec![Brief::default()],
            contents: BTreeMap::new(),
            documents: BTreeMap::new(),
        }
    }

    pub(crate) fn book(&self, class: ClassId) -> &Book {
        &self.classes[class as usize].book
    }

    /// What a coordinator emits that has replayed the log to there.
    pub(crate) fn owed(&self, class: ClassId) -> Vec<Cmd> {
        let class = &self.classes[class as usize];
        class.book.ends.iter().chain(&class.owed).copied().collect()
    }

    pub(crate) fn classes(&self) -> usize {
        self.classes.len()
    }

    /// Folds one more entry.
    ///
    /// # Errors
    /// With the promise that the fold breaks.
    pub(crate) fn next(&mut self, from: ClassId, entry: Entry) -> Result<Rc<Folded>, String> {
        if let Some(folded) = self.known.get(&(from, entry)) {
            return Ok(Rc::clone(folded));
        }
        let folded = Rc::new(self.fold(from, entry)?);
        self.known.insert((from, entry), Rc::clone(&folded));
        Ok(folded)
    }

    fn fold(&mut self, from: ClassId, entry: Entry) -> Result<Folded, String> {
        let mut entries = self.classes[from as usize].entries.clone();
        entries.push(entry);
        let answer = self.ask(&entries)?;
        promises::same(&answer, &self.ask(&entries)?)?;
        promises::nothing_without_submission(entry, &self.ask(&[entry])?)?;
        let mut book = self.book(from).clone();
        promises::kept(&self.case, &book, entry, &answer)?;
        let commands = self.commands(&answer.commands);
        write_down(&mut book, entry, &answer, &commands);
        for (command, made) in commands.iter().zip(&answer.commands) {
            let content = self.content(made);
            promises::one_content(&book, *command, content)?;
            book.orders.insert(command.named(), content);
        }
        let owed = self.commands(&answer.owed);
        for (command, made) in owed.iter().zip(&answer.owed) {
            let content = self.content(made);
            promises::owed_as_ordered(&book, *command, content)?;
        }
        let (commands, owed) = (self.timed(commands), self.timed(owed));
        let class = self.class(entries, book, owed, &answer.state);
        Ok(Folded { class, commands })
    }

    /// Without the deadline, where it never comes.
    fn timed(&self, mut commands: Vec<Cmd>) -> Vec<Cmd> {
        let comes = self.case.faults.contains(&Fault::Deadline);
        commands.retain(|command| comes || *command != Cmd::Arm(Timer::Deadline));
        commands
    }

    /// Another coordinator reads the log, from its beginning.
    fn ask(&self, entries: &[Entry]) -> Result<Answer, String> {
        let told = catch_unwind(AssertUnwindSafe(|| {
            let mut shard = Shard::default();
            let (mut taken, mut commands) = (true, Vec::new());
            for (seq, entry) in (1..).zip(entries) {
                let record = self.case.record(*entry, &self.briefs);
                commands.clear();
                taken = shard.apply(seq, record, &mut commands).is_ok();
            }
            Answer { taken, commands, owed: shard.owed(), state: format!("{shard:?}") }
        }));
        told.map_err(|panic| {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
            format!("the fold panics: {message}")
        })
    }

    fn class(&mut self, entries: Vec<Entry>, book: Book, owed: Vec<Cmd>, state: &str) -> ClassId {
        let id = ClassId::try_from(self.classes.len()).expect("few");
        let key = format!("{state} {book:?}");
        let known = *self.by_key.entry(key).or_insert(id);
        if known == id {
            self.classes.push(Class { entries, book, owed });
        }
        known
    }

    fn commands(&mut self, made: &[Command]) -> Vec<Cmd> {
        made.iter().map(|command| self.command(command)).collect()
    }

    fn command(&mut self, made: &Command) -> Cmd {
        match made {
            Command::DispatchStep(order) => Cmd::Dispatch(Name::Step(order.step, order.attempt), 0),
            Command::DispatchPlan(order) => {
                let name = Name::Plan(order.draft.revision, order.draft.attempt);
                Cmd::Dispatch(name, self.brief(Brief::of(order)))
            }
            Command::ArmTimer { timer, .. } => Cmd::Arm(*timer),
            Command::BroadcastCancel { .. } => Cmd::TellCancel,
            Command::TellRun { .. } => unreachable!("no case has children"),
            Command::AskApproval { .. } => unreachable!("no case asks a person"),
            Command::FinishRun(document) => {
                let text = serde_json::to_string(document.as_ref()).expect("a document");
                let next = u16::try_from(self.documents.len()).expect("few documents");
                Cmd::Finish(*self.documents.entry(text).or_insert(next))
            }
        }
    }

    fn brief(&mut self, brief: Brief) -> u8 {
        let at = self.briefs.iter().position(|known| *known == brief).unwrap_or_else(|| {
            self.briefs.push(brief);
            self.briefs.len() - 1
        });
        u8::try_from(at).expect("few briefs")
    }

    /// Whether two commands of one name say the same. What a planner is told of
    /// the run may be newer than when it was ordered.
    fn content(&mut self, made: &Command) -> u32 {
        let text = match made {
            Command::DispatchStep(_) | Command::ArmTimer { .. } => format!("{made:?}"),
            _ => String::new(),
        };
        let next = u32::try_from(self.contents.len()).expect("few");
        *self.contents.entry(text).or_insert(next)
    }
}

fn write_down(book: &mut Book, entry: Entry, answer: &Answer, commands: &[Cmd]) {
    if book.has_ended() {
        return;
    }
    if let Some(name) = result_of(entry) {
        book.reported.insert(name);
        if answer.taken {
            book.taken.insert(name);
        }
    }
    if let (Entry::Succeeded { step, attempt, again }, true) = (entry, answer.taken) {
        book.outputs.insert(step, (attempt, again));
    }
    if commands.iter().any(|command| matches!(command, Cmd::Finish(_))) {
        book.ends = commands.to_vec();
    }
}

/// The attempt that an entry is the result of.
pub(crate) const fn result_of(entry: Entry) -> Option<Name> {
    match entry {
        Entry::Succeeded { step, attempt, .. } | Entry::Failed { step, attempt, .. } => {
            Some(Name::Step(step, attempt))
        }
        _ => None,
    }
}
