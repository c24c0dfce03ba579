use super::*;

fn spot(priority: Priority, tenant: &str, number: u64) -> Spot {
    Spot { priority, tenant: tenant.into(), lane: Lane::new(), number }
}

fn key(tool: &str) -> Key {
    Key::Tool(tool.into())
}

fn next(queue: &mut FairQueue<u64>, weight: impl Fn(&str) -> u32) -> Option<Spot> {
    queue.next(|_, _| true, weight).map(|(spot, _)| spot)
}

/// A queue in which each tenant always has work, and how often each goes in so many turns.
fn shares(weights: &[(&str, u32)], turns: usize) -> BTreeMap<String, usize> {
    let mut queue = FairQueue::default();
    let mut number = 0;
    let mut push = |queue: &mut FairQueue<u64>, tenant: &str| {
        number += 1;
        queue.push(spot(Priority::Normal, tenant, number), number);
    };
    for (tenant, _) in weights {
        (0..3).for_each(|_| push(&mut queue, tenant));
    }
    let mut counts = BTreeMap::<String, usize>::new();
    for _ in 0..turns {
        let weight = |tenant: &str| weights.iter().find(|(name, _)| *name == tenant).unwrap().1;
        let gone = next(&mut queue, weight).unwrap();
        *counts.entry(gone.tenant.to_string()).or_default() += 1;
        push(&mut queue, &gone.tenant);
    }
    counts
}

#[test]
fn shares_are_those_of_the_weights() {
    let weights = [("a", 1), ("b", 2), ("c", 7), ("d", 10)];
    let turns = 20_000;
    let counts = shares(&weights, turns);
    for (tenant, weight) in weights {
        let fair = turns * weight as usize / 20;
        assert!(counts[tenant].abs_diff(fair) * 100 <= fair, "{tenant}: {} of {fair}", counts[tenant]);
    }
    let widest = shares(&[("heavy", WEIGHT_MAX), ("light", 1)], 100_100);
    assert!((99..=101).contains(&widest["light"]), "{widest:?}");
}

#[test]
fn a_backlog_of_hundreds_keeps_nobody_else_waiting() {
    let mut queue = FairQueue::default();
    (0..1_000).for_each(|number| queue.push(spot(Priority::Normal, "large", number), number));
    (1_000..1_010).for_each(|number| queue.push(spot(Priority::Normal, "small", number), number));
    let order: Vec<Spot> = std::iter::from_fn(|| next(&mut queue, |_| 1)).collect();
    let last = order.iter().rposition(|spot| &*spot.tenant == "small").unwrap();
    assert!(last < 20, "the last of the small one's ten went as number {last}");
    assert_eq!(order.len(), 1_010);
    assert!(queue.is_empty());
}

#[test]
fn who_has_one_piece_at_a_time_gets_no_more_than_his_share() {
    let mut queue = FairQueue::default();
    (0..1_000).for_each(|number| queue.push(spot(Priority::Normal, "heavy", number), number));
    let mut gone = 0;
    for number in 0..800 {
        let chain = spot(Priority::Normal, "chain", 10_000 + number);
        if !queue.depths().any(|(_, tenant, _)| &**tenant == "chain") {
            queue.push(chain, 0);
        }
        let weight = |tenant: &str| if tenant == "heavy" { 9 } else { 1 };
        gone += usize::from(&*next(&mut queue, weight).unwrap().tenant == "chain");
    }
    assert!((72..=88).contains(&gone), "{gone} of 800, and a tenth is its share");
}

#[test]
fn who_was_away_has_saved_nothing_up() {
    let mut queue = FairQueue::default();
    (0..1_000).for_each(|number| queue.push(spot(Priority::Normal, "stayed", number), number));
    (0..500).for_each(|_| drop(next(&mut queue, |_| 1)));
    (1_000..1_100).for_each(|number| queue.push(spot(Priority::Normal, "came", number), number));
    let mine = (0..100).filter(|_| &*next(&mut queue, |_| 1).unwrap().tenant == "came").count();
    assert!((49..=51).contains(&mine), "{mine} of 100");
}

#[test]
fn who_was_held_back_has_saved_nothing_up() {
    let mut queue = FairQueue::default();
    for number in 0..1_000 {
        queue.push(spot(Priority::Normal, "free", number), number);
        queue.push(spot(Priority::Normal, "held", 1_000 + number), number);
    }
    for _ in 0..500 {
        let (gone, _) = queue.next(|tenant, _| tenant != "held", |_| 1).unwrap();
        assert_eq!(&*gone.tenant, "free");
    }
    let held = (0..100).filter(|_| &*next(&mut queue, |_| 1).unwrap().tenant == "held").count();
    assert!((49..=51).contains(&held), "{held} of 100");
}

#[test]
fn a_higher_priority_goes_first_and_a_lower_is_not_forgotten() {
    let mut queue = FairQueue::default();
    for number in 0..1_000 {
        for priority in [Priority::High, Priority::Normal, Priority::Low] {
            queue.push(spot(priority, "t", number), number);
        }
    }
    let order: Vec<Priority> =
        std::iter::from_fn(|| next(&mut queue, |_| 1)).map(|spot| spot.priority).collect();
    let first = &order[..800];
    let count = |priority| first.iter().filter(|found| **found == priority).count();
    assert!(order[..15].iter().all(|priority| *priority == Priority::High));
    let (normal, low) = (count(Priority::Normal), count(Priority::Low));
    assert!((45..=55).contains(&normal) && (45..=55).contains(&low), "{normal} normal, {low} low of 800");
    assert_eq!(order.len(), 3_000);
    // With nothing above, the next one is the highest.
    let last_high = order.iter().rposition(|priority| *priority == Priority::High).unwrap();
    let normals = order[last_high + 1..].iter().filter(|priority| **priority == Priority::Normal).count();
    let until_last_normal = order.iter().rposition(|priority| *priority == Priority::Normal).unwrap();
    assert!(until_last_normal - last_high <= normals + normals / 15 + 1);
}

#[test]
fn what_may_not_go_keeps_nothing_else_waiting() {
    let mut queue = FairQueue::default();
    let guarded = |number| Spot { lane: vec![key("search")], ..spot(Priority::Normal, "a", number) };
    queue.push(guarded(1), 1);
    queue.push(spot(Priority::Normal, "a", 2), 2);
    queue.push(guarded(3), 3);
    queue.push(spot(Priority::Low, "b", 4), 4);
    let no_search = |_: &str, lane: &[Key]| !lane.contains(&key("search"));
    let mut order = Vec::new();
    while let Some((spot, _)) = queue.next(no_search, |_| 1) {
        order.push(spot.number);
    }
    assert_eq!(order, [2, 4]);
    let rest: Vec<u64> = std::iter::from_fn(|| next(&mut queue, |_| 1)).map(|spot| spot.number).collect();
    assert_eq!(rest, [1, 3]);
}

#[test]
fn what_is_taken_out_is_gone() {
    let mut queue = FairQueue::default();
    (0..4).for_each(|number| queue.push(spot(Priority::Normal, "a", number), number));
    assert_eq!(queue.remove(&spot(Priority::Normal, "a", 1)), Some(1));
    assert_eq!(queue.remove(&spot(Priority::Normal, "a", 1)), None);
    assert_eq!(queue.remove(&spot(Priority::High, "a", 2)), None);
    let odd = queue.take_if(|tenant, number| tenant == "a" && *number == 3);
    assert_eq!(odd.iter().map(|(spot, _)| spot.number).collect::<Vec<_>>(), [3]);
    assert_eq!(queue.depths().map(|(_, _, depth)| depth).collect::<Vec<_>>(), [2]);
    let rest: Vec<u64> = std::iter::from_fn(|| next(&mut queue, |_| 1)).map(|spot| spot.number).collect();
    assert_eq!(rest, [0, 2]);
    assert!(queue.is_empty() && queue.classes.is_empty());
}

#[test]
fn tenants_that_are_gone_are_forgotten() {
    let mut queue = FairQueue::default();
    for number in 0..10_000 {
        queue.push(spot(Priority::Normal, &format!("t{number}"), number), number);
        queue.push(spot(Priority::Normal, "always", 10_000 + number), number);
        next(&mut queue, |_| 1);
        next(&mut queue, |_| 1);
    }
    let idle: usize = queue.classes.values().map(|class| class.idle.len()).sum();
    assert!(idle <= IDLE_MAX + 1, "{idle}");
}
