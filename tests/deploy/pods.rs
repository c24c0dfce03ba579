//! Pods: what they may, what they see, how they stop, whom they may talk to.

use planfleet_proto::subjects;
use serde_json::{Value, json};

use crate::{RENDERS, configuration, of_kind, read, render, text};

/// Deployments and jobs, with the render that they are of.
fn workloads() -> Vec<(&'static str, Value)> {
    let of_render = |name: &'static str| {
        let all = render(name);
        let kinds = ["Deployment", "Job"];
        let found = all.into_iter().filter(move |one| kinds.contains(&text(&one["kind"])));
        found.map(move |one| (name, one)).collect::<Vec<_>>()
    };
    RENDERS.into_iter().flat_map(of_render).collect()
}

fn pod(workload: &Value) -> &Value {
    &workload["spec"]["template"]["spec"]
}

fn component(workload: &Value) -> &str {
    text(&workload["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"])
}

/// The profile `restricted` of Pod Security, and a little more.
#[test]
fn pods_are_restricted() {
    let all = workloads();
    assert!(all.len() >= 10, "{}", all.len());
    for (render, workload) in &all {
        let (pod, who) = (pod(workload), format!("{render}: {}", component(workload)));
        let own = &pod["securityContext"];
        assert_eq!(own["runAsNonRoot"], true, "{who}");
        assert_eq!(
            (&own["runAsUser"], &own["seccompProfile"]["type"]),
            (&json!(65532), &json!("RuntimeDefault")),
            "{who}"
        );
        assert_eq!(pod["automountServiceAccountToken"], false, "{who}");
        for key in ["hostNetwork", "hostPID", "hostIPC", "initContainers", "shareProcessNamespace"] {
            assert!(pod[key].is_null(), "{who}: {key}");
        }
        let kinds = ["configMap", "emptyDir", "secret"];
        for volume in pod["volumes"].as_array().unwrap() {
            assert!(kinds.iter().any(|kind| volume[kind].is_object()), "{who}: {volume}");
        }
        let [container] = pod["containers"].as_array().unwrap().as_slice() else { panic!("{who}") };
        let security = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
        assert_eq!(container["securityContext"], security, "{who}");
        let resources = &container["resources"];
        for bound in
            [&resources["requests"]["cpu"], &resources["requests"]["memory"], &resources["limits"]["memory"]]
        {
            assert!(bound.is_string(), "{who}: {resources}");
        }
        let image = text(&container["image"]);
        assert!(
            image.contains("@sha256:") || image.rsplit_once(':').is_some_and(|(_, tag)| tag != "latest"),
            "{image}"
        );
    }
}

#[test]
fn probes_are_what_the_program_serves() {
    let served = read("crates/runtime/src/health.rs");
    let deployments: Vec<_> =
        workloads().into_iter().filter(|(_, one)| one["kind"] == "Deployment").collect();
    for (render, workload) in &deployments {
        let container = &pod(workload)["containers"][0];
        for (probe, path) in
            [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
        {
            let asked = &container[probe]["httpGet"];
            assert_eq!((&asked["path"], &asked["port"]), (&json!(path), &json!("metrics")), "{render}");
            assert!(served.contains(&format!(".route(\"{path}\"")), "{path}");
        }
    }
}

/// A key of its own in each pod, and models' secrets only where models are called.
#[test]
fn pods_see_their_own_secrets() {
    for (_, workload) in workloads().iter().filter(|(render, _)| *render == "production") {
        let (pod, who) = (pod(workload), component(workload));
        let volumes = pod["volumes"].as_array().unwrap();
        let key = volumes.iter().find(|volume| volume["name"] == "key").unwrap();
        let role = if who == "bootstrap" { "admin" } else { who };
        assert_eq!(key["secret"]["items"], json!([{"key": format!("{role}.nk"), "path": "nkey"}]), "{who}");
        let works = who == "planner" || who.starts_with("executor-");
        assert_eq!(pod["containers"][0].to_string().contains("secretRef"), works, "{who}");
    }
}

/// The root is read-only: what the API writes is on a volume with a bound of its own, and other
/// pods have none.
#[test]
fn the_index_is_where_something_can_be_written() {
    let file = configuration("production")["api"]["index_file"].as_str().unwrap().to_owned();
    for workload in of_kind(&render("production"), "Deployment") {
        let (pod, who) = (pod(workload), component(workload));
        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
        let holds = |mount: &&Value| file.starts_with(&format!("{}/", text(&mount["mountPath"])));
        let mount = mounts.iter().find(holds);
        assert_eq!(mount.is_some(), who == "api", "{who}: {file}");
        let Some(mount) = mount else { continue };
        assert_ne!(mount["readOnly"], true, "{mount}");
        let volumes = pod["volumes"].as_array().unwrap();
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
        assert!(volume["emptyDir"]["sizeLimit"].is_string() && volume["name"] != "tmp", "{volume}");
    }
}

/// What a pod has begun it finishes: a step takes no longer than its limit, the program waits for
/// so long when it is asked to stop, and Kubernetes for longer than that.
#[test]
fn a_pod_that_is_taken_away_loses_nothing_and_repeats_nothing() {
    for name in RENDERS {
        let (resources, configuration) = (render(name), configuration(name));
        for workload in of_kind(&resources, "Deployment") {
            let pool = match component(workload) {
                "planner" => "plan",
                other => match other.strip_prefix("executor-") {
                    Some(pool) => pool,
                    None => continue,
                },
            };
            let pool = &configuration["pools"][pool];
            let seconds = |key: &str| pool[key].as_integer().unwrap();
            assert!(seconds("grace_s") >= seconds("step_timeout_s"), "{name}: {pool}");
            let patience = pod(workload)["terminationGracePeriodSeconds"].as_i64().unwrap();
            // The program's own margin for the last acks is 5 s.
            assert!(patience >= seconds("grace_s") + 10, "{name}: {patience} for {pool}");
        }
    }
}

#[test]
fn pools_are_scaled_by_their_own_queues() {
    let resources = render("production");
    let scaled = of_kind(&resources, "ScaledObject");
    assert_eq!(scaled.len(), 3, "planner, default and strong");
    for object in scaled {
        let target = text(&object["spec"]["scaleTargetRef"]["name"]);
        let deployments = of_kind(&resources, "Deployment");
        let deployment = deployments.iter().find(|one| one["metadata"]["name"] == target).unwrap();
        assert!(deployment["spec"]["replicas"].is_null(), "two would set the number of replicas of {target}");
        let component = component(deployment);
        let pool = component.strip_prefix("executor-").unwrap_or(subjects::PLAN_POOL);
        let [queue, backlog] = object["spec"]["triggers"].as_array().unwrap().as_slice() else {
            panic!("{object}")
        };
        let asked = &queue["metadata"];
        assert_eq!(asked["stream"], subjects::STEPS);
        assert_eq!(asked["consumer"], subjects::pool_consumer(pool));
        assert!(!text(&asked["natsServerMonitoringEndpoint"]).contains("//"), "a host and a port: {asked}");
        assert_eq!(asked["lagThreshold"], backlog["metadata"]["threshold"], "both are slots of one pod");
        assert!(text(&backlog["metadata"]["query"]).contains(&format!("pool=\"{pool}\"")), "{backlog}");
    }
}

/// The port of an address.
fn port(address: &str) -> u64 {
    let (scheme, rest) = address.split_once("://").unwrap();
    let host = rest.split('/').next().unwrap();
    let usual = match scheme {
        "https" | "wss" => 443,
        "http" | "ws" => 80,
        _ => 4222,
    };
    host.rsplit_once(':').map_or(usual, |(_, port)| port.parse().unwrap())
}

/// What the configuration sends a component to, its policy lets it reach.
#[test]
fn every_address_of_the_configuration_can_be_reached() {
    for name in ["minimal", "production"] {
        let (resources, configuration) = (render(name), configuration(name));
        let of = |table: &toml::Value, key: &str| {
            let addresses = table.get(key).and_then(toml::Value::as_str).unwrap_or_default();
            let addresses = addresses.split(',').filter(|address| !address.is_empty());
            addresses.map(str::to_owned).collect::<Vec<_>>()
        };
        let nats = &configuration["nats"];
        let all =
            [of(nats, "url"), of(nats, "monitoring_url"), of(&configuration["telemetry"], "otlp_endpoint")];
        let oidc = configuration["api"].get("oidc");
        let issuer = oidc.map(|oidc| [of(oidc, "issuer"), of(oidc, "jwks_url")].concat()).unwrap_or_default();
        let models = configuration.get("models").and_then(toml::Value::as_table);
        let models: Vec<String> = models
            .into_iter()
            .flat_map(|models| models.values())
            .flat_map(|model| of(model, "base_url"))
            .collect();
        for policy in of_kind(&resources, "NetworkPolicy") {
            let who = text(&policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]);
            let rules = policy["spec"]["egress"].as_array().unwrap();
            let ports = rules.iter().flat_map(|rule| rule["ports"].as_array().unwrap());
            let open: Vec<u64> = ports.map(|port| port["port"].as_u64().unwrap()).collect();
            let mut wanted = all.concat();
            match who {
                "api" => wanted.extend(issuer.clone()),
                who if who == "planner" || who.starts_with("executor-") => wanted.extend(models.clone()),
                _ => {}
            }
            assert!(!wanted.is_empty(), "{name}: {who}");
            for address in wanted {
                assert!(open.contains(&port(&address)), "{name}: {who} cannot reach {address}: {open:?}");
            }
        }
    }
}

/// Each component has its own budget and its own policy, and only those that call models and tools
/// reach the world.
#[test]
fn every_component_is_fenced() {
    for name in ["minimal", "production"] {
        let resources = render(name);
        let policies = of_kind(&resources, "NetworkPolicy");
        for workload in of_kind(&resources, "Deployment") {
            let (who, labels) = (component(workload), &workload["spec"]["template"]["metadata"]["labels"]);
            let selects = |selector: &Value| {
                let wanted = selector["matchLabels"].as_object().unwrap();
                wanted.iter().all(|(key, value)| labels[key] == *value)
            };
            let of_it = |kind: &str, key: &str| {
                let found = of_kind(&resources, kind);
                found.into_iter().filter(|one| selects(&one["spec"][key])).count()
            };
            assert_eq!(
                (of_it("PodDisruptionBudget", "selector"), of_it("NetworkPolicy", "podSelector")),
                (1, 1),
                "{who}"
            );
            let policy = policies.iter().find(|one| selects(&one["spec"]["podSelector"])).unwrap();
            assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
            let egress = policy["spec"]["egress"].to_string();
            let works = who == "planner" || who.starts_with("executor-");
            assert_eq!(egress.contains("ipBlock"), works, "{who}");
            assert!(!works || egress.contains("169.254.0.0/16"), "the metadata service of clouds");
        }
        assert_eq!(policies.len(), of_kind(&resources, "Deployment").len() + 1, "and one of the job");
    }
}
