//! `admin keys`: keys to the HTTP API, made, listed and ended.

use std::process::ExitCode;

use planfleet_api::access::{
    Role,
    keys::{ApiKey, KeyError, Keys, NewKey},
};
use planfleet_core::document::rfc3339;
use planfleet_runtime::{clock, config::Settings};
use serde_json::{Value, json};

use super::connect;
use crate::{
    cli::{Cli, CreateKeyArgs, Format, KeyRole, KeysCommand},
    exit::{Code, Failure},
    output::{self, cell},
};

const HEAD: [&str; 6] = ["id", "name", "tenant", "role", "created", "expires"];

pub(super) async fn keys(cli: &Cli, command: &KeysCommand, settings: &Settings) -> Result<ExitCode, Failure> {
    let bus = connect(settings).await?;
    if let KeysCommand::Create(_) = command {
        // A fleet that has not run since keys came has no place for them.
        bus.bootstrap(&crate::compose::topology(settings)).await?;
    }
    let keys = Keys::on(bus);
    match command {
        KeysCommand::Create(args) => create(cli, &keys, args).await?,
        KeysCommand::List => {
            let listed: Vec<Value> = keys.list().await?.iter().map(shown).collect();
            output::list(cli.output, &HEAD, &listed, row)?;
        }
        KeysCommand::Revoke { id } => match keys.revoke(id).await? {
            Some(key) => output::note(&format!("key {id} ({}) is revoked", key.name)),
            None => {
                let message =
                    format!("there is no key {id:?}; `planfleet admin keys list` shows those that are");
                return Err(Failure::new(Code::Unexpected, message));
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(cli: &Cli, keys: &Keys, args: &CreateKeyArgs) -> Result<(), Failure> {
    let role = match args.role {
        KeyRole::Reader => Role::Reader,
        KeyRole::Operator => Role::Operator,
        KeyRole::Admin => Role::Admin,
    };
    let new = NewKey { name: args.name.clone(), tenant: args.tenant.clone(), role, lasts: args.expires };
    let (text, key) = keys.create(new).await.map_err(|error| match error {
        KeyError::Name(error) => Failure::usage(error),
        KeyError::Random => Failure::unexpected(error),
        KeyError::Bus(error) => error.into(),
    })?;
    if cli.output == Format::Table {
        output::data(&text);
        if !cli.quiet {
            output::note(&format!("key {} of {}: it is shown this once", key.id, key.name));
        }
        return Ok(());
    }
    let mut created = shown(&key);
    created["key"] = json!(text);
    output::value(cli.output, &created)
}

/// What is kept of a key.
fn shown(key: &ApiKey) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "role": key.role,
        "created_at": rfc3339(key.created_ms),
        "expires_at": key.expires_ms.map(rfc3339),
        "expired": key.is_expired(clock::unix_ms()),
    })
}

fn row(key: &Value) -> Vec<String> {
    let tenant = if key["tenant"].is_null() { "all".to_owned() } else { cell(&key["tenant"]) };
    vec![
        cell(&key["id"]),
        cell(&key["name"]),
        tenant,
        cell(&key["role"]),
        cell(&key["created_at"]),
        cell(&key["expires_at"]),
    ]
}
