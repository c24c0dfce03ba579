use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::builtin::call_in_test;

async fn jq(filter: &str, input: Value) -> Result<Value, String> {
    let args = json!({"filter": filter, "input": input});
    call_in_test(JsonTransform::new(8 << 20), args).await.map_err(|failure| failure.message)
}

#[tokio::test]
async fn filters_give_their_outputs() {
    for (filter, input, values) in [
        (".", json!({"a": [1, 2.5, "x", null, true]}), json!([{"a": [1, 2.5, "x", null, true]}])),
        (".a.b", json!({"a": {"b": 1}}), json!([1])),
        (".[]", json!([1, 2]), json!([1, 2])),
        ("empty", json!(1), json!([])),
        ("map(select(.n > 1)) | length", json!([{"n": 1}, {"n": 2}]), json!([1])),
        ("6 / 2, 1 / 4", json!(null), json!([3, 0.25])),
        (
            "[range(3)], [range(0; 1; 0.5)], [range(3; 0; -1)]",
            json!(null),
            json!([[0, 1, 2], [0, 0.5], [3, 2, 1]]),
        ),
        ("fromjson | .a", json!("{\"a\": 1.5}"), json!([1.5])),
        ("tojson", json!({"a": 1}), json!(["{\"a\":1}"])),
        ("nan, infinite", json!(null), json!([null, null])),
        (". + 1", json!(u64::MAX - 1), json!([u64::MAX])),
        ("to_entries | map(.key)", json!({"b": 1, "a": 2}), json!([["a", "b"]])),
        ("gsub(\"a+\"; \"-\")", json!("baab"), json!(["b-b"])),
        (
            "group_by(.k) | map({k: .[0].k, n: length})",
            json!([{"k": 1}, {"k": 2}, {"k": 1}]),
            json!([[{"k": 1, "n": 2}, {"k": 2, "n": 1}]]),
        ),
        ("fromdateiso8601 | todateiso8601", json!("2026-01-01T00:00:00Z"), json!(["2026-01-01T00:00:00Z"])),
        ("[recurse(if . < 3 then . + 1 else empty end)]", json!(0), json!([[0, 1, 2, 3]])),
    ] {
        let output = jq(filter, input).await.unwrap();
        assert_eq!(output["values"], values, "{filter}");
        assert_eq!(output["value"], values.get(0).cloned().unwrap_or_default(), "{filter}");
    }
}

#[tokio::test]
async fn faults_are_explained() {
    for (filter, text) in [
        (".[", "expected"),
        ("nosuch(1)", "there is no filter `nosuch`"),
        ("$x", "there is no variable `$x`"),
        (".a", "cannot index"),
        ("error(\"mine\")", "mine"),
        ("{(1|tostring): 1} | {(.): 1}", "not a string"),
        ("\"{]\" | fromjson", "cannot parse as JSON"),
    ] {
        let message = jq(filter, json!(1)).await.unwrap_err();
        assert!(message.contains(text), "{filter}: {message}");
    }
}

#[tokio::test]
async fn nothing_outside_can_be_reached() {
    for filter in [
        "env",
        "$ENV",
        "now",
        "input",
        "inputs",
        "input_filename",
        "halt",
        "halt_error",
        "debug",
        "stderr",
        "localtime",
        "strflocaltime(\"%H\")",
        "get_search_list",
        "$__loc__",
        "import \"a\" as $a; $a",
        "import \"a\" as a; 1",
        "include \"a\"; 1",
        "import \"a\" as $a; 1",
    ] {
        let message = jq(filter, json!(1)).await.unwrap_err();
        assert!(message.contains("there is no") || message.contains("not supported"), "{filter}: {message}");
    }
}

#[tokio::test]
async fn endless_filters_are_stopped() {
    for filter in [
        "def f: f; f",
        "def f: 1 + f; f",
        "def f: [f]; f",
        "def f: f, 1; f",
        "def f: f | f; f",
        "def f(g): f(g | g); f(.)",
        "[range(1e12)]",
        "[range(0; 1; 0)]",
        "last(range(1e15))",
        "[repeat(1)]",
        "repeat(1)",
        "[recurse(. + 1)]",
        "until(false; .)",
        "while(true; .)",
        "reduce range(1e9) as $i (0; . + $i)",
        "[limit(1e9; repeat(1))]",
        "first(range(1e12) | select(. < 0))",
    ] {
        let message = jq(filter, json!(1)).await.unwrap_err();
        let is_bound = ["may never end", "too long", "outputs"].iter().any(|t| message.contains(t));
        assert!(is_bound, "{filter}: {message}");
    }
}

#[tokio::test]
async fn deep_values_are_an_error_and_not_a_crash() {
    for filter in [
        "reduce range(1e9) as $i (null; [.])",
        "reduce range(200000) as $i (null; [.])",
        "reduce range(200000) as $i (null; {a: .})",
        "reduce range(200000) as $i (null; {a: .}) | tojson | length",
        "reduce range(200000) as $i (null; [.]) | . == .",
        "(\"[\" * 1000000) | fromjson",
        "[., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | \
         [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | \
         [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .]",
    ] {
        let _ = jq(filter, json!(1)).await;
    }
    let nested = format!("{}1{}", "[".repeat(4000), "]".repeat(4000));
    assert!(jq(&nested, json!(1)).await.unwrap_err().contains("deep"));
    let negated = format!("{}1", "- ".repeat(4000));
    let _ = jq(&negated, json!(1)).await;
}

#[tokio::test]
async fn a_dropped_call_stops_its_thread() {
    let flag = Arc::new(AtomicBool::new(false));
    let budget = Budget::new(Instant::now() + TIME_MAX, flag.clone());
    drop(StopOnDrop(flag));
    let result = engine::run("def f: f; f", json!(1), &budget, 100);
    assert_eq!(result, Err("the call was abandoned".to_owned()));
}

#[tokio::test]
async fn outputs_are_bounded() {
    assert!(jq("range(10001)", json!(1)).await.unwrap_err().contains("10000 outputs"));
    assert_eq!(jq("range(10000)", json!(1)).await.unwrap()["values"].as_array().unwrap().len(), 10_000);
    assert!(jq("\"x\" * 9000000", json!(1)).await.unwrap_err().contains("output_bytes_max"));
}

#[tokio::test]
async fn what_operators_make_is_bounded() {
    for filter in [
        "\"x\" * 10000000000 | length",
        "10000000000 * \"x\" | length",
        "\"x\" * 100000000000000000000 | length",
        "[range(1000) | \"x\" * 10000000] | length",
        "{a: \"x\"} | .a *= 10000000000 | length",
        "reduce range(60) as $i (\"x\"; . + .) | length",
        "reduce range(60) as $i ([1]; . + .) | length",
        "reduce range(60) as $i ({a: \"x\"}; .a += .a) | length",
        "\"\\(\"x\" * 10000000000)\" | length",
        "def f: if true then {(. + .): 1} | keys[0] else . end; reduce range(60) as $i (\"x\"; f) | length",
        "reduce range(60) as $i (\"x\"; [., .] | add) | length",
        "reduce range(60) as $i (\"x\"; \"\\(.)\\(.)\") | length",
        "reduce range(60) as $i (\"x\"; @json \"\\(.)-\\(.)\") | length",
        "(\"x\" * 10000000) as $s | [range(1000) | $s + \"x\"] | length",
        "([range(100000)]) as $a | [range(1000) | $a + [1]] | length",
    ] {
        let message = jq(filter, json!(1)).await.unwrap_err();
        assert!(message.contains("MiB with + and *"), "{filter}: {message}");
    }
}

#[tokio::test]
async fn operators_are_as_they_were() {
    for (filter, values) in [
        (
            "1 + 2 * 3, \"a\" + \"b\", [1] + [2], {a: 1} + {b: 2}, null + 1",
            json!([7, "ab", [1, 2], {"a": 1, "b": 2}, 1]),
        ),
        (
            "\"ab\" * 3, 2 * \"x\", \"x\" * 0, {a: {b: 1}} * {a: {c: 2}}",
            json!(["ababab", "xx", null, {"a": {"b": 1, "c": 2}}]),
        ),
        ("\"a\\(1, 2)b\\(3)\", \"\", @json \"<\\(\"q\")>\"", json!(["a1b3", "a2b3", "", "<\"q\">"])),
        ("reduce range(3000) as $i (\"\"; . + \"abc\") | length", json!([9_000])),
        ("(1, 2) * (10, 100)", json!([10, 100, 20, 200])),
        ("{a: 1, b: [1, 2]} | .a += 1 | .b[] *= 2", json!([{"a": 2, "b": [2, 4]}])),
        ("{a: 1} | .a += (1, 2)", json!([{"a": 2}, {"a": 3}])),
        ("{a: 1, b: 5} | .a *= .b", json!([{"a": 5, "b": 5}])),
        ("[1, 2, 3] | add, (map(. * .) | add)", json!([6, 14])),
        ("[.[]?] | length", json!([0])),
        ("try (1 + \"a\") catch .", json!(["cannot calculate 1 + \"a\""])),
        ("[{a: 1}, {a: 2}] as [{a: $x}, {a: $y}] | $x + $y", json!([3])),
    ] {
        assert_eq!(jq(filter, json!(null)).await.unwrap()["values"], values, "{filter}");
    }
}

#[tokio::test]
async fn large_inputs_are_within_the_bounds() {
    let input: Vec<_> = (0..50_000).map(|n| json!({"n": n, "name": "some name"})).collect();
    let filter = "map(select(.n % 2 == 0) | {n, upper: (.name | ascii_upcase)}) | length";
    assert_eq!(jq(filter, json!(input)).await.unwrap()["value"], 25_000);
}
