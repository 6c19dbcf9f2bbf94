//! What of a request reaches the provider, and what of its answer reaches the client.

mod headers;
mod passthrough;
mod request;
mod response;
mod stream;
