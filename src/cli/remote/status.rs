//! `routerly status`: the account, and what the gateway says of itself.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::Context;
use super::api::Api;
use super::auth::time;
use super::failure::{Failure, Kind};
use super::print::{cell, note, pairs};
use crate::clock;

/// Exit code 0 where the gateway answers.
pub(super) fn run(context: &Context) -> ExitCode {
    let shown = match context.api() {
        Ok(api) => signed_in(context, api),
        Err(failure) if failure.kind == Kind::SignIn => nobody(context),
        Err(failure) => Err(failure),
    };
    match shown {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(Kind::Unreachable as u8),
        Err(failure) => failure.report(),
    }
}

/// Nobody is signed in: what anybody may see.
fn nobody(context: &Context) -> Result<bool, Failure> {
    let url = context.server()?;
    let info = Api::public(&url)?.get("system/info");
    let is_up = info.is_ok();
    context.output.show(&json!({"loggedIn": false}), || {
        let version = info.as_ref().map_or("-".to_owned(), |info| cell(&info["version"]));
        pairs(&[
            ("Account", "nobody is signed in; `routerly auth login`".to_owned()),
            ("Server", url),
            ("Reachable", cell(&json!(is_up))),
            ("Version", version),
        ])
    })?;
    if let Err(failure) = info {
        failure.report();
    }
    Ok(is_up)
}

fn signed_in(context: &Context, mut api: Api) -> Result<bool, Failure> {
    let info = api.get("system/info");
    // What the gateway says to anybody tells nothing about the sign-in.
    let me = if info.is_ok() { api.get("me") } else { Ok(Value::Null) };
    let (is_up, is_valid) = (info.is_ok(), me.is_ok() && info.is_ok());
    let account = api.account().cloned();
    let failures: Vec<Failure> = info.as_ref().err().into_iter().chain(me.as_ref().err()).cloned().collect();
    let info = info.unwrap_or_default();
    let me = me.unwrap_or_default();
    let expires_at = account.as_ref().map(|account| account.expires_at);
    let server = account
        .as_ref()
        .map_or_else(|| context.server().unwrap_or_default(), |account| account.server_url.clone());
    let known = |here: Option<String>, there: &Value| here.map_or_else(|| there.clone(), Value::String);
    let public_url = info["publicUrl"].as_str().unwrap_or(&server).trim_end_matches('/').to_owned();
    let dashboard = (info["dashboardEnabled"] == true).then(|| format!("{public_url}/dashboard/"));
    let service = json!({
        "reachable": is_up,
        "version": info["version"],
        "uptimeSeconds": info["uptimeSeconds"],
        "host": info["listeningAddress"].as_str().and_then(|address| address.rsplit_once(':')).map(|(host, _)| host),
        "port": info["listeningAddress"]
            .as_str()
            .and_then(|address| address.rsplit_once(':'))
            .and_then(|(_, port)| port.parse::<u16>().ok()),
        "listeningAddr": info["listeningAddress"],
        "dashboardEnabled": info["dashboardEnabled"],
        "dashboardUrl": dashboard,
        "logLevel": info["logLevel"],
        "timeoutMs": info["defaultTimeoutMs"],
        "driver": info["driver"],
        "cores": info["cores"],
        "degraded": info["degraded"],
        "modelCount": info["modelCount"],
        "projectCount": info["projectCount"],
    });
    let status = json!({
        "loggedIn": true,
        "account": {
            "alias": account.as_ref().map(|account| &account.alias),
            "email": known(account.as_ref().map(|account| account.email.clone()), &me["email"]),
            "role": known(account.as_ref().and_then(|account| account.role.clone()), &me["roleId"]),
            "serverUrl": server,
            "tokenValid": if is_up { is_valid } else { expires_at.is_some_and(|at| at > clock::unix_ms()) },
            "tokenExpiresAt": expires_at,
        },
        "service": if is_up { service } else { Value::Null },
    });
    context.output.show(&status, || text(&status, expires_at))?;
    for failure in &failures {
        failure.report();
    }
    if is_up && !is_valid {
        note("the gateway answers, but the sign-in does not count there");
    }
    Ok(is_up)
}

fn text(status: &Value, expires_at: Option<u64>) -> String {
    let (account, service) = (&status["account"], &status["service"]);
    let uptime = service["uptimeSeconds"].as_u64().map_or_else(|| "-".to_owned(), duration);
    pairs(&[
        ("Account", format!("{} ({})", cell(&account["email"]), cell(&account["role"]))),
        ("Alias", cell(&account["alias"])),
        ("Server", cell(&account["serverUrl"])),
        ("Sign-in valid", cell(&account["tokenValid"])),
        ("Sign-in expires", expires_at.map_or_else(|| "-".to_owned(), time)),
        ("Reachable", cell(&json!(service["reachable"] == true))),
        ("Version", cell(&service["version"])),
        ("Uptime", uptime),
        ("Listening on", cell(&service["listeningAddr"])),
        ("Dashboard", cell(&service["dashboardUrl"])),
        ("Log level", cell(&service["logLevel"])),
        ("Timeout", service["timeoutMs"].as_u64().map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"))),
        ("Driver", cell(&service["driver"])),
        ("Cores", cell(&service["cores"])),
        ("Models", cell(&service["modelCount"])),
        ("Projects", cell(&service["projectCount"])),
    ])
}

/// `3d 4h`, `5m 6s`.
fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_parts() {
        for (seconds, text) in [(0, "0s"), (61, "1m 1s"), (3_660, "1h 1m"), (90_000, "1d 1h")] {
            assert_eq!(duration(seconds), text);
        }
    }
}
