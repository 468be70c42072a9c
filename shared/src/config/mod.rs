//! The configuration file (TOML): text in, a validated [`Config`] out, or a list of mistakes that name file, line, key and remedy.

mod model;

pub use model::*;
