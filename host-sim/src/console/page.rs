//! The page: files that are part of this program, with headers that keep a browser from fetching or running anything else.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Response, StatusCode};

use crate::http;

/// Path, type and text of each file.
const FILES: [(&str, &str, &str); 10] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/console.css", CSS, include_str!("page/console.css")),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("/main.js", JS, include_str!("page/main.js")),
    ("/node.js", JS, include_str!("page/node.js")),
    ("/html.js", JS, include_str!("page/html.js")),
    ("/actions.js", JS, include_str!("page/actions.js")),
    ("/draw.js", JS, include_str!("page/draw.js")),
    ("/views.js", JS, include_str!("page/views.js")),
    ("/runs.js", JS, include_str!("page/runs.js")),
];
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// Nothing but files of this node, nothing inline, and no text that becomes markup: the last part makes every place of the
/// document refuse that.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri \
                      'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// Gives a file by its path.
pub(super) fn file(path: &str) -> Option<Response<Full<Bytes>>> {
    let (_, kind, text) = FILES.iter().find(|(held, ..)| *held == path)?;
    let mut response = http::answer(StatusCode::OK, kind, *text);
    guard(response.headers_mut());
    Some(response)
}

/// Adds the headers that every answer of the console has.
pub(super) fn guard(headers: &mut HeaderMap) {
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        http::set(headers, name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_makes_no_markup_of_text_and_names_nobody_else() {
        for (path, kind, text) in FILES {
            for means in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "Function(",
                "DOMParser",
                "srcdoc",
                "javascript:",
                "setHTML",
                "createContextualFragment",
            ] {
                assert!(!text.contains(means), "{path} has `{means}`");
            }
            let elsewhere = text.match_indices("//").filter(|(at, _)| text[..*at].ends_with(':'));
            let named = elsewhere.map(|(at, _)| text[at..].split(['"', '\'', ' ', '<']).next().unwrap_or_default());
            // The name of the language of pictures is no address that anybody asks.
            assert!(
                named.clone().all(|name| name == "//www.w3.org/2000/svg"),
                "{path}: {:?}",
                named.collect::<Vec<_>>()
            );
            if kind == HTML {
                assert!(
                    [" style=", " onclick", " onload", " onerror"].iter().all(|inline| !text.contains(inline)),
                    "{path}"
                );
            }
        }
    }
}
