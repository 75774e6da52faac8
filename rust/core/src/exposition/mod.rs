//! The metrics whose lines are many, in Prometheus' text format (0.0.4): worded from the counts, and added up over
//! processes.
//!
//! A scrape must not hold up the calls that it counts, and a few thousand lines worded in Python would.

pub mod lines;
pub mod sum;
