//! `admin`: look after the installation.

mod gc;
mod keys;
mod nats_auth;

use std::process::ExitCode;

use planfleet_bus::Bus;
use planfleet_proto::subjects;
use planfleet_runtime::config::{Manage, ProcessEnv, Settings, shown_url};
use serde_json::{Value, json};

use super::{broker_url, connect, look_at_broker, serve};
use crate::{
    broker::{
        Report,
        durability::Verdict,
        monitoring::{self, Health},
    },
    cli::{AdminCommand, Cli},
    compose::{self, tools::LateStore},
    embedded::{model, nats},
    exit::{Code, Failure},
    output::{self, cell},
};

pub(super) async fn admin(
    cli: &Cli,
    command: &AdminCommand,
    settings: &Settings,
) -> Result<ExitCode, Failure> {
    match command {
        AdminCommand::Doctor => doctor(cli, settings).await,
        AdminCommand::Gc(args) => gc::gc(cli, args, settings).await,
        AdminCommand::Keys(command) => keys::keys(cli, command, settings).await,
        AdminCommand::Bootstrap => bootstrap(cli, settings).await,
        AdminCommand::NatsAuth(args) => nats_auth::nats_auth(cli, args, settings),
    }
}

/// Makes everything, whatever `nats.manage` says of services.
async fn bootstrap(cli: &Cli, settings: &Settings) -> Result<ExitCode, Failure> {
    let mut settings = settings.clone();
    settings.nats.manage = Manage::Create;
    let bus = connect(&settings).await?;
    serve::bootstrap(&bus, &settings).await?;
    let (there, pools) = (compose::topology(&settings).streams(), settings.pools.keys());
    if !cli.quiet {
        output::note(&format!(
            "{} streams, pools {}",
            there.len(),
            pools.cloned().collect::<Vec<_>>().join(", ")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// One thing that was looked at.
fn finding(what: &str, state: &str, detail: impl Into<String>) -> Value {
    json!({"what": what, "state": state, "detail": detail.into()})
}

async fn doctor(cli: &Cli, settings: &Settings) -> Result<ExitCode, Failure> {
    let mut findings = vec![server_program(), local_model(), tools(settings).await];
    findings.extend(models(settings).await);
    findings.extend(broker(settings).await);
    let row = |finding: &Value| {
        vec![
            cell(&finding["what"]),
            cell(&finding["state"]),
            finding["detail"].as_str().unwrap_or_default().to_owned(),
        ]
    };
    output::list(cli.output, &["what", "state", "detail"], &findings, row)?;
    let bad = findings.iter().any(|finding| finding["state"] == "bad");
    Ok(if bad { ExitCode::from(Code::Unexpected as u8) } else { ExitCode::SUCCESS })
}

fn server_program() -> Value {
    match nats::find() {
        Ok(path) => finding("nats-server", "ok", path.display().to_string()),
        Err(failure) => finding("nats-server", "missing", failure.to_string()),
    }
}

fn local_model() -> Value {
    if model::is_installed(&ProcessEnv) {
        finding("local model", "ok", "installed; used by `dev` and `--local` where no model is configured")
    } else {
        finding("local model", "missing", "not installed; `make setup` does, and it is optional")
    }
}

async fn tools(settings: &Settings) -> Value {
    match compose::tools::registry(settings, LateStore::new(settings)).await {
        Ok(registry) => finding("tools", "ok", format!("{} are there", registry.catalog().len())),
        Err(failure) => finding("tools", "bad", failure.to_string()),
    }
}

async fn models(settings: &Settings) -> Vec<Value> {
    let mut findings = Vec::new();
    for (name, model) in &settings.models {
        let what = format!("model {name}");
        let listed = match compose::chat(name, model) {
            Ok((chat, _)) => chat.list_models().await.map_err(|error| error.to_string()),
            Err(failure) => Err(failure.to_string()),
        };
        findings.push(match listed {
            Ok(served) if served.is_empty() || served.contains(&model.model) => {
                finding(&what, "ok", shown_url(&model.base_url))
            }
            Ok(served) => finding(
                &what,
                "warning",
                format!(
                    "{} does not list {:?}; it lists {}",
                    shown_url(&model.base_url),
                    model.model,
                    served.join(", ")
                ),
            ),
            Err(error) => finding(&what, "bad", error),
        });
    }
    findings
}

async fn broker(settings: &Settings) -> Vec<Value> {
    let url = shown_url(&broker_url(settings));
    let bus = match connect(settings).await {
        Ok(bus) => bus,
        Err(failure) => return vec![finding("broker", "bad", format!("{url}: {failure}"))],
    };
    let mut findings = match look_at_broker(&bus, settings).await {
        Ok(report) => {
            vec![finding("broker", "ok", format!("{url}: {}", report.summary())), power_cut(&report)]
        }
        Err(failure) => vec![finding("broker", "bad", format!("{url}: {failure}"))],
    };
    findings.extend(servers(settings).await);
    for spec in compose::topology(settings).streams() {
        findings.push(match bus.broker().verify_stream(&spec).await {
            Ok(()) => finding(&format!("stream {}", spec.name), "ok", stream_size(&bus, &spec.name).await),
            Err(error) => finding(&format!("stream {}", spec.name), "bad", error.to_string()),
        });
    }
    findings.extend(leases(&bus).await);
    findings
}

/// How the broker's servers say that they are, where they can be asked.
async fn servers(settings: &Settings) -> Vec<Value> {
    let urls = &settings.nats.monitoring_url;
    if urls.is_empty() {
        return Vec::new();
    }
    let told = |(url, health): (String, Health)| {
        let state = match health {
            Health::Well => "ok",
            Health::Bad(_) => "bad",
            Health::Unknown(_) => "warning",
        };
        finding("broker server", state, format!("{url}: {health}"))
    };
    monitoring::health(urls).await.into_iter().map(told).collect()
}

fn power_cut(report: &Report) -> Value {
    let Verdict { at_risk, text } = report.verdict();
    finding("power cut", if at_risk { "warning" } else { "ok" }, text)
}

async fn stream_size(bus: &Bus, name: &str) -> String {
    let state = bus.broker().stream_state(name).await;
    let letters = if name == subjects::DEAD_LETTERS { "dead letters" } else { "messages" };
    state.map_or_else(|error| error.to_string(), |state| format!("{} {letters}", state.messages))
}

async fn leases(bus: &Bus) -> Vec<Value> {
    let mut findings = Vec::new();
    for shard in 0..bus.shards() {
        let what = format!("shard {shard:02}");
        findings.push(match bus.lease(shard).await {
            Ok(Some(held)) if !held.lease.owner.is_empty() => {
                finding(&what, "ok", format!("owned by {}, epoch {}", held.lease.owner, held.lease.epoch))
            }
            Ok(_) => finding(&what, "warning", "no coordinator owns it; is one running?"),
            Err(error) => finding(&what, "bad", error.to_string()),
        });
    }
    findings
}
