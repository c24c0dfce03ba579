//! `models prices`: what calls cost, where that is from, and new figures from public catalogues.

use std::{fs, path::Path, process::ExitCode, time::Duration};

use planfleet_llm::price::{
    import::Imported,
    table::{Found, Origin, Prices},
};
use planfleet_runtime::config::{ModelSettings, Settings, UsdPerMillion};
use serde_json::{Value, json};

use crate::{
    cli::{Cli, Format, PricesCommand},
    exit::Failure,
    output::{self, cell},
    prices,
};

/// LiteLLM's catalogue has some 3 MiB; what is much larger is something else.
const CATALOGUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// For the whole catalogue, over a slow line.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) async fn prices(
    cli: &Cli,
    command: Option<&PricesCommand>,
    settings: &Settings,
) -> Result<ExitCode, Failure> {
    match command {
        None | Some(PricesCommand::List) => list(cli, settings),
        Some(PricesCommand::Show { name }) => show(cli, name, settings),
        Some(PricesCommand::Import { from, source, out, force }) => {
            let json = read(source).await?;
            // The day alone.
            let today = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
            let imported = from.catalogue().import(&json, source, today.get(..10).unwrap_or_default());
            let imported = imported
                .map_err(|error| Failure::usage(format!("{source}: {}", Failure::usage_because(&error))))?;
            write(cli, &imported, out, *force)
        }
    }
}

fn list(cli: &Cli, settings: &Settings) -> Result<ExitCode, Failure> {
    let prices = prices::prices(settings)?;
    let mut rows: Vec<Value> =
        settings.models.iter().map(|(name, model)| configured(name, model, settings, &prices)).collect();
    rows.extend(prices.all().iter().map(|found| listed(found, &prices)));
    print(cli, &rows)
}

fn show(cli: &Cli, name: &str, settings: &Settings) -> Result<ExitCode, Failure> {
    let prices = prices::prices(settings)?;
    let row = match (settings.models.get(name), prices.find(name)) {
        (Some(model), _) => configured(name, model, settings, &prices),
        (None, Some(found)) => listed(&found, &prices),
        (None, None) => {
            let message = format!(
                "no price of {name:?} is known: set models.<name>.price, or make a price file with `planfleet \
                 models prices import`"
            );
            return Err(Failure::usage(message));
        }
    };
    match cli.output {
        Format::Table => print(cli, &[row]),
        format => output::value(format, &row).map(|()| ExitCode::SUCCESS),
    }
}

fn print(cli: &Cli, rows: &[Value]) -> Result<ExitCode, Failure> {
    let head = ["model", "input", "cached", "cache write", "output", "up to", "above", "from"];
    let row = |row: &Value| {
        let mut cells: Vec<String> =
            ["model", "input", "cached_input", "cache_write", "output", "input_tokens_max"]
                .map(|key| cell(&row[key]))
                .into();
        let long = &row["long"];
        cells.push(if long.is_null() {
            "-".to_owned()
        } else {
            format!("{} | {}", cell(&long["input"]), cell(&long["output"]))
        });
        let date = row["as_of"].as_str().map_or(String::new(), |date| format!(" of {date}"));
        cells.push(format!("{}{date}", cell(&row["from"])));
        cells
    };
    output::list(cli.output, &head, rows, row)?;
    if cli.output == Format::Table && !cli.quiet {
        output::note(
            "USD per million tokens; up to: the longest prompt at that price; above: input | output of longer ones",
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// A configured model, and which table its price is from if it has none of its own.
fn configured(name: &str, model: &ModelSettings, settings: &Settings, prices: &Prices) -> Value {
    let own = settings.source_of(&format!("models.{name}.price"));
    let mut row = match prices.find(&model.model) {
        Some(found) if own == "defaults" => listed(&found, prices),
        _ => json!({
            "input": model.price.input_usd_per_million,
            "cached_input": model.price.cached_input_usd_per_million,
            "cache_write": model.price.cache_write_input_usd_per_million,
            "output": model.price.output_usd_per_million,
            "input_tokens_max": model.price.long.over_tokens,
            "long": model.price.long.over_tokens.map(|_| json!({
                "input": model.price.long.input_usd_per_million,
                "cached_input": model.price.long.cached_input_usd_per_million,
                "cache_write": model.price.long.cache_write_input_usd_per_million,
                "output": model.price.long.output_usd_per_million,
            })),
            "from": if own == "defaults" { "unknown".to_owned() } else { format!("configuration ({own})") },
            "as_of": null,
            "source": null,
        }),
    };
    row["model"] = json!(format!("models.{name} ({})", model.model));
    row
}

fn listed(found: &Found<'_>, prices: &Prices) -> Value {
    let usd = |nano_usd: u64| UsdPerMillion::from_nano_usd(nano_usd);
    let listed = found.listed;
    json!({
        "model": found.name,
        "provider": listed.provider,
        "aliases": listed.aliases,
        "input": usd(listed.input),
        "cached_input": listed.cached_input.map(usd),
        "cache_write": listed.cache_write.map(usd),
        "output": usd(listed.output),
        "input_tokens_max": listed.input_tokens_max,
        "long": listed.long.map(|long| json!({
            "input": usd(long.input),
            "cached_input": long.cached_input.map(usd),
            "cache_write": long.cache_write.map(usd),
            "output": usd(long.output),
        })),
        "from": match found.origin {
            Origin::BuiltIn => "built-in".to_owned(),
            Origin::File(path) => path.display().to_string(),
        },
        "as_of": found.as_of,
        "source": prices.source(found),
    })
}

async fn read(source: &str) -> Result<Vec<u8>, Failure> {
    if !source.starts_with("http://") && !source.starts_with("https://") {
        return fs::read(source).map_err(|error| Failure::usage(format!("cannot read {source}: {error}")));
    }
    let failed = |error: reqwest::Error| Failure::unexpected(format!("cannot fetch {source}: {error}"));
    planfleet_llm::install_crypto();
    let client = reqwest::Client::builder().timeout(FETCH_TIMEOUT).build().map_err(failed)?;
    let mut response = client.get(source).send().await.and_then(|r| r.error_for_status()).map_err(failed)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > CATALOGUE_BYTES_MAX {
            return Err(Failure::usage(format!("{source} is larger than any catalogue of prices (64 MiB)")));
        }
    }
    Ok(bytes)
}

fn write(cli: &Cli, imported: &Imported, out: &Path, force: bool) -> Result<ExitCode, Failure> {
    let text = imported.table.to_toml();
    if out == Path::new("-") {
        output::data(text.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let shown = out.display();
    let file = fs::OpenOptions::new().write(true).create(true).truncate(force).create_new(!force).open(out);
    let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::usage(format!("{shown} is there: --force replaces it")),
        _ => Failure::unexpected(format!("cannot write {shown}: {error}")),
    })?;
    if !cli.quiet {
        output::note(&format!(
            "{shown}: {} models; {} entries have no price of input and output. Set prices.file to use it",
            imported.table.models.len(),
            imported.without_price
        ));
    }
    Ok(ExitCode::SUCCESS)
}
