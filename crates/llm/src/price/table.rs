//! Tables of prices: the built-in one, and files of the same shape that go over it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Price;

/// A table as it is written: see `price/table.toml` in the sources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The day of the figures, `2026-10-24`.
    pub as_of: String,
    /// Where each provider's figures are from, in a sentence.
    #[serde(default)]
    pub sources: BTreeMap<String, String>,
    /// By the provider's name of the model.
    #[serde(default)]
    pub models: BTreeMap<String, Listed>,
}

/// What one model costs, in nano-USD per million tokens. What is not known is absent, never 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    pub provider: String,
    /// Other names at the same price.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    pub input: u64,
    /// Absent where cached input costs as much as any.
    pub cached_input: Option<u64>,
    /// Absent where writing to the cache costs as much as any input.
    pub cache_write: Option<u64>,
    pub output: u64,
    /// The longest prompt at this price, where longer ones cost more.
    pub input_tokens_max: Option<u64>,
    /// What calls with longer prompts cost.
    pub long: Option<Rates>,
}

/// What calls with long prompts cost, likewise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    pub input: u64,
    pub cached_input: Option<u64>,
    pub cache_write: Option<u64>,
    pub output: u64,
}

impl Listed {
    #[must_use]
    pub fn price(&self) -> Price {
        Price {
            input: self.input,
            cached_input: self.cached_input.unwrap_or(self.input),
            cache_write: self.cache_write.unwrap_or(self.input),
            output: self.output,
        }
    }
}

/// A price file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("cannot read price file {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("price file {path}: {source}")]
    Toml { path: PathBuf, source: Box<toml::de::Error> },
}

impl Table {
    /// The table that is part of the program.
    #[must_use]
    pub fn built_in() -> Self {
        // A test reads it; a table that could not be read would know no price.
        toml::from_str(include_str!("table.toml")).unwrap_or_default()
    }

    pub fn load(path: &Path) -> Result<Self, TableError> {
        let text = fs::read_to_string(path);
        let text = text.map_err(|source| TableError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text)
            .map_err(|source| TableError::Toml { path: path.to_owned(), source: Box::new(source) })
    }

    /// The text of a price file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = format!(
            "# In nano-USD per million tokens: 4000000000 is 4 USD. Made by `planfleet models prices import`.\n\
             as_of = {:?}\n\n[sources]\n",
            self.as_of
        );
        let mut line = |line: std::fmt::Arguments<'_>| {
            // Writing to a string cannot fail.
            let _ = text.write_fmt(line);
            text.push('\n');
        };
        for (provider, source) in &self.sources {
            line(format_args!("{provider:?} = {source:?}"));
        }
        for (name, listed) in &self.models {
            line(format_args!(
                "\n[models.{name:?}]\nprovider = {:?}\ninput = {}",
                listed.provider, listed.input
            ));
            let optional = [
                ("cached_input", listed.cached_input),
                ("cache_write", listed.cache_write),
                ("output", Some(listed.output)),
                ("input_tokens_max", listed.input_tokens_max),
                ("long.input", listed.long.map(|long| long.input)),
                ("long.cached_input", listed.long.and_then(|long| long.cached_input)),
                ("long.cache_write", listed.long.and_then(|long| long.cache_write)),
                ("long.output", listed.long.map(|long| long.output)),
            ];
            for (key, value) in optional {
                if let Some(value) = value {
                    line(format_args!("{key} = {value}"));
                }
            }
            if !listed.aliases.is_empty() {
                line(format_args!("aliases = {:?}", listed.aliases));
            }
        }
        text
    }

    /// The model's entry by the name that it goes by in the table.
    fn get(&self, name: &str) -> Option<(&str, &Listed)> {
        let by_alias =
            || self.models.iter().find(|(_, listed)| listed.aliases.iter().any(|alias| alias == name));
        self.models.get_key_value(name).or_else(by_alias).map(|(name, listed)| (name.as_str(), listed))
    }
}

/// Tables one over the other.
#[derive(Debug, Clone)]
pub struct Prices {
    /// The first that has a model wins.
    layers: Vec<(Origin, Table)>,
}

/// Where a price comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    BuiltIn,
    File(PathBuf),
}

/// A price that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found<'a> {
    /// The name in the table.
    pub name: &'a str,
    pub listed: &'a Listed,
    pub origin: &'a Origin,
    /// The table's day.
    pub as_of: &'a str,
}

impl Prices {
    /// The built-in table, and a file over it.
    pub fn new(file: Option<&Path>) -> Result<Self, TableError> {
        let mut layers = Vec::new();
        if let Some(path) = file {
            layers.push((Origin::File(path.to_owned()), Table::load(path)?));
        }
        layers.push((Origin::BuiltIn, Table::built_in()));
        Ok(Self { layers })
    }

    /// The price of a model by its provider's name: as it is, without the date of its snapshot,
    /// or without what a gateway puts before it. Nothing is guessed from a name's beginning:
    /// `gpt-4o-audio` does not cost what `gpt-4o` costs.
    #[must_use]
    pub fn find(&self, model: &str) -> Option<Found<'_>> {
        let bare = model.rsplit('/').next().unwrap_or(model);
        let names = [model, undated(model), bare, undated(bare)];
        self.layers.iter().find_map(|(origin, table)| {
            let (name, listed) = names.into_iter().find_map(|name| table.get(name))?;
            Some(Found { name, listed, origin, as_of: &table.as_of })
        })
    }

    /// All prices, those that others lie over left out, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Found<'_>> {
        let mut all = BTreeMap::new();
        for (origin, table) in &self.layers {
            for (name, listed) in &table.models {
                let found = Found { name, listed, origin, as_of: &table.as_of };
                all.entry(name.as_str()).or_insert(found);
            }
        }
        all.into_values().collect()
    }

    /// What a provider's figures rest on, by the table that has the price.
    #[must_use]
    pub fn source(&self, found: &Found<'_>) -> Option<&str> {
        let (_, table) = self.layers.iter().find(|(origin, _)| origin == found.origin)?;
        table.sources.get(&found.listed.provider).map(String::as_str)
    }
}

/// The name without `-2026-08-12`, `-20260812` or `-latest` at its end.
fn undated(name: &str) -> &str {
    let name = name.strip_suffix("-latest").unwrap_or(name);
    for (length, dashes) in [(11, true), (9, false)] {
        let Some((head, tail)) = name.len().checked_sub(length).and_then(|at| name.split_at_checked(at))
        else {
            continue;
        };
        let is_date = tail.bytes().enumerate().all(|(at, byte)| match at {
            0 => byte == b'-',
            5 | 8 if dashes => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
        if is_date {
            return head;
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_is_sound() {
        let table: Table = toml::from_str(include_str!("table.toml")).unwrap();
        assert!(!table.models.is_empty());
        for (name, listed) in &table.models {
            assert!(table.sources.contains_key(&listed.provider), "{name} has no source");
            assert!(listed.input > 0 && listed.output > listed.input, "{name}");
            assert!(listed.cached_input.is_none_or(|cached| 0 < cached && cached < listed.input), "{name}");
            assert!(listed.cache_write.is_none_or(|write| write > listed.input), "{name}");
            assert_eq!(listed.input_tokens_max.is_some(), listed.long.is_some(), "{name}");
            assert!(
                listed.long.is_none_or(|long| long.input > listed.input && long.output > listed.output),
                "{name}"
            );
        }
    }

    #[test]
    fn a_model_is_found_by_all_its_names_and_by_no_other() {
        let prices = Prices::new(None).unwrap();
        let found = |name: &str| prices.find(name).map(|found| found.name.to_owned());
        for name in [
            "claude-opus-5-5",
            "claude-opus-5-5-20260922",
            "anthropic/claude-opus-5-5",
            "claude-opus-5-5-latest",
        ] {
            assert_eq!(found(name).as_deref(), Some("claude-opus-5-5"), "{name}");
        }
        assert_eq!(found("gpt-4o-2024-08-06").as_deref(), Some("gpt-4o"));
        assert_eq!(found("claude-opus-4-7").as_deref(), Some("claude-opus-5"), "an alias");
        for name in ["gpt-4o-audio", "gpt", "claude-opus-5-6", "modelsim", ""] {
            assert_eq!(found(name), None, "{name}");
        }
    }

    #[test]
    fn a_file_lies_over_the_built_in_table() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices.toml");
        let listed = Listed { provider: "me".to_owned(), input: 7, output: 9, ..Listed::default() };
        let mut table = Table { as_of: "2026-11-01".to_owned(), ..Table::default() };
        table.models.insert("gpt-4o".to_owned(), listed.clone());
        table.models.insert(
            "own \"model\"".to_owned(),
            Listed {
                cached_input: Some(1),
                aliases: vec!["mine".to_owned()],
                input_tokens_max: Some(9),
                long: Some(Rates { input: 8, output: 10, cache_write: Some(9), ..Rates::default() }),
                ..listed
            },
        );
        table.sources.insert("me".to_owned(), "a friend".to_owned());
        fs::write(&path, table.to_toml()).unwrap();
        assert_eq!(Table::load(&path).unwrap(), table);
        let prices = Prices::new(Some(&path)).unwrap();
        let found = prices.find("openai/gpt-4o").unwrap();
        assert_eq!(
            (found.listed.price().input, found.origin, found.as_of),
            (7, &Origin::File(path), "2026-11-01")
        );
        assert_eq!(prices.source(&found), Some("a friend"));
        assert_eq!(prices.find("mine").unwrap().name, "own \"model\"");
        assert_eq!(prices.find("gpt-6-luna").unwrap().origin, &Origin::BuiltIn);
        assert_eq!(prices.all().iter().filter(|found| found.name == "gpt-4o").count(), 1);
        assert!(Prices::new(Some(folder.path())).is_err());
    }
}
