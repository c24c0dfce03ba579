//! The tables. A file of another version is thrown away: it is made anew from the stream.

use std::{fs, path::Path};

use rusqlite::{Connection, ErrorCode, OpenFlags};

/// Changes with every change of the tables or of what is written into them.
const VERSION: i64 = 2;

/// `seq` is the position of a run's document in the stream of ended runs. `words` keeps no
/// copy of what it indexes. In `sums` and `used` what is not there is an empty text.
const TABLES: &str = "
CREATE TABLE runs (
    seq INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL,
    kept_ms INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    state TEXT NOT NULL,
    class TEXT NOT NULL,
    batch_id TEXT NOT NULL,
    nano_usd INTEGER,
    total_ms INTEGER NOT NULL,
    summary TEXT NOT NULL,
    models TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX runs_by_id ON runs (run_id);
CREATE INDEX runs_by_time ON runs (kept_ms);
CREATE INDEX runs_by_cost ON runs (coalesce(nano_usd, -1));
CREATE INDEX runs_by_duration ON runs (total_ms);
CREATE INDEX tenants_runs_by_cost ON runs (tenant, coalesce(nano_usd, -1));
CREATE INDEX tenants_runs_by_duration ON runs (tenant, total_ms);

CREATE VIRTUAL TABLE words USING fts5 (
    text, facets,
    content = '', contentless_delete = 1, detail = column, prefix = '3',
    tokenize = 'unicode61 remove_diacritics 2'
);

CREATE TABLE sums (
    tenant TEXT, day INTEGER, class TEXT, batch_id TEXT, state TEXT,
    runs INTEGER NOT NULL, nano_usd INTEGER NOT NULL, unknown INTEGER NOT NULL,
    PRIMARY KEY (tenant, day, class, batch_id, state)
) WITHOUT ROWID, STRICT;

CREATE TABLE used (
    tenant TEXT, day INTEGER, class TEXT, batch_id TEXT, role TEXT, model TEXT,
    runs INTEGER NOT NULL, calls INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
    nano_usd INTEGER NOT NULL, unknown INTEGER NOT NULL,
    PRIMARY KEY (tenant, day, class, batch_id, role, model)
) WITHOUT ROWID, STRICT;
";

/// Opens the file for writing, with its tables.
pub(super) fn open(path: &Path) -> rusqlite::Result<Connection> {
    match sound(path) {
        Ok(Some(connection)) => return Ok(connection),
        Ok(None) => {}
        Err(error) => tracing::warn!(path = %path.display(), %error, "the index cannot be read; made anew"),
    }
    anew(path)
}

/// Whether a file is not what was written: it does not get better by itself.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Begins with an empty file, whatever was there. Whoever still reads that has it to the end.
pub(super) fn anew(path: &Path) -> rusqlite::Result<Connection> {
    for ending in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(ending);
        // What is not there is as good as removed; what stays is found by SQLite next.
        let _ = fs::remove_file(file);
    }
    let connection = Connection::open(path)?;
    settle(&connection)?;
    connection.execute_batch(TABLES)?;
    connection.pragma_update(None, "user_version", VERSION)?;
    Ok(connection)
}

/// The index that is there, if it is one of this version.
fn sound(path: &Path) -> rusqlite::Result<Option<Connection>> {
    if !path.exists() {
        return Ok(None);
    }
    let connection = Connection::open(path)?;
    settle(&connection)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok((version == VERSION).then_some(connection))
}

/// A power cut may lose what was written last, which is read again from the stream.
fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    // Pages between two syncs of the file, forty megabytes: a rebuild on a busy disk waits for little else.
    connection.pragma_update(None, "wal_autocheckpoint", 10_000)?;
    common(connection)
}

fn common(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "temp_store", "memory")?;
    // Kibibytes when negative: the inner pages of all trees of a million runs.
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.pragma_update(None, "mmap_size", 1_i64 << 30)
}

/// Opens the file for questions.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    common(&connection)?;
    // The words that there are: a view of the index, which keeps nothing.
    connection
        .execute_batch("CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab('main', 'words', 'instance')")?;
    Ok(connection)
}
