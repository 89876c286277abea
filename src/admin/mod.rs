//! The admin API: agents and their keys, policies, the log, and what is there.
