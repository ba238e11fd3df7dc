//! Tokens of the languages that packages are written in, with their places: for analysers, which look for weaknesses, and for
//! documentation, which looks for definitions. Any text gives tokens; nothing is refused.

pub(crate) mod julia;
pub(crate) mod lua;
