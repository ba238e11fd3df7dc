//! What leaves this program as a log, a trace or the like is without secrets: fields whose names say that they hold one, and
//! what looks like one in any text, as tokens to join, private keys, and credentials in headers and addresses.

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";
/// Words of a field's name that say that it holds a secret.
const SECRET_WORDS: [&str; 8] =
    ["authorization", "cookie", "credential", "credentials", "passphrase", "password", "secret", "token"];
/// Pairs of words that say so together.
const SECRET_PAIRS: [[&str; 2]; 3] = [["api", "key"], ["private", "key"], ["secret", "key"]];
/// What a secret begins with in a text, in lower case; it ends where a word ends.
const SECRET_BEGINNINGS: [&str; 3] = ["hmjoin1.", "bearer ", "x-amz-signature="];
/// What stands before a secret that ends with the line.
const SECRET_HEADERS: [&str; 4] = ["authorization:", "authorization\": ", "cookie:", "cookie\": "];
/// What a private key stands between.
const PRIVATE_KEY: [&str; 2] = ["-----BEGIN ", "PRIVATE KEY-----"];

/// Says whether a field's name says that it holds a secret.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    words.iter().any(|word| SECRET_WORDS.contains(word))
        || words.windows(2).any(|pair| SECRET_PAIRS.iter().any(|known| pair == known))
}

/// Takes out of a text what looks like a secret.
pub fn redact(text: &str) -> String {
    let mut text = text.to_owned();
    let mut from = 0;
    while let Some(begin) = text[from..].find(PRIVATE_KEY[0]).map(|at| from + at) {
        from = begin + PRIVATE_KEY[0].len();
        let Some(label) = text[begin..].find(PRIVATE_KEY[1]).filter(|at| !text[begin..begin + at].contains('\n'))
        else {
            continue;
        };
        let behind = begin + label + PRIVATE_KEY[1].len();
        let end = text[behind..].find(PRIVATE_KEY[1]).map_or(text.len(), |at| behind + at + PRIVATE_KEY[1].len());
        text.replace_range(begin..end, REDACTED);
        from = begin + REDACTED.len();
    }
    for header in SECRET_HEADERS {
        cut_behind(&mut text, header, |c| c == '\n');
    }
    for beginning in SECRET_BEGINNINGS {
        cut_behind(&mut text, beginning, |c| !c.is_ascii_alphanumeric() && !"-._~+/=".contains(c));
    }
    let mut from = 0;
    while let Some(begin) = text[from..].find("://").map(|at| from + at + 3) {
        from = begin;
        let end = text[begin..].find(['/', '?', '#', ' ', '"', '\n']).map_or(text.len(), |at| begin + at);
        if let Some(at) = text[begin..end].rfind('@') {
            text.replace_range(begin..begin + at, REDACTED);
        }
    }
    text
}

/// Takes out everything from a beginning, whatever its case, up to an end.
fn cut_behind(text: &mut String, beginning: &str, is_end: fn(char) -> bool) {
    let mut from = 0;
    while let Some(begin) = text[from..].to_ascii_lowercase().find(beginning).map(|at| from + at) {
        let secret = begin + beginning.len();
        let end = text[secret..].find(is_end).map_or(text.len(), |at| secret + at);
        text.replace_range(begin..end, REDACTED);
        from = begin + REDACTED.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_taken_out() {
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----";
        for (text, expected) in [
            (format!("a {key} b {key}"), "a [redacted] b [redacted]"),
            ("-----BEGIN EC PRIVATE KEY-----\nAA".to_owned(), "[redacted]"),
            ("-----BEGIN CERTIFICATE-----\nAA".to_owned(), "-----BEGIN CERTIFICATE-----\nAA"),
            ("token `hmjoin1.n1.ab-.cd` of".to_owned(), "token `[redacted]` of"),
            ("x Bearer abc.d-e=, y".to_owned(), "x [redacted], y"),
            ("Accept: a\nAuthorization: Basic YTpi\nB: c".to_owned(), "Accept: a\n[redacted]\nB: c"),
            ("https://u:p@h/x and ftp://h/@".to_owned(), "https://[redacted]@h/x and ftp://h/@"),
            ("Größe 3 €".to_owned(), "Größe 3 €"),
        ] {
            assert_eq!(redact(&text), expected, "{text}");
        }
        for (name, secret) in [
            ("token", true),
            ("join.token", true),
            ("api_key", true),
            ("PASSWORD", true),
            ("tokens", false),
            ("key", false),
            ("keyword", false),
        ] {
            assert_eq!(is_secret(name), secret, "{name}");
        }
    }
}
