//! A home whose models are one simulator: what most tests run in.

use std::ffi::OsString;

use planfleet_modelsim::{Builder, Rule, Simulator};
use serde_json::Value;

use super::{Home, Outcome, Process, Sim};

const KEY: &str = "sk-e2e-very-secret";

/// A home and its simulator.
pub(crate) struct Rig {
    pub(crate) home: Home,
    pub(crate) sim: Sim,
    settings: Vec<String>,
}

impl Rig {
    /// With a provider that answers by these rules.
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        Self::on(Sim::start(rules))
    }

    /// The same, with more that the provider is told.
    pub(crate) fn with(more: impl FnOnce(Builder) -> Builder, rules: Vec<Rule>) -> Self {
        let builder = rules.into_iter().fold(Simulator::builder(), Builder::rule);
        Self::on(Sim::with(more(builder)))
    }

    fn on(sim: Sim) -> Self {
        let mut home = Home::new();
        home.set("E2E_KEY", KEY);
        home.write("fleet.toml", configuration(&sim.url()));
        Self { home, sim, settings: Vec::new() }
    }

    /// Sets a configuration key for everything that is started from now on.
    pub(crate) fn set(&mut self, setting: impl Into<String>) {
        self.settings.push(setting.into());
    }

    /// `planfleet` to its end, with the rig's configuration.
    pub(crate) fn planfleet(&self, args: &[&str]) -> Outcome {
        self.home.planfleet(self.args(args))
    }

    pub(crate) fn start(&self, args: &[&str]) -> Process {
        self.home.start(self.args(args))
    }

    /// Runs a task on a fleet of its own.
    pub(crate) fn run_local(&self, task: &Value) -> Outcome {
        self.start_local(task).ended()
    }

    pub(crate) fn start_local(&self, task: &Value) -> Process {
        self.home.write("task.json", task.to_string());
        self.start(&["run", "--local", "-f", "task.json", "-o", "json"])
    }

    fn args(&self, args: &[&str]) -> Vec<OsString> {
        let mut all = vec!["--config".into(), self.home.path("fleet.toml").into_os_string()];
        all.extend(args.iter().map(Into::into));
        all.extend(self.settings.iter().flat_map(|setting| ["--set".into(), setting.into()]));
        all
    }
}

/// That of a fleet whose models are all one provider, at this base URL.
pub(crate) fn configuration(url: &str) -> String {
    let model = |name: &str, input: &str, cached: &str, output: &str| {
        format!(
            "[models.{name}]\nbase_url = \"{url}\"\nmodel = \"{name}\"\napi_key_env = \"E2E_KEY\"\n\
             price = {{ input_usd_per_million = \"{input}\", cached_input_usd_per_million = \"{cached}\", \
             output_usd_per_million = \"{output}\" }}\n"
        )
    };
    [
        model("brain", "2", "0.5", "10"),
        model("hands", "0.1", "0.05", "0.4"),
        model("judge", "1", "1", "1"),
        "[roles]\nplanner = \"brain\"\nexecutor = \"hands\"\njudge = \"judge\"\n".to_owned(),
        // Scripts say what is asked of which model, and hardly any is about this.
        "[planner]\ntriage = false\n".to_owned(),
        // Any free port: tests run side by side.
        "[health]\nlisten = \"127.0.0.1:0\"\n[api]\nlisten = \"127.0.0.1:0\"\n".to_owned(),
    ]
    .concat()
}
