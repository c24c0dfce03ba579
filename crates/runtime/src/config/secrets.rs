//! Where an API key is, and how it is read: from a variable or a file, never from
//! the configuration itself.

use std::io::Read;

use super::models::ModelSettings;

/// Finds the API key of one model.
#[derive(Debug, Clone, Copy)]
pub struct SecretSource<'a> {
    /// The model's name under `[models]`, for errors.
    pub model: &'a str,
}

impl SecretSource<'_> {
    /// The key, or `None` when the model is configured to need none.
    pub fn resolve(
        &self,
        settings: &ModelSettings,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<String>, SecretError> {
        let owner = format!("model `{}`", self.model);
        secret(&owner, &settings.api_key_env, &settings.api_key_file, env)
    }
}

/// A key is a line of text; anything larger is the wrong file.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The key that a variable or else a file of that name holds; `None` where neither is named.
/// `owner` is whose it is, for errors.
pub fn secret(
    owner: &str,
    variable: &str,
    file: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, SecretError> {
    if !variable.is_empty() {
        return read_variable(owner, variable, env).map(Some);
    }
    if !file.is_empty() {
        return read_file(owner, file).map(Some);
    }
    Ok(None)
}

fn read_variable(
    owner: &str,
    variable: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<String, SecretError> {
    env(variable).map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()).ok_or_else(|| {
        SecretError::MissingVariable { owner: owner.to_owned(), variable: variable.to_owned() }
    })
}

fn read_file(owner: &str, path: &str) -> Result<String, SecretError> {
    let unreadable =
        |source| SecretError::UnreadableFile { owner: owner.to_owned(), path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    match text.trim() {
        "" => Err(SecretError::EmptyFile { owner: owner.to_owned(), path: path.to_owned() }),
        key => Ok(key.to_owned()),
    }
}

/// Why a key cannot be had; never contains a key.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is unset or empty.
    #[error("{owner} takes its key from the variable {variable}, which is not set")]
    MissingVariable {
        /// Whose key it is.
        owner: String,
        /// The variable's name.
        variable: String,
    },
    /// The file cannot be read as text.
    #[error("{owner} takes its key from {path}, which cannot be read")]
    UnreadableFile {
        /// Whose key it is.
        owner: String,
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is empty.
    #[error("{owner} takes its key from {path}, which is empty")]
    EmptyFile {
        /// Whose key it is.
        owner: String,
        /// The file.
        path: String,
    },
}
