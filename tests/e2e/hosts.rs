//! A fleet on hosts of its own, each with one cable, and cables that are pulled: nobody is told
//! that a peer is away, packets just do not arrive.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Home, Host, Network, Outcome, Process, configuration, nats_server, plan, step, until};

const BROKER_PORT: u16 = 4222;
const PROVIDER_PORT: u16 = 8080;

/// One role each, on hosts of their own.
struct Fleet {
    // In the order in which they end: programs before their hosts.
    _broker: Process,
    _provider: Process,
    provider: Host,
    client: Host,
    network: Network,
    home: Home,
}

/// Four steps in a row, of one plan and of no planner.
fn task(run: &str) -> Value {
    let what = |step: u32| format!("Carry out {run} step-{step}.");
    let next = |id: u32| step(id, &what(id)).uses("x", id - 1, "");
    json!({"plan": plan([step(1, &what(1)), next(2), next(3), next(4)])})
}

/// The third step of each run takes long enough to pull a cable meanwhile, and everything is
/// planned in the same way.
fn script() -> String {
    let planned = plan([step(1, "Carry out planned step-1.")]);
    json!({"rules": [
        {"when": {"model": "brain"}, "reply": {"json": planned}},
        {"when": {"contains": ["step-3"]}, "reply": {"text": "done"}, "latency": {"first_byte_ms": 2_000}},
        {"when": {"model": "hands"}, "reply": {"text": "done"}},
    ]})
    .to_string()
}

impl Fleet {
    /// The broker, the provider and a client, or why there is none here.
    fn try_new() -> Result<Self, String> {
        let mut network = Network::try_new()?;
        let mut home = Home::new();
        home.set("E2E_KEY", "sk-e2e");
        let (broker, provider, client) = (network.host(), network.host(), network.host());
        let url = format!("http://{}:{PROVIDER_PORT}/v1", provider.address());
        // Little, so that another soon has a lost executor's work; more than a busy machine holds one up.
        let fleet = format!(
            "[nats]\nurl = \"nats://{}:{BROKER_PORT}\"\nshards = 1\n\
             [pools.default]\nack_wait_s = 10\n[pools.plan]\nack_wait_s = 10\n",
            broker.address()
        );
        home.write("fleet.toml", configuration(&url) + &fleet);
        home.write("script.json", script());
        let server = format!(
            "listen: \"0.0.0.0:{BROKER_PORT}\"\njetstream {{ store_dir: {:?} }}\n",
            home.path("broker")
        );
        home.write("broker.conf", server);
        let mut serving = network.start(broker, &home, &nats_server(), &["-c", "broker.conf"]);
        serving.says("Server is ready");
        let listen = format!("0.0.0.0:{PROVIDER_PORT}");
        let args = ["modelsim", "script.json", "--listen", &listen];
        let answering = network.start(provider, &home, planfleet(), &args);
        until("the provider", || answering.out().contains("simulated").then_some(()));
        Ok(Self { _broker: serving, _provider: answering, provider, client, network, home })
    }

    fn start(&self, host: Host, args: &[&str]) -> Process {
        let args = [["--config", "fleet.toml"].as_slice(), args].concat();
        self.network.start(host, &self.home, planfleet(), &args)
    }

    /// A host with one role.
    fn serve(&mut self, role: &str) -> (Host, Process) {
        let host = self.network.host();
        let mut process = self.start(host, &["serve", "--roles", role]);
        process.says("serving");
        (host, process)
    }

    fn run(&self, task: &Value) -> Process {
        self.home.write("task.json", task.to_string());
        self.start(self.client, &["run", "-f", "task.json", "-o", "json"])
    }

    /// How often the provider was asked for what has this text.
    fn calls(&self, text: &str) -> usize {
        let asked = format!(
            "import urllib.request as r; print(r.urlopen('http://127.0.0.1:{PROVIDER_PORT}/requests').read().decode())"
        );
        let answer = self.network.start(self.provider, &self.home, Path::new("python3"), &["-c", &asked]);
        let calls = answer.ended().code(0).json();
        calls.as_array().unwrap().iter().filter(|call| call["body"].to_string().contains(text)).count()
    }

    fn await_call(&self, text: &str) {
        until(&format!("a call with {text:?}"), || (self.calls(text) > 0).then_some(()));
    }

    /// How often each of the four steps was called.
    fn counts(&self, run: &str) -> [usize; 4] {
        [1, 2, 3, 4].map(|step| self.calls(&format!("{run} step-{step}.")))
    }
}

fn planfleet() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_planfleet"))
}

fn succeeded(outcome: Outcome) {
    let document = outcome.code(0).json();
    assert_eq!((&document["state"], &document["partial"]), (&json!("succeeded"), &json!(false)));
    // Whoever was cut off has not failed.
    let steps = document["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["attempts"] == 1), "{document:#}");
}

#[test]
fn a_fleet_of_several_hosts_goes_on_when_cables_are_pulled() {
    let mut fleet = match Fleet::try_new() {
        Ok(fleet) => fleet,
        Err(why) => return eprintln!("skipped: no network namespaces here: {why}"),
    };
    let (owner, _owning) = fleet.serve("coordinator");
    // It has the shard before there is anybody else to have it.
    until("an owner of the shard", || {
        let doctor = fleet.start(fleet.client, &["admin", "doctor", "-o", "json"]).ended();
        doctor.out.contains("owned by").then_some(())
    });
    let (_, _planning) = fleet.serve("planner");
    let (first, _working) = fleet.serve("executor");

    // Over the wires, all roles.
    succeeded(fleet.run(&json!({"goal": "Plan it.", "mode": "plan"})).ended());
    assert_eq!(fleet.calls("planned step-1."), 1);

    // An executor's cable: another does what it held, once the broker has waited for it.
    let run = fleet.run(&task("cut-executor"));
    fleet.await_call("cut-executor step-3.");
    fleet.network.cut(first);
    let (second, _working_too) = fleet.serve("executor");
    succeeded(run.ended());
    assert_eq!(fleet.counts("cut-executor"), [1, 1, 2, 1]);

    // The first comes back and is all there is: what it still had to say changes nothing.
    fleet.network.heal(first);
    fleet.network.cut(second);
    succeeded(fleet.run(&task("healed")).ended());
    assert_eq!(fleet.counts("healed").into_iter().min(), Some(1));
    fleet.network.heal(second);

    // The owner's: its shard is taken over, and when it is back it finds that out.
    let (standby, _next) = fleet.serve("coordinator");
    let run = fleet.run(&task("cut-owner"));
    fleet.await_call("cut-owner step-3.");
    fleet.network.cut(owner);
    succeeded(run.ended());
    assert_eq!(fleet.counts("cut-owner"), [1, 1, 1, 1]);
    fleet.network.heal(owner);
    fleet.network.cut(standby);
    succeeded(fleet.run(&task("back")).ended());
    fleet.network.heal(standby);
}
