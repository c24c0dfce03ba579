//! Leases of shards and signs of life.

use planfleet_bus::{Lease, admission::Load, lease::Held};

use super::new_bus;

fn lease(epoch: u64, owner: &str) -> Lease {
    Lease {
        epoch,
        owner: owner.to_owned(),
        replay_from: 5,
        kept_to: 7,
        folded_to: 9,
        snapshots: Vec::new(),
        logic_version: 1,
        load: Load::default(),
        beat: 0,
    }
}

#[tokio::test]
async fn a_lease_is_written_by_who_knows_the_last_one() {
    let bus = new_bus().await;
    assert_eq!(bus.lease(0).await.unwrap(), None);
    let first = bus.write_lease(0, &lease(1, "a"), 0).await.unwrap().expect("nobody has it");
    assert_eq!(bus.write_lease(0, &lease(1, "b"), 0).await.unwrap(), None, "it exists by now");
    assert_eq!(bus.lease(0).await.unwrap(), Some(Held { lease: lease(1, "a"), revision: first }));

    let second = bus.write_lease(0, &lease(2, "b"), first).await.unwrap().expect("the last one is known");
    assert!(second > first);
    assert_eq!(bus.write_lease(0, &lease(1, "a"), first).await.unwrap(), None, "a zombie's renewal");
    assert_eq!(bus.lease(0).await.unwrap().expect("a lease").lease, lease(2, "b"));
    assert_eq!(bus.lease(1).await.unwrap(), None, "every shard has its own");
}

#[tokio::test]
async fn members_are_there_until_they_are_forgotten() {
    let bus = new_bus().await;
    bus.announce_member("a", 1).await.unwrap();
    bus.announce_member("b", 1).await.unwrap();
    let before = bus.members().await.unwrap();
    bus.announce_member("b", 2).await.unwrap();
    let after = bus.members().await.unwrap();
    assert_eq!(before[0], after[0]);
    assert!(after[1].1 > before[1].1, "a sign of life shows as a new revision");
    bus.forget_member("a").await.unwrap();
    let names: Vec<String> = bus.members().await.unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["b"]);
}
