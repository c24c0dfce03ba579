//! The command line of `models`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use planfleet_llm::price::import::Catalogue;

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// Every configured model and its roles.
    List,
    /// Ask each model for one word.
    Test {
        /// Only this one.
        name: Option<String>,
    },
    /// What calls cost, and where the figures come from.
    Prices {
        #[command(subcommand)]
        command: Option<PricesCommand>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PricesCommand {
    /// Every price that is known, and those of the configured models first.
    List,
    /// The price of one model.
    Show {
        /// A provider's name for it, or the name of a configured one.
        name: String,
    },
    /// Make a price file from a public catalogue, for prices.file.
    Import {
        /// Whose catalogue it is.
        #[arg(long, value_enum)]
        from: From,
        /// The catalogue: a file, or an http(s) address.
        #[arg(value_name = "FILE")]
        source: String,
        /// Where the price file goes; - is standard output.
        #[arg(long, default_value = "prices.toml", value_name = "FILE")]
        out: PathBuf,
        /// Replace the file that is there.
        #[arg(long)]
        force: bool,
    },
}

/// Whose catalogue of prices is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum From {
    /// model_prices_and_context_window.json.
    Litellm,
    /// api.json.
    #[value(name = "models.dev")]
    ModelsDev,
}

impl From {
    pub(crate) const fn catalogue(self) -> Catalogue {
        match self {
            Self::Litellm => Catalogue::LiteLlm,
            Self::ModelsDev => Catalogue::ModelsDev,
        }
    }
}
