//! What `make setup` installs. It is never silently done without.

use std::path::{Path, PathBuf};

/// The nats-server program.
pub(crate) fn nats_server() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin");
    let folders = std::iter::once(beside).chain(std::env::split_paths(&path));
    folders
        .map(|folder| folder.join("nats-server"))
        .find(|program| program.is_file())
        .expect("there is no nats-server: run `make setup`")
}

/// The folder that the local model is installed in, for `PLANFLEET_CACHE`.
pub(crate) fn local_model() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let base = || variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    let cache = variable("PLANFLEET_CACHE").or_else(|| base().map(|base| base.join("planfleet")));
    let cache = cache.expect("neither PLANFLEET_CACHE nor HOME is set");
    let entries = || cache.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    let model = entries().any(|path| path.extension().is_some_and(|ending| ending == "gguf"));
    let server = entries().any(|path| path.to_string_lossy().contains("xllamacpp-"));
    assert!(model && server, "the local model is not in {}: run `make setup`", cache.display());
    cache
}

/// Where `make test` puts the packages of `scripts/requirements-mcp-<kind>.txt`, for `PYTHONPATH`.
pub(crate) fn mcp_packages(kind: &str) -> PathBuf {
    python_packages(&format!("mcp-{kind}"))
}

/// The same of `scripts/requirements-<name>.txt`.
pub(crate) fn python_packages(name: &str) -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools");
    let prefix = format!("{name}-");
    let mut entries = tools.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    let found =
        entries.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)));
    found.unwrap_or_else(|| {
        panic!("the packages {name} are not installed: run `scripts/setup.sh --mcp --api`")
    })
}

/// The Node.js that `make test` fetches for the dashboard, beside its packages and a browser.
pub(crate) fn node() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools");
    let mut entries =
        tools.read_dir().into_iter().flatten().flatten().map(|entry| entry.path().join("bin/node"));
    entries.find(|program| program.is_file()).expect("there is no Node.js: run `scripts/setup.sh --ui`")
}
