//! `[roles]`: which models play which role.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Role;

/// `[roles]`: names of models; empty takes the fallback of [`RoleSettings::models`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoleSettings {
    /// Makes and revises plans.
    pub planner: ModelNames,
    /// Carries out steps.
    pub executor: ModelNames,
    /// Carries out hard steps; else the planner's model.
    pub strong: ModelNames,
    /// Judges outputs; else the executor's model.
    pub judge: ModelNames,
    /// Decides whether to plan; else the executor's model.
    pub triage: ModelNames,
}

impl RoleSettings {
    /// The names configured for a role itself, without fallback.
    #[must_use]
    pub fn configured(&self, role: Role) -> &ModelNames {
        match role {
            Role::Planner => &self.planner,
            Role::Executor => &self.executor,
            Role::Strong => &self.strong,
            Role::Judge => &self.judge,
            Role::Triage => &self.triage,
        }
    }

    /// The models' names for a role after fallback.
    #[must_use]
    pub fn models(&self, role: Role) -> &ModelNames {
        let fallback = match role {
            Role::Planner | Role::Strong => &self.planner,
            Role::Executor | Role::Judge | Role::Triage => &self.executor,
        };
        let own = self.configured(role);
        if own.is_empty() { fallback } else { own }
    }
}

/// Models of one role, the preferred one first. Written as one name, as several between commas
/// or as a list; none is written as an empty text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelNames(Vec<String>);

impl ModelNames {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl From<&str> for ModelNames {
    fn from(text: &str) -> Self {
        Self(text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }
}

impl Serialize for ModelNames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [] => serializer.serialize_str(""),
            [one] => serializer.serialize_str(one),
            several => serializer.collect_seq(several),
        }
    }
}

impl<'de> Deserialize<'de> for ModelNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a model's name such as \"fast\", or several: [\"fast\", \"other\"]")]
        enum Written {
            One(String),
            Several(Vec<String>),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::One(text) => text.as_str().into(),
            Written::Several(names) => Self(names),
        })
    }
}
