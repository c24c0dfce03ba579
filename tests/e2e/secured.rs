//! A fleet behind locks: TLS with certificates of an authority of its own, which the servers
//! ask of clients, too; a key for each role; and nothing that the server has to refuse.

mod routes;

use std::{fs, net::TcpStream, os::unix::fs::PermissionsExt as _, path::PathBuf};

use planfleet_modelsim::Rule;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::support::{
    Home, Outcome, Process, Rig, Roles as _, first_plan, free_port, nats_server, plan, replan, step, tool,
    until,
};

/// The one folder of keys, as an operator has it.
fn keys(home: &Home, args: &[&str]) -> Outcome {
    let own = ["admin", "nats-auth", "keys", "--set", "pools.strong.slots=2", "--set", "nats.shards=2"];
    home.planfleet([own.as_slice(), args].concat())
}

#[test]
fn keys_are_made_once_for_their_owner_alone() {
    let home = Home::new();
    let made = keys(&home, &["-o", "json"]).code(0).json();
    let names: Vec<&str> = made.as_array().unwrap().iter().map(|key| key["role"].as_str().unwrap()).collect();
    let roles = ["admin", "coordinator", "planner", "executor-default", "executor-strong", "api", "client"];
    assert_eq!(names, roles);
    let read = |name: &str| fs::read_to_string(home.path("keys").join(name)).unwrap();
    let server = read("nats-auth.conf");
    for role in roles {
        let file = home.path("keys").join(format!("{role}.nk"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{role}");
        let seed = read(&format!("{role}.nk"));
        let seed = seed.lines().last().unwrap();
        assert!(seed.starts_with("SU") && !server.contains(seed), "{role}");
    }
    // Again, and nothing changes; with another pool, only what has to.
    let kept = keys(&home, &["-o", "json"]).code(0).json();
    assert!(kept.as_array().unwrap().iter().all(|key| key["state"] == "kept"), "{kept}");
    assert_eq!(read("nats-auth.conf"), server);
    let pool = ["--set", "pools.gpu.slots=1", "-o", "json"];
    let refused = keys(&home, &pool).code(2);
    assert!(refused.one_line().contains("--force"), "{}", refused.err);
    assert!(!home.path("keys/executor-gpu.nk").exists(), "nothing is half done");
    let grown = keys(&home, &[&pool, ["--force"].as_slice()].concat()).code(0).json();
    let made: Vec<&Value> = grown
        .as_array()
        .unwrap()
        .iter()
        .filter(|key| key["state"] == "made")
        .map(|key| &key["role"])
        .collect();
    assert_eq!(made, ["executor-gpu"]);
    // A key that got lost is replaced, and the server is told.
    let before = read("client.nk");
    let rotated = keys(&home, &[&pool, ["--rotate", "client"].as_slice()].concat()).code(0).json();
    let client = rotated.as_array().unwrap().iter().find(|key| key["role"] == "client").unwrap();
    assert_eq!(client["state"], "rotated");
    assert!(
        read("client.nk") != before
            && read("nats-auth.conf").contains(client["public_key"].as_str().unwrap())
    );
    let unknown = keys(&home, &["--rotate", "clinet"]).code(2);
    assert!(unknown.one_line().contains("executor-default"), "{}", unknown.err);
}

/// A fleet of one process for each role.
struct Locked {
    rig: Rig,
    port: u16,
    _broker: Process,
}

impl Locked {
    fn new(rules: Vec<Rule>) -> Self {
        let mut rig = Rig::new(rules);
        rig.set("roles.strong=hands");
        certificates(&rig.home);
        keys(&rig.home, &[]).code(0);
        let port = free_port();
        let file = |name: &str| rig.home.path(name);
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\nlog_file: {:?}\njetstream {{ store_dir: {:?} }}\n\
             tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\ninclude {:?}\n",
            file("broker.log"),
            file("broker"),
            file("server.pem"),
            file("server.key"),
            file("ca.pem"),
            // Beside this file.
            PathBuf::from("keys/nats-auth.conf"),
        );
        let configuration = rig.home.write("broker.conf", text);
        let broker = rig.home.start_program(&nats_server(), ["-c".as_ref(), configuration.as_os_str()]);
        until("the nats-server", || TcpStream::connect(("127.0.0.1", port)).ok());
        let root = rig.home.path("files");
        fs::create_dir(&root).unwrap();
        // In the file, so that flags can say otherwise.
        let settings = fs::read_to_string(file("fleet.toml")).unwrap()
            + &format!("[tools]\nroots = [{root:?}]\n[pools.strong]\nslots = 2\n")
            + &format!("[nats]\nurl = \"tls://127.0.0.1:{port}\"\nshards = 2\n")
            + "[nats.tls]\nca = \"ca.pem\"\ncert = \"client.pem\"\nkey = \"client.key\"\n";
        rig.home.write("fleet.toml", settings);
        Self { rig, port, _broker: broker }
    }

    fn with_key(role: &str, args: &[&str]) -> Vec<String> {
        let key = format!("nats.nkey=keys/{role}.nk");
        args.iter().map(ToString::to_string).chain(["--set".to_owned(), key]).collect()
    }

    fn call(&self, role: &str, args: &[&str]) -> Outcome {
        let args = Self::with_key(role, args);
        self.rig.planfleet(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn serve(&self, role: &str, manage: &str, args: &[&str]) -> Process {
        let manage = format!("nats.manage={manage}");
        let args = [["serve", "--set", &manage].as_slice(), args].concat();
        let args = Self::with_key(role, &args);
        let mut process = self.rig.start(&args.iter().map(String::as_str).collect::<Vec<_>>());
        process.says("serving");
        process
    }

    fn run(&self, task: &Value) -> Value {
        self.rig.home.write("task.json", task.to_string());
        self.call("client", &["run", "-f", "task.json", "-o", "json"]).code(0).json()
    }

    /// What the server has refused anybody.
    fn refusals(&self) -> Vec<String> {
        let log = fs::read_to_string(self.rig.home.path("broker.log")).unwrap();
        log.lines().filter(|line| line.contains("Violation")).map(str::to_owned).collect()
    }
}

/// An authority, a certificate of it for the server and one for all clients.
pub(crate) fn certificates(home: &Home) {
    let mut of_authority = CertificateParams::new(Vec::new()).unwrap();
    of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(of_authority, KeyPair::generate().unwrap()).unwrap();
    home.write("ca.pem", authority.pem());
    for (name, host) in [("server", "127.0.0.1"), ("client", "planfleet")] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        home.write(&format!("{name}.pem"), certificate.pem());
        home.write(&format!("{name}.key"), key.serialize_pem());
    }
}

fn rules() -> Vec<Rule> {
    let failing = tool(1, "math_eval").literal("expression", "1 / 0");
    let mended = tool(2, "math_eval").literal("expression", "20 + 1");
    vec![
        first_plan(plan([failing])),
        Rule::json(replan("by zero", [mended])).replans(),
        Rule::text("forty-two").step("double"),
    ]
}

#[test]
fn a_fleet_works_behind_its_locks_and_no_role_asks_for_more_than_it_may() {
    let fleet = Locked::new(rules());
    // Services make nothing: an operator does, and until then they say what is missing.
    let early = fleet
        .call("coordinator", &["serve", "--roles", "coordinator", "--set", "nats.manage=verify"])
        .code(7);
    assert!(early.err.contains("PF_EV_00 does not exist"), "{}", early.err);
    fleet.call("admin", &["admin", "bootstrap"]).code(0);
    let _coordinator = fleet.serve("coordinator", "verify", &["--roles", "coordinator"]);
    let _planner = fleet.serve("planner", "off", &["--roles", "planner"]);
    let executor = |pool: &str| {
        fleet.serve(&format!("executor-{pool}"), "off", &["--roles", "executor", "--pool", pool])
    };
    let (_default, _strong) = (executor("default"), executor("strong"));

    // Planned, failed, planned again, with what is remembered of the plan.
    let run = fleet.run(&json!({"goal": "Divide.", "class": "sums", "mode": "plan"}));
    assert_eq!((&run["state"], &run["answer"]["value"]), (&json!("succeeded"), &json!(21)));
    assert_eq!(run["revisions"].as_array().unwrap().len(), 2);
    // Bodies by reference, kept values, a model with a budget, a step of another pool.
    let path = fleet.rig.home.write("files/large", "word ".repeat(40_000));
    let strong = |mut plan: Value| {
        plan["steps"][0]["tier"] = "strong".into();
        plan
    };
    for (plan, budget) in [
        (plan([tool(1, "file_read").literal("path", path.to_str().unwrap())]), Value::Null),
        (
            plan([
                tool(1, "kv_put").literal("key", "k").literal("value", "1"),
                tool(2, "kv_get").literal("key", "k").after(1),
                tool(3, "object_put").literal("key", "o").literal("text", "body").after(2),
                tool(4, "object_put").literal("key", "o").literal("text", "another").after(3),
                tool(5, "object_get").literal("key", "o").after(4),
            ]),
            Value::Null,
        ),
        (strong(plan([step(1, "double")])), json!({"usd": 1})),
    ] {
        let (read, kept) = (["file_read", "kv_get", "object_get"], ["kv_put", "object_put"]);
        let tools = [read.as_slice(), &kept].concat();
        let run = fleet.run(&json!({"plan": plan, "budget": budget, "tools": tools}));
        assert_eq!(run["state"], "succeeded", "{run}");
    }
    // A batch with a budget, and what is asked of runs that are over.
    let line = json!({"plan": plan([tool(1, "math_eval").literal("expression", "1 + 1")])});
    fleet.rig.home.write("batch.jsonl", format!("{line}\n{line}\n"));
    fleet.call("client", &["batch", "submit", "--wait", "batch.jsonl", "-o", "jsonl"]).code(0);
    for asked in [["runs", "list"], ["batch", "list"], ["cache", "list"], ["templates", "list"]] {
        fleet.call("client", &[&asked, ["-o", "json"].as_slice()].concat()).code(0);
    }
    fleet.call("client", &["cost", "report"]).code(0);
    let doctor = fleet.call("admin", &["admin", "doctor", "-o", "json"]);
    assert!(doctor.out.contains("owned by"), "{}", doctor.out);
    routes::are_answered(&fleet, run["run_id"].as_str().unwrap());
    assert_eq!(fleet.refusals(), Vec::<String>::new());

    nobody_else_gets_in(&fleet);
}

fn nobody_else_gets_in(fleet: &Locked) {
    // No key, no certificate, no TLS, an authority that nobody knows: each says what is wrong.
    fleet.rig.planfleet(&["runs", "list"]).code(7);
    let list = |more: &[&str]| {
        let sets = more.iter().flat_map(|setting| ["--set", setting]);
        fleet.call("client", &["runs", "list"].into_iter().chain(sets).collect::<Vec<_>>()).code(7)
    };
    list(&["nats.tls.cert=", "nats.tls.key="]);
    let plain = format!("nats.url=nats://127.0.0.1:{}", fleet.port);
    list(&[&plain, "nats.tls.ca="]);
    let stranger = Home::new();
    certificates(&stranger);
    let unknown = list(&[&format!("nats.tls.ca={}", stranger.path("ca.pem").display())]);
    assert!(unknown.err.contains("certificate") || unknown.err.contains("TLS"), "{}", unknown.err);
    // With a key of a worker, nothing can be made or read.
    let denied = fleet.call("executor-default", &["queue", "dlq", "list"]);
    assert_ne!(denied.status.code(), Some(0), "{denied:?}");
    assert!(!fleet.refusals().is_empty());
}
