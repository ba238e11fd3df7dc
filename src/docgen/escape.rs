//! Text as text in each format.

/// Writes text as HTML has it, between tags and in quoted attributes.
pub(super) fn html(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Characters that turn the direction of what follows would show something else than there is.
            _ if is_hidden(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

/// Writes text as Markdown has it, so that none of it is markup or HTML.
pub(super) fn markdown(text: &str, out: &mut String) {
    let mut begins = out.is_empty() || out.ends_with('\n');
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '&' | '~' | '#' | '!' => {
                out.push('\\');
                out.push(c);
            }
            '-' | '+' | '=' if begins => {
                out.push('\\');
                out.push(c);
            }
            '.' | ')' if digits_only(out) => {
                out.push('\\');
                out.push(c);
            }
            '\n' | '\r' => out.push(' '),
            _ if is_hidden(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
        begins = begins && c.is_whitespace();
    }
}

/// Whether the last line of a text is a number so far, which a dot would make the first of a list.
fn digits_only(out: &str) -> bool {
    // The digits first: looking back to where a line begins at every dot would take long with a long line.
    let digits = out.bytes().rev().take(10).take_while(u8::is_ascii_digit).count();
    let begins = |head: &str| head.rsplit('\n').next().is_none_or(|head| head.trim().is_empty());
    (1..=9).contains(&digits) && begins(&out[..out.len() - digits])
}

/// Whether a character is not seen and changes how others are: controls, and those that turn the direction of text.
pub(super) fn is_hidden(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::block::{Block, plain};
    use super::*;

    proptest! {
        #[test]
        fn text_in_markdown_reads_back_as_itself(text in "[a-z0-9<>&*_`#|~!\\[\\]()\\\\.:/ \"'+=-]{1,60}") {
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            prop_assume!(!text.is_empty());
            let mut out = String::new();
            markdown(&text, &mut out);
            let blocks = super::super::prose::read(&out, 3);
            let read: Vec<String> = blocks.iter().map(|block| match block {
                Block::Paragraph(spans) => plain(spans),
                other => format!("{other:?}"),
            }).collect();
            prop_assert_eq!(read.join("\n"), text);
        }

        #[test]
        fn text_in_html_has_no_markup(text in "\\PC{0,60}") {
            let mut out = String::new();
            html(&text, &mut out);
            prop_assert!(!out.contains(['<', '>', '"', '\'']));
        }
    }
}
