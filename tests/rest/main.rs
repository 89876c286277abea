//! `agentgate serve` from outside: the real binary, real sockets, real SDKs, and
//! an upstream that writes down what arrives.

#![cfg(test)]

mod attacks;
#[cfg(feature = "aws")]
mod aws;
mod configuration;
mod early;
mod endings;
mod endurance;
mod files;
mod flows;
mod limits;
mod log;
mod mocks;
mod quickstart;
#[path = "../shared/raw.rs"]
mod raw;
mod sdks;
mod smuggling;
mod support;
mod two;
mod uploads;
#[path = "../shared/wait.rs"]
mod wait;
mod way;
mod written;
