//! Runs that a filter lets through, a page at a time.
//!
//! What is asked for becomes one expression of the full-text index, whose terms are met in
//! the order of positions: the newest page of any filter is read without sorting. By cost
//! and duration, few matches are sorted, and many are met soon on the way down the column.

use std::collections::BTreeMap;

use rusqlite::{Connection, params_from_iter, types::Value as Sql};

use super::{
    row::{facet, label_facet, state_name},
    write::signed,
};
use crate::view::{RunState, Summary};

/// Words of one search: more narrow nothing down.
pub(crate) const WORDS_MAX: usize = 16;

/// Fewest characters of a last word that may be the beginning of one, as while typing: the
/// index has the beginnings of this length ready.
const PREFIX_CHARS_MIN: usize = 3;

/// Words that one beginning stands for; each is a look of its own.
const EXPANDED_MAX: usize = 32;

/// Matches that are sorted one by one; more are met sooner in the order of the column.
const SORTED_MAX: usize = 20_000;

/// In which order runs are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Order {
    /// Active ones, then those that ended last.
    #[default]
    Newest,
    Oldest,
    /// The most expensive first; those of unknown cost last.
    Cost,
    /// The longest first.
    Duration,
}

/// Which runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Filter {
    pub(crate) tenant: Option<String>,
    /// Any of these; none is all.
    pub(crate) states: Vec<RunState>,
    pub(crate) class: Option<String>,
    pub(crate) batch: Option<String>,
    pub(crate) template: Option<String>,
    /// All of these.
    pub(crate) labels: BTreeMap<String, String>,
    /// All of these words, as [`words`] makes them.
    pub(crate) words: Vec<String>,
    /// Ended at or after, in milliseconds since the Unix epoch.
    pub(crate) since_ms: Option<u64>,
    /// Ended before.
    pub(crate) until_ms: Option<u64>,
}

/// A run that was found, with what it is ordered by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hit {
    /// What comes first, and among equals what decides: unique in a list.
    pub(crate) key: (i64, i64),
    pub(crate) summary: Summary,
}

/// A search as words: letters and digits, small.
pub(crate) fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

impl Filter {
    /// The expression of the full-text index; `None` where everything matches.
    fn expression(&self, connection: &Connection) -> rusqlite::Result<Option<String>> {
        let mut terms = Vec::new();
        if let Some((last, whole)) = self.words.split_last() {
            terms.extend(whole.iter().map(|word| format!("text:\"{word}\"")));
            terms.push(match last.chars().count() {
                0..PREFIX_CHARS_MIN => format!("text:\"{last}\""),
                // There is a list of each beginning of this length.
                PREFIX_CHARS_MIN => format!("text:\"{last}\"*"),
                _ => beginning(connection, last)?,
            });
        }
        let own = [
            ("tenant", &self.tenant),
            ("class", &self.class),
            ("batch", &self.batch),
            ("template", &self.template),
        ];
        let mut facets: Vec<String> =
            own.iter().filter_map(|(name, value)| Some(facet(name, value.as_deref()?))).collect();
        facets.extend(self.labels.iter().map(|(name, value)| label_facet(name, value)));
        terms.extend(facets.iter().map(|word| format!("facets:{word}")));
        if !self.states.is_empty() {
            let any: Vec<String> = self
                .states
                .iter()
                .map(|state| format!("facets:{}", facet("state", state_name(*state))))
                .collect();
            terms.push(format!("({})", any.join(" OR ")));
        }
        Ok((!terms.is_empty()).then(|| terms.join(" AND ")))
    }

    /// Whether its runs are counted by sums alone.
    pub(super) fn is_summed(&self) -> bool {
        self.words.is_empty()
            && self.labels.is_empty()
            && self.template.is_none()
            && self.since_ms.is_none()
            && self.until_ms.is_none()
    }

    /// The positions between which its runs are.
    fn positions(&self, connection: &Connection) -> rusqlite::Result<(i64, i64)> {
        let (mut low, mut high) = (0, i64::MAX);
        let one = |sql: &str, at_ms: u64, otherwise: i64| {
            let mut found = connection.prepare_cached(sql)?;
            let mut rows = found.query([signed(at_ms)])?;
            rows.next()?.map_or(Ok(otherwise), |row| row.get(0))
        };
        if let Some(at_ms) = self.since_ms {
            low = one(
                "SELECT seq FROM runs WHERE kept_ms >= ?1 ORDER BY kept_ms, seq LIMIT 1",
                at_ms,
                i64::MAX,
            )?;
        }
        if let Some(at_ms) = self.until_ms {
            high = one(
                "SELECT seq FROM runs WHERE kept_ms < ?1 ORDER BY kept_ms DESC, seq DESC LIMIT 1",
                at_ms,
                -1,
            )?;
        }
        Ok((low, high))
    }

    /// The positions of its runs, the newest first, as SQL, and what belongs into that.
    pub(super) fn newest(&self, connection: &Connection) -> rusqlite::Result<(&'static str, Vec<Sql>)> {
        let (low, high) = self.positions(connection)?;
        let mut values = vec![Sql::from(low), Sql::from(high)];
        Ok(match self.expression(connection)? {
            Some(expression) => {
                values.push(expression.into());
                let sql = "SELECT rowid AS seq FROM words
                    WHERE words MATCH ?3 AND rowid BETWEEN ?1 AND ?2 ORDER BY rowid DESC";
                (sql, values)
            }
            None => ("SELECT seq FROM runs WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq DESC", values),
        })
    }

    /// Where its runs are, as SQL, and what belongs into that.
    pub(super) fn source(&self, connection: &Connection) -> rusqlite::Result<(&'static str, Vec<Sql>)> {
        let (low, high) = self.positions(connection)?;
        let mut values = vec![Sql::from(low), Sql::from(high)];
        Ok(match self.expression(connection)? {
            Some(expression) => {
                values.push(expression.into());
                let sql = "words CROSS JOIN runs ON runs.seq = words.rowid
                    WHERE words.rowid BETWEEN ?1 AND ?2 AND words MATCH ?3";
                (sql, values)
            }
            None => ("runs WHERE runs.seq BETWEEN ?1 AND ?2", values),
        })
    }
}

/// The words that begin so, as terms of the index: those are met one by one in the order of
/// positions, while for a beginning all that matches is gathered and sorted first, a tenth of
/// a second where a million runs have the word. With too many words each is rare, and little
/// is gathered.
fn beginning(connection: &Connection, last: &str) -> rusqlite::Result<String> {
    let gathered = format!("text:\"{last}\"*");
    // Terms are without accents, which only the index knows how to take off.
    if !last.is_ascii() {
        return Ok(gathered);
    }
    // One look is one step down the tree; how often a word is there is not counted.
    let mut next = connection.prepare_cached("SELECT term FROM temp.vocabulary WHERE term >= ?1 LIMIT 1")?;
    let (mut found, mut from) = (Vec::new(), last.to_owned());
    while found.len() < EXPANDED_MAX {
        let term = next.query([&from])?.next()?.map(|row| row.get::<_, String>(0)).transpose()?;
        let Some(term) = term.filter(|term| term.starts_with(last)) else {
            found.push(format!("text:\"{last}\""));
            return Ok(format!("({})", found.join(" OR ")));
        };
        found.push(format!("text:\"{term}\""));
        from = term + "\u{1}";
    }
    Ok(gathered)
}

/// A page of at most `limit` runs behind `after`.
pub(super) fn page(
    connection: &Connection,
    filter: &Filter,
    order: Order,
    after: Option<(i64, i64)>,
    limit: usize,
) -> rusqlite::Result<Vec<Hit>> {
    let (column, plain) = match order {
        Order::Newest | Order::Oldest => return by_position(connection, filter, order, after, limit),
        Order::Cost => ("coalesce(nano_usd, -1)", "runs_by_cost"),
        Order::Duration => ("total_ms", "runs_by_duration"),
    };
    let only_tenant = Filter { tenant: None, ..filter.clone() } == Filter::default();
    let seqs = if only_tenant {
        walk(connection, column, plain, filter.tenant.as_deref(), after, |_| true, limit)?
    } else {
        let matching = matching(connection, filter)?;
        if matching.len() <= SORTED_MAX {
            sorted(connection, column, &matching, after, limit)?
        } else {
            let is_matching = |seq: i64| matching.binary_search(&seq).is_ok();
            walk(connection, column, plain, filter.tenant.as_deref(), after, is_matching, limit)?
        }
    };
    let mut one = connection.prepare_cached("SELECT summary FROM runs WHERE seq = ?1")?;
    seqs.into_iter().map(|(value, seq)| one.query_row([seq], |row| hit(row, 0, (value, seq)))).collect()
}

fn by_position(
    connection: &Connection,
    filter: &Filter,
    order: Order,
    after: Option<(i64, i64)>,
    limit: usize,
) -> rusqlite::Result<Vec<Hit>> {
    let (source, mut values) = filter.source(connection)?;
    let column = if values.len() == 3 { "words.rowid" } else { "runs.seq" };
    let direction = if order == Order::Newest { "DESC" } else { "ASC" };
    if let Some((_, seq)) = after {
        // Of the page before: the range ends, or begins, where that has.
        match (order, &mut values[..2]) {
            (Order::Newest, [_, Sql::Integer(high)]) => *high = (*high).min(seq.saturating_sub(1)),
            (_, [Sql::Integer(low), _]) => *low = (*low).max(seq.saturating_add(1)),
            _ => {}
        }
    }
    let sql =
        format!("SELECT runs.seq, runs.summary FROM {source} ORDER BY {column} {direction} LIMIT {limit}");
    let mut found = connection.prepare_cached(&sql)?;
    let hits = found.query_map(params_from_iter(values), |row| {
        let seq = row.get(0)?;
        hit(row, 1, (seq, seq))
    })?;
    hits.collect()
}

fn hit(row: &rusqlite::Row<'_>, column: usize, key: (i64, i64)) -> rusqlite::Result<Hit> {
    let text: String = row.get(column)?;
    let summary = serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })?;
    Ok(Hit { key, summary })
}

/// Positions of all that matches, ascending.
fn matching(connection: &Connection, filter: &Filter) -> rusqlite::Result<Vec<i64>> {
    let (low, high) = filter.positions(connection)?;
    let Some(expression) = filter.expression(connection)? else {
        let mut all =
            connection.prepare_cached("SELECT seq FROM runs WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq")?;
        return all.query_map([low, high], |row| row.get(0))?.collect();
    };
    let mut all = connection.prepare_cached(
        "SELECT rowid FROM words WHERE words MATCH ?3 AND rowid BETWEEN ?1 AND ?2 ORDER BY rowid",
    )?;
    all.query_map((low, high, expression), |row| row.get(0))?.collect()
}

/// Goes down a column until enough is found: what comes first, and its position.
fn walk(
    connection: &Connection,
    column: &str,
    plain: &str,
    tenant: Option<&str>,
    after: Option<(i64, i64)>,
    matches: impl Fn(i64) -> bool,
    limit: usize,
) -> rusqlite::Result<Vec<(i64, i64)>> {
    let (value, seq) = after.unwrap_or((i64::MAX, i64::MAX));
    let mut values = vec![Sql::from(value), Sql::from(seq)];
    let of_tenant = match tenant {
        Some(tenant) => {
            values.push(tenant.to_owned().into());
            format!("INDEXED BY tenants_{plain} WHERE tenant = ?3")
        }
        None => format!("INDEXED BY {plain} WHERE 1"),
    };
    let sql = format!(
        "SELECT {column}, seq FROM runs {of_tenant} AND {column} <= ?1 AND ({column} < ?1 OR seq < ?2)
         ORDER BY {column} DESC, seq DESC"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let seq = row.get(1)?;
        if matches(seq) {
            found.push((row.get(0)?, seq));
            if found.len() == limit {
                break;
            }
        }
    }
    Ok(found)
}

/// Sorts what matches by a column.
fn sorted(
    connection: &Connection,
    column: &str,
    matching: &[i64],
    after: Option<(i64, i64)>,
    limit: usize,
) -> rusqlite::Result<Vec<(i64, i64)>> {
    let mut one = connection.prepare_cached(&format!("SELECT {column} FROM runs WHERE seq = ?1"))?;
    let mut found = Vec::with_capacity(matching.len());
    for seq in matching {
        let key = (one.query_row([seq], |row| row.get::<_, i64>(0))?, *seq);
        if after.is_none_or(|after| key < after) {
            found.push(key);
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.truncate(limit);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_words_and_none_of_it_an_expression() {
        assert_eq!(words("Fix: the  \"Bug\" NOT (in) Zürich*"), ["fix", "the", "bug", "not", "in", "zürich"]);
        assert_eq!(words(" -- * "), Vec::<String>::new());
        let filter = Filter { words: words("near OR \"x"), ..Filter::default() };
        let nothing = Connection::open_in_memory().unwrap();
        let expression = filter.expression(&nothing).unwrap().unwrap();
        assert_eq!(expression, "text:\"near\" AND text:\"or\" AND text:\"x\"");
        assert_eq!(Filter::default().expression(&nothing).unwrap(), None);
    }
}
