//! `agentgate wrap` from the outside: the real binary between real clients and
//! real servers, under attack, under load, and when things around it fail.

#![cfg(unix)]

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod endings;
#[cfg(test)]
mod flow;
#[cfg(test)]
mod gating;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod lenience;
#[cfg(test)]
#[path = "../shared/lenient.rs"]
mod lenient;
#[cfg(test)]
mod outage;
#[cfg(test)]
#[path = "../shared/real.rs"]
mod real;
#[cfg(test)]
mod server_requests;
#[cfg(test)]
mod support;
#[cfg(test)]
mod transparency;
#[cfg(test)]
mod verdicts;
#[cfg(test)]
#[path = "../shared/wait.rs"]
mod wait;
