//! What only the monitoring endpoint of a nats-server tells: how often it syncs, and
//! whether it still writes what it is sent.

use std::{fmt, time::Duration};

use planfleet_bus::broker::Server;
use planfleet_runtime::config::shown_url;
use serde_json::Value;

use super::durability::Sync;

/// A start-up waits for the answers.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often the servers at these URLs, separated by commas, sync to disk. Only
/// answers of the broker that we are connected to count.
pub(super) async fn sync_interval(urls: &str, connected: &Server) -> Sync {
    let asked = urls.split(',').map(|url| ask(url.trim(), connected));
    let answers = futures::future::join_all(asked).await;
    let told = answers.into_iter().map(|answer| answer.unwrap_or_else(Sync::Unknown));
    told.reduce(Sync::or_riskier).unwrap_or_else(|| Sync::Unknown("nobody was asked".to_owned()))
}

async fn ask(url: &str, connected: &Server) -> Result<Sync, String> {
    let answer = get(&format!("{}/varz", url.trim_end_matches('/'))).await;
    let told = answer.and_then(|varz| read(&varz, connected));
    told.map_err(|why| format!("{}: {why}", shown_url(url)))
}

/// How a server says that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Health {
    Well,
    /// Something is wrong, in its own words.
    Bad(String),
    /// It does not answer, or not as a nats-server does, and how.
    Unknown(String),
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Well => f.write_str("healthy"),
            Self::Bad(said) => write!(f, "unhealthy: {said}"),
            Self::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

/// How the servers at these URLs, separated by commas, say that they are. A stream that
/// could not be written to disk stays as it is until the server is started again, and
/// only here it is named.
pub(crate) async fn health(urls: &str) -> Vec<(String, Health)> {
    let asked = urls.split(',').map(|url| async move {
        let url = url.trim();
        let answer = fetch(&format!("{}/healthz", url.trim_end_matches('/'))).await;
        let health = answer.map_or_else(Health::Unknown, |(status, body)| read_health(status, &body));
        (shown_url(url), health)
    });
    futures::future::join_all(asked).await
}

fn read_health(status: u16, body: &Value) -> Health {
    match (body["status"].as_str(), body["error"].as_str()) {
        (Some("ok"), _) => Health::Well,
        (Some(_), Some(error)) => Health::Bad(error.to_owned()),
        _ => Health::Unknown(format!("status {status} and no health that can be read")),
    }
}

async fn get(url: &str) -> Result<Value, String> {
    match fetch(url).await? {
        (200, body) => Ok(body),
        (status, _) => Err(format!("it answers with status {status}")),
    }
}

async fn fetch(url: &str) -> Result<(u16, Value), String> {
    // Its text would repeat the URL, which may hold a password.
    let told = |error: reqwest::Error| chain(&error.without_url());
    // A server beside us is not reached by way of a proxy.
    let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().map_err(told)?;
    let answer = client.get(url).send().await.map_err(told)?;
    Ok((answer.status().as_u16(), answer.json().await.map_err(told)?))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn read(varz: &Value, connected: &Server) -> Result<Sync, String> {
    let same_server = varz["server_id"] == connected.id;
    let same_cluster = connected.cluster.as_deref().is_some_and(|name| varz["cluster"]["name"] == name);
    if !same_server && !same_cluster {
        return Err("another server than the one that nats.url names answers there".to_owned());
    }
    let config = &varz["jetstream"]["config"];
    if config["sync_always"] == true {
        return Ok(Sync::Always);
    }
    let nanos = config["sync_interval"].as_u64().filter(|nanos| *nanos > 0);
    nanos.map(|nanos| Sync::Every(Duration::from_nanos(nanos))).ok_or_else(|| {
        if config.is_null() {
            "its /varz has no jetstream settings".to_owned()
        } else {
            "its /varz does not say sync_interval".to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn connected(cluster: Option<&str>) -> Server {
        Server { id: "ME".to_owned(), cluster: cluster.map(str::to_owned), ..Server::default() }
    }

    fn varz(id: &str, cluster: &Value, config: &Value) -> Value {
        json!({"server_id": id, "cluster": cluster, "jetstream": {"config": config}})
    }

    /// As nats-server 2.15.1 answers: nanoseconds, and the default stays beside `always`.
    #[test]
    fn the_server_s_own_answer_is_read() {
        let default = json!({"sync_interval": 120_000_000_000_u64});
        let always = json!({"sync_interval": 120_000_000_000_u64, "sync_always": true});
        let alone = connected(None);
        let minutes = Sync::Every(Duration::from_secs(120));
        assert_eq!(read(&varz("ME", &json!({}), &default), &alone), Ok(minutes));
        assert_eq!(read(&varz("ME", &json!({}), &always), &alone), Ok(Sync::Always));
        assert!(read(&varz("ME", &json!({}), &json!({})), &alone).unwrap_err().contains("sync_interval"));
        assert!(read(&varz("ME", &json!({}), &Value::Null), &alone).unwrap_err().contains("no jetstream"));
    }

    /// As nats-server 2.15.1 answers.
    #[test]
    fn a_server_says_how_it_is() {
        assert_eq!(read_health(200, &json!({"status": "ok"})), Health::Well);
        let frozen = json!({"status": "unavailable", "error": "JetStream stream 'S' write error: no space"});
        let said = Health::Bad("JetStream stream 'S' write error: no space".to_owned());
        assert_eq!(read_health(503, &frozen), said);
        assert!(matches!(read_health(404, &json!({})), Health::Unknown(why) if why.contains("404")));
    }

    #[test]
    fn another_server_says_nothing_about_this_one() {
        let always = json!({"sync_always": true});
        let other = varz("YOU", &json!({"name": "c"}), &always);
        assert_eq!(read(&other, &connected(Some("c"))), Ok(Sync::Always));
        for cluster in [Some("d"), None] {
            assert!(read(&other, &connected(cluster)).unwrap_err().contains("another server"));
        }
    }
}
