//! The three fonts that every reader of PDF has, with the widths of their characters.
//!
//! They hold the characters of Windows-1252 (PDF 1.7, annex D.2) and no others. What they lack is written as `?` and counted,
//! so that whoever makes the page is told to take another format.

/// A font.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Font {
    /// Helvetica.
    Plain,
    /// Helvetica in bold.
    Bold,
    /// Courier.
    Fixed,
}

/// What stands for a character that the fonts lack.
const LACKING: u8 = b'?';
/// The width of each character of Courier, in thousandths of its size.
const FIXED_WIDTH: u32 = 600;
/// The width of a letter of which none is listed.
const OTHER_WIDTH: u32 = 556;
/// How much wider bold letters are than plain ones at most, in percent: lines in bold are a little short, and never too long.
const BOLD_PERCENT: u32 = 112;

/// The widths of Helvetica from space to tilde, in thousandths of its size (Adobe's metrics of the 14 fonts).
const WIDTHS: [u32; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556,
    556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833,
    722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556,
    556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334,
    260, 334, 584,
];

impl Font {
    /// Gives the name by which pages call it.
    pub(super) fn name(self) -> &'static [u8] {
        match self {
            Self::Plain => b"F1",
            Self::Bold => b"F2",
            Self::Fixed => b"F3",
        }
    }

    /// Gives the width of characters at a size.
    pub(super) fn width(self, bytes: &[u8], size: f32) -> f32 {
        let of = |byte: &u8| {
            let listed = usize::from(*byte).checked_sub(32).and_then(|at| WIDTHS.get(at)).copied();
            match self {
                Self::Fixed => FIXED_WIDTH,
                Self::Plain => listed.unwrap_or(OTHER_WIDTH),
                Self::Bold => listed.unwrap_or(OTHER_WIDTH) * BOLD_PERCENT / 100,
            }
        };
        let thousandths: u32 = bytes.iter().map(of).sum();
        thousandths as f32 * size / 1000.0
    }
}

/// Gives characters as the fonts have them, and counts those they lack.
pub(super) fn encode(text: &str, lacking: &mut usize) -> Vec<u8> {
    let of = |c: char| match c {
        ' '..='~' => Some(c as u8),
        '\u{a0}'..='\u{ff}' => u8::try_from(u32::from(c)).ok(),
        '\t' => Some(b' '),
        '€' => Some(0x80),
        '‚' => Some(0x82),
        'ƒ' => Some(0x83),
        '„' => Some(0x84),
        '…' => Some(0x85),
        '†' => Some(0x86),
        '‡' => Some(0x87),
        '‰' => Some(0x89),
        'Š' => Some(0x8a),
        'Œ' => Some(0x8c),
        'Ž' => Some(0x8e),
        '‘' => Some(0x91),
        '’' => Some(0x92),
        '“' => Some(0x93),
        '”' => Some(0x94),
        '•' => Some(0x95),
        '–' => Some(0x96),
        '—' => Some(0x97),
        '™' => Some(0x99),
        'š' => Some(0x9a),
        'œ' => Some(0x9c),
        'ž' => Some(0x9e),
        'Ÿ' => Some(0x9f),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        let byte = of(c);
        *lacking += usize::from(byte.is_none());
        bytes.push(byte.unwrap_or(LACKING));
    }
    bytes
}
