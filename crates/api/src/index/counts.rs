//! How many runs there are, and what they have cost.

use std::collections::BTreeMap;

use rusqlite::{Connection, params_from_iter, types::Value as Sql};

use super::{
    query::Filter,
    row::{nano, state_name},
};
use crate::view::{CostRow, ModelUsage};

/// Rows of one report: what has cost most.
const ROWS_MAX: usize = 500;

/// Runs that are counted one by one: what has to be looked at for each is on pages of its own.
/// Filters that the tables of sums know are counted whole.
pub(crate) const COUNTED_MAX: usize = 10_000;

/// How many ended runs there are, by the name of their state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) by_state: BTreeMap<String, Count>,
    /// Whether there are more: only the newest [`COUNTED_MAX`] are counted.
    pub(crate) capped: bool,
}

/// Ended runs of one state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) runs: u64,
    pub(crate) nano_usd: i64,
    /// Runs whose cost is not known.
    pub(crate) unknown: u64,
}

/// The runs that a filter lets through, by state.
pub(super) fn by_state(
    connection: &Connection,
    filter: &Filter,
    counted_max: usize,
) -> rusqlite::Result<Counts> {
    let summed = filter.is_summed();
    let capped = !summed && are_more(connection, filter, counted_max)?;
    let (sql, values) = if summed {
        let (conditions, values) = conditions(filter, None);
        let sql = format!(
            "SELECT state, sum(runs), sum(nano_usd), sum(unknown) FROM sums {conditions} GROUP BY state"
        );
        (sql, values)
    } else {
        let (positions, values) = filter.newest(connection)?;
        let sql = format!(
            "SELECT state, count(*), coalesce(sum(nano_usd), 0), count(*) - count(nano_usd)
             FROM ({positions} LIMIT {counted_max}) AS newest CROSS JOIN runs ON runs.seq = newest.seq
             GROUP BY state"
        );
        (sql, values)
    };
    let mut counted = connection.prepare_cached(&sql)?;
    let counts = counted.query_map(params_from_iter(values), |row| {
        let count = Count { runs: count(row, 1)?, nano_usd: row.get(2)?, unknown: count(row, 3)? };
        Ok((row.get(0)?, count))
    })?;
    Ok(Counts { by_state: counts.collect::<rusqlite::Result<_>>()?, capped })
}

/// Whether a filter lets more runs through than so many.
fn are_more(connection: &Connection, filter: &Filter, than: usize) -> rusqlite::Result<bool> {
    let (positions, values) = filter.newest(connection)?;
    let mut next = connection.prepare_cached(&format!("{positions} LIMIT 1 OFFSET {than}"))?;
    next.exists(params_from_iter(values))
}

fn count(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or_default())
}

/// What a filter comes to in the tables of sums.
fn conditions(filter: &Filter, from_day: Option<u64>) -> (String, Vec<Sql>) {
    let mut values = Vec::new();
    let mut all = vec!["runs > 0".to_owned()];
    let own = [("tenant", &filter.tenant), ("class", &filter.class), ("batch_id", &filter.batch)];
    for (column, value) in own {
        if let Some(value) = value {
            values.push(Sql::from(value.clone()));
            all.push(format!("{column} = ?{}", values.len()));
        }
    }
    if let Some(day) = from_day {
        values.push(Sql::from(super::write::signed(day)));
        all.push(format!("day >= ?{}", values.len()));
    }
    if !filter.states.is_empty() {
        let names: Vec<String> =
            filter.states.iter().map(|state| format!("'{}'", state_name(*state))).collect();
        all.push(format!("state IN ({})", names.join(", ")));
    }
    (format!("WHERE {}", all.join(" AND ")), values)
}

/// What makes a row of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Class,
    Batch,
    Day,
    Model,
    Role,
    Run,
}

/// What the runs have cost that ended on `from_day` (of the Unix epoch, UTC) or later.
pub(super) fn costs(
    connection: &Connection,
    filter: &Filter,
    by: By,
    from_day: Option<u64>,
) -> rusqlite::Result<Vec<CostRow>> {
    let mut rows = match by {
        By::Run => return of_runs(connection, filter, from_day),
        By::Model | By::Role => used(connection, filter, column(by), from_day)?.into_values().collect(),
        By::Class | By::Batch | By::Day => {
            let mut rows = used(connection, filter, column(by), from_day)?;
            for (key, (runs, nano_usd, unknown)) in summed(connection, filter, column(by), from_day)? {
                let row = rows.entry(key.clone()).or_insert_with(|| empty(key));
                row.runs = runs;
                row.known_usd = dollars(nano_usd);
                row.usd = (unknown == 0).then_some(row.known_usd);
            }
            rows.into_values().collect::<Vec<_>>()
        }
    };
    if by == By::Day {
        for row in &mut rows {
            let day = row.key.as_deref().and_then(|day| day.parse::<u64>().ok()).unwrap_or_default();
            let date = planfleet_core::document::rfc3339(day.saturating_mul(86_400_000));
            row.key = Some(date.chars().take(10).collect());
        }
    } else {
        rows.sort_by(|a, b| b.known_usd.total_cmp(&a.known_usd).then_with(|| a.key.cmp(&b.key)));
    }
    rows.truncate(ROWS_MAX);
    Ok(rows)
}

const fn column(by: By) -> &'static str {
    match by {
        By::Class => "class",
        By::Batch => "batch_id",
        By::Day => "day",
        By::Model => "model",
        By::Role => "role",
        By::Run => "run_id",
    }
}

type Rows = BTreeMap<Option<String>, CostRow>;

fn empty(key: Option<String>) -> CostRow {
    CostRow {
        key,
        runs: 0,
        calls: 0,
        input_tokens: 0,
        cached_tokens: 0,
        output_tokens: 0,
        usd: Some(0.0),
        known_usd: 0.0,
    }
}

fn used(
    connection: &Connection,
    filter: &Filter,
    column: &str,
    from_day: Option<u64>,
) -> rusqlite::Result<Rows> {
    let (conditions, values) = conditions(filter, from_day);
    let sql = format!(
        "SELECT nullif(CAST({column} AS TEXT), ''), sum(runs), sum(calls), sum(input_tokens), sum(cached_tokens),
             sum(output_tokens), sum(nano_usd), sum(unknown)
         FROM used {conditions} GROUP BY {column}"
    );
    let mut found = connection.prepare_cached(&sql)?;
    let rows = found.query_map(params_from_iter(values), |row| {
        let key: Option<String> = row.get(0)?;
        let known_usd = dollars(row.get(6)?);
        let cost = CostRow {
            key: key.clone(),
            runs: count(row, 1)?,
            calls: count(row, 2)?,
            input_tokens: count(row, 3)?,
            cached_tokens: count(row, 4)?,
            output_tokens: count(row, 5)?,
            usd: (count(row, 7)? == 0).then_some(known_usd),
            known_usd,
        };
        Ok((key, cost))
    })?;
    rows.collect()
}

type Summed = Vec<(Option<String>, (u64, i64, u64))>;

fn summed(
    connection: &Connection,
    filter: &Filter,
    column: &str,
    from_day: Option<u64>,
) -> rusqlite::Result<Summed> {
    let (conditions, values) = conditions(filter, from_day);
    let sql = format!(
        "SELECT nullif(CAST({column} AS TEXT), ''), sum(runs), sum(nano_usd), sum(unknown)
         FROM sums {conditions} GROUP BY {column}"
    );
    let mut found = connection.prepare_cached(&sql)?;
    let rows = found.query_map(params_from_iter(values), |row| {
        Ok((row.get(0)?, (count(row, 1)?, row.get(2)?, count(row, 3)?)))
    })?;
    rows.collect()
}

/// The most expensive runs.
fn of_runs(
    connection: &Connection,
    filter: &Filter,
    from_day: Option<u64>,
) -> rusqlite::Result<Vec<CostRow>> {
    let since_ms = from_day.map(|day| day.saturating_mul(86_400_000));
    let filter = Filter { since_ms, ..filter.clone() };
    let hits = super::query::page(connection, &filter, super::Order::Cost, None, ROWS_MAX)?;
    let mut models = connection.prepare_cached("SELECT models FROM runs WHERE seq = ?1")?;
    let mut rows = Vec::with_capacity(hits.len());
    for hit in hits {
        let text: String = models.query_row([hit.key.1], |row| row.get(0))?;
        let used: Vec<ModelUsage> = serde_json::from_str(&text).unwrap_or_default();
        let sum = |of: fn(&ModelUsage) -> u64| used.iter().map(of).sum::<u64>();
        let known: i64 = used.iter().filter_map(|used| used.usd).map(nano).sum();
        rows.push(CostRow {
            key: Some(hit.summary.run_id),
            runs: 1,
            calls: sum(|used| used.calls),
            input_tokens: sum(|used| used.input_tokens),
            cached_tokens: sum(|used| used.cached_tokens),
            output_tokens: sum(|used| used.output_tokens),
            usd: hit.summary.usd,
            known_usd: hit.summary.usd.unwrap_or_else(|| dollars(known)),
        });
    }
    Ok(rows)
}

#[expect(clippy::cast_precision_loss, reason = "shown, never added up")]
pub(crate) fn dollars(nano_usd: i64) -> f64 {
    nano_usd as f64 / 1e9
}
