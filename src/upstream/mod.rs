//! How a provider is reached: resolve, connect, pool.
//!
//! Owns connections up to the first byte of a request; what is said on them is the gateway's. One copy per core.

pub mod connect;
pub mod endpoint;
pub mod error;
pub mod pool;
mod public;
pub mod resolve;

pub use endpoint::{Endpoint, HttpProxy, Scheme};
pub use error::ConnectError;
pub use pool::{Lease, Pool};
pub use public::is_public;
pub use resolve::{Resolver, ResolverThreads};
