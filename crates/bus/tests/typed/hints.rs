//! The board of hints about models.

use futures::StreamExt as _;
use planfleet_bus::hints::Note;

use super::new_bus;

fn note(topic: &str, process: Option<&str>, body: Option<&'static str>) -> Note {
    Note {
        topic: topic.to_owned(),
        model: "fast".to_owned(),
        process: process.map(str::to_owned),
        body: body.map(|body| body.as_bytes().to_vec()),
    }
}

#[tokio::test]
async fn the_last_word_on_each_topic_is_on_the_board_and_followers_hear_it() {
    let bus = new_bus().await;
    bus.write_hint(&note("paused", None, Some("first"))).await.unwrap();
    bus.write_hint(&note("paused", None, Some("second"))).await.unwrap();
    let mut heard = bus.follow_hints().await.unwrap();
    assert_eq!(heard.next().await.unwrap().unwrap(), note("paused", None, Some("second")));

    bus.write_hint(&note("share", Some("pf-1"), Some("1"))).await.unwrap();
    assert_eq!(heard.next().await.unwrap().unwrap(), note("share", Some("pf-1"), Some("1")));
    assert_eq!(bus.hints().await.unwrap().len(), 2);

    bus.write_hint(&note("share", Some("pf-1"), None)).await.unwrap();
    assert_eq!(heard.next().await.unwrap().unwrap(), note("share", Some("pf-1"), None));
    assert_eq!(bus.hints().await.unwrap(), [note("paused", None, Some("second"))]);
}
