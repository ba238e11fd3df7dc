//! Byte offsets into lines and columns, in constant time even where a text is one long line.

use crate::package::document::Position;

const BLOCK_BYTES: usize = 256;

pub(super) struct Lines<'a> {
    text: &'a str,
    /// Offset of each line's first byte.
    starts: Vec<usize>,
    /// Characters before each block.
    characters: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut before = 0;
        let characters = text
            .as_bytes()
            .chunks(BLOCK_BYTES)
            .map(|block| {
                let here = before;
                before += count(block);
                here
            })
            .collect();
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(offset, _)| offset + 1)).collect();
        Self { text, starts, characters }
    }

    pub(super) fn position(&self, offset: usize) -> Position {
        let line = self.starts.partition_point(|start| *start <= offset);
        let column = self.characters_before(offset) - self.characters_before(self.starts[line - 1]) + 1;
        Position { line: u32::try_from(line).unwrap_or(0), column: u32::try_from(column).unwrap_or(0) }
    }

    fn characters_before(&self, offset: usize) -> usize {
        let offset = offset.min(self.text.len());
        let block = (offset / BLOCK_BYTES).min(self.characters.len().saturating_sub(1));
        let before = self.characters.get(block).copied().unwrap_or(0);
        before + count(&self.text.as_bytes()[block * BLOCK_BYTES..offset])
    }
}

/// Counts the characters that begin in a piece of UTF-8.
fn count(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_across_blocks() {
        let text = format!("é\n{}x", "é".repeat(300));
        let lines = Lines::new(&text);
        assert_eq!(lines.position(0), Position { line: 1, column: 1 });
        assert_eq!(lines.position(3), Position { line: 2, column: 1 });
        assert_eq!(lines.position(text.len() - 1), Position { line: 2, column: 301 });
        assert_eq!(lines.position(text.len()), Position { line: 2, column: 302 });
        assert_eq!(Lines::new("").position(9), Position { line: 1, column: 1 });
    }
}
