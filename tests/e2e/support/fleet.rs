//! A fleet of separate processes on one broker.

use planfleet_modelsim::Rule;
use serde_json::Value;

use super::{Broker, Cluster, Outcome, Process, Rig, until};

/// A rig and a broker that everything in it uses.
pub(crate) struct Fleet<B = Broker> {
    /// Before the rig, so that the server has ended when its home is removed.
    pub(crate) broker: B,
    pub(crate) rig: Rig,
}

impl Fleet {
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        Self::in_rig(Rig::new(rules))
    }

    /// In a rig that is there already.
    pub(crate) fn in_rig(rig: Rig) -> Self {
        let broker = Broker::start(&rig.home);
        let url = broker.url();
        Self::on(broker, rig, &url)
    }

    /// Waits until a call with this text is all that is at work: the steps before
    /// it have left the queue, so that no crash can bring them back.
    pub(crate) fn await_only(&self, text: &str) {
        self.rig.sim.await_step(text);
        until("a queue of one", || (self.broker.messages("PF_STEPS_0") == 1).then_some(()));
    }
}

impl Fleet<Cluster> {
    /// On three servers, with three copies of everything.
    pub(crate) fn of_three(rules: Vec<Rule>) -> Self {
        let mut rig = Rig::new(rules);
        let cluster = Cluster::start(&rig.home, 3);
        rig.set("nats.replicas=3");
        let url = cluster.url();
        Self::on(cluster, rig, &url)
    }
}

impl<B> Fleet<B> {
    fn on(broker: B, mut rig: Rig, url: &str) -> Self {
        rig.set(format!("nats.url={url}"));
        // One log, so that a crash always concerns the run of the test.
        rig.set("nats.shards=1");
        // The least: what a dead worker holds is soon given to another.
        rig.set("pools.default.ack_wait_s=2");
        rig.set("pools.plan.ack_wait_s=2");
        Self { broker, rig }
    }

    /// Starts a process with these roles and waits until it serves them.
    pub(crate) fn serve(&self, roles: &str) -> Process {
        self.serve_with(roles, "health.listen=127.0.0.1:0")
    }

    /// The same, with a setting of its own.
    pub(crate) fn serve_with(&self, roles: &str, setting: &str) -> Process {
        let mut process = self.rig.start(&["serve", "--roles", roles, "--set", setting]);
        process.says("serving");
        process
    }

    /// Waits until a coordinator owns the shard.
    pub(crate) fn wait_for_an_owner(&self) {
        until("an owner of the shard", || {
            let listed = self.rig.planfleet(&["admin", "doctor", "-o", "json"]);
            listed.out.contains("owned by").then_some(())
        });
    }

    /// Submits a task and follows it.
    pub(crate) fn run(&self, task: &Value) -> Process {
        self.rig.home.write("task.json", task.to_string());
        self.rig.start(&["run", "-f", "task.json", "-o", "json"])
    }

    /// Submits a task and gives its run's id.
    pub(crate) fn submit(&self, task: &Value) -> String {
        self.rig.home.write("task.json", task.to_string());
        let submitted = self.rig.planfleet(&["run", "--detach", "-f", "task.json"]).code(0);
        submitted.out.trim().to_owned()
    }

    /// Follows a run to its end.
    pub(crate) fn watch(&self, run: &str) -> Outcome {
        self.rig.planfleet(&["runs", "watch", run, "-o", "json"])
    }
}
