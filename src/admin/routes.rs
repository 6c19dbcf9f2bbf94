//! The table of routes: method, path, who may, handler.

use super::answer::ApiError;
use super::ask::Ask;
use super::office::Office;
use super::{me, roles, sign_in, system, traces, usage, users};
use crate::config::account::Permission;
use crate::mailbox::{ApiAnswer, Job};

/// What a handler gives.
pub(super) type Answered = Result<ApiAnswer, ApiError>;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Anybody.
    Nothing,
    /// Anybody who has signed in.
    SignIn,
    /// Who has this permission.
    Permission(Permission),
}

/// Answers at once.
pub(super) type Handler = fn(&mut Office, &Ask<'_>) -> Answered;

/// Looks at the question at once, and leaves the answer to the threads that make reports.
pub(super) type Question = fn(&Office, &Ask<'_>) -> Result<Job, ApiError>;

/// One route.
pub(super) struct Route<R: 'static = Handler> {
    method: &'static str,
    /// `*` stands for one name.
    path: &'static [&'static str],
    pub needs: Needs,
    pub run: R,
}

const READ_USERS: Needs = Needs::Permission(Permission::UserRead);
const WRITE_USERS: Needs = Needs::Permission(Permission::UserWrite);

#[rustfmt::skip]
const ROUTES: &[Route] = &[
    Route { method: "GET", path: &["setup", "status"], needs: Needs::Nothing, run: sign_in::setup_status },
    Route { method: "POST", path: &["setup", "first-admin"], needs: Needs::Nothing, run: sign_in::first_admin },
    Route { method: "POST", path: &["auth", "login"], needs: Needs::Nothing, run: sign_in::login },
    Route { method: "POST", path: &["auth", "refresh"], needs: Needs::Nothing, run: sign_in::refresh },
    Route { method: "POST", path: &["auth", "logout"], needs: Needs::SignIn, run: sign_in::logout },
    Route { method: "GET", path: &["me"], needs: Needs::SignIn, run: me::show },
    Route { method: "PUT", path: &["me"], needs: Needs::SignIn, run: me::change },
    Route { method: "GET", path: &["me", "sessions"], needs: Needs::SignIn, run: me::sessions },
    Route { method: "DELETE", path: &["me", "sessions", "*"], needs: Needs::SignIn, run: me::end_session },
    Route { method: "GET", path: &["users"], needs: READ_USERS, run: users::list },
    Route { method: "POST", path: &["users"], needs: WRITE_USERS, run: users::create },
    Route { method: "GET", path: &["users", "*"], needs: READ_USERS, run: users::show },
    Route { method: "PUT", path: &["users", "*"], needs: WRITE_USERS, run: users::change },
    Route { method: "DELETE", path: &["users", "*"], needs: WRITE_USERS, run: users::delete },
    Route { method: "GET", path: &["roles"], needs: READ_USERS, run: roles::list },
    Route { method: "POST", path: &["roles"], needs: WRITE_USERS, run: roles::create },
    Route { method: "GET", path: &["roles", "*"], needs: READ_USERS, run: roles::show },
    Route { method: "PUT", path: &["roles", "*"], needs: WRITE_USERS, run: roles::change },
    Route { method: "DELETE", path: &["roles", "*"], needs: WRITE_USERS, run: roles::delete },
    Route { method: "GET", path: &["system", "info"], needs: Needs::Nothing, run: system::info },
];

/// What may take long. Members of projects may see those of their own: the questions look into it themselves.
#[rustfmt::skip]
const QUESTIONS: &[Route<Question>] = &[
    Route { method: "GET", path: &["usage"], needs: Needs::SignIn, run: usage::stats },
    Route { method: "GET", path: &["usage", "export"], needs: Needs::SignIn, run: usage::export },
    Route { method: "GET", path: &["usage", "*"], needs: Needs::SignIn, run: usage::one },
    Route { method: "GET", path: &["traces"], needs: Needs::SignIn, run: traces::recent },
    Route { method: "GET", path: &["traces", "*"], needs: Needs::SignIn, run: traces::one },
];

/// The route of a path, and the names in it.
pub(super) enum Found {
    /// One that is answered at once.
    Handler(&'static Route, Vec<String>),
    /// One that may take long.
    Question(&'static Route<Question>, Vec<String>),
}

/// Finds the route of a path (`/api/…`, without query).
///
/// # Errors
/// There is none, or none with this method.
pub(super) fn find(method: &str, path: &str) -> Result<Found, ApiError> {
    match find_in(ROUTES, method, path)? {
        Some((route, names)) => Ok(Found::Handler(route, names)),
        None => match find_in(QUESTIONS, method, path)? {
            Some((route, names)) => Ok(Found::Question(route, names)),
            None => Err(ApiError::not_found("nothing is served at this path")),
        },
    }
}

/// A route of one table, and the names in its path.
type Match<R> = (&'static Route<R>, Vec<String>);

/// Finds the route in one table; none where the path is not in it.
fn find_in<R>(routes: &'static [Route<R>], method: &str, path: &str) -> Result<Option<Match<R>>, ApiError> {
    // What HEAD is answered with is a GET's, without body.
    let method = if method == "HEAD" { "GET" } else { method };
    let below = path.strip_prefix("/api/").unwrap_or_default();
    let segments: Vec<&str> = below.strip_suffix('/').unwrap_or(below).split('/').collect();
    let fits = |route: &&Route<R>| {
        route.path.len() == segments.len()
            && route.path.iter().zip(&segments).all(|(part, segment)| match *part {
                "*" => !segment.is_empty(),
                part => part == *segment,
            })
    };
    let mut others = false;
    for route in routes.iter().filter(fits) {
        if route.method == method {
            let names = route.path.iter().zip(&segments).filter(|(part, _)| **part == "*");
            return Ok(Some((route, names.map(|(_, segment)| decode(segment)).collect())));
        }
        others = true;
    }
    if others { Err(ApiError::no_method()) } else { Ok(None) }
}

/// Decodes `%XX`; what is no UTF-8 after that names nothing.
pub(super) fn decode(segment: &str) -> String {
    let mut out = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [byte, after @ ..] = rest {
        let hex = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
        rest = match (byte, after) {
            (b'%', [high, low, behind @ ..]) => match hex(*high).zip(hex(*low)) {
                Some((high, low)) => {
                    out.push(high << 4 | low);
                    behind
                }
                None => {
                    out.push(b'%');
                    after
                }
            },
            _ => {
                out.push(*byte);
                after
            }
        };
    }
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: &str, path: &str) -> Option<(Needs, Vec<String>)> {
        find(method, path).ok().map(|found| match found {
            Found::Handler(route, names) => (route.needs, names),
            Found::Question(route, names) => (route.needs, names),
        })
    }

    #[test]
    fn paths_lead_to_routes_and_names_are_decoded() {
        assert_eq!(found("GET", "/api/setup/status"), Some((Needs::Nothing, vec![])));
        assert_eq!(found("HEAD", "/api/users/"), Some((READ_USERS, vec![])));
        assert_eq!(found("PUT", "/api/users/a%2Fb%20%C3%A4"), Some((WRITE_USERS, vec!["a/b ä".to_owned()])));
        assert_eq!(found("GET", "/api/roles/%zz"), Some((READ_USERS, vec!["%zz".to_owned()])));
        for (method, path, status) in [
            ("GET", "/api/", 404),
            ("GET", "/api/users//x", 404),
            ("GET", "/api/Users", 404),
            ("GET", "/api/users/a/b", 404),
            ("PATCH", "/api/users", 405),
            ("GET", "/api/auth/login", 405),
            ("POST", "/api/usage", 405),
            ("GET", "/api/usage/a/b", 404),
        ] {
            let error = find(method, path).map(|_| ()).unwrap_err();
            assert_eq!(error.into_answer().status, status, "{method} {path}");
        }
    }

    #[test]
    fn only_signing_in_is_open_to_anybody() {
        let open = ROUTES.iter().filter(|route| route.needs == Needs::Nothing);
        let paths: Vec<String> = open.map(|route| route.path.join("/")).collect();
        assert_eq!(paths, ["setup/status", "setup/first-admin", "auth/login", "auth/refresh", "system/info"]);
        assert!(QUESTIONS.iter().all(|route| route.needs != Needs::Nothing));
    }
}
