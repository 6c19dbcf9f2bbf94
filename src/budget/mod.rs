//! Price to cost, counters per core and their merge.

pub mod counters;
pub mod money;
pub mod price;
