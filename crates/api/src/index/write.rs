//! Runs come into the index and go from it again; what is summed up follows both ways.

use rusqlite::{Connection, Transaction, params};
use serde_json::json;

use super::row::{Row, nano, state_name};
use crate::view::ModelUsage;

/// Runs that go in one transaction: questions wait for none of it, and other writes little.
const FORGET_MAX: u64 = 2_000;

/// Puts runs in that are not there yet.
pub(super) fn add(connection: &mut Connection, rows: &[Row]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for row in rows {
        let summary = &row.summary;
        let mut insert = transaction.prepare_cached(
            "INSERT OR IGNORE INTO runs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?;
        let new = insert.execute(params![
            signed(row.seq),
            summary.run_id,
            signed(row.kept_ms),
            summary.tenant,
            state_name(summary.state),
            summary.class.as_deref().unwrap_or_default(),
            summary.batch_id.as_deref().unwrap_or_default(),
            row.nano_usd,
            signed(summary.total_ms),
            json!(summary).to_string(),
            json!(row.models).to_string(),
        ])?;
        if new == 0 {
            continue;
        }
        let mut words =
            transaction.prepare_cached("INSERT INTO words (rowid, text, facets) VALUES (?1, ?2, ?3)")?;
        words.execute(params![signed(row.seq), row.text, row.facets()])?;
        sum(&transaction, &Summed::of(row), 1)?;
    }
    transaction.commit()
}

/// What of a run is summed up.
struct Summed {
    tenant: String,
    day: i64,
    class: String,
    batch: String,
    state: String,
    nano_usd: Option<i64>,
    models: Vec<ModelUsage>,
}

impl Summed {
    fn of(row: &Row) -> Self {
        Self {
            tenant: row.summary.tenant.clone(),
            day: signed(row.day()),
            class: row.summary.class.clone().unwrap_or_default(),
            batch: row.summary.batch_id.clone().unwrap_or_default(),
            state: state_name(row.summary.state).to_owned(),
            nano_usd: row.nano_usd,
            models: row.models.clone(),
        }
    }
}

/// Adds a run to the sums, or with -1 takes it off.
fn sum(transaction: &Transaction<'_>, of: &Summed, sign: i64) -> rusqlite::Result<()> {
    let Summed { tenant, day, class, batch, state, nano_usd, models } = of;
    let known = nano_usd.unwrap_or_default() * sign;
    transaction
        .prepare_cached(
            "INSERT INTO sums VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT DO UPDATE SET runs = runs + ?6, nano_usd = nano_usd + ?7, unknown = unknown + ?8",
        )?
        .execute(params![tenant, day, class, batch, state, sign, known, unknown(*nano_usd, sign)])?;
    for used in models {
        let nano_usd = used.usd.map(nano);
        let times = |count: u64| signed(count) * sign;
        transaction
            .prepare_cached(
                "INSERT INTO used VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
                 ON CONFLICT DO UPDATE SET runs = runs + ?7, calls = calls + ?8,
                     input_tokens = input_tokens + ?9, cached_tokens = cached_tokens + ?10,
                     output_tokens = output_tokens + ?11, nano_usd = nano_usd + ?12, unknown = unknown + ?13",
            )?
            .execute(params![
                tenant,
                day,
                class,
                batch,
                used.role,
                used.model,
                sign,
                times(used.calls),
                times(used.input_tokens),
                times(used.cached_tokens),
                times(used.output_tokens),
                nano_usd.unwrap_or_default() * sign,
                unknown(nano_usd, sign),
            ])?;
    }
    Ok(())
}

const fn unknown(nano_usd: Option<i64>, sign: i64) -> i64 {
    if nano_usd.is_none() { sign } else { 0 }
}

/// Takes out some of the runs whose documents are not kept any more, those before `first`;
/// says whether there are more.
pub(super) fn forget(connection: &mut Connection, first: u64) -> rusqlite::Result<bool> {
    let transaction = connection.transaction()?;
    let mut old = transaction.prepare_cached(
        "SELECT seq, tenant, kept_ms / 86400000, class, batch_id, state, nano_usd, models
         FROM runs WHERE seq < ?1 ORDER BY seq LIMIT ?2",
    )?;
    let of = |row: &rusqlite::Row<'_>| {
        let models: String = row.get(7)?;
        let summed = Summed {
            tenant: row.get(1)?,
            day: row.get(2)?,
            class: row.get(3)?,
            batch: row.get(4)?,
            state: row.get(5)?,
            nano_usd: row.get(6)?,
            models: serde_json::from_str(&models).unwrap_or_default(),
        };
        Ok((row.get::<_, i64>(0)?, summed))
    };
    let gone: Vec<_> = old.query_map([first, FORGET_MAX].map(signed), of)?.collect::<Result<_, _>>()?;
    drop(old);
    for (seq, summed) in &gone {
        transaction.prepare_cached("DELETE FROM words WHERE rowid = ?1")?.execute([seq])?;
        transaction.prepare_cached("DELETE FROM runs WHERE seq = ?1")?.execute([seq])?;
        sum(&transaction, summed, -1)?;
    }
    if !gone.is_empty() {
        transaction.execute_batch("DELETE FROM sums WHERE runs = 0; DELETE FROM used WHERE runs = 0;")?;
    }
    transaction.commit()?;
    Ok(gone.len() as u64 == FORGET_MAX)
}

/// Takes everything out.
pub(super) fn clear(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(
        "DELETE FROM runs; DELETE FROM sums; DELETE FROM used; INSERT INTO words (words) VALUES ('delete-all');",
    )?;
    transaction.commit()
}

/// SQLite's integers have a sign. Positions and times never come near it.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
