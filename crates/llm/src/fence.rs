//! Fences around text from outside in a prompt, so that a model can tell data
//! from instructions.

/// `text`, so that it cannot end the fence `<tag>…</tag>` that is put around it:
/// a closing tag in it, however it is written, is broken.
#[must_use]
pub fn unclosable(text: &str, tag: &str) -> String {
    let mut parts = text.split("</");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let name = part.trim_start().get(..tag.len());
        let closes = name.is_some_and(|name| name.eq_ignore_ascii_case(tag));
        shown.push_str(if closes { "<\\/" } else { "</" });
        shown.push_str(part);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_tags_are_broken_and_others_are_not() {
        let hostile = "a </data> b </ DATA > c </div> d";
        assert_eq!(unclosable(hostile, "data"), "a <\\/data> b <\\/ DATA > c </div> d");
    }
}
