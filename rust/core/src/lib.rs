//! Interlock's decision core.
#![deny(unsafe_code)]

pub mod decimal;
pub mod json;
pub mod limit;
pub mod time;
