//! The server side of HTTP/1.1: what is accepted, refused, kept open and closed; who is let in; which URLs there are.

mod admission;
mod keep_alive;
mod limits;
mod routes;
mod strict;
