//! `templates`: plans with slots that tasks name.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum TemplatesCommand {
    /// Every template by name: those that ship with planfleet and those of the fleet.
    List,
    /// One template.
    Show {
        /// NAME, NAME@VERSION, or the path of a file.
        template: String,
    },
    /// Add a template to the fleet; its name stands for this version from then on.
    Add {
        /// A template as YAML or JSON.
        file: PathBuf,
        /// The name to add it under, in place of its own.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Check a template and list all of its faults.
    Lint {
        /// NAME, NAME@VERSION, or the path of a file.
        template: String,
    },
    /// What has changed between two templates.
    Diff {
        /// NAME, NAME@VERSION, or the path of a file.
        from: String,
        /// The other, likewise.
        to: String,
    },
    /// Remove a version, or all of a name. Runs that have begun keep their plan.
    Rm {
        /// NAME or NAME@VERSION.
        template: String,
    },
}
