//! Where a model's API key is, and how it is read: from a variable or a file,
//! never from the configuration itself.

use std::io::Read;

use super::models::ModelSettings;

/// Finds the API key of one model.
#[derive(Debug, Clone, Copy)]
pub struct SecretSource<'a> {
    /// The model's name under `[models]`, for errors.
    pub model: &'a str,
}

impl SecretSource<'_> {
    /// A key is a line of text; anything larger is the wrong file.
    const FILE_BYTES_MAX: u64 = 64 * 1024;

    /// The key, or `None` when the model is configured to need none.
    pub fn resolve(
        &self,
        settings: &ModelSettings,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<String>, SecretError> {
        if !settings.api_key_env.is_empty() {
            return self.read_variable(&settings.api_key_env, env).map(Some);
        }
        if !settings.api_key_file.is_empty() {
            return self.read_file(&settings.api_key_file).map(Some);
        }
        Ok(None)
    }

    fn read_variable(
        &self,
        variable: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String, SecretError> {
        env(variable).map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()).ok_or_else(|| {
            SecretError::MissingVariable { model: self.model.to_owned(), variable: variable.to_owned() }
        })
    }

    fn read_file(&self, path: &str) -> Result<String, SecretError> {
        let unreadable = |source| SecretError::UnreadableFile {
            model: self.model.to_owned(),
            path: path.to_owned(),
            source,
        };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut text = String::new();
        file.take(Self::FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
        match text.trim() {
            "" => Err(SecretError::EmptyFile { model: self.model.to_owned(), path: path.to_owned() }),
            key => Ok(key.to_owned()),
        }
    }
}

/// Why a model's key cannot be had; never contains a key.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is unset or empty.
    #[error("model `{model}` takes its key from the variable {variable}, which is not set")]
    MissingVariable {
        /// The model's name.
        model: String,
        /// The variable's name.
        variable: String,
    },
    /// The file cannot be read as text.
    #[error("model `{model}` takes its key from {path}, which cannot be read")]
    UnreadableFile {
        /// The model's name.
        model: String,
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is empty.
    #[error("model `{model}` takes its key from {path}, which is empty")]
    EmptyFile {
        /// The model's name.
        model: String,
        /// The file.
        path: String,
    },
}
