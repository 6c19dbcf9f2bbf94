//! `routerly doctor`: what could keep a home from being served well, looked at from this machine.
//!
//! Reads the home, takes its lock for a moment to see whether it is free, and calls the providers' addresses without a key.
//! Changes nothing.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::remote::{Http, print};
use crate::clock;
use crate::config::{Config, Env};
use crate::net::disk;
use crate::net::driver::{CoreRuntime, DriverChoice};
use crate::snapshot::Snapshot;
use crate::store::home::{self, Home, Loaded};

/// Free disk below which it is a warning, and below which a failure.
const DISK_BYTES: (u64, u64) = (1 << 30, 64 << 20);
/// Difference to a provider's clock that is worth a warning, in milliseconds.
const SKEW_MS: u64 = 30_000;
/// 2026-01-01T00:00:00Z: this release is not older.
const RELEASED_MS: u64 = 1_767_225_600_000;

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Home directory [default: $ROUTERLY_HOME or ~/.routerly]
    #[arg(long)]
    home: Option<PathBuf>,
    /// Call no provider
    #[arg(long)]
    offline: bool,
}

/// How a look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Warning,
    Bad,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Bad => "failed",
        }
    }
}

/// What was seen.
#[derive(Default)]
struct Findings(Vec<(&'static str, Verdict, String)>);

impl Findings {
    fn add(&mut self, what: &'static str, verdict: Verdict, text: impl Into<String>) {
        self.0.push((what, verdict, text.into()));
    }
}

/// Exit code 0 where nothing has failed.
pub(super) fn run(args: &DoctorArgs, json: bool) -> ExitCode {
    let mut findings = Findings::default();
    examine(args, &mut findings);
    let is_well = findings.0.iter().all(|(_, verdict, _)| *verdict != Verdict::Bad);
    let printed = if json {
        let one = |(what, verdict, text): &(&str, Verdict, String)| json!({"check": what, "result": verdict.word(), "message": text});
        let all: Vec<Value> = findings.0.iter().map(one).collect();
        print(&format!("{:#}\n", json!({"ok": is_well, "checks": all})))
    } else {
        let line = |(what, verdict, text): &(&str, Verdict, String)| {
            let text: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
            format!("{:<8} {what:<9} {text}\n", verdict.word())
        };
        print(&findings.0.iter().map(line).collect::<String>())
    };
    match printed {
        Err(failure) => failure.report(),
        Ok(()) if is_well => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
    }
}

fn examine(args: &DoctorArgs, findings: &mut Findings) {
    let env = Env::from_process();
    let home = match Home::resolve(args.home.as_deref(), &env) {
        Ok(home) => home,
        Err(mistake) => return findings.add("home", Verdict::Bad, mistake.to_string()),
    };
    look_at_clock(findings);
    look_at_driver(findings);
    let Some(loaded) = look_at_home(&home, &env, findings) else { return };
    look_at_disk(&home, findings);
    look_at_port(&home, &loaded.config, findings);
    if !args.offline {
        look_at_providers(&loaded.config, findings);
    }
}

fn look_at_home(home: &Home, env: &Env, findings: &mut Findings) -> Option<Loaded> {
    let root = home.root().display();
    if !home.config_directory().is_dir() {
        findings.add("home", Verdict::Bad, format!("{root} has no config/: `routerly start` makes it"));
        return None;
    }
    let loaded = match home::load(home, env) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            for mistake in mistakes {
                findings.add("home", Verdict::Bad, mistake.to_string());
            }
            return None;
        }
    };
    for warning in &loaded.warnings {
        findings.add("home", Verdict::Warning, warning.to_string());
    }
    let (token_key, proof_key) = (loaded.keys.token_key().clone(), loaded.keys.proof_key().clone());
    let tls =
        if loaded.config.settings().tls.is_some() { "certificate and key fit" } else { "off: plain HTTP" };
    match Snapshot::build(Arc::clone(&loaded.config), token_key, proof_key, 0, home.root()) {
        Ok(_) => {
            findings.add("home", Verdict::Good, format!("{root}: the configuration has no mistakes"));
            findings.add("tls", Verdict::Good, tls);
        }
        Err(mistakes) => mistakes.into_iter().for_each(|mistake| findings.add("home", Verdict::Bad, mistake)),
    }
    let config = &loaded.config;
    let usable = config.models().iter().filter(|model| model.is_usable()).count();
    let verdict = if usable == 0 { Verdict::Warning } else { Verdict::Good };
    findings.add("models", verdict, format!("{usable} of {} can be used", config.models().len()));
    for model in config.models().iter().filter(|model| model.key_error) {
        findings.add(
            "models",
            Verdict::Bad,
            format!("the key of {} cannot be decrypted with this home's secret", model.id),
        );
    }
    Some(loaded)
}

fn look_at_port(home: &Home, config: &Config, findings: &mut Findings) {
    let settings = config.settings();
    let address = SocketAddr::new(settings.host, settings.port);
    match (home.lock(clock::unix_ms()), TcpListener::bind(address)) {
        (Err(_), _) => {
            findings.add("port", Verdict::Good, format!("a gateway runs on this home, set to {address}"))
        }
        (Ok(_), Ok(_)) => {
            findings.add("port", Verdict::Good, format!("{address} is free; no gateway runs on this home"))
        }
        (Ok(_), Err(error)) => {
            findings.add("port", Verdict::Bad, format!("cannot listen on {address}: {error}"))
        }
    }
}

fn look_at_clock(findings: &mut Findings) {
    let (verdict, text) = match clock::unix_ms() {
        now if now < RELEASED_MS => {
            (Verdict::Bad, "the clock is before this release was made: sign-ins and limits go wrong")
        }
        _ => (Verdict::Good, "not before this release"),
    };
    findings.add("clock", verdict, text);
}

fn look_at_driver(findings: &mut Findings) {
    match CoreRuntime::build(DriverChoice::Auto) {
        Ok(runtime) => match runtime.refusal() {
            None => findings.add("driver", Verdict::Good, runtime.kind().to_string()),
            Some(reason) => {
                let text = format!("{}: io_uring is refused here ({reason})", runtime.kind());
                findings.add("driver", Verdict::Warning, text);
            }
        },
        Err(error) => findings.add("driver", Verdict::Bad, format!("neither io_uring nor epoll: {error}")),
    }
}

fn look_at_disk(home: &Home, findings: &mut Findings) {
    let Some(free) = disk::free_bytes(home.root()) else {
        return findings.add("disk", Verdict::Warning, "how much is free cannot be seen");
    };
    let verdict = match free {
        free if free < DISK_BYTES.1 => Verdict::Bad,
        free if free < DISK_BYTES.0 => Verdict::Warning,
        _ => Verdict::Good,
    };
    findings.add("disk", verdict, format!("{} MiB free", free >> 20));
}

/// Any answer will do: without a key most say no.
fn look_at_providers(config: &Config, findings: &mut Findings) {
    let usable = config.models().iter().filter(|model| model.is_usable());
    let endpoints: BTreeSet<String> =
        usable.filter_map(|model| Some(model.endpoint.as_ref()?.to_string())).collect();
    for endpoint in endpoints {
        match Http::new(&endpoint).and_then(|http| http.probe()) {
            Ok((status, date)) => {
                findings.add("provider", Verdict::Good, format!("{endpoint} answers ({status})"));
                let skew = date.as_deref().and_then(unix_ms_of).map(|there| there.abs_diff(clock::unix_ms()));
                if let Some(skew) = skew.filter(|skew| *skew > SKEW_MS) {
                    let text = format!("{} s apart from that of {endpoint}", skew / 1_000);
                    findings.add("clock", Verdict::Warning, text);
                }
            }
            Err(failure) => findings.add("provider", Verdict::Bad, failure.to_string()),
        }
    }
}

/// A `Date` field (RFC 9110, section 5.6.7).
fn unix_ms_of(date: &str) -> Option<u64> {
    u64::try_from(jiff::fmt::rfc2822::parse(date).ok()?.timestamp().as_millisecond()).ok()
}
