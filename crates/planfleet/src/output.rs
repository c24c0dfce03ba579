//! Everything that is printed: data on standard output, the rest on standard error.

use std::io::{self, Write as _};

use comfy_table::{LineStyle, Table, TableStyle};
use serde::Serialize;
use serde_json::Value;

use crate::{cli::Format, exit::Failure};

/// Prints data. Standard output that is gone (a closed pipe) is nobody's loss.
pub(crate) fn data(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Prints something for people that is not data.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints why a command failed.
pub(crate) fn error(failure: &Failure) {
    note(&format!("planfleet: {failure}"));
}

/// Prints a value in a format other than a table.
pub(crate) fn value<T: Serialize>(format: Format, value: &T) -> Result<(), Failure> {
    let text = match format {
        Format::Json | Format::Table => serde_json::to_string_pretty(value).map_err(Failure::unexpected)?,
        Format::Jsonl => serde_json::to_string(value).map_err(Failure::unexpected)?,
        Format::Yaml => serde_saphyr::to_string(value).map_err(Failure::unexpected)?.trim_end().to_owned(),
    };
    data(&text);
    Ok(())
}

/// Prints a list of values: as a table by `row`, or in another format.
pub(crate) fn list(
    format: Format,
    head: &[&str],
    values: &[Value],
    row: impl Fn(&Value) -> Vec<String>,
) -> Result<(), Failure> {
    match format {
        Format::Table => {
            let rows = values.iter().map(row).collect();
            data(&table(head, rows));
            Ok(())
        }
        Format::Jsonl => values.iter().try_for_each(|one| value(Format::Jsonl, one)),
        Format::Json | Format::Yaml => value(format, &values),
    }
}

/// One line under the head, and nothing else between the rows.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// A table for people.
pub(crate) fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_header(head.iter().map(ToString::to_string).collect::<Vec<_>>());
    for row in rows {
        table.add_row(row);
    }
    table.trim_fmt()
}

/// A text as one line of at most `max` characters.
pub(crate) fn line(text: &str, max: usize) -> String {
    let flat: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match flat.char_indices().nth(max) {
        None => flat,
        Some((end, _)) => format!("{}…", &flat[..end]),
    }
}

/// A JSON field as people read it: texts as they are, null as a dash.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => line(text, 80),
        other => line(&other.to_string(), 80),
    }
}
