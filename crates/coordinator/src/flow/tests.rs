//! Flow control without a broker: what goes out, what comes back, and that no credit is
//! lost on the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use planfleet_bus::flow::Target;
use planfleet_core::{id::StepId, task::Priority};
use planfleet_proto::subjects::WorkKind;

use super::{queue::Key, *};

const SHARDS: ShardId = 2;

/// One coordinator's flow control, and all that is out of it.
struct Rig {
    flow: Flow,
    gates: BTreeMap<ShardId, Gate>,
    now: Instant,
    /// What was let go and has not been answered.
    out: BTreeSet<(RunId, WorkName)>,
    tickets: BTreeMap<(RunId, WorkName), Ticket>,
    /// What of each limit was used when it was looked at last.
    used: BTreeMap<String, u64>,
}

impl Rig {
    fn new(settings: FlowSettings) -> Self {
        let flow = Flow::new("one", settings, SHARDS, Arc::new(Instruments::new()));
        flow.lock().hear_pauses([], Instant::now());
        let gates = (0..SHARDS).map(|shard| (shard, flow.gate(shard))).collect();
        Self {
            flow,
            gates,
            now: Instant::now(),
            out: BTreeSet::new(),
            tickets: BTreeMap::new(),
            used: BTreeMap::new(),
        }
    }

    fn workers(&self, slots: usize) {
        self.flow.lock().hear_outlook(&BTreeMap::from([("p", slots)]), &BTreeMap::new(), self.now);
    }

    fn push(&mut self, ticket: Ticket) {
        let name = (ticket.run.clone(), ticket.work);
        let command = Command::BroadcastCancel { run: ticket.run.clone() };
        self.tickets.insert(name, ticket.clone());
        self.flow.lock().push(ticket, command, 0, self.now);
    }

    /// Takes what was let go, in order: each is the oldest of its run that is not out yet.
    fn take(&mut self) -> Vec<Ticket> {
        let out: BTreeSet<_> = self.flow.lock().out().into_iter().collect();
        let gone: Vec<_> = out.difference(&self.out).cloned().collect();
        for shard in 0..SHARDS {
            while self.gates.get(&shard).is_some_and(|gate| gate.take().is_some()) {}
        }
        self.out = out;
        gone.into_iter().map(|name| self.tickets[&name].clone()).collect()
    }

    fn answer(&mut self, ticket: &Ticket) {
        self.out.remove(&(ticket.run.clone(), ticket.work));
        self.flow.lock().answered(&ticket.run, ticket.work, None, self.now);
    }

    /// Forgets what was used: whoever comes to own a shard may find more out than its part.
    fn takes_over(&mut self) {
        self.used = self.limits().map(|(name, used, _)| (name, used)).collect();
    }

    fn limits(&self) -> impl Iterator<Item = (String, u64, u64)> + use<> {
        let limits = self.flow.standing()["limits"].as_array().unwrap().clone();
        let number = |value: &Value| value.as_u64().unwrap();
        limits.into_iter().map(move |limit| {
            (limit["name"].as_str().unwrap().to_owned(), number(&limit["out"]), number(&limit["limit"]))
        })
    }

    /// Asserts that what is counted is what is there, and that nothing was let go beyond a limit.
    fn check(&mut self) {
        for (name, used, part) in self.limits() {
            let before = self.used.insert(name.clone(), used).unwrap_or_default();
            assert!(used <= part.max(before), "{name}: {used} of {part} after {before}");
        }
        let standing = self.flow.standing();
        let count = |name: &str| self.out.iter().filter(|key| &*self.tickets[*key].tenant == name).count();
        for limit in standing["limits"].as_array().unwrap() {
            let used = limit["out"].as_u64().unwrap();
            if limit["what"] == "tenant" {
                assert_eq!(used as usize, count(limit["name"].as_str().unwrap()), "{limit}");
            }
        }
        let out: u64 = standing["pools"].as_array().unwrap().iter().map(|p| p["out"].as_u64().unwrap()).sum();
        assert_eq!(out as usize, self.out.len());
    }
}

fn ticket(run: &str, step: u32, tenant: &str) -> Ticket {
    Ticket {
        run: run.parse().unwrap(),
        work: (WorkKind::Step(StepId::plain(step)), 1),
        pool: "p".into(),
        priority: Priority::Normal,
        tenant: tenant.into(),
        class: None,
        needs: Vec::new(),
    }
}

fn tool(name: &str) -> Key {
    Key::Tool(name.into())
}

fn pause(target: Target) -> Pause {
    Pause { target, reason: "lunch".to_owned(), since_ms: 1 }
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        // The constants of PCG.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_is_twice_the_slots_and_opens_when_something_comes_back() {
    let mut rig = Rig::new(FlowSettings::default());
    rig.workers(4);
    (1..=100).for_each(|step| rig.push(ticket("00-a", step, "t")));
    let first = rig.take();
    assert_eq!(first.len(), 8);
    rig.answer(&first[0]);
    rig.answer(&first[0]);
    assert_eq!(rig.take().len(), 1, "an answer that is repeated brings nothing");
    rig.workers(5);
    assert_eq!(rig.take().len(), 2);
    rig.gates[&0].ended(&"00-a".parse().unwrap());
    assert_eq!(rig.take().len(), 0);
    rig.check();
}

#[tokio::test(start_paused = true)]
async fn without_workers_a_little_is_let_go_and_the_rest_waits() {
    let mut rig = Rig::new(FlowSettings::default());
    (1..=100).for_each(|step| rig.push(ticket("00-a", step, "t")));
    assert_eq!(rig.take().len(), 64);
    assert_eq!(rig.flow.lock().waits(&"00-a".parse().unwrap()).len(), 36);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_let_go_before_pauses_are_known() {
    let flow = Flow::new("one", FlowSettings::default(), 1, Arc::new(Instruments::new()));
    let gate = flow.gate(0);
    let push = |run: &str, tenant: &str| {
        let ticket = ticket(run, 1, tenant);
        let command = Command::BroadcastCancel { run: ticket.run.clone() };
        flow.lock().push(ticket, command, 0, Instant::now());
    };
    push("00-a", "acme");
    push("00-b", "other");
    assert!(gate.take().is_none());
    flow.lock().hear_pauses([pause(Target::Tenant("acme".to_owned()))], Instant::now());
    assert_eq!(gate.take().unwrap().run.as_str(), "00-b");
    assert!(gate.take().is_none());
    let waits = gate.waits(&"00-a".parse().unwrap());
    let why = Wait::QueuePaused { what: "tenant acme".to_owned(), reason: "lunch".to_owned() };
    assert_eq!(waits.into_values().collect::<Vec<_>>(), [why]);
    flow.lock().hear_pauses([], Instant::now());
    assert!(gate.take().is_some());
}

#[tokio::test(start_paused = true)]
async fn pauses_hold_a_pool_a_tenant_or_a_class_and_keep_the_order() {
    let mut rig = Rig::new(FlowSettings::default());
    let of_class = |run: &str, class: &str| Ticket { class: Some(class.into()), ..ticket(run, 1, "t") };
    rig.flow.lock().hear_pauses([pause(Target::Class("slow".to_owned()))], rig.now);
    rig.push(of_class("00-a", "slow"));
    rig.push(of_class("00-b", "fast"));
    assert_eq!(rig.take().iter().map(|ticket| ticket.run.to_string()).collect::<Vec<_>>(), ["00-b"]);
    rig.flow.lock().hear_pauses([pause(Target::Pool("p".to_owned()))], rig.now);
    rig.push(of_class("00-c", "fast"));
    assert!(rig.take().is_empty());
    rig.flow.lock().hear_pauses([], rig.now);
    assert_eq!(rig.take().len(), 2);
    rig.check();
}

#[tokio::test(start_paused = true)]
async fn limits_hold_a_tenant_and_a_tool_back_and_nobody_else() {
    let mut rig = Rig::new(FlowSettings {
        tenants: [("acme".to_owned(), TenantFlow { weight: 1, concurrency: Some(3) })].into(),
        tools: [("search".to_owned(), 2)].into(),
        pools: [("p".to_owned(), 7)].into(),
        ..FlowSettings::default()
    });
    (1..=10).for_each(|step| rig.push(ticket("00-a", step, "acme")));
    for step in 1..=10 {
        rig.push(Ticket { needs: vec![tool("search")], ..ticket("01-b", step, "b") });
    }
    assert_eq!(rig.take().len(), 5);
    (1..=10).for_each(|step| rig.push(ticket("01-c", step, "c")));
    assert_eq!(rig.take().len(), 2, "the pool's own limit");
    rig.check();
    // Whoever gives a shard up gives its part of each limit up.
    rig.gates.remove(&1);
    rig.out.retain(|(run, _)| run.shard() == 0);
    assert!(rig.take().is_empty());
    rig.answer(&ticket("00-a", 1, "acme"));
    assert!(rig.take().is_empty(), "two of three are the part of shard 0");
    rig.check();
}

#[tokio::test(start_paused = true)]
async fn what_was_out_before_holds_its_credit_and_is_said_again() {
    let mut rig = Rig::new(FlowSettings { pools: [("p".to_owned(), 2)].into(), ..FlowSettings::default() });
    for step in 1..=3 {
        rig.flow.lock().is_out(ticket("00-a", step, "t"), rig.now);
        rig.tickets
            .insert(("00-a".parse().unwrap(), ticket("00-a", step, "t").work), ticket("00-a", step, "t"));
    }
    assert_eq!(rig.take().len(), 3);
    (1..=4).for_each(|step| rig.push(ticket("00-a", step, "t")));
    let said: Vec<_> = std::iter::from_fn(|| rig.gates[&0].take()).collect();
    assert_eq!(said.len(), 3, "what is out is said again at once, and nothing else");
    rig.answer(&ticket("00-a", 1, "t"));
    assert!(rig.take().is_empty());
    rig.answer(&ticket("00-a", 2, "t"));
    assert_eq!(rig.take().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_large_tenant_delays_a_small_one_by_a_window() {
    let mut rig = Rig::new(FlowSettings::default());
    rig.workers(2);
    (1..=1_000).for_each(|step| rig.push(ticket("00-large", step, "large")));
    let mut at_work: std::collections::VecDeque<Ticket> = rig.take().into();
    (1..=10).for_each(|step| rig.push(ticket("01-small", step, "small")));
    let (mut done, mut last_small) = (0, 0);
    while let Some(ticket) = at_work.pop_front() {
        rig.now += Duration::from_secs(1);
        rig.answer(&ticket);
        done += 1;
        if &*ticket.tenant == "small" {
            last_small = done;
        }
        at_work.extend(rig.take());
    }
    assert_eq!(done, 1_010);
    // Alone its ten would be the first ten: now one of the other's is done beside each, and
    // the four that were out come before.
    assert!(last_small <= 24, "the last of the small one's ten was number {last_small}");
}

/// Whatever happens, in any order: the counts are right, no limit is passed, and in the end
/// everything has gone out once and come back.
#[tokio::test(start_paused = true)]
async fn no_credit_is_lost_whatever_happens() {
    for seed in 0..30 {
        let mut dice = Dice(seed);
        let mut rig = Rig::new(FlowSettings {
            tenants: [
                ("t0".to_owned(), TenantFlow { weight: 3, concurrency: Some(2) }),
                ("t1".to_owned(), TenantFlow { weight: 1, concurrency: None }),
            ]
            .into(),
            tools: [("search".to_owned(), 3)].into(),
            pools: [("p".to_owned(), 9)].into(),
            ..FlowSettings::default()
        });
        let mut wanted = BTreeMap::<(RunId, WorkName), Ticket>::new();
        for number in 0..400_u32 {
            rig.now += Duration::from_millis(dice.below(40));
            match dice.below(12) {
                0..=4 => {
                    let run = format!("{:02x}-r{}", dice.below(2), dice.below(8));
                    let mut new = ticket(&run, number + 1, &format!("t{}", dice.below(3)));
                    new.priority = [Priority::High, Priority::Normal, Priority::Low][dice.below(3) as usize];
                    new.class = (dice.below(2) == 0).then(|| "slow".into());
                    new.needs = (dice.below(3) == 0).then(|| tool("search")).into_iter().collect();
                    wanted.insert((new.run.clone(), new.work), new.clone());
                    rig.push(new.clone());
                    if dice.below(4) == 0 {
                        rig.push(new);
                    }
                }
                5..=8 => {
                    // Of what is out, mostly; of what waits, now and then.
                    let one = if dice.below(10) > 0 {
                        rig.out.iter().nth(dice.below(5) as usize).cloned()
                    } else {
                        wanted.keys().nth(dice.below(9) as usize).cloned()
                    };
                    if let Some(name) = one.filter(|name| wanted.remove(name).is_some()) {
                        let gone = rig.tickets[&name].clone();
                        rig.answer(&gone);
                    }
                }
                9 => {
                    let run: RunId = format!("{:02x}-r{}", dice.below(2), dice.below(8)).parse().unwrap();
                    wanted.retain(|(of, _), _| *of != run);
                    rig.out.retain(|(of, _)| *of != run);
                    rig.gates[&run.shard()].ended(&run);
                }
                10 => {
                    // A takeover: all is owed again, and some of it is out.
                    let shard = dice.below(2) as ShardId;
                    rig.gates.remove(&shard);
                    let before = rig.out.clone();
                    rig.out.retain(|(run, _)| run.shard() != shard);
                    rig.take();
                    rig.takes_over();
                    rig.gates.insert(shard, rig.flow.gate(shard));
                    let owed: Vec<_> = wanted.values().filter(|t| t.run.shard() == shard).cloned().collect();
                    for ticket in owed.iter().filter(|t| before.contains(&(t.run.clone(), t.work))) {
                        rig.flow.lock().is_out(ticket.clone(), rig.now);
                    }
                    rig.takes_over();
                    owed.into_iter().for_each(|ticket| rig.push(ticket));
                }
                _ => {
                    let paused = (dice.below(2) == 0).then(|| pause(Target::Class("slow".to_owned())));
                    rig.flow.lock().hear_pauses(paused, rig.now);
                    rig.workers(dice.below(6) as usize);
                }
            }
            rig.take();
            assert!(rig.out.iter().all(|name| wanted.contains_key(name)), "seed {seed}");
            rig.check();
        }
        rig.flow.lock().hear_pauses([], rig.now);
        rig.take();
        while let Some(name) = rig.out.first().cloned() {
            wanted.remove(&name).unwrap();
            let done = rig.tickets[&name].clone();
            rig.answer(&done);
            rig.take();
            rig.check();
        }
        assert!(wanted.is_empty(), "seed {seed}: {} wait for nothing", wanted.len());
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_run_out_of_time_widens_no_window() {
    let mut rig = Rig::new(FlowSettings::default());
    rig.workers(4);
    (1..=200).for_each(|step| rig.push(ticket("00-a", step, "t")));
    for _ in 0..10 {
        for late in rig.take() {
            rig.flow.lock().forget(&late.run, late.work, rig.now);
        }
    }
    let out: u64 = rig.flow.standing()["pools"][0]["out"].as_u64().unwrap();
    assert_eq!(out, 8, "twice the slots, however much was given back");
}
