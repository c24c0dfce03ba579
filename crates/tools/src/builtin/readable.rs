//! The readable text of an HTML page.
//!
//! A page is written by anybody, and laying out what is nested without end takes stack and
//! time. So a page is checked for its bounds first, and laid out on a thread of its own.

mod bounds;

use tokio::sync::{Semaphore, oneshot};

/// Lines are broken here, which keeps tables and lists in shape.
const WIDTH: usize = 120;

/// The layout recurses on some elements; this holds [`bounds::DEPTH_MAX`] of them many times over.
const STACK_BYTES: usize = 16 << 20;

/// Pages that are laid out at once, also for calls that were given up: a page of the largest size
/// takes some hundred megabytes, and a second or two of a core. The others wait within their time.
static LAYOUTS: Semaphore = Semaphore::const_new(4);

/// More of a title is not a title.
const TITLE_CHARS_MAX: usize = 300;

/// What a person would read of a page.
pub(super) struct Page {
    pub(super) title: Option<String>,
    pub(super) text: String,
}

/// Lays a page out as text.
///
/// # Errors
///
/// Says why it cannot be.
pub(super) async fn of(html: String) -> Result<Page, String> {
    let permit = LAYOUTS.acquire().await.map_err(|closed| closed.to_string())?;
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name("readable".to_owned())
        .stack_size(STACK_BYTES)
        // Nobody listens any more when the call was dropped.
        .spawn(move || {
            let page = page(&html);
            drop(permit);
            drop(sender.send(page));
        })
        .map_err(|error| format!("no thread for it: {error}"))?;
    receiver.await.unwrap_or_else(|_| Err("its HTML is more than the layout can bear".to_owned()))
}

fn page(html: &str) -> Result<Page, String> {
    bounds::check(html)?;
    let layout =
        html2text::config::plain_no_decorate().allow_width_overflow().no_link_wrapping().no_table_borders();
    let text = layout.string_from_read(html.as_bytes(), WIDTH).map_err(|error| error.to_string())?;
    let text = text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    Ok(Page { title: title(html), text: text.trim().to_owned() })
}

fn title(html: &str) -> Option<String> {
    let lower = html.to_ascii_lowercase();
    let start = lower.find("<title")?;
    let start = start + lower[start..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    let text = html2text::config::plain_no_decorate()
        .allow_width_overflow()
        .string_from_read(&html.as_bytes()[start..end], TITLE_CHARS_MAX)
        .ok()?;
    let title: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let title: String = title.chars().take(TITLE_CHARS_MAX).collect();
    (!title.is_empty()).then_some(title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_page_is_what_a_person_reads() {
        let html = "<!doctype html><html><head><title> Ships &amp;\n boats</title><style>p{}</style>\
                    <script>alert('x')</script></head><body><h1>Ships</h1><p>17&nbsp;lie in \
                    <a href=/x>Lübeck</a>.</p><ul><li>one<li>two</ul>\
                    <table><tr><td>a</td><td>1</td></tr></table></body></html>";
        let page = of(html.to_owned()).await.unwrap();
        assert_eq!(page.title.as_deref(), Some("Ships & boats"));
        for part in ["Ships", "lie in", "Lübeck", "* one", "* two", "a", "1"] {
            assert!(page.text.contains(part), "{part} is missing in {:?}", page.text);
        }
        for part in ["alert", "p{}", "href", "<"] {
            assert!(!page.text.contains(part), "{part} is left in {:?}", page.text);
        }
    }

    #[tokio::test]
    async fn hostile_pages_end() {
        for element in ["div", "b", "blockquote", "ul", "table><tr><td", "svg", "template"] {
            let refused = of(format!("<{element}>").repeat(100_000)).await.err();
            assert!(refused.unwrap().contains("levels"), "{element}");
            let deep = of(format!("<{element}>").repeat(bounds::DEPTH_MAX / 8) + "end").await;
            assert!(deep.is_ok(), "{element}: {:?}", deep.err());
        }
        // What looks closed and is not.
        for open in [
            "<div></x>",
            "<div><!--</div>-->",
            "<div a='</div>'>",
            "<div><svg><![CDATA[</svg></div>]]>",
            "<x><div></x>",
        ] {
            let pages = open.repeat(10_000);
            assert!(of(pages).await.err().is_some_and(|fault| fault.contains("levels")), "{open}");
        }
        // Bold in bold in bold: the parser opens again what is not closed.
        let bold: String = (0..10_000).map(|n| format!("<p><b a={n}></p>")).collect();
        assert!(of(bold).await.err().is_some_and(|fault| fault.contains("levels")));
        let many = of("<br>".repeat(bounds::ELEMENTS_MAX + 1)).await.err();
        assert!(many.unwrap().contains("elements"));
        let long = "<p>word".repeat(20_000) + "<li>".repeat(20_000).as_str() + "<br>".repeat(20_000).as_str();
        assert_eq!(of(long).await.err(), None);
        // What looks open and is not.
        let icons =
            "<a><svg><title>x</title><path d='M0'/><g><use/></g></svg><script>a<b</script><i><b></i></b>";
        let table = format!("<table>{}</table>", "<tr><td>a<td>b".repeat(600));
        assert_eq!(of(icons.repeat(600) + &table).await.err(), None);
        for broken in ["<", "<a", "<title>", "</title><title", "<table><td rowspan=0 colspan=99999>x", "&#x"]
        {
            of(broken.to_owned()).await.unwrap();
        }
    }
}
