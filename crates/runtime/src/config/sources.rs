//! The layers that settings come from, merged into one tree in which every
//! value remembers its origin: a file and line, a variable, the command line.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use ::config::{Config, Map, Source, Value, ValueKind};
use toml::de::{DeInteger, DeTable, DeValue};

use super::{ConfigError, DEFAULT_TOML, Fault, LoadRequest};

/// What the defaults are called as an origin.
pub(super) const DEFAULTS: &str = "defaults";
/// What flags are called as an origin.
pub(super) const COMMAND_LINE: &str = "command line";
/// How the origin of a variable's value starts.
pub(super) const ENV_ORIGIN: &str = "env ";
const ENV_PREFIX: &str = "PLANFLEET__";
/// Hand-written files are a few kilobytes; this keeps a mistaken path, to a
/// data set or a device, from filling the memory.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Variables that other tools established. They lose against a file, which is
/// written for planfleet, while they were set for all programs alike.
const WELL_KNOWN: [(&str, &str); 6] = [
    ("NATS_URL", "nats.url"),
    ("NATS_CREDS", "nats.creds"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp_endpoint"),
    ("OTEL_SERVICE_NAME", "telemetry.service_name"),
    ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "telemetry.capture_content"),
    ("RUST_LOG", "telemetry.log_filter"),
];

/// The process environment, injected so that tests are pure.
pub trait Env {
    /// Every variable whose name and value are Unicode.
    fn all(&self) -> Vec<(String, String)>;

    /// One variable; an empty one counts as unset.
    fn get(&self, name: &str) -> Option<String> {
        let found = self.all().into_iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value).filter(|value| !value.is_empty())
    }
}

/// The real environment of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnv;

impl Env for ProcessEnv {
    fn all(&self) -> Vec<(String, String)> {
        std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }
}

impl Env for BTreeMap<String, String> {
    fn all(&self) -> Vec<(String, String)> {
        self.clone().into_iter().collect()
    }
}

/// A directory of the XDG base directory specification.
pub(super) fn xdg_dir(env: &dyn Env, variable: &str, below_home: &str) -> Option<PathBuf> {
    env.get(variable)
        .map(PathBuf::from)
        .or_else(|| env.get("HOME").map(|home| Path::new(&home).join(below_home)))
}

/// All layers merged, and a note for each well-known variable that was taken.
pub(super) fn merge(
    file: Option<&Path>,
    request: &LoadRequest,
    env: &dyn Env,
) -> Result<(Map<String, Value>, Vec<String>), ConfigError> {
    let (well_known, notes) = well_known_layer(env);
    let mut builder =
        Config::builder().add_source(toml_layer(DEFAULTS, DEFAULT_TOML)?).add_source(well_known);
    if let Some(path) = file {
        builder = builder.add_source(toml_layer(&path.display().to_string(), &read(path)?)?);
    }
    let merged = builder
        .add_source(env_layer(env))
        .add_source(flag_layer(&request.overrides))
        .build()
        .and_then(|config| config.collect())
        .map_err(|error| one_fault("configuration", &error))?;
    Ok((merged, notes))
}

/// One layer: dotted keys or top-level tables, in the `config` crate's terms.
#[derive(Debug, Clone, Default)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ::config::ConfigError> {
        Ok(self.0.clone())
    }
}

fn well_known_layer(env: &dyn Env) -> (Layer, Vec<String>) {
    let mut layer = Layer::default();
    let mut notes = Vec::new();
    for (variable, key) in WELL_KNOWN {
        let Some(text) = env.get(variable) else {
            continue;
        };
        let origin = format!("{ENV_ORIGIN}{variable}");
        layer.0.insert(key.to_owned(), Value::new(Some(&origin), text));
        notes.push(format!(
            "{variable} is set: the default of {key}, unless the file or a flag says otherwise"
        ));
    }
    (layer, notes)
}

/// Our own source and not `config::Environment`: each value names its variable,
/// and text stays text, where guessing would turn a name `007` into 7. What a
/// text means is decided by the type of its key, in [`super::read`].
fn env_layer(env: &dyn Env) -> Layer {
    let pairs = env.all().into_iter().filter_map(|(variable, text)| {
        let key = variable.strip_prefix(ENV_PREFIX)?;
        let key = key.to_lowercase().replace("__", ".");
        let origin = format!("{ENV_ORIGIN}{variable}");
        Some((key, Value::new(Some(&origin), text)))
    });
    Layer(pairs.collect())
}

fn flag_layer(overrides: &[(String, String)]) -> Layer {
    let origin = COMMAND_LINE.to_owned();
    let pairs = overrides.iter().map(|(key, text)| (key.clone(), Value::new(Some(&origin), text.clone())));
    Layer(pairs.collect())
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let name = path.display().to_string();
    let cannot = |error: std::io::Error| one_fault(&name, &format!("cannot be read: {error}"));
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(cannot)?;
    if read as u64 > FILE_BYTES_MAX {
        let message = format!("is larger than the {FILE_BYTES_MAX} bytes allowed");
        return Err(one_fault(&name, &message));
    }
    Ok(text)
}

fn one_fault(source: &str, message: &dyn std::fmt::Display) -> ConfigError {
    ConfigError { faults: vec![Fault::new("", source, message)] }
}

/// Parses TOML. With faults in the syntax nothing else is looked at, since
/// whatever is found in the rest may follow from them.
fn toml_layer(name: &str, text: &str) -> Result<Layer, ConfigError> {
    let document = Document { name, text };
    let (table, errors) = DeTable::parse_recoverable(text);
    let faults = errors.iter().map(|error| {
        let start = error.span().map_or(0, |span| span.start);
        Fault::new("", document.origin(start), error.message())
    });
    ConfigError::unless_empty(faults.collect())?;
    Ok(Layer(document.table(table.get_ref())))
}

/// A TOML text, to turn the parser's byte offsets into lines.
struct Document<'a> {
    name: &'a str,
    text: &'a str,
}

impl Document<'_> {
    fn table(&self, table: &DeTable<'_>) -> Map<String, Value> {
        table
            .iter()
            .map(|(key, value)| {
                let start = key.span().start;
                let value = self.value(value.get_ref(), &self.origin(start));
                (key.get_ref().to_string(), value)
            })
            .collect()
    }

    fn value(&self, value: &DeValue<'_>, origin: &String) -> Value {
        let kind = match value {
            DeValue::String(text) => ValueKind::String(text.to_string()),
            DeValue::Integer(number) => integer(number),
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(float) => ValueKind::Float(float),
                Err(_) => ValueKind::String(number.to_string()),
            },
            DeValue::Boolean(flag) => ValueKind::Boolean(*flag),
            DeValue::Datetime(time) => ValueKind::String(time.to_string()),
            DeValue::Array(items) => {
                items.iter().map(|item| self.value(item.get_ref(), origin)).collect::<Vec<_>>().into()
            }
            DeValue::Table(table) => ValueKind::Table(self.table(table)),
        };
        Value::new(Some(origin), kind)
    }

    fn origin(&self, byte: usize) -> String {
        if self.name == DEFAULTS {
            return DEFAULTS.to_owned();
        }
        let before = self.text.as_bytes().iter().take(byte);
        let line = 1 + before.filter(|b| **b == b'\n').count();
        format!("{}:{line}", self.name)
    }
}

/// An integer beyond 64 bits stays text, which no key of a number accepts.
fn integer(number: &DeInteger<'_>) -> ValueKind {
    match i64::from_str_radix(number.as_str(), number.radix()) {
        Ok(value) => ValueKind::I64(value),
        Err(_) => ValueKind::String(number.to_string()),
    }
}
