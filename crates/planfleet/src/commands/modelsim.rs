//! `modelsim`: a simulated model provider, until a signal.

use std::process::ExitCode;

use planfleet_modelsim::{Script, Simulator};
use serde_json::json;

use crate::{cli::ModelsimArgs, exit::Failure, output};

pub(super) async fn modelsim(args: &ModelsimArgs) -> Result<ExitCode, Failure> {
    let script = Script::load(&args.script).map_err(Failure::usage)?;
    let bound = Simulator::builder().script(script).bind(&args.listen).await;
    let (simulator, server) = bound.map_err(Failure::usage)?;
    output::data(&json!({"simulated": true, "base_url": simulator.base_url()}).to_string());
    let stop = async {
        // Without signals there is nothing to wait for, and the process ends at once.
        let _ = tokio::signal::ctrl_c().await;
    };
    server.serve(stop).await.map_err(Failure::unexpected)?;
    Ok(ExitCode::SUCCESS)
}
