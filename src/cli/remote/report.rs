//! `routerly report`: sums, calls, exports and traces, from the gateway.

use std::io::{self, Read as _, Write as _};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::Context;
use super::failure::{Failure, Kind};
use super::http::encode;
use super::print::cell;

/// Records in one answer of the gateway, at most.
const PAGE_SIZE_MAX: u64 = 200;

/// What is reported.
#[derive(Debug, Subcommand)]
pub enum Report {
    /// Sums by model, or by something else
    Usage {
        /// Which records.
        #[command(flatten)]
        which: Which,
        /// What to sum by
        #[arg(long, default_value = "model", value_parser = ["model", "project", "token", "provider", "outcome", "day", "hour"])]
        by: String,
        /// Print comma-separated values
        #[arg(long)]
        csv: bool,
    },
    /// The last records
    Calls {
        /// Which records.
        #[command(flatten)]
        which: Which,
        /// How many at most
        #[arg(long, default_value_t = 20)]
        limit: u64,
    },
    /// All records as comma-separated values, or a JSON object a line with --json
    Export {
        /// Which records.
        #[command(flatten)]
        which: Which,
    },
    /// What happened to a request, by the id in its answer's x-routerly-trace-id
    Trace {
        /// The request's id
        id: String,
    },
}

/// Which records.
#[derive(Debug, Args)]
pub struct Which {
    /// daily, weekly, monthly or all [default: monthly]
    #[arg(long, value_parser = ["daily", "weekly", "monthly", "all"])]
    period: Option<String>,
    /// First day or moment
    #[arg(long)]
    from: Option<String>,
    /// Last day, or the moment before which records count
    #[arg(long)]
    to: Option<String>,
    /// Id, slug or name of a project
    #[arg(long)]
    project: Option<String>,
    /// Id of a model
    #[arg(long)]
    model: Option<String>,
    /// Id of a project token
    #[arg(long)]
    token: Option<String>,
    /// How the calls ended, such as error
    #[arg(long)]
    outcome: Option<String>,
}

impl Which {
    /// As a query; `&` at its end.
    fn query(&self, context: &Context) -> Result<String, Failure> {
        let project = self.project.as_deref().map(|named| project_id(context, named)).transpose()?;
        let pairs = [
            ("period", &self.period),
            ("from", &self.from),
            ("to", &self.to),
            ("project", &project),
            ("model", &self.model),
            ("token", &self.token),
            ("outcome", &self.outcome),
        ];
        let pairs = pairs.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        Ok(pairs.map(|(name, value)| format!("{name}={}&", encode(value))).collect())
    }
}

/// What the gateway knows a project by that is named by id, slug or name. One that it does not list is taken as it is:
/// deleted ones have records too.
fn project_id(context: &Context, named: &str) -> Result<String, Failure> {
    let projects = match context.api()?.get("projects") {
        Err(failure) if matches!(failure.kind, Kind::Denied | Kind::NotFound) => Value::Null,
        projects => projects?,
    };
    let all = || projects.as_array().into_iter().flatten();
    let found =
        ["id", "slug", "name"].iter().find_map(|field| all().find(|project| project[*field] == named));
    Ok(found.and_then(|project| project["id"].as_str()).unwrap_or(named).to_owned())
}

pub(super) fn run(context: &Context, command: Report) -> Result<(), Failure> {
    match command {
        Report::Usage { csv: true, .. } if context.output.json => {
            Err(Failure::usage("--json and --csv exclude each other"))
        }
        Report::Usage { which, by, csv } => usage(context, &which, &by, csv),
        Report::Calls { which, limit } => calls(context, &which, limit),
        Report::Export { which } => export(context, &which),
        Report::Trace { id } => trace(context, &id),
    }
}

fn usage(context: &Context, which: &Which, by: &str, csv: bool) -> Result<(), Failure> {
    let query = which.query(context)?;
    let mut stats = context.api()?.get(&format!("usage?{query}by={by}&pageSize=1"))?;
    if let Some(stats) = stats.as_object_mut() {
        // One page of one record is no part of this report.
        stats.remove("records");
        stats.remove("pagination");
    }
    context.output.show(&stats, || {
        let mut total = [0_u64; 4];
        let mut cost = 0.0;
        let mut rows: Vec<[String; 6]> = Vec::new();
        for group in stats["groups"].as_array().into_iter().flatten() {
            let numbers = ["calls", "errors", "inputTokens", "outputTokens"]
                .map(|name| group[name].as_u64().unwrap_or(0));
            for (sum, number) in total.iter_mut().zip(numbers) {
                *sum += number;
            }
            let own = group["cost"].as_f64().unwrap_or(0.0);
            cost += own;
            let key = group["key"].as_str().filter(|key| !key.is_empty()).unwrap_or("(none)");
            let [calls, errors, input, output] = numbers.map(|number| number.to_string());
            rows.push([key.to_owned(), calls, errors, input, output, usd(own)]);
        }
        if csv {
            return as_csv(by, &rows);
        }
        let [calls, errors, input, output] = total.map(|number| number.to_string());
        rows.push(["total".to_owned(), calls, errors, input, output, usd(cost)]);
        let head = by.to_uppercase();
        context.output.table([&head, "CALLS", "ERRORS", "INPUT", "OUTPUT", "COST USD"], &rows)
    })
}

/// RFC 4180.
fn as_csv(by: &str, rows: &[[String; 6]]) -> String {
    let mut out = format!("{by},calls,errors,inputTokens,outputTokens,costUsd\r\n");
    for [key, numbers @ ..] in rows {
        let is_quoted = key.contains([',', '"', '\r', '\n']);
        let key = if is_quoted { format!("\"{}\"", key.replace('"', "\"\"")) } else { key.clone() };
        out.push_str(&format!("{key},{}\r\n", numbers.join(",")));
    }
    out
}

fn usd(amount: f64) -> String {
    format!("{amount:.6}")
}

fn calls(context: &Context, which: &Which, limit: u64) -> Result<(), Failure> {
    let query = which.query(context)?;
    let mut api = context.api()?;
    let mut records: Vec<Value> = Vec::new();
    while (records.len() as u64) < limit {
        let wanted = (limit - records.len() as u64).min(PAGE_SIZE_MAX);
        let offset = records.len();
        let mut stats = api.get(&format!("usage?{query}offset={offset}&limit={wanted}"))?;
        let Value::Array(page) = stats["records"].take() else { break };
        let is_last = (page.len() as u64) < wanted;
        records.extend(page);
        if is_last {
            break;
        }
    }
    let records = Value::Array(records);
    context.output.show(&records, || {
        let row = |record: &Value| {
            let time = record["timestamp"].as_str().unwrap_or_default();
            let time = time.get(..19).unwrap_or(time).replace('T', " ");
            let tokens = format!("{}/{}", cell(&record["inputTokens"]), cell(&record["outputTokens"]));
            [
                time,
                cell(&record["modelId"]),
                cell(&record["outcome"]),
                tokens,
                record["cost"].as_f64().map_or_else(|| "-".to_owned(), usd),
                cell(&record["latencyMs"]),
                cell(&record["traceId"]),
            ]
        };
        let rows: Vec<[String; 7]> = records.as_array().into_iter().flatten().map(row).collect();
        let heads = ["TIME UTC", "MODEL", "OUTCOME", "TOKENS", "COST USD", "MS", "TRACE"];
        context.output.table(heads, &rows)
    })
}

/// Copies an export to standard output as it comes.
fn export(context: &Context, which: &Which) -> Result<(), Failure> {
    let format = if context.output.json { "jsonl" } else { "csv" };
    let query = which.query(context)?;
    let mut export = context.api()?.open(&format!("usage/export?{query}format={format}"))?;
    let mut out = io::stdout().lock();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = export.read(&mut buffer);
        let read = read.map_err(|error| Failure::failed(format!("the export was cut off: {error}")))?;
        let written =
            out.write_all(&buffer[..read]).and_then(|()| if read == 0 { out.flush() } else { Ok(()) });
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Failure::failed(format!("cannot print: {error}"))),
            Ok(()) if read == 0 => return Ok(()),
            Ok(()) => {}
        }
    }
}

fn trace(context: &Context, id: &str) -> Result<(), Failure> {
    let trace = context.api()?.get(&format!("traces/{}", encode(id)))?;
    context.output.show(&trace, || crate::cli::trace::page(&trace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_is_quoted() {
        let row = ["a,\"b\"", "1", "0", "2", "3", "0.5"].map(str::to_owned);
        let expected =
            "model,calls,errors,inputTokens,outputTokens,costUsd\r\n\"a,\"\"b\"\"\",1,0,2,3,0.5\r\n";
        assert_eq!(as_csv("model", &[row]), expected);
    }

    #[test]
    fn amounts_have_six_decimals() {
        assert_eq!((usd(0.0), usd(1.234_567_89)), ("0.000000".to_owned(), "1.234568".to_owned()));
    }
}
