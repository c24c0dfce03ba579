//! `modelsim`: a simulated model provider, until a signal.

use std::process::ExitCode;

use planfleet_modelsim::{Builder, Rule, Script, Simulator};
use serde_json::json;

use crate::{cli::ModelsimArgs, exit::Failure, output};

pub(super) async fn modelsim(args: &ModelsimArgs) -> Result<ExitCode, Failure> {
    let (simulator, server) =
        builder(args)?.bind(&args.listen).await.map_err(|error| Failure::usage_because(&error))?;
    output::data(&json!({"simulated": true, "base_url": simulator.base_url()}).to_string());
    let stop = async {
        // Without signals there is nothing to wait for, and the process ends at once.
        let _ = tokio::signal::ctrl_c().await;
    };
    server.serve(stop).await.map_err(Failure::unexpected)?;
    Ok(ExitCode::SUCCESS)
}

fn builder(args: &ModelsimArgs) -> Result<Builder, Failure> {
    let mut builder = Simulator::builder().script(script(args)?);
    if let Some(key) = &args.require_key {
        builder = builder.require_key(key);
    }
    if let Some(cassette) = &args.cassette {
        builder = builder.cassette(cassette);
    }
    Ok(builder)
}

/// The script, with what the flags say in place of what it says.
fn script(args: &ModelsimArgs) -> Result<Script, Failure> {
    let mut script = match args.script.as_ref().or(args.path.as_ref()) {
        Some(path) => Script::load(path).map_err(|error| Failure::usage_because(&error))?,
        None => Script::default(),
    };
    script.seed = args.seed.unwrap_or(script.seed);
    let latency = &mut script.latency;
    latency.first_byte_ms = args.latency_first_byte_ms.unwrap_or(latency.first_byte_ms);
    latency.tokens_per_s = args.tokens_per_second.or(latency.tokens_per_s);
    latency.jitter_ms = args.jitter_ms.unwrap_or(latency.jitter_ms);
    script.faults.rates.extend(args.faults.iter().copied());
    script.faults.retry_after_s = args.retry_after.unwrap_or(script.faults.retry_after_s);
    let limits = &mut script.limits;
    limits.requests_per_minute = args.requests_per_minute.or(limits.requests_per_minute);
    limits.tokens_per_minute = args.tokens_per_minute.or(limits.tokens_per_minute);
    script.rules.extend(args.reply.as_ref().map(Rule::text));
    Ok(script)
}
