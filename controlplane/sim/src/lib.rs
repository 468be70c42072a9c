//! Whole-system simulation from one seed.
