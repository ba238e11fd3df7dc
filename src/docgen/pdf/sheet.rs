//! Sets lines on pages, one below the other.

use pdf_writer::{Content, Name, Str};

use super::Run;
use super::font::{Font, encode};

/// A4 in points, and what is left free around the text.
pub(super) const WIDTH: f32 = 595.0;
pub(super) const HEIGHT: f32 = 842.0;
const MARGIN: f32 = 56.0;
/// The height of a line, as a multiple of the size of its text.
const LEADING: f32 = 1.35;
/// The most pages of a file.
const PAGES_MAX: usize = 3_000;
/// The space between two columns, and the least width of one.
const GUTTER: f32 = 10.0;
const COLUMN_MIN: f32 = 44.0;

/// Pages that are being set.
pub(super) struct Sheet {
    name: String,
    done: Vec<Vec<u8>>,
    content: Content,
    /// Where the next line begins, from below.
    y: f32,
    lacking: usize,
    cut: bool,
}

/// Words on one line, with where each begins.
type Line = Vec<(f32, Font, Vec<u8>)>;

impl Sheet {
    pub(super) fn new(name: &str) -> Self {
        let name = name.to_owned();
        Self { name, done: Vec::new(), content: Content::new(), y: HEIGHT - MARGIN, lacking: 0, cut: false }
    }

    /// Gives the number of the page that is being set, from 0.
    pub(super) fn page(&self) -> usize {
        self.done.len()
    }

    /// Gives the pages, how many characters the fonts lack, and whether something was left out.
    pub(super) fn finish(mut self) -> (Vec<Vec<u8>>, usize, bool) {
        self.turn();
        (self.done, self.lacking, self.cut)
    }

    /// Leaves room.
    pub(super) fn space(&mut self, height: f32) {
        self.y -= height;
    }

    /// Begins a page if less than this is left of one.
    pub(super) fn keep(&mut self, height: f32) {
        if self.y - height < MARGIN {
            self.turn();
        }
    }

    /// Draws a line across.
    pub(super) fn line(&mut self) {
        self.y -= 3.0;
        self.content.set_stroke_gray(0.75).move_to(MARGIN, self.y).line_to(WIDTH - MARGIN, self.y).stroke();
        self.y -= 6.0;
    }

    /// Sets running text.
    pub(super) fn words(&mut self, runs: &[Run], size: f32, indent: f32) {
        let left = MARGIN + indent;
        for line in self.wrapped(runs, size, WIDTH - MARGIN - left) {
            self.advance(size);
            self.put(&line, size, left);
        }
    }

    /// Sets a line that keeps its spaces, in as many pieces as it needs.
    pub(super) fn fixed(&mut self, line: &str, size: f32, indent: f32) {
        let bytes = encode(line, &mut self.lacking);
        let columns = ((WIDTH - 2.0 * MARGIN - indent) / Font::Fixed.width(b"x", size)).max(1.0) as usize;
        let mut rest = bytes.as_slice();
        loop {
            let (piece, after) = rest.split_at(rest.len().min(columns));
            self.advance(size);
            self.put(&vec![(0.0, Font::Fixed, piece.to_vec())], size, MARGIN + indent);
            if after.is_empty() {
                return;
            }
            rest = after;
        }
    }

    /// Sets what stands before the next line.
    pub(super) fn mark(&mut self, mark: &str, size: f32, indent: f32) {
        self.keep(size * LEADING);
        let bytes = encode(mark, &mut self.lacking);
        let y = self.y;
        self.y -= size * LEADING;
        self.put(&vec![(0.0, Font::Plain, bytes)], size, MARGIN + indent);
        self.y = y;
    }

    /// Sets rows with columns that have the width of what is in them, as far as there is room.
    pub(super) fn table(&mut self, rows: &[Vec<Vec<Run>>], size: f32, indent: f32) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        if columns == 0 {
            return;
        }
        let room = WIDTH - 2.0 * MARGIN - indent - GUTTER * (columns - 1) as f32;
        let widths = self.columns(rows, columns, size, room);
        for row in rows {
            let lines: Vec<Vec<Line>> =
                row.iter().zip(&widths).map(|(cell, width)| self.wrapped(cell, size, *width)).collect();
            for at in 0..lines.iter().map(Vec::len).max().unwrap_or(0) {
                self.advance(size);
                let mut left = MARGIN + indent;
                for (cell, width) in lines.iter().zip(&widths) {
                    if let Some(line) = cell.get(at) {
                        self.put(line, size, left);
                    }
                    left += width + GUTTER;
                }
            }
        }
    }

    fn columns(&self, rows: &[Vec<Vec<Run>>], columns: usize, size: f32, room: f32) -> Vec<f32> {
        let wide = |cell: &Vec<Run>| -> f32 {
            cell.iter().map(|(font, text)| font.width(&encode(text, &mut 0), size)).sum::<f32>() + 1.0
        };
        let wanted: Vec<f32> = (0..columns)
            .map(|at| rows.iter().filter_map(|row| row.get(at)).map(wide).fold(COLUMN_MIN, f32::max).min(room))
            .collect();
        let all: f32 = wanted.iter().sum();
        if all <= room {
            return wanted;
        }
        // What is narrow keeps its width, and the others share what is left.
        let fair = room / columns as f32;
        let narrow: f32 = wanted.iter().filter(|width| **width <= fair).sum();
        let wide: f32 = wanted.iter().filter(|width| **width > fair).sum();
        let share = (room - narrow) / wide;
        wanted.into_iter().map(|width| if width <= fair { width } else { width * share }).collect()
    }

    /// Breaks text into lines of a width at its spaces, and a word that is wider at that.
    fn wrapped(&mut self, runs: &[Run], size: f32, width: f32) -> Vec<Line> {
        let mut lines: Vec<Line> = vec![Vec::new()];
        let mut x = 0.0;
        let mut space = 0.0;
        for (font, text) in runs {
            for (at, part) in text.split('\n').enumerate() {
                if at > 0 {
                    lines.push(Vec::new());
                    (x, space) = (0.0, 0.0);
                }
                for word in part.split_inclusive(' ') {
                    let bare = word.trim_end_matches(' ');
                    let after = if bare.len() < word.len() { font.width(b" ", size) } else { 0.0 };
                    let mut bytes = encode(bare, &mut self.lacking);
                    while !bytes.is_empty() {
                        let wide = font.width(&bytes, size);
                        if x > 0.0 && x + space + wide > width {
                            lines.push(Vec::new());
                            (x, space) = (0.0, 0.0);
                        }
                        let fits = fitting(*font, &bytes, size, width);
                        let rest = bytes.split_off(fits);
                        let piece = font.width(&bytes, size);
                        if let Some(line) = lines.last_mut() {
                            line.push((x + space, *font, bytes));
                        }
                        x += space + piece;
                        space = 0.0;
                        bytes = rest;
                    }
                    space = if x > 0.0 { space.max(after) } else { 0.0 };
                }
            }
        }
        lines
    }

    fn advance(&mut self, size: f32) {
        self.keep(size * LEADING);
        self.y -= size * LEADING;
    }

    fn put(&mut self, line: &Line, size: f32, left: f32) {
        for (x, font, bytes) in line {
            self.content.begin_text().set_font(Name(font.name()), size);
            self.content.set_text_matrix([1.0, 0.0, 0.0, 1.0, left + x, self.y]);
            self.content.show(Str(bytes)).end_text();
        }
    }

    /// Ends a page with its number.
    fn turn(&mut self) {
        let number = self.done.len() + 1;
        let text = encode(&format!("{} - {number}", self.name), &mut 0);
        self.y = MARGIN / 2.0;
        self.put(&vec![(0.0, Font::Plain, text)], 8.0, MARGIN);
        let content = std::mem::replace(&mut self.content, Content::new()).finish();
        if self.done.len() < PAGES_MAX {
            self.done.push(content.into_vec());
        } else {
            self.cut = true;
        }
        self.y = HEIGHT - MARGIN;
    }
}

/// Gives how many characters fit into a width, one at least.
fn fitting(font: Font, bytes: &[u8], size: f32, width: f32) -> usize {
    if font.width(bytes, size) <= width {
        return bytes.len();
    }
    let mut used = 0.0;
    let fits = bytes.iter().take_while(|byte| {
        used += font.width(&[**byte], size);
        used <= width
    });
    fits.count().max(1)
}
