//! What types cannot say: ranges, and names that refer to each other.

use tracing_subscriber::EnvFilter;

use super::nearest::nearest;
use super::url;
use super::{
    CredentialSettings, Fault, McpSettings, ModelSettings, PoolSettings, Role, Settings, TenantSettings,
};

/// An hour: a longer wait is a mistake of units, milliseconds for seconds.
const TIMEOUT_S_MAX: u64 = 3600;
/// A day, for what legitimately runs long.
const LONG_TIMEOUT_S_MAX: u64 = 24 * 3600;
/// DESIGN section 12: the largest blob.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Far more than any provider gives in a minute, and exact as a float.
const RATE_MAX: u64 = 1_000_000_000_000;

/// More runs than any memory holds.
const ACTIVE_RUNS_MAX: u64 = 1_000_000_000;

/// What the coordinator's queues take.
const WEIGHT_MAX: u64 = 1_000;

/// Far more than any fleet does at once.
const CONCURRENCY_MAX: u64 = 10_000_000;

/// Far more entries than a log can have.
const ENTRIES_MAX: u64 = 1 << 40;

/// Adds every semantic fault; a key that is faulty already is left alone.
pub(super) fn check(settings: &Settings, faults: &mut Vec<Fault>) {
    let mut checks = Checks { settings, found: Vec::new() };
    checks.nats();
    checks.roles();
    for (name, model) in &settings.models {
        checks.model(name, model);
    }
    for (name, pool) in &settings.pools {
        checks.pool(name, pool);
    }
    for (name, tenant) in &settings.tenants {
        checks.tenant(name, tenant);
    }
    checks.tools();
    for (name, credential) in &settings.credentials {
        checks.credential(name, credential);
    }
    for (name, server) in &settings.mcp {
        checks.mcp(name, server);
    }
    checks.limits();
    checks.coordinator();
    checks.flow();
    checks.telemetry();
    checks.listeners();
    checks.api();
    let found = checks.found;
    let fresh = |fault: &Fault| !faults.iter().any(|known| known.key == fault.key);
    let fresh: Vec<Fault> = found.into_iter().filter(fresh).collect();
    faults.extend(fresh);
}

struct Checks<'a> {
    settings: &'a Settings,
    found: Vec<Fault>,
}

impl Checks<'_> {
    fn nats(&mut self) {
        let nats = &self.settings.nats;
        for server in nats.url.split(',') {
            let fault = url::fault(server.trim(), &["nats", "tls", "ws", "wss"]);
            self.add("nats.url", fault);
        }
        if ![1, 3, 5].contains(&nats.replicas) {
            let message = format!("{} is not a quorum; expected 1, 3 or 5", nats.replicas);
            self.add("nats.replicas", Some(message));
        }
        // Stream names number the shards with two digits.
        self.range("nats.shards", u64::from(nats.shards), 1, 99);
        let timeout = nats.connect_timeout_s;
        self.range("nats.connect_timeout_s", timeout, 1, TIMEOUT_S_MAX);
        for server in nats.monitoring_url.split(',').filter(|_| !nats.monitoring_url.is_empty()) {
            self.add("nats.monitoring_url", url::fault(server.trim(), &["http", "https"]));
        }
        if let Some(interval) = &nats.sync_interval {
            self.add("nats.sync_interval", sync_interval_fault(interval));
        }
        self.nats_identity();
    }

    fn nats_identity(&mut self) {
        let nats = &self.settings.nats;
        if is_seed(&nats.nkey) {
            // It is not repeated.
            let message = "this is a seed; expected the path of a file that holds it";
            self.add("nats.nkey", Some(message.to_owned()));
        } else if !nats.nkey.is_empty() && !nats.creds.is_empty() {
            self.add("nats.nkey", Some("set beside creds; expected one of the two".to_owned()));
        }
        let prefix = &nats.inbox_prefix;
        let token = |token: &str| !token.is_empty() && !token.contains(['*', '>', ' ']);
        if !prefix.is_empty() && !prefix.split('.').all(token) {
            let message = format!("`{prefix}` is no subject; expected such as \"_INBOX.reports\"");
            self.add("nats.inbox_prefix", Some(message));
        }
        self.key_pair("nats.tls.cert", &nats.tls.cert, &nats.tls.key);
    }

    fn roles(&mut self) {
        for role in Role::ALL {
            let settings = self.settings;
            for name in settings.roles.configured(role).iter() {
                if !settings.models.contains_key(name) {
                    self.add(&format!("roles.{role}"), Some(unknown_model(name, settings)));
                }
            }
        }
    }

    fn model(&mut self, name: &str, model: &ModelSettings) {
        let key = |leaf: &str| format!("models.{name}.{leaf}");
        self.add(&format!("models.{name}"), name_fault(name));
        self.add(
            &key("base_url"),
            match model.base_url.as_str() {
                "" => Some("missing; expected such as \"https://api.openai.com/v1\"".to_owned()),
                base_url => url::fault(base_url, &["http", "https"]),
            },
        );
        if model.model.is_empty() {
            let message = "missing; expected the provider's name of the model";
            self.add(&key("model"), Some(message.to_owned()));
        }
        self.key_source(name, model);
        let first = model.first_byte_timeout_s;
        self.range(&key("first_byte_timeout_s"), first, 1, TIMEOUT_S_MAX);
        let idle = model.idle_timeout_s;
        self.range(&key("idle_timeout_s"), idle, 1, TIMEOUT_S_MAX);
        let total = model.total_timeout_s;
        self.range(&key("total_timeout_s"), total, 1, LONG_TIMEOUT_S_MAX);
        let calls = model.max_concurrency as u64;
        self.range(&key("max_concurrency"), calls, 1, 10_000);
        self.concurrency(&format!("models.{name}"), model.concurrency);
        for (leaf, rate) in model.rates() {
            // 0 would be a model that nobody may ask.
            self.range(&key(leaf), rate.unwrap_or(1), 1, RATE_MAX);
        }
        if let Some(value) = model.temperature.filter(|t| !(0.0..=2.0).contains(t)) {
            let message = format!("{value} is out of range; expected 0 to 2");
            self.add(&key("temperature"), Some(message));
        }
    }

    /// The value of a bad `api_key_env` is not repeated: it is likely a key.
    fn key_source(&mut self, name: &str, model: &ModelSettings) {
        let variable = &model.api_key_env;
        if !variable.is_empty() && !is_variable_name(variable) {
            let message = "not a variable's name; expected the NAME of the variable that holds \
                           the key, such as \"OPENAI_API_KEY\", not the key itself";
            let key = format!("models.{name}.api_key_env");
            self.add(&key, Some(message.to_owned()));
        }
        if !variable.is_empty() && !model.api_key_file.is_empty() {
            let message = "set beside api_key_env; expected one of the two";
            let key = format!("models.{name}.api_key_file");
            self.add(&key, Some(message.to_owned()));
        }
    }

    fn pool(&mut self, name: &str, pool: &PoolSettings) {
        let key = |leaf: &str| format!("pools.{name}.{leaf}");
        // A pool's name is a token of the subjects of its steps.
        self.add(&format!("pools.{name}"), name_fault(name));
        self.range(&key("slots"), pool.slots as u64, 1, 10_000);
        // Progress acks need room within the wait.
        self.range(&key("ack_wait_s"), pool.ack_wait_s, 2, TIMEOUT_S_MAX);
        let step = pool.step_timeout_s;
        self.range(&key("step_timeout_s"), step, 1, LONG_TIMEOUT_S_MAX);
        self.range(&key("grace_s"), pool.grace_s, 0, TIMEOUT_S_MAX);
        self.concurrency(&format!("pools.{name}"), pool.concurrency);
    }

    fn tenant(&mut self, name: &str, tenant: &TenantSettings) {
        self.add(&format!("tenants.{name}"), name_fault(name));
        let weight = tenant.weight.unwrap_or(1);
        self.range(&format!("tenants.{name}.weight"), u64::from(weight), 1, WEIGHT_MAX);
        self.concurrency(&format!("tenants.{name}"), tenant.concurrency);
        let runs = tenant.active_runs.unwrap_or(1);
        self.range(&format!("tenants.{name}.active_runs"), runs, 1, ACTIVE_RUNS_MAX);
    }

    /// 0 would be a pause, which is not for a file to say.
    fn concurrency(&mut self, table: &str, concurrency: Option<usize>) {
        let most = concurrency.unwrap_or(1) as u64;
        self.range(&format!("{table}.concurrency"), most, 1, CONCURRENCY_MAX);
    }

    fn tools(&mut self) {
        let tools = &self.settings.tools;
        let timeout = tools.http_timeout_s;
        self.range("tools.http_timeout_s", timeout, 1, TIMEOUT_S_MAX);
        let body = tools.http_body_bytes_max;
        self.range("tools.http_body_bytes_max", body, 1, BYTES_MAX);
        // Ten years: more is as good as for ever, and the sum still fits a time.
        self.range("tools.object_age_days", tools.object_age_days, 1, 3_650);
        self.range("tools.objects_per_tenant", tools.objects_per_tenant, 1, 1_000_000);
        // As much as one object may have at least, and a TiB.
        self.range("tools.object_bytes_per_tenant", tools.object_bytes_per_tenant, 4 << 20, 1 << 40);
        for (name, limit) in &tools.limits {
            if limit.concurrency.is_none() {
                let message = "missing; expected how many steps may call it at once";
                self.add(&format!("tools.limits.{name}.concurrency"), Some(message.to_owned()));
            }
            self.concurrency(&format!("tools.limits.{name}"), limit.concurrency);
        }
        for (key, list) in [("tools.roots", &tools.roots), ("tools.hosts", &tools.hosts)] {
            let empty = list.iter().any(|entry| entry.trim().is_empty());
            self.add(key, empty.then(|| "has an empty entry".to_owned()));
        }
    }

    /// The tools crate looks at hosts and headers; here is what it never sees.
    fn credential(&mut self, name: &str, credential: &CredentialSettings) {
        let key = |leaf: &str| format!("credentials.{name}.{leaf}");
        self.add(&format!("credentials.{name}"), name_fault(name));
        let (variable, file) = (&credential.value_env, &credential.value_file);
        if variable.is_empty() == file.is_empty() {
            let message = "expected either value_env, the NAME of a variable, or value_file";
            self.add(&key("value_env"), Some(message.to_owned()));
        } else if !variable.is_empty() && !is_variable_name(variable) {
            let message = "not a variable's name; expected the NAME of the variable that holds the secret";
            self.add(&key("value_env"), Some(message.to_owned()));
        }
        if credential.header.is_empty() {
            let message = "missing; expected such as \"authorization\"";
            self.add(&key("header"), Some(message.to_owned()));
        }
    }

    fn mcp(&mut self, name: &str, server: &McpSettings) {
        let key = |leaf: &str| format!("mcp.{name}.{leaf}");
        if server.command.is_empty() == server.url.is_empty() {
            let message = "expected either command, a program, or url";
            self.add(&key("command"), Some(message.to_owned()));
        }
        if !server.url.is_empty() {
            self.add(&key("url"), url::fault(&server.url, &["http", "https"]));
        }
        let wrong = server.env.iter().find(|variable| !is_variable_name(variable) || variable.is_empty());
        if wrong.is_some() {
            // It may be the secret itself.
            let message = "has an entry that is no variable's name; expected NAMES of variables";
            self.add(&key("env"), Some(message.to_owned()));
        }
        self.range(&key("timeout_s"), server.timeout_s, 1, TIMEOUT_S_MAX);
    }

    fn limits(&mut self) {
        let limits = &self.settings.limits;
        let counts = [
            ("steps_per_plan", limits.steps_per_plan, 1, 100_000),
            ("replans", limits.replans, 0, 1_000),
            ("attempts", limits.attempts, 1, 1_000),
            ("deliveries", limits.deliveries, 1, 1_000),
            ("model_turns", limits.model_turns, 1, 1_000),
            ("for_each_items", limits.for_each_items, 1, 100_000),
        ];
        for (leaf, value, low, high) in counts {
            self.range(&format!("limits.{leaf}"), u64::from(value), low, high);
        }
        self.range("limits.task_bytes", limits.task_bytes, 1, BYTES_MAX);
        self.range("limits.active_runs", limits.active_runs, 1, ACTIVE_RUNS_MAX);
        self.range("limits.active_runs_per_tenant", limits.active_runs_per_tenant, 1, ACTIVE_RUNS_MAX);
        self.range("limits.quota_wait_s", limits.quota_wait_s, 0, LONG_TIMEOUT_S_MAX);
    }

    fn coordinator(&mut self) {
        let coordinator = &self.settings.coordinator;
        self.range("coordinator.snapshot_entries", coordinator.snapshot_entries, 100, ENTRIES_MAX);
        self.range("coordinator.log_entries", coordinator.log_entries, 0, ENTRIES_MAX);
    }

    fn flow(&mut self) {
        let flow = &self.settings.flow;
        self.range("flow.window_per_slot", flow.window_per_slot as u64, 1, 1_000);
        self.range("flow.window_without_workers", flow.window_without_workers as u64, 1, CONCURRENCY_MAX);
        self.range("flow.window_ms", flow.window_ms, 10, 60_000);
    }

    fn telemetry(&mut self) {
        let telemetry = &self.settings.telemetry;
        if !telemetry.otlp_endpoint.is_empty() {
            let fault = url::fault(&telemetry.otlp_endpoint, &["http", "https"]);
            self.add("telemetry.otlp_endpoint", fault);
        }
        let filter = EnvFilter::builder().parse(&telemetry.log_filter).err();
        let fault = filter
            .map(|error| format!("not a filter, such as \"info,planfleet_coordinator=debug\": {error}"));
        self.add("telemetry.log_filter", fault);
        let unnamed = telemetry.service_name.is_empty();
        self.add("telemetry.service_name", unnamed.then(|| "missing; expected a name".to_owned()));
    }

    fn key_pair(&mut self, setting: &str, cert: &str, key: &str) {
        if cert.is_empty() != key.is_empty() {
            self.add(setting, Some("expected both cert and key, or neither".to_owned()));
        }
    }

    fn listeners(&mut self) {
        let tls = &self.settings.api.tls;
        self.key_pair("api.tls.cert", &tls.cert, &tls.key);
        let (health, api) = (&self.settings.health.listen, &self.settings.api.listen);
        for (key, listen) in [("health.listen", health), ("api.listen", api)] {
            // Several processes of one machine need no health port each.
            let off = key == "health.listen" && listen == crate::health::OFF;
            if !listen.is_empty() && !off {
                self.add(key, listen_fault(listen));
            }
        }
    }

    fn api(&mut self) {
        let url = &self.settings.api.trace_url;
        let leads_somewhere = url.starts_with("https://") || url.starts_with("http://");
        let is_page = leads_somewhere && url.contains("{trace_id}");
        let astray = (!url.is_empty() && !is_page).then(|| {
            format!("{url:?} is no page of a trace; expected an http(s):// URL with {{trace_id}} in it")
        });
        self.add("api.trace_url", astray);
        let oidc = &self.settings.api.oidc;
        if oidc.issuer.is_empty() {
            return;
        }
        let reachable = |url: &str| {
            let secure = url.starts_with("https://") || url.starts_with("http://127.0.0.1");
            (!secure)
                .then(|| format!("{url:?} is no https:// URL: whoever answers there decides who is let in"))
        };
        let missing =
            oidc.audience.is_empty().then(|| "is missing: tokens for others would be taken".to_owned());
        let jwks = (!oidc.jwks_url.is_empty()).then(|| reachable(&oidc.jwks_url)).flatten();
        let issuer = oidc.jwks_url.is_empty().then(|| reachable(&oidc.issuer)).flatten();
        let leeway_s = oidc.leeway_s;
        self.add("api.oidc.audience", missing);
        self.add("api.oidc.jwks_url", jwks);
        self.add("api.oidc.issuer", issuer);
        // Five minutes: a clock that is further off is to be set.
        self.range("api.oidc.leeway_s", leeway_s, 0, 300);
    }

    fn range(&mut self, key: &str, value: u64, low: u64, high: u64) {
        if !(low..=high).contains(&value) {
            let message = format!("{value} is out of range; expected {low} to {high}");
            self.add(key, Some(message));
        }
    }

    fn add(&mut self, key: &str, message: Option<String>) {
        let Some(message) = message else { return };
        self.found.push(Fault::new(key, self.settings.source_of(key), message));
    }
}

fn unknown_model(name: &str, settings: &Settings) -> String {
    let models: Vec<&str> = settings.models.keys().map(String::as_str).collect();
    let near = nearest(name, models.iter().copied())
        .map(|near| format!("; did you mean `{near}`?"))
        .unwrap_or_default();
    let known = match models.as_slice() {
        [] => "none are configured".to_owned(),
        models => format!("configured: {}", models.join(", ")),
    };
    format!("no model is named `{name}`{near} ({known})")
}

/// Names are ids (DESIGN section 11), as they travel in subjects and records.
fn name_fault(name: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let good = (1..=64).contains(&name.len()) && name.chars().all(allowed);
    (!good).then(|| "not a name; expected 1 to 64 of A-Z a-z 0-9 _ -".to_owned())
}

/// The seed of an NKey, of whatever kind.
fn is_seed(text: &str) -> bool {
    text.len() == 58
        && text.starts_with('S')
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

fn is_variable_name(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.chars().all(word) && !text.starts_with(|c: char| c.is_ascii_digit())
}

fn sync_interval_fault(text: &str) -> Option<String> {
    let digits = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = text.len() > digits.len() && ["ms", "s", "m", "h"].contains(&digits);
    let good = number || text == "always";
    (!good).then(|| format!("`{text}` is neither \"always\" nor a duration such as \"2m\""))
}

/// Port 0 is allowed here: it lets the system choose one.
fn listen_fault(listen: &str) -> Option<String> {
    match url::split_port(listen) {
        (_, Some(port)) => url::port_fault(port, 0),
        (_, None) => Some(format!("`{listen}` has no port; expected such as \"127.0.0.1:9464\"")),
    }
}
