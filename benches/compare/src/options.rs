//! The command line.

use std::io::{self, Error};

pub const HELP: &str = "\
compare run [--only ROW,…] [--rounds N] [--quick] [--no-gateway] [--gateway-cmd 'WORDS'] [--log-level LEVEL]
    The whole comparison. Rows: unary32 unary256 streams latency memory many start binary translated growth.
    --rounds N       rounds of the interleaved rows (9; with --quick 3)
    --gateway-cmd    command of the gateway; {port}, {upstream_port} and {home} are filled in
                     (target/release/routerly start --home {home} --port {port} --cores 1)
    --log-level      logLevel of the gateway's settings (warn, as the others log no access either)
compare mock [--port P] [--interval-ms MS] [--events N] [--seconds S] [--cpu C]
compare load --port P [--connections C | --streams S | --idle K] [--seconds S] [--requests N] [--events N]
             [--token T] [--dialect chat|anthropic] [--pid PID] [--cpu C] [--spin]
    --events         content events that each stream must bring (the mock's --events)
    --pid            process whose CPU time and memory are read
";

/// Words of the command line with a cursor.
struct Words<'a> {
    words: std::slice::Iter<'a, String>,
}

impl<'a> Words<'a> {
    fn value(&mut self, flag: &str) -> io::Result<&'a str> {
        self.words.next().map(String::as_str).ok_or_else(|| Error::other(format!("{flag} needs a value")))
    }

    fn number<T: std::str::FromStr>(&mut self, flag: &str) -> io::Result<T> {
        let value = self.value(flag)?;
        value.parse().map_err(|_| Error::other(format!("{flag} needs a number, not {value:?}")))
    }
}

fn unknown<T>(flag: &str) -> io::Result<T> {
    Err(Error::other(format!("unknown option {flag:?}\n{HELP}")))
}

pub const ROWS: [&str; 10] = [
    "unary32",
    "unary256",
    "streams",
    "latency",
    "memory",
    "many",
    "start",
    "binary",
    "translated",
    "growth",
];

/// Short windows and many rounds: on a shared machine the CPU's speed drifts within seconds.
const ROUNDS: usize = 9;
const ROUNDS_QUICK: usize = 3;

pub struct Run {
    /// Rows to measure; empty means all.
    pub only: Vec<String>,
    pub rounds: usize,
    /// `None`: without the gateway.
    pub gateway: Option<Vec<String>>,
    pub log_level: String,
}

impl Run {
    pub fn parse(words: &[String]) -> io::Result<Self> {
        let target = std::env::var("CARGO_TARGET_DIR")
            .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target").to_owned());
        let binary = format!("{target}/release/routerly");
        let default = ["start", "--home", "{home}", "--port", "{port}", "--cores", "1"];
        let gateway = std::iter::once(binary).chain(default.map(str::to_owned)).collect();
        let mut run =
            Self { only: Vec::new(), rounds: 0, gateway: Some(gateway), log_level: "warn".to_owned() };
        let mut quick = false;
        let mut words = Words { words: words.iter() };
        while let Some(word) = words.words.next() {
            match word.as_str() {
                "--only" => run.only = words.value(word)?.split(',').map(str::to_owned).collect(),
                "--rounds" => run.rounds = words.number(word)?,
                "--quick" => quick = true,
                "--no-gateway" => run.gateway = None,
                "--gateway-cmd" => {
                    let command = words.value(word)?.split_ascii_whitespace().map(str::to_owned);
                    run.gateway = Some(command.collect());
                }
                "--log-level" => run.log_level = words.value(word)?.to_owned(),
                _ => return unknown(word),
            }
        }
        if let Some(row) = run.only.iter().find(|row| !ROWS.contains(&row.as_str())) {
            return Err(Error::other(format!("no row {row:?}; rows are {}", ROWS.join(" "))));
        }
        if run.rounds == 0 {
            run.rounds = if quick { ROUNDS_QUICK } else { ROUNDS };
        }
        run.rounds = run.rounds.min(101);
        Ok(run)
    }

    pub fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == row)
    }
}

pub struct Mock {
    pub port: u16,
    pub interval_ms: u64,
    pub events: u32,
    pub seconds: u64,
    pub cpu: Option<usize>,
}

impl Mock {
    pub fn parse(words: &[String]) -> io::Result<Self> {
        let mut mock = Self { port: 9100, interval_ms: 20, events: 100, seconds: 3600, cpu: None };
        let mut words = Words { words: words.iter() };
        while let Some(word) = words.words.next() {
            match word.as_str() {
                "--port" => mock.port = words.number(word)?,
                "--interval-ms" => mock.interval_ms = words.number(word)?,
                "--events" => mock.events = words.number(word)?,
                "--seconds" => mock.seconds = words.number(word)?,
                "--cpu" => mock.cpu = Some(words.number(word)?),
                _ => return unknown(word),
            }
        }
        Ok(mock)
    }
}

pub struct Load {
    pub port: u16,
    pub connections: usize,
    pub streams: usize,
    pub idle: usize,
    pub seconds: u64,
    /// Stop after so many answers; 0 means when the time is over.
    pub requests: u64,
    pub events: u32,
    pub token: String,
    pub anthropic: bool,
    pub pid: Option<i32>,
    pub cpu: Option<usize>,
    pub spin: bool,
}

impl Load {
    pub fn parse(words: &[String]) -> io::Result<Self> {
        let mut load = Self {
            port: 0,
            connections: 32,
            streams: 0,
            idle: 0,
            seconds: 5,
            requests: 0,
            events: 100,
            token: format!("sk-rt-{}", "0".repeat(64)),
            anthropic: false,
            pid: None,
            cpu: None,
            spin: false,
        };
        let mut words = Words { words: words.iter() };
        while let Some(word) = words.words.next() {
            match word.as_str() {
                "--port" => load.port = words.number(word)?,
                "--connections" => load.connections = words.number(word)?,
                "--streams" => load.streams = words.number(word)?,
                "--idle" => load.idle = words.number(word)?,
                "--seconds" => load.seconds = words.number(word)?,
                "--requests" => load.requests = words.number(word)?,
                "--events" => load.events = words.number(word)?,
                "--token" => load.token = words.value(word)?.to_owned(),
                "--dialect" => load.anthropic = words.value(word)? == "anthropic",
                "--pid" => load.pid = Some(words.number(word)?),
                "--cpu" => load.cpu = Some(words.number(word)?),
                "--spin" => load.spin = true,
                _ => return unknown(word),
            }
        }
        if load.port == 0 {
            return Err(Error::other("--port is needed"));
        }
        Ok(load)
    }
}
