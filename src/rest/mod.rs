//! The REST adapter: a request to one of the ten providers becomes an action,
//! and, once admitted, goes to the provider as it was judged.

pub mod normalize;
