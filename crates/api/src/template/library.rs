//! Where templates are found by name: those that ship with planfleet, and over them those
//! that people have added to the fleet.
//!
//! In the bucket, a version is a key of its own that is written once, and what it holds is
//! its name: `version.<name>.<sha256>`. Beside it, `name.<name>` says which versions there
//! are and which is the latest; that key alone is changed, by compare-and-set.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use planfleet_bus::{
    Bus, Error,
    broker::{self, CasOutcome},
};
use planfleet_core::id::check_name;
use planfleet_proto::subjects;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Template, shown};

/// What ships with planfleet.
const SHIPPED: [&str; 4] = [
    include_str!("../../templates/code-review.yaml"),
    include_str!("../../templates/extract-table.yaml"),
    include_str!("../../templates/map-summarise.yaml"),
    include_str!("../../templates/research-report.yaml"),
];

/// How long a name stands for what it stood for: a batch asks for one thousands of times,
/// and who adds a version can wait this long for it to be used everywhere.
const REMEMBERED: Duration = Duration::from_secs(5);

/// Names that are remembered: more than any batch mixes, and each a plan.
const REMEMBERED_MAX: usize = 256;

/// Fewest characters of a version that name it.
const PREFIX_MIN: usize = 6;

/// Tries to change what a name stands for, where others do too.
const CHANGES_MAX: usize = 16;

/// A template as it is found: a name, or a name and the beginning of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<'a> {
    /// The name.
    pub name: &'a str,
    /// The beginning of the version, where one is asked for.
    pub version: Option<&'a str>,
}

impl<'a> Named<'a> {
    /// Reads `name` or `name@version`.
    ///
    /// # Errors
    /// Says what would be right.
    pub fn parse(reference: &'a str) -> Result<Self, String> {
        let (name, version) = match reference.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (reference, None),
        };
        check_name("template", name).map_err(|error| error.to_string())?;
        let hex =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        match version {
            Some(text) if text.len() < PREFIX_MIN || text.len() > 64 || !hex(text) => Err(format!(
                "{reference:?}: a version is {PREFIX_MIN} to 64 lower-case hexadecimal digits, as \
                 `planfleet templates list` shows them"
            )),
            version => Ok(Self { name, version }),
        }
    }

    fn fits(&self, version: &str) -> bool {
        self.version.is_none_or(|prefix| version.starts_with(prefix))
    }
}

/// What a name stands for in the bucket.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Index {
    latest: String,
    /// When each version was added, in milliseconds since the Unix epoch.
    versions: BTreeMap<String, u64>,
}

/// A version as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// The digest of what is in it.
    pub version: String,
    /// Whether the name alone stands for it.
    pub latest: bool,
    /// `shipped` with planfleet, or `added` to the fleet.
    pub origin: &'static str,
    /// When it was added, in milliseconds since the Unix epoch.
    pub added_at_ms: Option<u64>,
}

/// Why a template is not found, added or removed.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// What was asked for cannot be done.
    #[error("{0}")]
    Refused(String),
    /// The bucket cannot be reached or read.
    #[error(transparent)]
    Bus(#[from] Error),
}

type Remembered = BTreeMap<String, (Instant, Arc<Template>)>;

/// Templates by name.
#[derive(Default)]
pub struct Library {
    bus: Option<Bus>,
    remembered: Mutex<Remembered>,
}

impl Library {
    /// What ships with planfleet, and nothing else.
    #[must_use]
    pub fn shipped() -> Self {
        Self::default()
    }

    /// That, and what was added to a fleet.
    #[must_use]
    pub fn on(bus: Bus) -> Self {
        Self { bus: Some(bus), ..Self::default() }
    }

    /// The template that a reference stands for.
    ///
    /// # Errors
    /// When there is none, or the fleet's cannot be read.
    pub async fn find(&self, reference: &str) -> Result<Arc<Template>, LibraryError> {
        if let Some(known) = self.recall(reference) {
            return Ok(known);
        }
        let named = Named::parse(reference).map_err(LibraryError::Refused)?;
        let found = match self.added(&named).await? {
            Some(added) => added,
            None => shipped(&named)?.ok_or_else(|| self.unknown(reference))?,
        };
        self.remember(reference, &found);
        Ok(found)
    }

    fn unknown(&self, reference: &str) -> LibraryError {
        let more = if self.bus.is_some() { "; `planfleet templates list` shows those that are" } else { "" };
        let names: Vec<&str> = SHIPPED_NAMES.to_vec();
        LibraryError::Refused(format!(
            "there is no template {reference:?}{more}; shipped are {}; a file is named by its path, as \
             ./template.yaml",
            names.join(", ")
        ))
    }

    fn recall(&self, reference: &str) -> Option<Arc<Template>> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, template) = remembered.get(reference)?;
        (since.elapsed() < REMEMBERED).then(|| Arc::clone(template))
    }

    fn remember(&self, reference: &str, template: &Arc<Template>) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(reference.to_owned(), (Instant::now(), Arc::clone(template)));
    }

    async fn added(&self, named: &Named<'_>) -> Result<Option<Arc<Template>>, LibraryError> {
        let Some((bus, (index, _))) = self.filled_index(named.name).await? else { return Ok(None) };
        let version = match named.version {
            None => index.latest,
            Some(_) => match one_of(named, index.versions.keys())? {
                Some(version) => version,
                None => return Ok(None),
            },
        };
        let key = subjects::template_version(named.name, &version);
        let Some(kept) = bus.broker().kv_get(subjects::TEMPLATES, &key).await.map_err(Error::from)? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&kept.value);
        let template = Template::parse(&text).map_err(|faults| {
            LibraryError::Refused(format!("{key} cannot be read: {}", faults.join("; ")))
        })?;
        Ok(Some(Arc::new(template)))
    }

    async fn index(&self, name: &str) -> Result<Option<(&Bus, (Index, u64))>, LibraryError> {
        let Some(bus) = &self.bus else { return Ok(None) };
        let key = subjects::template_index(name);
        let kept = match bus.broker().kv_get(subjects::TEMPLATES, &key).await {
            // A fleet that has no bucket for them yet has none.
            Err(broker::Error::Missing(_)) => None,
            kept => kept.map_err(Error::from)?,
        };
        let Some(kept) = kept else { return Ok(None) };
        let index = serde_json::from_slice(&kept.value).map_err(|error| Error::Answer(error.to_string()))?;
        Ok(Some((bus, (index, kept.revision))))
    }

    /// The same, where there are any versions.
    async fn filled_index(&self, name: &str) -> Result<Option<(&Bus, (Index, u64))>, LibraryError> {
        Ok(self.index(name).await?.filter(|(_, (index, _))| !index.versions.is_empty()))
    }

    /// Every version there is, by name, the newest of a name first.
    ///
    /// # Errors
    /// When the bucket cannot be reached or read.
    pub async fn list(&self) -> Result<Vec<Listed>, LibraryError> {
        let mut listed = BTreeMap::<String, Vec<Listed>>::new();
        if let Some(bus) = &self.bus {
            let kept = match bus.broker().kv_all(subjects::TEMPLATES).await {
                Err(broker::Error::Missing(_)) => BTreeMap::new(),
                kept => kept.map_err(Error::from)?,
            };
            for (key, entry) in &kept {
                let Some(name) = key.strip_prefix(subjects::TEMPLATE_INDEX) else { continue };
                match serde_json::from_slice::<Index>(&entry.value) {
                    Ok(index) => drop(listed.insert(name.to_owned(), index.listed(name))),
                    // Written by a later version, perhaps; it must not hide the others.
                    Err(error) => tracing::warn!(name, %error, "a template that cannot be read is left out"),
                }
            }
        }
        for template in shipped_all() {
            let name = template.name.clone().unwrap_or_default();
            let versions = listed.entry(name.clone()).or_default();
            // What was added stands over what ships.
            let latest = versions.is_empty();
            versions.push(Listed {
                name,
                version: template.version().to_owned(),
                latest,
                origin: "shipped",
                added_at_ms: None,
            });
        }
        Ok(listed.into_values().flatten().collect())
    }

    /// Adds a version, which its name alone stands for from now on; says whether it is new.
    ///
    /// # Errors
    /// When it has no name, or the bucket cannot be reached.
    pub async fn add(&self, template: &Template, now_ms: u64) -> Result<bool, LibraryError> {
        let Some(name) = &template.name else {
            return Err(LibraryError::Refused("has no \"name\" to be found by".to_owned()));
        };
        let Some(bus) = &self.bus else { return Err(nowhere()) };
        let version = template.version();
        let key = subjects::template_version(name, version);
        let text = Bytes::from(template.canonical().to_string());
        // A conflict means that it is there: what is in a version is its name.
        bus.broker().kv_cas(subjects::TEMPLATES, &key, text, 0).await.map_err(Error::from)?;
        for _ in 0..CHANGES_MAX {
            let (mut index, revision) =
                self.index(name).await?.map_or_else(Default::default, |(_, found)| found);
            let new = !index.versions.contains_key(version);
            if !new && index.latest == version {
                return Ok(false);
            }
            index.versions.insert(version.to_owned(), now_ms);
            index.latest = version.to_owned();
            if index.write(bus, name, revision).await? {
                return Ok(new);
            }
        }
        Err(contended(name))
    }

    /// Removes a version, or all of a name; gives what was removed.
    ///
    /// # Errors
    /// When there is no such template in the fleet, or the bucket cannot be reached.
    pub async fn remove(&self, reference: &str) -> Result<Vec<String>, LibraryError> {
        let named = Named::parse(reference).map_err(LibraryError::Refused)?;
        for _ in 0..CHANGES_MAX {
            let Some((bus, (mut index, revision))) = self.filled_index(named.name).await? else {
                return Err(self.not_added(&named, reference));
            };
            if named.version.is_some() && one_of(&named, index.versions.keys())?.is_none() {
                return Err(self.not_added(&named, reference));
            }
            let gone: Vec<String> =
                index.versions.keys().filter(|version| named.fits(version)).cloned().collect();
            index.versions.retain(|version, _| !named.fits(version));
            if gone.contains(&index.latest) {
                let newest = index.versions.iter().max_by_key(|(_, added)| **added);
                index.latest = newest.map(|(version, _)| version.clone()).unwrap_or_default();
            }
            if !index.write(bus, named.name, revision).await? {
                continue;
            }
            for version in &gone {
                let key = subjects::template_version(named.name, version);
                bus.broker().kv_delete(subjects::TEMPLATES, &key).await.map_err(Error::from)?;
            }
            return Ok(gone);
        }
        Err(contended(named.name))
    }

    fn not_added(&self, named: &Named<'_>, reference: &str) -> LibraryError {
        if self.bus.is_none() {
            return nowhere();
        }
        match shipped(named) {
            Ok(Some(_)) => LibraryError::Refused(format!(
                "{reference} ships with planfleet and stays; a template that is added under its name stands over it"
            )),
            _ => self.unknown(reference),
        }
    }
}

impl Index {
    fn listed(self, name: &str) -> Vec<Listed> {
        let mut versions: Vec<_> = self.versions.into_iter().collect();
        versions.sort_by_key(|(_, added)| std::cmp::Reverse(*added));
        let listed = versions.into_iter().map(|(version, added_at_ms)| Listed {
            name: name.to_owned(),
            latest: version == self.latest,
            version,
            origin: "added",
            added_at_ms: Some(added_at_ms),
        });
        listed.collect()
    }

    /// Writes it unless somebody else was first. Without versions it stays, and says so:
    /// a key that is deleted could take along what somebody has just added.
    async fn write(&self, bus: &Bus, name: &str, revision: u64) -> Result<bool, Error> {
        let key = subjects::template_index(name);
        let value = serde_json::to_vec(self).map_err(|error| Error::Answer(error.to_string()))?;
        let written = bus.broker().kv_cas(subjects::TEMPLATES, &key, Bytes::from(value), revision).await?;
        Ok(matches!(written, CasOutcome::Written(_)))
    }
}

/// The one version that the beginning of one names.
fn one_of<'a>(
    named: &Named<'_>,
    versions: impl Iterator<Item = &'a String>,
) -> Result<Option<String>, LibraryError> {
    let fitting: Vec<&String> = versions.filter(|version| named.fits(version)).collect();
    match fitting.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some((*one).clone())),
        many => {
            let shown: Vec<&str> = many.iter().map(|version| shown(version)).collect();
            let (name, prefix) = (named.name, named.version.unwrap_or_default());
            let message = format!("{name}@{prefix} can be {}; give more of it", shown.join(" or "));
            Err(LibraryError::Refused(message))
        }
    }
}

const SHIPPED_NAMES: [&str; 4] = ["code-review", "extract-table", "map-summarise", "research-report"];

fn shipped_all() -> impl Iterator<Item = Template> {
    // A test holds that each can be read.
    SHIPPED.iter().filter_map(|text| Template::parse(text).ok())
}

fn shipped(named: &Named<'_>) -> Result<Option<Arc<Template>>, LibraryError> {
    let found = shipped_all().find(|template| template.name.as_deref() == Some(named.name));
    Ok(found.filter(|template| named.fits(template.version())).map(Arc::new))
}

fn nowhere() -> LibraryError {
    LibraryError::Refused("there is no fleet to keep templates".to_owned())
}

fn contended(name: &str) -> LibraryError {
    LibraryError::Bus(Error::Answer(format!("the template {name} is changed by others all the time")))
}

#[cfg(test)]
mod tests {
    use planfleet_bus::{Manage, Topology, broker::memory::MemoryBroker};

    use super::*;

    async fn library() -> Library {
        let bus = Bus::new(Arc::new(MemoryBroker::new()), 1);
        let topology = Topology { shards: 1, replicas: 1, pools: Vec::new(), manage: Manage::Create };
        bus.bootstrap(&topology).await.unwrap();
        Library::on(bus)
    }

    fn template(name: &str, description: &str) -> Template {
        let text = format!(
            r#"{{"name": "{name}", "description": "{description}",
                 "plan": {{"steps": [{{"id": 1, "description": "x"}}]}}}}"#
        );
        Template::parse(&text).unwrap()
    }

    #[test]
    fn all_that_ships_can_be_read_and_is_named() {
        let names: Vec<String> =
            SHIPPED.iter().map(|text| Template::parse(text).unwrap().name.unwrap()).collect();
        assert_eq!(names, SHIPPED_NAMES);
    }

    #[tokio::test(start_paused = true)]
    async fn versions_stay_and_a_name_stands_for_the_last_that_was_added() {
        let library = library().await;
        let (one, two) = (template("t", "one"), template("t", "two"));
        assert!(library.add(&one, 1).await.unwrap());
        assert!(library.add(&two, 2).await.unwrap());
        assert!(!library.add(&two, 3).await.unwrap(), "it is there");
        assert_eq!(library.find("t").await.unwrap().description, "two");
        let pinned = one.reference().unwrap();
        assert_eq!(library.find(&pinned).await.unwrap().description, "one");
        let listed = library.list().await.unwrap();
        let of_t: Vec<_> = listed.iter().filter(|one| one.name == "t").collect();
        assert_eq!(of_t.len(), 2);
        assert!(of_t[0].latest && of_t[0].version == two.version() && of_t[0].added_at_ms == Some(2));
        // Adding an old version again makes it the latest.
        assert!(!library.add(&one, 4).await.unwrap());
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(library.find("t").await.unwrap().description, "one");
        assert_eq!(library.remove(&pinned).await.unwrap(), [one.version()]);
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(library.find("t").await.unwrap().description, "two");
        assert!(library.find(&pinned).await.is_err());
        assert_eq!(library.remove("t").await.unwrap(), [two.version()]);
        tokio::time::advance(REMEMBERED).await;
        let gone = library.find("t").await.unwrap_err().to_string();
        assert!(gone.contains("there is no template \"t\"") && gone.contains("code-review"), "{gone}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_added_stands_over_what_ships() {
        let library = library().await;
        let shipped = library.find("code-review").await.unwrap();
        assert_eq!(shipped.plan.steps.len(), 5);
        let refused = library.remove("code-review").await.unwrap_err().to_string();
        assert!(refused.contains("ships with planfleet"), "{refused}");
        library.add(&template("code-review", "ours"), 1).await.unwrap();
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(library.find("code-review").await.unwrap().description, "ours");
        let pinned = shipped.reference().unwrap();
        assert_eq!(library.find(&pinned).await.unwrap().version(), shipped.version());
        let listed = library.list().await.unwrap();
        let latest: Vec<_> = listed.iter().filter(|one| one.name == "code-review" && one.latest).collect();
        assert_eq!((latest.len(), latest[0].origin), (1, "added"));
    }

    #[test]
    fn a_reference_is_a_name_and_perhaps_a_version() {
        assert_eq!(Named::parse("a"), Ok(Named { name: "a", version: None }));
        assert_eq!(Named::parse("a@0123ab"), Ok(Named { name: "a", version: Some("0123ab") }));
        for wrong in ["", "a b", "a@", "a@123", "a@XYZXYZ", "@0123ab"] {
            assert!(Named::parse(wrong).is_err(), "{wrong}");
        }
    }
}
