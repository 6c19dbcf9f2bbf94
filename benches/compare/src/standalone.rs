//! The two ends as programs of their own, to be pointed at anything by hand.

use std::io;
use std::rc::Rc;

use crate::client::{Ask, Expect};
use crate::engine::Engine;
use crate::measure::{self, MS, SECOND};
use crate::options;
use crate::proc::Tree;
use crate::script::{self, Dialect, Script};
use crate::sys;

const OPEN_FILES: u64 = 65_536;

fn engine(cpu: Option<usize>) -> io::Result<Engine> {
    sys::raise_open_files(OPEN_FILES);
    if let Some(cpu) = cpu {
        sys::pin_to_cpu(cpu)?;
    }
    Engine::new()
}

pub fn mock(options: &options::Mock) -> io::Result<()> {
    let mut engine = engine(options.cpu)?;
    engine.shared.mock.interval_ms = options.interval_ms.clamp(1, 60_000);
    engine.shared.mock.events_per_stream = options.events;
    let port = engine.listen(options.port)?;
    println!("mock provider on 127.0.0.1:{port}");
    engine.run(options.seconds.min(86_400) * SECOND, |_| false)?;
    println!("{:?}", engine.shared.mock.stats);
    Ok(())
}

pub fn load(options: &options::Load) -> io::Result<()> {
    let mut engine = engine(options.cpu)?;
    engine.spin = options.spin;
    let dialect = if options.anthropic { Dialect::Anthropic } else { Dialect::Chat };
    let stream = options.streams > 0;
    let host = format!("127.0.0.1:{}", options.port);
    let request = script::request(dialect, stream, &host, &options.token);
    let expect = match stream {
        true => Expect::Events { count: options.events },
        false => Expect::Body { len: Script::new(dialect).unary_body_len },
    };
    let ask = Rc::new(Ask { request, expect });
    let count = [options.streams, options.idle, options.connections].into_iter().find(|&count| count > 0);
    let tree = options.pid.map(Tree::of).unwrap_or_default();
    let (rss, cpu, started) = (tree.rss_bytes(), tree.cpu_ns(), sys::now_ns());
    measure::open(&mut engine, options.port, &ask, count.unwrap_or(1))?;
    let looping = !stream && options.idle == 0;
    if looping {
        engine.loop_requests();
    }
    let limit_ns = options.seconds.min(3600) * SECOND;
    let enough = |done: u64| options.requests > 0 && done >= options.requests;
    engine.run(limit_ns, |shared| {
        enough(shared.load.stats.responses) || (!looping && shared.load.in_flight == 0)
    })?;
    let rss_open = tree.rss_bytes();
    let seconds = (sys::now_ns() - started) as f64 / 1e9;
    let cpu_us = tree.cpu_ns().saturating_sub(cpu) as f64 / 1e3;
    let stats = engine.shared.load.stats.clone();
    let unanswered = if measure::settle(&mut engine, 2_000 * MS)? { 0 } else { engine.shared.load.in_flight };
    println!(
        "{seconds:.2} s: {} answers ({:.0}/s), {} events, p50 {:.1} µs, p99 {:.1} µs, {} errors, {unanswered} unanswered",
        stats.responses,
        stats.responses as f64 / seconds,
        stats.events,
        stats.latency.quantile(0.5) as f64 / 1e3,
        stats.latency.quantile(0.99) as f64 / 1e3,
        stats.errors,
    );
    if options.pid.is_some() {
        println!(
            "process: {:.2} µs CPU per answer, {:.2} per event, RSS {} → {} KiB ({:.0} bytes per connection)",
            cpu_us / stats.responses.max(1) as f64,
            cpu_us / stats.events.max(1) as f64,
            rss / 1024,
            rss_open / 1024,
            rss_open.saturating_sub(rss) as f64 / count.unwrap_or(1) as f64,
        );
    }
    if let Some(error) = stats.first_error {
        println!("first error: {error}");
    }
    Ok(())
}
