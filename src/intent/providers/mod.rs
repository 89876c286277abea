//! One file a provider: what holds for the whole of its API and for no other,
//! and the tables made from the vendors' own descriptions.

pub(super) mod aws;
mod aws_table;
pub(super) mod github;
pub(super) mod google;
mod google_table;
pub(super) mod hubspot;
pub(super) mod jira;
pub(super) mod microsoft;
pub(super) mod notion;
pub(super) mod salesforce;
pub(super) mod slack;
mod table;
