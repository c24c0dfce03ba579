//! Three servers, three copies of everything, and some of them die or hang.

use std::time::Instant;

use crate::support::{Fleet, until};

#[test]
fn smoke() {
    let at = Instant::now();
    let mut fleet = Fleet::of_three(Vec::new());
    eprintln!("cluster after {:?}", at.elapsed());
    let _serving = fleet.serve("coordinator,planner,executor");
    eprintln!("serving after {:?}", at.elapsed());
    fleet.broker.settle();
    eprintln!("settled after {:?}", at.elapsed());
    let leader = fleet.broker.leader_of("PF_STEPS_0");
    let at = Instant::now();
    fleet.broker.kill(leader);
    until("another leader", || (fleet.broker.leader_of("PF_STEPS_0") != leader).then_some(()));
    eprintln!("killed: another leader after {:?}", at.elapsed());
    fleet.broker.restart(&fleet.rig.home, leader);
    let at = Instant::now();
    fleet.broker.settle();
    eprintln!("settled after {:?}", at.elapsed());
    let leader = fleet.broker.leader_of("PF_STEPS_0");
    let at = Instant::now();
    fleet.broker.freeze(leader);
    until("another leader", || (fleet.broker.leader_of("PF_STEPS_0") != leader).then_some(()));
    eprintln!("frozen: another leader after {:?}", at.elapsed());
    fleet.broker.thaw(leader);
    fleet.broker.settle();
    eprintln!("settled after {:?}", at.elapsed());
}
