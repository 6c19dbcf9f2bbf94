//! Tests of the room as a whole: tables of heads, splits, properties, seeds of the fuzz targets.

mod chunked;
mod corpus;
mod properties;
mod request;
mod response;
mod smuggling;
