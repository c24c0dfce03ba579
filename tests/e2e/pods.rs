//! The chart's pods as processes: the ConfigMap, the arguments, the variables and the volumes of
//! each render, on a real nats-server, until the readiness probe is content. What a cluster has and
//! this machine has not (its names, three nodes, one address for each pod) is replaced in
//! [`Cluster::configuration`], and nothing else is.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    secured::certificates,
    support::{Home, Process, free_port, http, nats_server, until},
};

/// What operators put into the secrets that a render names as models' own.
const MODEL_SECRET: [(&str, &str); 2] = [("OPENAI_API_KEY", "sk-test"), ("GITHUB_TOKEN", "ghp-test")];

/// One render on one machine.
struct Cluster {
    home: Home,
    resources: Vec<Value>,
    broker_port: u16,
    monitoring_port: u16,
    _broker: Process,
}

/// A pod that runs.
struct Pod {
    component: String,
    process: Process,
    health_port: u16,
    api_port: u16,
    folder: PathBuf,
}

impl Cluster {
    fn new(render: &str) -> Self {
        let home = Home::new();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/deploy/golden");
        let text = fs::read_to_string(golden.join(format!("{render}.yaml"))).unwrap();
        let resources: Vec<Option<Value>> = serde_saphyr::from_multiple(&text).unwrap();
        let resources: Vec<Value> = resources.into_iter().flatten().collect();
        let (broker_port, monitoring_port) = (free_port(), free_port());
        certificates(&home);
        for (secret, own) in [("ca.crt", "ca.pem"), ("tls.crt", "client.pem"), ("tls.key", "client.key")] {
            fs::copy(home.path(own), home.path(secret)).unwrap();
        }
        let written = configuration(&resources);
        home.write("fleet.toml", toml::to_string(&written).unwrap());
        home.planfleet(["--config", "fleet.toml", "admin", "nats-auth", "keys"]).code(0);
        let locks = match written["nats"].get("nkey") {
            None => String::new(),
            Some(_) => format!(
                "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\ninclude \"keys/nats-auth.conf\"\n",
                home.path("server.pem"),
                home.path("server.key"),
                home.path("ca.pem"),
            ),
        };
        let text = format!(
            "listen: \"127.0.0.1:{broker_port}\"\nhttp: \"127.0.0.1:{monitoring_port}\"\n\
             jetstream {{ store_dir: {:?} }}\n{locks}",
            home.path("broker"),
        );
        let conf = home.write("broker.conf", text);
        let broker = home.start_program(&nats_server(), ["-c".as_ref(), conf.as_os_str()]);
        until("the nats-server", || TcpStream::connect(("127.0.0.1", broker_port)).ok());
        Self { home, resources, broker_port, monitoring_port, _broker: broker }
    }

    fn of_kind(&self, kind: &str) -> Vec<Value> {
        self.resources.iter().filter(|one| one["kind"] == kind).cloned().collect()
    }

    /// The ConfigMap for one pod, whose volumes are folders.
    fn configuration(&self, mounted: &dyn Fn(&str) -> String, health: u16, api: u16) -> String {
        let text = mounted(&toml::to_string(&configuration(&self.resources)).unwrap());
        let mut table: toml::Table = text.parse().unwrap();
        let scheme = if table["nats"].get("tls").is_some() { "tls" } else { "nats" };
        let mut set = |section: &str, key: &str, value: toml::Value| table[section][key] = value;
        set("nats", "url", format!("{scheme}://127.0.0.1:{}", self.broker_port).into());
        set("nats", "monitoring_url", format!("http://127.0.0.1:{}", self.monitoring_port).into());
        set("nats", "replicas", 1.into());
        set("health", "listen", format!("127.0.0.1:{health}").into());
        // To everybody, as in the cluster: whether callers need keys hangs on that.
        set("api", "listen", format!("0.0.0.0:{api}").into());
        toml::to_string(&table).unwrap()
    }

    /// Starts the one container of a workload.
    fn start(&self, workload: &Value) -> Pod {
        let template = &workload["spec"]["template"];
        let component = text(&template["metadata"]["labels"]["app.kubernetes.io/component"]).to_owned();
        let (spec, container) = (&template["spec"], &template["spec"]["containers"][0]);
        let folder = self.home.path(&format!("pod-{component}"));
        let (health_port, api_port) = (free_port(), free_port());
        let mounts = container["volumeMounts"].as_array().unwrap();
        let at = |mount: &Value| folder.join(text(&mount["name"]));
        // Everything but /tmp, which is where TMPDIR says.
        let own = mounts.iter().filter(|mount| mount["name"] != "tmp");
        let mounted = |original: &str| {
            own.clone().fold(original.to_owned(), |done, mount| {
                done.replace(text(&mount["mountPath"]), at(mount).to_str().unwrap())
            })
        };
        for mount in mounts {
            fs::create_dir_all(at(mount)).unwrap();
            let volumes = spec["volumes"].as_array().unwrap();
            let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
            self.fill(volume, &at(mount));
        }
        let file = self.configuration(&mounted, health_port, api_port);
        fs::write(folder.join("config/planfleet.toml"), file).unwrap();
        let root = folder.join("root");
        fs::create_dir(&root).unwrap();
        let args = container["args"].as_array().unwrap().iter().map(|arg| mounted(text(arg)));
        let mut variables = vec![
            // Nobody can make anything there, not even root: the home of a read-only root.
            ("HOME".to_owned(), "/dev/null/home".to_owned()),
            ("TMPDIR".to_owned(), folder.join("tmp").to_str().unwrap().to_owned()),
        ];
        for variable in container["env"].as_array().into_iter().flatten() {
            variables.push((text(&variable["name"]).to_owned(), text(&variable["value"]).to_owned()));
        }
        if container["envFrom"].to_string().contains("secretRef") {
            variables.extend(MODEL_SECRET.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        let process = self.home.start_bare(args.collect::<Vec<_>>(), variables, &root);
        Pod { component, process, health_port, api_port, folder }
    }

    fn fill(&self, volume: &Value, folder: &Path) {
        for item in volume["secret"]["items"].as_array().into_iter().flatten() {
            let key = self.home.path("keys").join(text(&item["key"]));
            fs::copy(key, folder.join(text(&item["path"]))).unwrap();
        }
        if volume["name"] == "tls" {
            for name in ["ca.crt", "tls.crt", "tls.key"] {
                fs::copy(self.home.path(name), folder.join(name)).unwrap();
            }
        }
    }
}

impl Pod {
    /// Waits until Kubernetes would send it something.
    fn is_ready(&mut self) {
        until(&format!("{} to be ready", self.component), || {
            let ended = self.process.status();
            assert!(ended.is_none(), "{} ended with {ended:?}: {}", self.component, self.process.err());
            let answer = http::get(self.health_port, "/readyz").ok()?;
            (answer.status == 200).then_some(())
        });
        let left: Vec<_> = fs::read_dir(self.folder.join("root")).unwrap().flatten().collect();
        assert!(left.is_empty(), "{} writes where nothing may be written: {left:?}", self.component);
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

fn configuration(resources: &[Value]) -> toml::Table {
    let mut maps = resources.iter().filter(|one| one["kind"] == "ConfigMap");
    let file = maps.find_map(|map| map["data"]["planfleet.toml"].as_str()).unwrap();
    file.parse().unwrap()
}

/// All pods of a render at once; the number of its components.
fn pods_of(render: &str) -> (Cluster, Vec<Pod>) {
    let cluster = Cluster::new(render);
    for job in cluster.of_kind("Job") {
        let pod = cluster.start(&job);
        pod.process.ended().code(0);
    }
    let mut pods: Vec<Pod> = cluster.of_kind("Deployment").iter().map(|one| cluster.start(one)).collect();
    pods.iter_mut().for_each(Pod::is_ready);
    (cluster, pods)
}

#[test]
fn pods_of_a_laptop_start() {
    assert_eq!(pods_of("laptop").1.len(), 4);
}

#[test]
fn pods_with_nothing_but_a_broker_start() {
    assert_eq!(pods_of("minimal").1.len(), 3);
}

#[test]
fn pods_of_production_start() {
    let (_cluster, pods) = pods_of("production");
    assert_eq!(pods.len(), 5);
    let api = pods.iter().find(|pod| pod.component == "api").unwrap();
    let asked = http::get(api.api_port, "/v1/runs").unwrap();
    assert_eq!(asked.status, 401, "{asked:?}");
    assert!(api.folder.join("index/api-index.sqlite").exists(), "the index is on its volume");
}
