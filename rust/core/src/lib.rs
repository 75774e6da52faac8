//! Interlock's decision core.
#![deny(unsafe_code)]

pub mod decimal;
pub mod json;
pub mod limit;
pub mod message;
pub mod pattern;
pub mod policy;
mod sync;
pub mod time;
