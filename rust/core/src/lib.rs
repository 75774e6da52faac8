//! Interlock's decision core.
#![deny(unsafe_code)]

pub mod limit;
pub mod time;
