use super::*;
#[tokio::test(start_paused = true)]
async fn tmp() {
    let fleet = Fleet::with_shards(8).await;
    let a = fleet.start("a");
    let _b = fleet.start("b");
    sleep(Duration::from_millis(2500)).await;
    println!("{:?}", fleet.owners().await);
    let began = Instant::now();
    a.crash().await;
    let mut last = Vec::new();
    while began.elapsed() < Duration::from_secs(8) {
        let now: Vec<_> = { let mut v = vec![]; for s in 0..8 { let l = fleet.lease(s).await; v.push((l.owner, l.epoch)); } v };
        if now != last { println!("{:?} {:?}", began.elapsed(), now); last = now; }
        sleep(LOOK).await;
    }
    panic!("x");
}
