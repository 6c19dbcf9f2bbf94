//! What goes wrong on either side, and what the other side and the books see of it.

mod client;
mod load;
mod provider;
mod stream;
