//! `admin nats-auth`: a key for each role, and what the server lets it do.
//!
//! The table itself is `planfleet_bus::permissions`. Seeds are written once, for their owner
//! alone to read; what the server gets holds public keys only.

use std::{
    collections::BTreeSet,
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use nkeys::{KeyPair, KeyPairType};
use planfleet_bus::permissions::{Role, User, configuration};
use planfleet_proto::subjects::PLAN_POOL;
use planfleet_runtime::config::Settings;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::{
    cli::{Cli, NatsAuthArgs},
    compose,
    exit::Failure,
    output::{self, cell},
};

/// What the servers include.
const CONFIGURATION: &str = "nats-auth.conf";

pub(super) fn nats_auth(cli: &Cli, args: &NatsAuthArgs, settings: &Settings) -> Result<ExitCode, Failure> {
    let roles = Role::all(settings.pools.keys().map(String::as_str).filter(|pool| *pool != PLAN_POOL));
    check_rotated(&roles, &args.rotate)?;
    fs::create_dir_all(&args.folder).map_err(|error| cannot("make", &args.folder, &error))?;
    let (mut users, mut shown) = (Vec::new(), Vec::new());
    // First all that can be refused, so that keys and what the server knows of them agree.
    let plan: Vec<Key> = roles.into_iter().map(|role| Key::look(role, args)).collect::<Result<_, _>>()?;
    for key in &plan {
        users.push(User { role: key.role.clone(), public_key: key.pair.public_key() });
        shown.push(key.shown());
    }
    let text = configuration(&users, compose::topology(settings).shards);
    let file = args.folder.join(CONFIGURATION);
    let is_there = check_there(&file, &text, args.force || !args.rotate.is_empty())?;
    for key in plan.iter().filter(|key| key.state != State::Kept) {
        key.write()?;
    }
    if !is_there {
        // The server reads it under a user of its own.
        write(&file, &text, 0o644)?;
    }
    let row = |key: &Value| ["role", "state", "public_key", "file"].map(|name| cell(&key[name])).into();
    output::list(cli.output, &["role", "state", "public key", "file"], &shown, row)?;
    if !cli.quiet {
        output::note(&format!(
            "the servers include {}; give each process its file as nats.nkey",
            file.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// The key of one role, and what becomes of its file.
struct Key {
    role: Role,
    file: PathBuf,
    pair: KeyPair,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Kept,
    Made,
    Rotated,
}

impl Key {
    fn look(role: Role, args: &NatsAuthArgs) -> Result<Self, Failure> {
        let file = args.folder.join(format!("{}.nk", role.name()));
        let fresh = |state| (KeyPair::new_user(), state);
        let (pair, state) = match fs::read_to_string(&file) {
            Ok(_) if args.rotate.contains(&role.name()) => fresh(State::Rotated),
            Ok(text) => (read(&file, &text)?, State::Kept),
            Err(error) if error.kind() == ErrorKind::NotFound => fresh(State::Made),
            Err(error) => return Err(cannot("read", &file, &error)),
        };
        Ok(Self { role, file, pair, state })
    }

    fn write(&self) -> Result<(), Failure> {
        let seed = self.pair.seed().map_err(Failure::unexpected)?;
        write(&self.file, &format!("# planfleet: {}\n{seed}\n", self.role.name()), 0o600)
    }

    fn shown(&self) -> Value {
        let state = format!("{:?}", self.state).to_lowercase();
        json!({
            "role": self.role.name(), "state": state,
            "public_key": self.pair.public_key(), "file": self.file.display().to_string(),
        })
    }
}

/// The seed is in no error.
fn read(file: &Path, text: &str) -> Result<KeyPair, Failure> {
    let seed = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    match seed.map(KeyPair::from_seed) {
        Some(Ok(pair)) if pair.key_pair_type() == KeyPairType::User => Ok(pair),
        _ => Err(Failure::usage(format!(
            "{}: no seed of a user's NKey; remove the file to have another made",
            file.display()
        ))),
    }
}

fn check_rotated(roles: &[Role], rotate: &[String]) -> Result<(), Failure> {
    let names: BTreeSet<String> = roles.iter().map(Role::name).collect();
    match rotate.iter().find(|name| !names.contains(*name)) {
        None => Ok(()),
        Some(name) => {
            let known: Vec<&str> = names.iter().map(String::as_str).collect();
            Err(Failure::usage(format!("--rotate {name}: no such role; there are {}", known.join(", "))))
        }
    }
}

/// Whether the file is there as it should be. Another one is somebody's work.
fn check_there(file: &Path, text: &str, replace: bool) -> Result<bool, Failure> {
    match fs::read_to_string(file) {
        Ok(there) if there == text => Ok(true),
        Ok(_) if replace => Ok(false),
        Ok(_) => Err(Failure::usage(format!(
            "{} is there and differs; --force replaces it, and keeps the keys",
            file.display()
        ))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(cannot("read", file, &error)),
    }
}

/// Whole or not at all, and nobody else reads a secret while it is written.
fn write(file: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = |error: std::io::Error| cannot("write", file, &error);
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut written = NamedTempFile::new_in(folder).map_err(failed)?;
    written.write_all(text.as_bytes()).map_err(failed)?;
    written.as_file().set_permissions(fs::Permissions::from_mode(mode)).map_err(failed)?;
    written.as_file().sync_all().map_err(failed)?;
    written.persist(file).map_err(|error| failed(error.error))?;
    Ok(())
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot {what} {}: {error}", path.display()))
}
