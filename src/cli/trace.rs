//! `routerly trace`: what happened to a request.
//!
//! Reads the files of a home directory, no more; works while a gateway runs on it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use serde_json::Value;

use super::{TraceArgs, fail};
use crate::config::Env;
use crate::store::home::{self, Home};
use crate::store::traces;
use crate::telemetry::ids::TraceId;

/// Shows the kept trace of a request.
pub fn run(args: &TraceArgs, json: bool) -> ExitCode {
    match find(args, json) {
        Ok(text) => {
            // Whoever reads the pipe may have seen enough.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(reason) => fail(&reason),
    }
}

fn find(args: &TraceArgs, json: bool) -> Result<String, String> {
    let env = Env::from_process();
    let id = TraceId::parse(&args.id)
        .ok_or_else(|| format!("`{}` is no trace id: those are UUIDs, as in x-routerly-trace-id", args.id))?;
    let home = Home::resolve(args.home.as_deref(), &env).map_err(|mistake| mistake.to_string())?;
    let data = home.data_directory();
    let line = traces::find(&data, id).map_err(|error| format!("{}: {error}", data.display()))?;
    let line = line.ok_or_else(|| {
        format!("no trace of {id} is kept: see `traces` in docs/configuration.md for which ones are")
    })?;
    let line = if traces::is_sealed(&line) {
        let loaded = home::load(&home, &env)
            .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
        traces::unseal(&loaded.keys, id, line)
            .ok_or_else(|| format!("the trace of {id} was encrypted with another key than this home's"))?
    } else {
        line
    };
    if json {
        return Ok(format!("{line}\n"));
    }
    let value: Value = serde_json::from_str(&line).map_err(|error| format!("the trace of {id}: {error}"))?;
    Ok(page(&value))
}

/// A line on the request, and one on each entry.
pub(super) fn page(trace: &Value) -> String {
    let mut out = String::new();
    if let Value::Object(members) = trace {
        for (name, value) in members.iter().filter(|(name, _)| *name != "trace") {
            line(&mut out, &format!("{name:<12} {}", plain(value)));
        }
    }
    for entry in trace["trace"].as_array().into_iter().flatten() {
        let (ts, message) = (plain(&entry["ts"]), plain(&entry["message"]));
        line(&mut out, &format!("\n{ts:>6} ms  {message}  ({})", plain(&entry["panel"])));
        if let Value::Object(details) = &entry["details"] {
            for (name, value) in details {
                line(&mut out, &format!("           {name}: {}", plain(value)));
            }
        }
    }
    out
}

fn line(out: &mut String, text: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}

/// A text without its quotes, and without what a terminal would take for commands.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_trace_is_shown_entry_by_entry() {
        let trace = json!({"traceId": "0198", "httpStatus": 200, "trace": [
            {"panel": "request", "message": "model:request", "ts": 3, "details": {"modelId": "a", "stream": true}},
            {"panel": "response", "message": "model:error", "ts": 12, "details": {"error": "no \"x\"\n\u{1b}[2J"}},
        ]});
        let expected = "traceId      0198\nhttpStatus   200\n\n     3 ms  model:request  (request)\n           \
                        modelId: a\n           stream: true\n\n    12 ms  model:error  (response)\n           \
                        error: no \"x\"\\n\\u{1b}[2J\n";
        assert_eq!(page(&trace), expected);
    }
}
