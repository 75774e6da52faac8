//! Policies: what a call may do.

pub mod condition;
