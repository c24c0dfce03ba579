//! The dashboard: files that are built from `crates/api/ui` and are part of the program.
//!
//! They hold nothing of the fleet, so whoever reaches the port may have them; what they
//! show they ask the API for. The page runs its own script and asks its own server, and
//! nothing else: whatever a model writes into it stays text.

use axum::{
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use rust_embed::{Embed, EmbeddedFile};

use crate::problem::Problem;

#[derive(Embed)]
#[folder = "ui/dist"]
struct Files;

/// What the page may do, which is little. Nobody may frame it, and no script may turn
/// text into markup (`require-trusted-types-for`, with no policy that would allow it).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// The names of files under `assets/` hold a hash of what is in them: there is never another.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// What others have written of it, under their terms.
const LICENCES: &str = "licences.txt";

/// What belongs to no route: a file of the dashboard, its page where a browser asks for
/// one, or nothing.
pub(crate) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    let asked = method == Method::GET || method == Method::HEAD;
    let keep = if path.starts_with("assets/") { FOR_EVER } else { "no-cache" };
    let named = path.starts_with("assets/") || path == LICENCES;
    if let Some(file) = Some(path).filter(|_| asked && named).and_then(Files::get) {
        return answer(path, file, keep, &headers);
    }
    // What the page does with an address is its own business; programs are told the truth.
    let api = path == "v1" || path.starts_with("v1/") || path.starts_with("assets/");
    let page = Files::get("index.html").filter(|_| asked && !api && wants_page(&headers));
    match page {
        Some(file) => answer("index.html", file, "no-cache", &headers),
        None => Problem::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here; see /openapi.json")
            .into_response(),
    }
}

fn wants_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT);
    accepted.iter().any(|value| value.to_str().is_ok_and(|value| value.contains("text/html")))
}

fn answer(name: &str, file: EmbeddedFile, keep: &'static str, asked: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", hex::encode(file.metadata.sha256_hash()));
    let known = asked.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = match known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, kind(name))], file.data).into_response(),
    };
    let said = [
        (header::CACHE_CONTROL, keep),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let headers = response.headers_mut();
    headers.extend(said.map(|(name, value)| (name, HeaderValue::from_static(value))));
    headers.extend(HeaderValue::try_from(tag).ok().map(|tag| (header::ETAG, tag)));
    response
}

/// The kinds that a build makes.
fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use axum::body::to_bytes;
    use sha2::{Digest as _, Sha256};

    use super::*;

    async fn get(path: &str, accept: &'static str) -> (StatusCode, HeaderMap, String) {
        let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
        let response = serve(Method::GET, path.parse().unwrap(), headers).await;
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

    #[tokio::test]
    async fn a_browser_gets_the_page_at_every_address_of_it() {
        for path in ["/", "/runs", "/runs/00-1?tab=timeline", "/dead-letters"] {
            let (status, headers, body) = get(path, BROWSER).await;
            assert_eq!(status, StatusCode::OK, "{path}");
            assert_eq!(headers[header::CONTENT_SECURITY_POLICY], POLICY);
            assert_eq!(headers[header::CACHE_CONTROL], "no-cache");
            assert!(body.contains("<div id=\"app\">"), "{body}");
            assert!(!body.contains("://") && !body.contains("style="), "{body}");
        }
    }

    #[tokio::test]
    async fn what_the_page_asks_for_is_there_and_is_kept_for_ever() {
        let (_, _, page) = get("/", BROWSER).await;
        let mut asked = 0;
        for name in page.split('"').filter(|part| part.starts_with("/assets/")) {
            let (status, headers, _) = get(name, "*/*").await;
            assert_eq!(status, StatusCode::OK, "{name}");
            assert_eq!(headers[header::CACHE_CONTROL], FOR_EVER);
            assert_ne!(headers[header::CONTENT_TYPE], "application/octet-stream", "{name}");
            asked += 1;
        }
        assert_eq!(asked, 3, "a script, a sheet, a picture: {page}");
    }

    #[tokio::test]
    async fn licences_are_handed_on() {
        let (status, headers, text) = get("/licences.txt", BROWSER).await;
        assert_eq!((status, &headers[header::CACHE_CONTROL]), (StatusCode::OK, &"no-cache".parse().unwrap()));
        assert!(text.matches("MIT License").count() >= 4 && text.contains("dagre"), "{text}");
    }

    #[tokio::test]
    async fn what_a_browser_has_already_is_not_sent_again() {
        let (_, headers, _) = get("/", BROWSER).await;
        let known = HeaderMap::from_iter([
            (header::ACCEPT, HeaderValue::from_static(BROWSER)),
            (header::IF_NONE_MATCH, headers[header::ETAG].clone()),
        ]);
        let again = serve(Method::GET, "/runs".parse().unwrap(), known).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }

    #[tokio::test]
    async fn programs_are_told_that_there_is_nothing() {
        let asked = [
            ("/v1/nothing", BROWSER),
            ("/v1", BROWSER),
            ("/runs", "application/json"),
            ("/assets/none.js", BROWSER),
            ("/assets/../index.html", BROWSER),
            ("/SOURCES.sha256", "*/*"),
        ];
        for (path, accept) in asked {
            let (status, headers, _) = get(path, accept).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
            assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json", "{path}");
        }
        let posted = serve(Method::POST, "/runs".parse().unwrap(), HeaderMap::new()).await;
        assert_eq!(posted.status(), StatusCode::NOT_FOUND);
    }

    /// The files of a folder, or the one that it is, as paths below `base`.
    fn listed(base: &Path, path: &Path, into: &mut Vec<String>) {
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                listed(base, &entry.unwrap().path(), into);
            }
        } else {
            into.push(path.strip_prefix(base).unwrap().to_str().unwrap().to_owned());
        }
    }

    #[test]
    fn what_is_built_is_built_from_the_sources_as_they_are() {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("ui");
        let mut sources = Vec::new();
        for name in
            ["index.html", "package-lock.json", "package.json", "src", "tsconfig.json", "vite.config.ts"]
        {
            listed(&base, &base.join(name), &mut sources);
        }
        sources.sort();
        let hashed = |name: &String| {
            format!("{}  {name}\n", hex::encode(Sha256::digest(fs::read(base.join(name)).unwrap())))
        };
        let now: String = sources.iter().map(hashed).collect();
        let then = fs::read_to_string(base.join("dist/SOURCES.sha256")).unwrap();
        assert_eq!(then, now, "crates/api/ui/dist is not what the sources make: run `make ui`");
    }
}
