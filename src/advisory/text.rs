//! Texts of records as they are shown: a record comes from anybody, and a terminal obeys what is printed on it.

/// The longest line that is shown, in characters.
const LINE_CHARS_MAX: usize = 300;

/// Gives a text as one line without control characters and without marks that turn the direction of writing.
pub(super) fn line(text: &str) -> String {
    let mut line: String = text.chars().take(LINE_CHARS_MAX).map(shown).collect();
    if text.chars().nth(LINE_CHARS_MAX).is_some() {
        line.push('…');
    }
    line.trim().to_owned()
}

fn shown(c: char) -> char {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    match c {
        '\u{2028}' | '\u{2029}' => ' ',
        c if c.is_control() => ' ',
        _ if turns => '\u{fffd}',
        c => c,
    }
}

#[test]
fn a_line_obeys_nobody() {
    assert_eq!(line(" a\u{1b}[31mb\nc\u{9b}d\u{202e}e\u{2028}f "), "a [31mb c d\u{fffd}e f");
    assert_eq!(line(&"ä".repeat(301)).chars().count(), 301);
    assert_eq!(line(&"ä".repeat(300)), "ä".repeat(300));
}
