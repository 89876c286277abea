//! The hall every request walks through: decide, ask, record, and only then a
//! [`Permit`].

pub mod pipeline;
pub mod rate;
