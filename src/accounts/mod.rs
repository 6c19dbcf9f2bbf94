//! Signing in: passwords, sign-in tokens, the grants that renew them, and the brake on guessing.
//!
//! Pure: the wall clock and randomness are arguments, files are `store`'s, routes are `admin`'s. Slow on purpose (a
//! password takes tens of milliseconds), so never on a core.
//!
//! Source: the project's management specification, section 2; configuration specification, section 7.

pub mod grant;
pub mod password;
pub mod sign_in;
pub mod throttle;
