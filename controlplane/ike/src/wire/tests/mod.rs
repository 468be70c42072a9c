//! Tests of the wire format as a whole: properties, captured messages, another parser, fragments, payload rules.

mod corpus;
mod fragments;
mod malformed;
mod properties;
mod rules;
mod strategies;
