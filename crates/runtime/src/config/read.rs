//! From the merged tree to typed settings, key by key.
//!
//! Deserialising a section as a whole stops at its first error. So each key is
//! tried alone against the section's type, which names the key and the source
//! of every mistake; what passes is put together at the end. The keys that a
//! section knows are those of its serialised `Default`: nothing is listed twice.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use ::config::{Map, Value, ValueKind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::nearest::nearest;
use super::sources::{COMMAND_LINE, DEFAULTS, ENV_ORIGIN};
use super::{Fault, Settings};

type JsonMap = serde_json::Map<String, Json>;

/// What reading leaves beside the settings.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) faults: Vec<Fault>,
    /// Origin by key, of everything but the defaults.
    pub(super) sources: BTreeMap<String, String>,
}

/// Reads every section; what is wrong is left at its default and in the ledger.
pub(super) fn settings(mut tree: Map<String, Value>, ledger: &mut Ledger) -> Settings {
    let settings = Settings {
        nats: section("nats", tree.remove("nats"), ledger),
        roles: section("roles", tree.remove("roles"), ledger),
        models: named("models", tree.remove("models"), ledger),
        prices: section("prices", tree.remove("prices"), ledger),
        pools: named("pools", tree.remove("pools"), ledger),
        planner: section("planner", tree.remove("planner"), ledger),
        coordinator: section("coordinator", tree.remove("coordinator"), ledger),
        flow: section("flow", tree.remove("flow"), ledger),
        tools: section("tools", tree.remove("tools"), ledger),
        credentials: named("credentials", tree.remove("credentials"), ledger),
        mcp: named("mcp", tree.remove("mcp"), ledger),
        limits: section("limits", tree.remove("limits"), ledger),
        tenants: named("tenants", tree.remove("tenants"), ledger),
        telemetry: section("telemetry", tree.remove("telemetry"), ledger),
        health: section("health", tree.remove("health"), ledger),
        api: section("api", tree.remove("api"), ledger),
        data: section("data", tree.remove("data"), ledger),
        ..Settings::default()
    };
    let known = known_keys::<Settings>();
    for (key, value) in tree {
        ledger.faults.push(unknown("", &key, &known, &value));
    }
    settings
}

/// A section such as `[nats]`.
fn section<T>(path: &str, value: Option<Value>, ledger: &mut Ledger) -> T
where
    T: Default + Serialize + DeserializeOwned,
{
    let known = known_keys::<T>();
    let mut reader = Reader::<T> { path, ledger, accepted: JsonMap::new(), section: PhantomData };
    if let Some(table) = table_of(path, value, reader.ledger) {
        reader.table(&[], &known, table);
    }
    reader.finish()
}

/// A section of named tables, such as `[models.<name>]`.
fn named<T>(path: &str, value: Option<Value>, ledger: &mut Ledger) -> BTreeMap<String, T>
where
    T: Default + Serialize + DeserializeOwned,
{
    let entries = table_of(path, value, ledger).unwrap_or_default();
    entries
        .into_iter()
        .map(|(name, value)| {
            let read = section(&format!("{path}.{name}"), Some(value), ledger);
            (name, read)
        })
        .collect()
}

fn table_of(path: &str, value: Option<Value>, ledger: &mut Ledger) -> Option<Map<String, Value>> {
    let value = value?;
    let source = origin(&value);
    match value.kind {
        ValueKind::Table(table) => Some(table),
        other => {
            let message = format!("expected a table [{path}], found `{other}`");
            ledger.faults.push(Fault::new(path, source, message));
            None
        }
    }
}

struct Reader<'a, T> {
    path: &'a str,
    ledger: &'a mut Ledger,
    accepted: JsonMap,
    section: PhantomData<T>,
}

impl<T: Default + DeserializeOwned> Reader<'_, T> {
    /// Reads the keys of a table that lies at `at` below the section.
    fn table(&mut self, at: &[&str], known: &JsonMap, table: Map<String, Value>) {
        for (key, value) in table {
            let mut path = at.to_vec();
            path.push(&key);
            match known.get(&key) {
                None => {
                    let parent = self.full(at);
                    let fault = unknown(&parent, &key, known, &value);
                    self.ledger.faults.push(fault);
                }
                Some(Json::Object(inner)) if !inner.is_empty() => {
                    let full = self.full(&path);
                    if let Some(table) = table_of(&full, Some(value), self.ledger) {
                        self.table(&path, inner, table);
                    }
                }
                Some(default) => self.leaf(&path, default, &value),
            }
        }
    }

    fn leaf(&mut self, path: &[&str], default: &Json, value: &Value) {
        let source = origin(value);
        let key = self.full(path);
        let mut mistake = None;
        for candidate in candidates(default, value) {
            match serde_json::from_value::<T>(nested(path, candidate.clone())) {
                Ok(_) => {
                    insert(&mut self.accepted, path, candidate);
                    if source != DEFAULTS {
                        self.ledger.sources.insert(key, source);
                    }
                    return;
                }
                Err(error) => mistake = Some(error),
            }
        }
        let message = mistake.map_or_else(|| "not readable".to_owned(), |e| e.to_string());
        self.ledger.faults.push(Fault::new(key, source, message));
    }

    fn full(&self, path: &[&str]) -> String {
        let mut full = self.path.to_owned();
        for key in path {
            full.push('.');
            full.push_str(key);
        }
        full
    }

    fn finish(self) -> T {
        serde_json::from_value(Json::Object(self.accepted)).unwrap_or_else(|error| {
            let fault = Fault::new(self.path, "configuration", error);
            self.ledger.faults.push(fault);
            T::default()
        })
    }
}

fn known_keys<T: Default + Serialize>() -> JsonMap {
    match serde_json::to_value(T::default()) {
        Ok(Json::Object(keys)) => keys,
        // Sections are structs: anything else would know no keys.
        _ => JsonMap::new(),
    }
}

fn unknown(parent: &str, key: &str, known: &JsonMap, value: &Value) -> Fault {
    let full = match parent {
        "" => key.to_owned(),
        _ => format!("{parent}.{key}"),
    };
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    let message = match nearest(key, names.iter().copied()) {
        Some(near) => format!("unknown key; did you mean `{near}`?"),
        None => format!("unknown key; known here: {}", names.join(", ")),
    };
    Fault::new(full, origin(value), message)
}

/// Where a value came from; a table that was merged is named by what is in it.
fn origin(value: &Value) -> String {
    if let ValueKind::Table(table) = &value.kind {
        let mut origins: Vec<String> = table.values().map(origin).collect();
        origins.sort();
        origins.dedup();
        if !origins.is_empty() {
            return origins.join(", ");
        }
    }
    value.origin().unwrap_or("configuration").to_owned()
}

/// The readings of a value, the likeliest first. Variables and flags carry only
/// text: it is taken as text where text is wanted, else as the number, flag,
/// list or object that it spells.
fn candidates(default: &Json, value: &Value) -> Vec<Json> {
    let ValueKind::String(text) = &value.kind else {
        return match default {
            Json::Object(_) => vec![json(value, true), json(value, false)],
            _ => vec![json(value, false)],
        };
    };
    if !is_loose(value) {
        return vec![json(value, false)];
    }
    let spelled = serde_json::from_str::<Json>(text).ok();
    if default.is_array() && !matches!(spelled, Some(Json::Array(_))) {
        let items = text.split(',').map(str::trim);
        let items = items.filter(|item| !item.is_empty());
        return vec![items.map(|item| Json::String(item.to_owned())).collect()];
    }
    let mut readings = vec![Json::String(text.clone())];
    readings.extend(spelled);
    readings
}

fn is_loose(value: &Value) -> bool {
    let origin = value.origin().unwrap_or_default();
    origin == COMMAND_LINE || origin.starts_with(ENV_ORIGIN)
}

/// The value as JSON; `spelled` reads the texts of variables and flags as JSON
/// where they are.
fn json(value: &Value, spelled: bool) -> Json {
    match &value.kind {
        ValueKind::Nil => Json::Null,
        ValueKind::Boolean(flag) => Json::Bool(*flag),
        ValueKind::I64(number) => Json::from(*number),
        ValueKind::U64(number) => Json::from(*number),
        ValueKind::Float(number) => Json::from(*number),
        ValueKind::String(text) if spelled && is_loose(value) => {
            serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.clone()))
        }
        ValueKind::String(text) => Json::String(text.clone()),
        ValueKind::Table(table) => {
            table.iter().map(|(key, value)| (key.clone(), json(value, spelled))).collect()
        }
        ValueKind::Array(items) => items.iter().map(|item| json(item, spelled)).collect(),
        // No layer makes these; text is refused wherever a number is wanted.
        other => Json::String(other.to_string()),
    }
}

fn nested(path: &[&str], value: Json) -> Json {
    path.iter().rev().fold(value, |inner, key| Json::Object(JsonMap::from_iter([((*key).to_owned(), inner)])))
}

fn insert(into: &mut JsonMap, path: &[&str], value: Json) {
    match path {
        [] => {}
        [key] => {
            into.insert((*key).to_owned(), value);
        }
        [key, rest @ ..] => {
            let inner = into.entry((*key).to_owned()).or_insert_with(|| Json::Object(JsonMap::new()));
            if let Json::Object(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}
