//! The console's files, embedded in the binary.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "console/dist"]
#[allow_missing = true]
struct Files;

/// Shown when the console was not built, as in a build without Node.
const STAND_IN: &str = include_str!("console/stand_in.html");

/// The page that every path of the console begins with.
const INDEX: &str = "index.html";

/// Files with a hash in their name never change.
const FOREVER: &str = "public, max-age=31536000, immutable";

/// Others are asked for again, and mostly answered with "not modified".
const ASK_AGAIN: &str = "no-cache";

/// Folder of files with a hash in their name.
const HASHED: &str = "assets/";

/// Answers a file; a path without one is a screen of the console and gets the page.
pub async fn file(request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    match Files::get(path) {
        Some(file) => answer(path, &file, request.headers()),
        None if path.starts_with(HASHED) => StatusCode::NOT_FOUND.into_response(),
        None => match Files::get(INDEX) {
            Some(file) => answer(INDEX, &file, request.headers()),
            None => Html(STAND_IN).into_response(),
        },
    }
}

fn answer(path: &str, file: &EmbeddedFile, asked: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", crate::identity::hex(&file.metadata.sha256_hash()));
    let cache = if path.starts_with(HASHED) { FOREVER } else { ASK_AGAIN };
    let known =
        asked.get(header::IF_NONE_MATCH).is_some_and(|sent| sent.as_bytes() == tag.as_bytes());
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let kind = HeaderValue::from_static(content_type(path));
        ([(header::CONTENT_TYPE, kind)], file.data.to_vec()).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("json" | "webmanifest") => "application/json",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    async fn ask(path: &str, tag: Option<&HeaderValue>) -> Response {
        let mut request = Request::builder().uri(path);
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        file(request.body(Body::empty()).unwrap()).await
    }

    #[tokio::test]
    async fn every_screen_gets_the_page_and_a_missing_file_none() {
        let screen = ask("/findings/f-1", None).await;
        assert_eq!(screen.status(), StatusCode::OK);
        assert_eq!(screen.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(ask("/assets/none.js", None).await.status(), StatusCode::NOT_FOUND);
        // The stand-in page has no tag: it goes as soon as the console is built.
        if let Some(tag) = screen.headers().get(header::ETAG) {
            assert_eq!(ask("/", Some(tag)).await.status(), StatusCode::NOT_MODIFIED);
        }
    }

    #[test]
    fn the_stand_in_needs_nothing_that_the_policy_forbids() {
        assert!(
            !STAND_IN.contains("<script")
                && !STAND_IN.contains("<style")
                && !STAND_IN.contains("style=")
        );
    }
}
