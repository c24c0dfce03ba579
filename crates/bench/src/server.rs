//! The broker of one measurement: a fresh nats-server, or three that are a cluster,
//! and what their monitoring endpoints tell.

use std::{
    ffi::OsString,
    fmt::Write as _,
    net::TcpListener,
    ops::Range,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    Broker,
    child::{Child, Program},
    error::{Error, failed},
};

/// A server alone is up within this time; a cluster elects its leader first.
const START_TIMEOUT: Duration = Duration::from_secs(45);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A question to a monitoring endpoint.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Running servers.
pub(crate) struct Servers {
    pub(crate) children: Vec<Child>,
    /// All of them, separated by commas.
    pub(crate) url: String,
    /// URLs of their monitoring endpoints.
    pub(crate) monitoring: Vec<String>,
    http: reqwest::Client,
}

/// What the servers have moved since they were started, and how they keep it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traffic {
    pub(crate) messages: f64,
    pub(crate) bytes: f64,
}

impl Servers {
    /// Starts one server for each replica, with their data in `folder`.
    pub(crate) async fn start(program: &Path, broker: Broker, folder: &Path) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .timeout(ANSWER_TIMEOUT)
            .no_proxy()
            .build()
            .map_err(failed("make an HTTP client"))?;
        let mut servers = Self { children: Vec::new(), url: String::new(), monitoring: Vec::new(), http };
        if broker.replicas == 1 {
            servers.start_alone(program, broker, folder).await?;
        } else {
            servers.start_cluster(program, broker, folder).await?;
        }
        Ok(servers)
    }

    async fn start_alone(&mut self, program: &Path, broker: Broker, folder: &Path) -> Result<(), Error> {
        let name = "nats-server";
        let head = "listen: \"127.0.0.1:-1\"\nhttp: \"127.0.0.1:-1\"\n";
        let config = write_config(folder, name, head, broker)?;
        let ports = folder.join("ports");
        std::fs::create_dir_all(&ports).map_err(failed("make a folder for the server's ports"))?;
        let args = ["-c".into(), config.into(), "--ports_file_dir".into(), ports.clone().into()];
        self.launch(program, name, args.into(), folder).await?;
        let started = Instant::now();
        let (url, monitoring) = loop {
            if let Some(found) = read_ports(&ports) {
                break found;
            }
            self.wait(started, "the ports of nats-server").await?;
        };
        self.url = url;
        self.monitoring = vec![monitoring];
        self.settle(started, 1).await
    }

    async fn start_cluster(&mut self, program: &Path, broker: Broker, folder: &Path) -> Result<(), Error> {
        let mut ports = Vec::new();
        for _ in 0..broker.replicas {
            ports.push([free_port()?, free_port()?, free_port()?]);
        }
        let routes: Vec<String> =
            ports.iter().map(|[_, _, route]| format!("nats://127.0.0.1:{route}")).collect();
        for (number, [port, monitoring, route]) in ports.iter().enumerate() {
            let name = format!("nats-server-{number}");
            let head = format!(
                "server_name: {name:?}\nlisten: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitoring}\"\n\
                 cluster {{ name: \"bench\", listen: \"127.0.0.1:{route}\", routes: {routes:?} }}\n"
            );
            let config = write_config(folder, &name, &head, broker)?;
            self.launch(program, &name, vec!["-c".into(), config.into()], folder).await?;
            self.monitoring.push(format!("http://127.0.0.1:{monitoring}"));
        }
        let urls: Vec<String> = ports.iter().map(|[port, ..]| format!("nats://127.0.0.1:{port}")).collect();
        self.url = urls.join(",");
        self.settle(Instant::now(), broker.replicas).await
    }

    async fn launch(
        &mut self,
        path: &Path,
        name: &str,
        args: Vec<OsString>,
        folder: &Path,
    ) -> Result<(), Error> {
        let (name, path, folder) = (name.to_owned(), path.to_owned(), folder.to_owned());
        self.children.push(Child::start(&Program { name, path, args, env: Vec::new(), folder }).await?);
        Ok(())
    }

    /// Waits until every server says that it is well and knows the cluster's leader.
    async fn settle(&mut self, started: Instant, size: usize) -> Result<(), Error> {
        for url in self.monitoring.clone() {
            while !self.is_current(&url, size).await {
                self.wait(started, "nats-server to be ready").await?;
            }
        }
        Ok(())
    }

    async fn is_current(&self, url: &str, size: usize) -> bool {
        let Ok(health) = self.ask(url, "healthz").await else { return false };
        if size == 1 {
            return health["status"] == "ok";
        }
        let Ok(jetstream) = self.ask(url, "jsz").await else { return false };
        let cluster = &jetstream["meta_cluster"];
        let led = cluster["leader"].as_str().is_some_and(|leader| !leader.is_empty());
        health["status"] == "ok" && led && cluster["cluster_size"] == size
    }

    async fn wait(&mut self, started: Instant, what: &str) -> Result<(), Error> {
        self.children.iter_mut().try_for_each(Child::check)?;
        if started.elapsed() > START_TIMEOUT {
            return Err(Error::Late { what: what.to_owned(), within: START_TIMEOUT });
        }
        sleep(LOOK_EVERY).await;
        Ok(())
    }

    async fn ask(&self, url: &str, path: &str) -> Result<Value, Error> {
        let url = format!("{url}/{path}");
        let asked = self.http.get(&url).send().await.map_err(failed(&url))?;
        asked.json().await.map_err(failed(url))
    }

    /// What clients have sent and got so far, over all servers.
    pub(crate) async fn traffic(&self) -> Result<Traffic, Error> {
        let mut traffic = Traffic::default();
        for url in &self.monitoring {
            let varz = self.ask(url, "varz").await?;
            let sum = |fields: [&str; 2]| {
                fields.iter().map(|field| varz[*field].as_f64().unwrap_or_default()).sum::<f64>()
            };
            traffic.messages += sum(["in_msgs", "out_msgs"]);
            traffic.bytes += sum(["in_bytes", "out_bytes"]);
        }
        Ok(traffic)
    }

    /// How often the servers sync to disk, as they say themselves: `always` or a duration.
    pub(crate) async fn sync_interval(&self) -> Result<String, Error> {
        let Some(url) = self.monitoring.first() else { return Ok("unknown".to_owned()) };
        let varz = self.ask(url, "varz").await?;
        let config = &varz["jetstream"]["config"];
        if config["sync_always"] == true {
            return Ok("always".to_owned());
        }
        let seconds = config["sync_interval"].as_u64().map(|nanos| nanos / 1_000_000_000);
        Ok(seconds.map_or_else(|| "unknown".to_owned(), |seconds| format!("{seconds}s")))
    }
}

fn write_config(folder: &Path, name: &str, head: &str, broker: Broker) -> Result<PathBuf, Error> {
    let store = folder.join(format!("{name}-data"));
    let mut text = format!("{head}jetstream {{\n  store_dir: {store:?}\n");
    if let Some(interval) = broker.sync.setting() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  sync_interval: {interval:?}");
    }
    text.push_str("}\n");
    let path = folder.join(format!("{name}.conf"));
    std::fs::write(&path, text).map_err(failed("write a server's configuration"))?;
    Ok(path)
}

fn read_ports(folder: &Path) -> Option<(String, String)> {
    let mut entries = std::fs::read_dir(folder).ok()?.flatten();
    let file = entries.find(|entry| entry.path().extension().is_some_and(|ending| ending == "ports"))?;
    let ports: Value = serde_json::from_str(&std::fs::read_to_string(file.path()).ok()?).ok()?;
    let first = |kind: &str| ports[kind][0].as_str().map(str::to_owned);
    Some((first("nats")?, first("monitoring")?))
}

/// Below the range that systems take the near ends of connections from: a port there is
/// free one moment, and the next moment somebody has connected to something by it.
const PORTS: Range<u16> = 10_000..30_000;

/// A port that nobody listens on just now: servers of a cluster must know each other's
/// before they start. Each process begins somewhere else.
pub(crate) fn free_port() -> Result<u16, Error> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    // Steps of a prime take neighbours far from each other.
    let start = std::process::id().wrapping_mul(7_919) % count;
    (0..count)
        .map(|_| (start + NEXT.fetch_add(1, Ordering::Relaxed) * 13) % count)
        .filter_map(|offset| Some(PORTS.start + u16::try_from(offset).ok()?))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .ok_or_else(|| failed("find a free port")("all are taken"))
}
