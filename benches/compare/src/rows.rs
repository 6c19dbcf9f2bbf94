//! The order of the comparison: which row is measured how, and in which rounds.
//!
//! Rounds are interleaved (A B C, B C A, …), so that whatever the machine does meanwhile meets every proxy;
//! ratios are taken within a round, and their median is reported.

use std::fs;
use std::io::{self, Error};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::engine::Engine;
use crate::home;
use crate::measure::{self, MS, SECOND, StreamPlan, Streams, Unary};
use crate::options::Run;
use crate::proxies::{GatewayOptions, Kind, LOAD_CPU, Proxy};
use crate::report;
use crate::script::Dialect;
use crate::sys;

/// Open files to ask for: 10,000 streams take two in the proxy.
const OPEN_FILES: u64 = 32_768;
const IDLE_CONNECTIONS: usize = 4_000;
const MANY_STREAMS: usize = 10_000;
/// With 10,000 streams an event each 20 ms would be more than any proxy here can do on one core.
const MANY_INTERVAL_MS: u64 = 500;

/// What was measured of one proxy, a value per round.
#[derive(Default)]
pub struct Measured {
    pub unary32: Vec<Unary>,
    pub unary256: Vec<Unary>,
    pub latency: Vec<Unary>,
    pub streams: Vec<Streams>,
    /// Same dialect, measured in turn with the next two.
    pub untranslated: Vec<Streams>,
    /// Chat client, Anthropic provider.
    pub to_anthropic: Vec<Streams>,
    /// Messages client, chat provider.
    pub to_chat: Vec<Streams>,
    pub many: Vec<Streams>,
    /// With few projects and tokens, measured in turn with the next.
    pub few: Vec<Unary>,
    /// With many.
    pub grown: Vec<Unary>,
    pub start_ns: Vec<u64>,
    pub rss_idle: Vec<f64>,
    pub idle_bytes: Vec<f64>,
    pub binary_bytes: Option<u64>,
}

impl Measured {
    /// Answers and streams that failed, in all phases.
    pub fn errors(&self) -> u64 {
        let unary = [&self.unary32, &self.unary256, &self.latency, &self.few, &self.grown];
        let unary = unary.into_iter().flatten().map(|s| s.errors);
        let streams = [&self.streams, &self.untranslated, &self.to_anthropic, &self.to_chat, &self.many];
        let streams = streams.into_iter().flatten();
        unary.chain(streams.map(|sample| sample.errors)).sum()
    }
}

pub struct Entry {
    pub proxy: Proxy,
    pub measured: Measured,
}

/// A folder that is removed again.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("compare-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn run(options: &Run) -> io::Result<()> {
    if sys::online_cpus() < 2 {
        return Err(Error::other("two CPUs are needed: one for the proxy, one for mock and load"));
    }
    let files = sys::raise_open_files(OPEN_FILES);
    sys::pin_to_cpu(LOAD_CPU)?;
    let dir = TempDir::new()?;
    let mut engine = Engine::new()?;
    let upstream_port = engine.listen(0)?;
    let mut entries = entries(options, &dir.0, upstream_port, files)?;
    println!("{}", report::machine(&entries));
    if options.wants("many") {
        many_row(&mut engine, &mut entries, upstream_port, files)?;
    }
    measure_rows(options, &mut engine, &mut entries)?;
    if options.wants("growth") {
        growth_row(options, &dir.0, upstream_port, &mut engine, &mut entries)?;
    }
    println!("{}", report::tables(options, &entries));
    match entries
        .iter()
        .filter(|entry| entry.proxy.kind == Kind::Gateway)
        .map(|entry| entry.measured.errors())
        .sum()
    {
        0u64 => Ok(()),
        errors => Err(Error::other(format!("{errors} errors through the gateway: see the table"))),
    }
}

fn entries(options: &Run, dir: &Path, upstream_port: u16, files: u64) -> io::Result<Vec<Entry>> {
    let mut proxies = vec![
        Proxy::direct(upstream_port),
        Proxy::nginx(dir, upstream_port, files)?,
        Proxy::haproxy(dir, upstream_port, files)?,
    ];
    if let Some(gateway) = gateway_options(options) {
        proxies.push(Proxy::gateway(dir, "home", home::ONE_PROJECT, upstream_port, &gateway)?);
    }
    Ok(proxies.into_iter().map(|proxy| Entry { proxy, measured: Measured::default() }).collect())
}

fn gateway_options(options: &Run) -> Option<GatewayOptions> {
    let command = options.gateway.clone()?;
    Some(GatewayOptions { command, log_level: options.log_level.clone() })
}

fn measure_rows(options: &Run, engine: &mut Engine, entries: &mut [Entry]) -> io::Result<()> {
    fresh_rows(options, engine, entries)?;
    for entry in entries.iter_mut() {
        measure::start(engine, &mut entry.proxy)?;
    }
    for (row, conns) in [("unary32", 32), ("unary256", 256)] {
        interleave(options, row, entries, |_, entry| {
            let sample = measure::unary(engine, &entry.proxy, conns, 150 * MS, 600 * MS)?;
            if conns == 32 { &mut entry.measured.unary32 } else { &mut entry.measured.unary256 }.push(sample);
            Ok(())
        })?;
    }
    interleave(options, "latency", entries, |_, entry| {
        engine.spin = true;
        let sample = measure::unary(engine, &entry.proxy, 1, 50 * MS, 300 * MS);
        engine.spin = false;
        entry.measured.latency.push(sample?);
        Ok(())
    })?;
    interleave(options, "streams", entries, |round, entry| {
        // Without a proxy in it this says only what mock and load cost: twice is enough.
        if round < 2 || entry.proxy.kind != Kind::Direct {
            entry.measured.streams.push(measure::streams(engine, &entry.proxy, stream_plan(SECOND))?);
        }
        Ok(())
    })?;
    if options.wants("translated") {
        translated_row(options, engine, entries)?;
    }
    Ok(())
}

/// Calls `work` for every proxy in every round, if the row is wanted. Each round begins with the next
/// proxy, so that none always follows the same other one.
fn interleave(
    options: &Run,
    row: &str,
    entries: &mut [Entry],
    mut work: impl FnMut(usize, &mut Entry) -> io::Result<()>,
) -> io::Result<()> {
    for round in 0..if options.wants(row) { options.rounds } else { 0 } {
        for index in 0..entries.len() {
            let next = (index + round) % entries.len();
            work(round, &mut entries[next])?;
        }
    }
    Ok(())
}

/// 1,000 streams, an event each 20 ms.
fn stream_plan(window_ns: u64) -> StreamPlan {
    StreamPlan {
        streams: 1_000,
        interval_ms: 20,
        warm_ns: 300 * MS,
        window_ns,
        ramp_ns: 400 * MS,
        client: Dialect::Chat,
        provider: Dialect::Chat,
    }
}

/// Rows that need a process that has served nothing yet: start, memory, very many streams.
fn fresh_rows(options: &Run, engine: &mut Engine, entries: &mut [Entry]) -> io::Result<()> {
    for entry in entries.iter_mut() {
        entry.measured.binary_bytes = entry.proxy.binary_bytes();
    }
    if options.wants("start") {
        // The gateway's first start hashes and encrypts what the home holds in the clear: not counted.
        for round in 0..=options.rounds {
            for entry in entries.iter_mut().filter(|entry| entry.proxy.kind != Kind::Direct) {
                let took = measure::start(engine, &mut entry.proxy)?;
                entry.proxy.stop();
                if round > 0 {
                    entry.measured.start_ns.push(took);
                }
            }
        }
    }
    if options.wants("memory") {
        for entry in entries.iter_mut().filter(|entry| entry.proxy.kind != Kind::Direct) {
            measure::start(engine, &mut entry.proxy)?;
            engine.run(200 * MS, |_| false)?;
            entry.measured.rss_idle.push(entry.proxy.tree.rss_bytes() as f64);
            measure::unary(engine, &entry.proxy, 32, 0, 100 * MS)?;
            entry.measured.idle_bytes.push(measure::idle_bytes(engine, &entry.proxy, IDLE_CONNECTIONS)?);
            entry.proxy.stop();
        }
    }
    Ok(())
}

/// Ten thousand streams, or as many as the limit of open files lets one proxy have. The mock is a process
/// of its own here: both ends together would need more files than one process may have.
fn many_row(engine: &mut Engine, entries: &mut [Entry], upstream_port: u16, files: u64) -> io::Result<()> {
    let streams = MANY_STREAMS.min((files.saturating_sub(100) / 2) as usize);
    let plan = StreamPlan {
        streams,
        interval_ms: MANY_INTERVAL_MS,
        window_ns: 1500 * MS,
        ramp_ns: 1500 * MS,
        ..stream_plan(0)
    };
    engine.close_listener();
    let mut mock = MockProcess::start(upstream_port, plan)?;
    let deadline = sys::now_ns() + 5 * SECOND;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, upstream_port)).is_err() {
        if sys::now_ns() > deadline {
            return Err(Error::other("the mock process did not start"));
        }
        engine.run(MS, |_| false)?;
    }
    for entry in entries.iter_mut() {
        measure::start(engine, &mut entry.proxy)?;
        if entry.proxy.kind != Kind::Direct {
            measure::unary(engine, &entry.proxy, 32, 0, 100 * MS)?;
        }
        entry.measured.many.push(measure::streams(engine, &entry.proxy, plan)?);
        entry.proxy.stop();
    }
    mock.stop();
    engine.listen(upstream_port)?;
    Ok(())
}

/// `compare mock` as a child on the load's CPU.
struct MockProcess(Child);

impl MockProcess {
    fn start(port: u16, plan: StreamPlan) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let events = plan.events().to_string();
        command.args(["mock", "--seconds", "120", "--port", &port.to_string(), "--events", &events]);
        command
            .args(["--interval-ms", &plan.interval_ms.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        sys::bind_child(&mut command, LOAD_CPU, libc::SIGKILL);
        Ok(Self(command.spawn()?))
    }

    fn stop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for MockProcess {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A chat client of an Anthropic provider, and the reverse: through the gateway alone, if it translates.
fn translated_row(options: &Run, engine: &mut Engine, entries: &mut [Entry]) -> io::Result<()> {
    for entry in entries.iter_mut().filter(|entry| entry.proxy.kind == Kind::Gateway) {
        for (client, provider) in [(Dialect::Chat, Dialect::Anthropic), (Dialect::Anthropic, Dialect::Chat)] {
            let probe = StreamPlan { streams: 1, client, provider, ..stream_plan(100 * MS) };
            let probe = measure::streams(engine, &entry.proxy, probe)?;
            if probe.errors > 0 || probe.completed == 0 {
                eprintln!("row 'translated' left out: {}", probe.first_error.unwrap_or_default());
                return Ok(());
            }
        }
        for _ in 0..options.rounds.min(5) {
            for (client, provider, out) in [
                (Dialect::Chat, Dialect::Chat, &mut entry.measured.untranslated),
                (Dialect::Chat, Dialect::Anthropic, &mut entry.measured.to_anthropic),
                (Dialect::Anthropic, Dialect::Chat, &mut entry.measured.to_chat),
            ] {
                let plan = StreamPlan { client, provider, ..stream_plan(SECOND) };
                out.push(measure::streams(engine, &entry.proxy, plan)?);
            }
        }
    }
    Ok(())
}

/// The gateway with few projects and tokens and the gateway with many, in turn; each connection has a token of its own.
fn growth_row(
    options: &Run,
    dir: &Path,
    upstream_port: u16,
    engine: &mut Engine,
    entries: &mut [Entry],
) -> io::Result<()> {
    let Some(gateway) = gateway_options(options) else { return Ok(()) };
    let Some(entry) = entries.iter_mut().find(|entry| entry.proxy.kind == Kind::Gateway) else {
        return Ok(());
    };
    // Two processes on one CPU at a time: what the others do at rest does not count, but would disturb.
    entry.proxy.stop();
    let mut few = Proxy::gateway(dir, "few", home::SMALL, upstream_port, &gateway)?;
    let mut grown = Proxy::gateway(dir, "grown", home::LARGE, upstream_port, &gateway)?;
    for proxy in [&mut few, &mut grown] {
        measure::start(engine, proxy)?;
    }
    for round in 0..options.rounds {
        let mut both = [(&few, &mut entry.measured.few), (&grown, &mut entry.measured.grown)];
        if round % 2 == 1 {
            both.reverse();
        }
        for (proxy, out) in both {
            out.push(measure::unary(engine, proxy, 256, 150 * MS, 600 * MS)?);
        }
    }
    Ok(())
}
