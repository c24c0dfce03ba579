//! Several real nats-servers that are one cluster, each of which can be killed,
//! asked to stop, frozen, and started again on its own data.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use async_nats::ServerAddr;
use serde_json::Value;
use tokio::time::timeout;

use super::{Home, Process, broker::runtime, http, installed, port::free_port, until, within};

/// A leader that was just lost is followed by another within 4 s to 9 s, and a server
/// that starts waits as long before it stands for election; beside a compile, twice.
const SETTLING: Duration = Duration::from_secs(45);

/// A question that goes unanswered was put to a group without a leader: ask again.
const ANSWER: Duration = Duration::from_secs(2);

/// A running cluster. Nodes are counted from 0.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
}

struct Node {
    process: Process,
    configuration: PathBuf,
    port: u16,
    monitoring_port: u16,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Frozen,
    Down,
}

impl Cluster {
    /// Starts `n` servers and waits until they are one cluster that takes streams.
    pub(crate) fn start(home: &Home, n: usize) -> Self {
        let ports: Vec<[u16; 3]> = (0..n).map(|_| [free_port(), free_port(), free_port()]).collect();
        let routes: Vec<String> = ports.iter().map(|[_, _, route]| url("nats", *route)).collect();
        let nodes = ports.iter().enumerate().map(|(number, ports)| {
            let text = configuration(home, number, *ports, &routes);
            let configuration = home.write(&format!("{}.conf", name(number)), text);
            let [port, monitoring_port, _] = *ports;
            let process = launch(home, &configuration);
            Node { process, configuration, port, monitoring_port, state: State::Running }
        });
        let cluster = Self { nodes: nodes.collect() };
        cluster.settle();
        cluster
    }

    /// All servers, as `nats.url` takes them.
    pub(crate) fn url(&self) -> String {
        self.nodes.iter().map(|node| url("nats", node.port)).collect::<Vec<_>>().join(",")
    }

    /// All monitoring endpoints, as `nats.monitoring_url` takes them.
    pub(crate) fn monitoring_url(&self) -> String {
        self.nodes.iter().map(|node| url("http", node.monitoring_port)).collect::<Vec<_>>().join(",")
    }

    /// How many servers there are, whatever their state.
    pub(crate) fn size(&self) -> usize {
        self.nodes.len()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        node.process.kill();
        node.state = State::Down;
    }

    /// `kill -TERM`, and its end: the server hands over what it leads first.
    pub(crate) fn terminate(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        node.process.terminate();
        until("the end of a nats-server", || node.process.has_ended().then_some(()));
        node.state = State::Down;
    }

    /// `kill -STOP`: it hangs, and its connections stay open.
    pub(crate) fn freeze(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        node.process.freeze();
        node.state = State::Frozen;
    }

    /// `kill -CONT`.
    pub(crate) fn thaw(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        node.process.thaw();
        node.state = State::Running;
    }

    /// A new server on the data of one that is down. Does not wait for it.
    pub(crate) fn restart(&mut self, home: &Home, node: usize) {
        let node = &mut self.nodes[node];
        assert_eq!(node.state, State::Down, "only what is down can be started");
        node.process = launch(home, &node.configuration);
        node.state = State::Running;
    }

    /// Waits until every running server says of itself that it knows the cluster's
    /// leader and is up to date with every stream and consumer that it keeps.
    pub(crate) fn settle(&self) {
        let mut heard = String::new();
        let current = |node: &Node, heard: &mut String| {
            let (health, jetstream) = (node.ask("/healthz"), node.ask("/jsz"));
            *heard = format!("{health:?} {}", jetstream["meta_cluster"]);
            health["status"] == "ok" && belongs_to(&jetstream, self.size(), self.running().count())
        };
        let started = Instant::now();
        for node in self.running() {
            while !current(node, &mut heard) {
                let name = node.configuration.display();
                assert!(started.elapsed() < SETTLING, "{name} is not current after {SETTLING:?}: {heard}");
                thread::sleep(Duration::from_millis(50));
            }
        }
    }

    /// Who leads a stream, as soon as anybody does: only a leader answers.
    pub(crate) fn leader_of(&self, stream: &str) -> usize {
        within(SETTLING, &format!("a leader of {stream}"), || {
            let info = self.ask(&format!("$JS.API.STREAM.INFO.{stream}"));
            let leader = info.as_ref().and_then(|info| info["cluster"]["leader"].as_str())?;
            (0..self.size()).find(|node| name(*node) == leader)
        })
    }

    /// How many messages a stream holds.
    pub(crate) fn messages(&self, stream: &str) -> u64 {
        within(SETTLING, &format!("the state of {stream}"), || {
            self.ask(&format!("$JS.API.STREAM.INFO.{stream}"))?["state"]["messages"].as_u64()
        })
    }

    /// Asks whichever running server takes the connection; nothing without an answer in time.
    fn ask(&self, subject: &str) -> Option<Value> {
        let servers: Vec<ServerAddr> =
            self.running().map(|node| url("nats", node.port).parse().unwrap()).collect();
        let asking = async {
            let client = async_nats::connect(servers).await.ok()?;
            let answer = client.request(subject.to_owned(), "".into()).await.ok()?;
            serde_json::from_slice(&answer.payload).ok()
        };
        runtime().block_on(async { timeout(ANSWER, asking).await.ok().flatten() })
    }

    fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.state == State::Running)
    }
}

impl Node {
    /// What its monitoring endpoint answers; null for no answer.
    fn ask(&self, path: &str) -> Value {
        let answer = http::get(self.monitoring_port, path);
        answer.ok().and_then(|answer| serde_json::from_str(&answer.body).ok()).unwrap_or_default()
    }
}

/// Whether a server follows a leader of a cluster of this size, and, if it leads
/// itself, knows that all the other servers that run follow.
fn belongs_to(jetstream: &Value, size: usize, running: usize) -> bool {
    let cluster = &jetstream["meta_cluster"];
    let leader = cluster["leader"].as_str().unwrap_or_default();
    let empty = Vec::new();
    // Everybody but the one who answers.
    let others = cluster["replicas"].as_array().unwrap_or(&empty);
    let leads = others.iter().all(|other| other["name"] != leader);
    let follows = |other: &&Value| other["current"] == true && other["offline"] != true;
    let followed = !leads || others.iter().filter(follows).count() + 1 >= running;
    cluster["cluster_size"] == size && !leader.is_empty() && followed
}

fn name(node: usize) -> String {
    format!("node-{node}")
}

fn url(scheme: &str, port: u16) -> String {
    format!("{scheme}://127.0.0.1:{port}")
}

/// What a server says goes to its standard error, which a failed test shows.
fn configuration(home: &Home, node: usize, ports: [u16; 3], routes: &[String]) -> String {
    let [port, monitoring_port, route_port] = ports;
    let (name, store) = (name(node), home.path(&name(node)));
    format!(
        "server_name: {name:?}\nlisten: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitoring_port}\"\n\
         jetstream {{ store_dir: {store:?} }}\n\
         cluster {{ name: \"e2e\", listen: \"127.0.0.1:{route_port}\", routes: {routes:?} }}\n",
    )
}

fn launch(home: &Home, configuration: &Path) -> Process {
    home.start_program(&installed::nats_server(), ["-c".as_ref(), configuration.as_os_str()])
}
