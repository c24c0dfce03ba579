//! JSON documents, read strictly, and pointers into them.

use planfleet_core::{
    json::{self, DEPTH_MAX, Json},
    reference,
};
use serde_json::Value;

/// The strict parser takes what `serde_json` takes, with the same value, but
/// for duplicate keys and deep nesting.
pub fn json(bytes: &[u8]) {
    let text = super::text(bytes);
    let shape = Shape::of(&text);
    match (json::parse_strict(&text), serde_json::from_str::<Value>(&text)) {
        (Ok(strict), Ok(plain)) => {
            assert_eq!(strict, plain);
            assert!(shape.depth <= DEPTH_MAX, "{} levels are taken", shape.depth);
            assert_eq!(shape.pairs, pairs(&plain), "a duplicate key is taken");
            kept(&strict);
        }
        (Ok(strict), Err(error)) => panic!("{strict} is taken, which is no JSON: {error}"),
        (Err(error), Ok(plain)) => {
            let refusable = shape.depth > DEPTH_MAX || shape.pairs > pairs(&plain);
            assert!(refusable, "refused for nothing: {error}");
        }
        (Err(strict), Err(_)) => assert!(!strict.to_string().is_empty()),
    }
}

/// A value that is kept as text comes back as it was.
fn kept(value: &Value) {
    let kept = Json::from_value(value);
    assert_eq!(&kept.value(), value);
    assert_eq!(&json::parse_strict(kept.as_str()).expect("what was written reads"), value);
    assert_eq!(Json::from_text(kept.as_str()).expect("what was written reads"), kept);
    let plain = json::plain_text(value);
    assert_eq!(plain == kept.as_str(), json::type_name(value) != "string");
}

/// What can be counted in a JSON text without parsing it.
struct Shape {
    depth: usize,
    pairs: usize,
}

impl Shape {
    fn of(text: &str) -> Self {
        let (mut open, mut shape) = (0usize, Self { depth: 0, pairs: 0 });
        let (mut quoted, mut escaped) = (false, false);
        for byte in text.bytes() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ if quoted => {}
                b'[' | b'{' => open += 1,
                b']' | b'}' => open = open.saturating_sub(1),
                b':' => shape.pairs += 1,
                _ => {}
            }
            shape.depth = shape.depth.max(open);
        }
        shape
    }
}

fn pairs(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(pairs).sum(),
        Value::Object(object) => object.len() + object.values().map(pairs).sum::<usize>(),
        _ => 0,
    }
}

/// The first line is a pointer, the rest a document.
pub fn pointer(bytes: &[u8]) {
    let text = super::text(bytes);
    let (path, document) = text.split_once('\n').unwrap_or((&text, "null"));
    let document = json::parse_strict(document).unwrap_or_else(|_| document.into());
    let theirs = document.pointer(path);
    match reference::resolve(7, &document, path) {
        Ok(found) => {
            assert!(theirs.is_some_and(|theirs| std::ptr::eq(found, theirs)), "{path} finds {found}");
        }
        Err(error) => {
            assert_eq!(theirs, None, "{path} is refused: {error}");
            assert_eq!((error.step, error.path.as_str()), (7, path));
            assert!(error.to_string().contains(&format!("{path:?}")), "{error}");
            assert!(!error.found.is_empty());
        }
    }
    every_node_is_found(&document, &document, String::new());
}

fn every_node_is_found(document: &Value, node: &Value, path: String) {
    assert!(reference::is_pointer(&path));
    let found = reference::resolve(1, document, &path).expect("the path of a node");
    assert!(std::ptr::eq(found, node), "{path} leads elsewhere");
    match node {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                every_node_is_found(document, item, format!("{path}/{at}"));
            }
        }
        Value::Object(object) => {
            for (key, value) in object {
                let token = key.replace('~', "~0").replace('/', "~1");
                every_node_is_found(document, value, format!("{path}/{token}"));
            }
        }
        _ => {}
    }
}
