//! Why a recording has no answer: what the nearest request that it has differs in. In places, not
//! in words: errors are logged, and prompts are not.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use serde_json::Value;

use super::key::canonical;
use crate::chat::ChatRequest;

pub(super) fn difference<'a>(
    request: &ChatRequest,
    recorded: impl Iterator<Item = &'a ChatRequest>,
) -> String {
    let recorded: Vec<&ChatRequest> = recorded.collect();
    if recorded.is_empty() {
        return "it is empty".to_owned();
    }
    let same_model = || recorded.iter().filter(|other| other.model == request.model);
    let asked = canonical(request);
    let nearest = same_model().map(|other| canonical(other)).min_by_key(|other| distance(&asked, other));
    match nearest {
        Some(other) => {
            let count = same_model().count();
            format!(
                "of {count} to model `{}` the nearest differs in {}",
                request.model,
                places(&asked, &other)
            )
        }
        None => {
            let models: BTreeSet<&str> = recorded.iter().map(|other| other.model.as_str()).collect();
            let models: Vec<&str> = models.into_iter().collect();
            format!("none is to model `{}`, only to {}", request.model, models.join(", "))
        }
    }
}

/// Messages that are not shared count most, then other fields, then where the first of those
/// messages parts.
fn distance(asked: &Value, other: &Value) -> (usize, usize, Reverse<usize>) {
    let (ours, theirs) = (messages(asked), messages(other));
    let shared = ours.iter().zip(theirs).take_while(|(one, two)| one == two).count();
    let parts_at = ours.get(shared).zip(theirs.get(shared)).map_or(0, |(one, two)| shared_chars(one, two));
    (ours.len().max(theirs.len()) - shared, fields(asked, other).count(), Reverse(parts_at))
}

fn places(asked: &Value, other: &Value) -> String {
    let (ours, theirs) = (messages(asked), messages(other));
    let mut places: Vec<String> = fields(asked, other).map(str::to_owned).collect();
    if let Some(index) = ours.iter().zip(theirs).position(|(one, two)| one != two) {
        places.insert(0, message_place(index, &ours[index], &theirs[index]));
    } else if ours.len() != theirs.len() {
        places.insert(0, format!("the number of messages ({}, recorded {})", ours.len(), theirs.len()));
    }
    places.join(", ")
}

fn message_place(index: usize, ours: &Value, theirs: &Value) -> String {
    let role = ours["role"].as_str().unwrap_or_default();
    if ours["role"] != theirs["role"] || ours["content"] == theirs["content"] {
        return format!("message {} ({role})", index + 1);
    }
    format!("message {} ({role}) from character {}", index + 1, shared_chars(ours, theirs) + 1)
}

/// Characters with which the contents of both messages begin.
fn shared_chars(one: &Value, two: &Value) -> usize {
    let content = |message: &'_ Value| message["content"].as_str().unwrap_or_default().to_owned();
    content(one).chars().zip(content(two).chars()).take_while(|(one, two)| one == two).count()
}

/// The names of the other fields that differ.
fn fields<'a>(asked: &'a Value, other: &'a Value) -> impl Iterator<Item = &'a str> {
    let fields = asked.as_object().into_iter().flatten();
    let differ = move |(name, value): (&'a String, &'a Value)| {
        (name != "messages" && *value != other[name.as_str()]).then_some(name.as_str())
    };
    fields.filter_map(differ)
}

fn messages(request: &Value) -> &[Value] {
    request["messages"].as_array().map(Vec::as_slice).unwrap_or_default()
}
