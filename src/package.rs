//! Packages: the schema authors write, the valid model the rest of Catalog works with, and every check between the two.

pub mod model;
pub mod name;
