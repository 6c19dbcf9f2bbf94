//! One measurement of one proxy: open connections, warm up, watch a window, check that all came well.
//!
//! Every phase is bounded by a deadline. What is returned is plain numbers; comparing is `rows.rs`'s.

use std::io::{self, Error};
use std::rc::Rc;

use crate::client::{Ask, Client, Expect};
use crate::engine::Engine;
use crate::proc::{self, Tree};
use crate::proxies::{Kind, LOAD_CPU, PROXY_CPU, Proxy};
use crate::script::{self, Dialect};
use crate::sys;

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MS;

/// Requests that may wait for their head while connections are opened.
const RAMP_WAITING_MAX: usize = 64;

/// One window of requests that do not stream.
#[derive(Clone, Debug, Default)]
pub struct Unary {
    pub cpu_us_per_request: f64,
    /// The same from clock ticks, to check the first.
    pub ticks_us_per_request: f64,
    pub requests_per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub errors: u64,
    pub first_error: Option<String>,
    /// Share of a CPU that the proxy used, and that mock and load used.
    pub proxy_busy: f64,
    pub load_busy: f64,
    /// Requests that reached the mock, and connections made for them.
    pub upstream_requests: u64,
    pub upstream_connects: u64,
    pub steal_ticks: u64,
}

/// One window of streams.
#[derive(Clone, Debug, Default)]
pub struct Streams {
    pub cpu_us_per_event: f64,
    pub events_per_second: f64,
    pub streams: usize,
    /// Streams open at the end of the window.
    pub open: usize,
    pub completed: u64,
    pub errors: u64,
    pub first_error: Option<String>,
    pub late_share: f64,
    pub proxy_busy: f64,
    pub load_busy: f64,
    pub rss_bytes_per_stream: f64,
}

struct Reading {
    at_ns: u64,
    proxy_cpu_ns: u64,
    proxy_ticks_ns: u64,
    load_cpu_ns: u64,
    steal_ticks: u64,
}

impl Reading {
    fn take(tree: &Tree) -> Self {
        let own = std::process::id().cast_signed();
        Self {
            at_ns: sys::now_ns(),
            proxy_cpu_ns: tree.cpu_ns(),
            proxy_ticks_ns: tree.cpu_ticks_ns(),
            load_cpu_ns: sys::process_cpu_ns(own).unwrap_or(0),
            steal_ticks: proc::steal_ticks(PROXY_CPU) + proc::steal_ticks(LOAD_CPU),
        }
    }
}

/// What the load asks of `proxy`, with its first token.
pub fn ask(engine: &Engine, proxy: &Proxy, client: Dialect, provider: Dialect, stream: bool) -> Rc<Ask> {
    let token = match provider {
        Dialect::Chat => &proxy.tokens.chat[0],
        Dialect::Anthropic => &proxy.tokens.anthropic,
    };
    ask_with(engine, proxy, token, client, provider, stream)
}

fn ask_with(
    engine: &Engine,
    proxy: &Proxy,
    token: &str,
    client: Dialect,
    provider: Dialect,
    stream: bool,
) -> Rc<Ask> {
    let port = if stream { proxy.stream_port } else { proxy.port };
    let request = script::request(client, stream, &format!("127.0.0.1:{port}"), token);
    let mock = &engine.shared.mock;
    let expect = match stream {
        true => Expect::Events { count: mock.events_per_stream },
        false if client == provider => Expect::Body { len: mock.script(provider).unary_body_len },
        false => Expect::Body { len: 0 },
    };
    Rc::new(Ask { request, expect })
}

/// Opens `count` connections, each with one request, never more than [`RAMP_WAITING_MAX`] unanswered.
/// The load must not be looping yet.
pub fn open(engine: &mut Engine, port: u16, ask: &Rc<Ask>, count: usize) -> io::Result<()> {
    open_each(engine, port, std::iter::repeat_n(ask, count))
}

/// The same with a request for each connection.
fn open_each<'a>(
    engine: &mut Engine,
    port: u16,
    asks: impl ExactSizeIterator<Item = &'a Rc<Ask>>,
) -> io::Result<()> {
    let deadline = sys::now_ns() + 10 * SECOND + asks.len() as u64 * MS;
    for ask in asks {
        engine.connect(port, Client::new(Rc::clone(ask)))?;
        if engine.shared.load.waiting_for_head >= RAMP_WAITING_MAX {
            let limit = deadline.saturating_sub(sys::now_ns());
            let max = RAMP_WAITING_MAX - 1;
            if !engine.run(limit, |shared| shared.load.waiting_for_head <= max)? {
                return Err(Error::other("connections could not be opened in time"));
            }
        }
    }
    Ok(())
}

/// Waits until every request has its answer; false if some have not after `limit_ns`.
pub fn settle(engine: &mut Engine, limit_ns: u64) -> io::Result<bool> {
    engine.shared.load.looping = false;
    engine.run(limit_ns, |shared| shared.load.in_flight == 0)
}

/// Closes the clients and lets the proxy see it.
fn clear(engine: &mut Engine) -> io::Result<()> {
    engine.close_clients();
    engine.run(30 * MS, |_| false)?;
    engine.shared.load.stats = Default::default();
    Ok(())
}

pub fn unary(
    engine: &mut Engine,
    proxy: &Proxy,
    conns: usize,
    warm_ns: u64,
    window_ns: u64,
) -> io::Result<Unary> {
    engine.shared.load.stats = Default::default();
    let tokens = proxy.tokens.chat.iter().cycle().take(conns);
    let asks: Vec<_> =
        tokens.map(|token| ask_with(engine, proxy, token, Dialect::Chat, Dialect::Chat, false)).collect();
    open_each(engine, proxy.port, asks.iter()).map_err(|error| proxy.explain(error))?;
    engine.loop_requests();
    engine.run(warm_ns, |_| false)?;
    let warm_errors = engine.shared.load.stats.errors;
    let warm_error = engine.shared.load.stats.first_error.take();

    engine.shared.load.stats = Default::default();
    engine.shared.mock.stats = Default::default();
    let before = Reading::take(&proxy.tree);
    engine.run(window_ns, |_| false)?;
    let after = Reading::take(&proxy.tree);
    let load = engine.shared.load.stats.clone();
    let mock = engine.shared.mock.stats.clone();

    let unanswered = if settle(engine, 2 * SECOND)? { 0 } else { engine.shared.load.in_flight as u64 };
    clear(engine)?;
    let wall = (after.at_ns - before.at_ns) as f64;
    let per_request = |ns: u64| ns as f64 / load.responses.max(1) as f64 / 1e3;
    Ok(Unary {
        cpu_us_per_request: per_request(after.proxy_cpu_ns - before.proxy_cpu_ns),
        ticks_us_per_request: per_request(after.proxy_ticks_ns - before.proxy_ticks_ns),
        requests_per_second: load.responses as f64 * 1e9 / wall,
        p50_us: load.latency.quantile(0.5) as f64 / 1e3,
        p99_us: load.latency.quantile(0.99) as f64 / 1e3,
        errors: load.errors + warm_errors + unanswered,
        first_error: load.first_error.or(warm_error),
        proxy_busy: (after.proxy_cpu_ns - before.proxy_cpu_ns) as f64 / wall,
        load_busy: (after.load_cpu_ns - before.load_cpu_ns) as f64 / wall,
        upstream_requests: mock.requests,
        upstream_connects: mock.accepts,
        steal_ticks: after.steal_ticks - before.steal_ticks,
    })
}

/// How streams are asked for and watched.
#[derive(Clone, Copy, Debug)]
pub struct StreamPlan {
    pub streams: usize,
    pub interval_ms: u64,
    /// From the last stream's opening to the window.
    pub warm_ns: u64,
    pub window_ns: u64,
    /// What opening all of them takes at most; streams last that much longer.
    pub ramp_ns: u64,
    pub client: Dialect,
    pub provider: Dialect,
}

impl StreamPlan {
    fn life_ns(&self) -> u64 {
        self.ramp_ns + self.warm_ns + self.window_ns
    }

    /// Content events of each stream.
    pub fn events(&self) -> u32 {
        (self.life_ns() / (self.interval_ms * MS)) as u32 + 1
    }
}

pub fn streams(engine: &mut Engine, proxy: &Proxy, plan: StreamPlan) -> io::Result<Streams> {
    engine.shared.mock.interval_ms = plan.interval_ms;
    engine.shared.mock.events_per_stream = plan.events();
    engine.shared.mock.stats = Default::default();
    engine.shared.load.stats = Default::default();
    engine.shared.load.looping = false;
    let rss_before = proxy.tree.rss_bytes();
    let ask = ask(engine, proxy, plan.client, plan.provider, true);
    open(engine, proxy.stream_port, &ask, plan.streams).map_err(|error| proxy.explain(error))?;
    engine.run(5 * SECOND, |shared| shared.load.waiting_for_head == 0)?;
    engine.run(plan.warm_ns, |_| false)?;

    let events_before = engine.shared.load.stats.events;
    let before = Reading::take(&proxy.tree);
    engine.run(plan.window_ns, |_| false)?;
    let after = Reading::take(&proxy.tree);
    let events = engine.shared.load.stats.events - events_before;
    let rss_after = proxy.tree.rss_bytes();
    let open = engine.shared.load.in_flight;

    let unanswered =
        if settle(engine, plan.life_ns() + 5 * SECOND)? { 0 } else { engine.shared.load.in_flight as u64 };
    let load = engine.shared.load.stats.clone();
    let mock = engine.shared.mock.stats.clone();
    clear(engine)?;
    let wall = (after.at_ns - before.at_ns) as f64;
    Ok(Streams {
        cpu_us_per_event: (after.proxy_cpu_ns - before.proxy_cpu_ns) as f64 / events.max(1) as f64 / 1e3,
        events_per_second: events as f64 * 1e9 / wall,
        streams: plan.streams,
        open,
        completed: load.responses,
        errors: load.errors + unanswered,
        first_error: load.first_error,
        late_share: mock.late as f64 / mock.events.max(1) as f64,
        proxy_busy: (after.proxy_cpu_ns - before.proxy_cpu_ns) as f64 / wall,
        load_busy: (after.load_cpu_ns - before.load_cpu_ns) as f64 / wall,
        rss_bytes_per_stream: rss_after.saturating_sub(rss_before) as f64 / plan.streams as f64,
    })
}

/// Resident bytes per idle connection: `count` connections, each after one answered request.
pub fn idle_bytes(engine: &mut Engine, proxy: &Proxy, count: usize) -> io::Result<f64> {
    engine.shared.load.looping = false;
    let ask = ask(engine, proxy, Dialect::Chat, Dialect::Chat, false);
    let before = proxy.tree.rss_bytes();
    open(engine, proxy.port, &ask, count).map_err(|error| proxy.explain(error))?;
    if !settle(engine, 10 * SECOND)? || engine.shared.load.stats.errors > 0 {
        let error = engine.shared.load.stats.first_error.take();
        return Err(Error::other(format!("{}: idle connections: {}", proxy.name, error.unwrap_or_default())));
    }
    engine.run(300 * MS, |_| false)?;
    let after = proxy.tree.rss_bytes();
    clear(engine)?;
    Ok(after.saturating_sub(before) as f64 / count as f64)
}

/// Starts `proxy` and waits for its first good answer; returns how long that took, in nanoseconds.
pub fn start(engine: &mut Engine, proxy: &mut Proxy) -> io::Result<u64> {
    if proxy.kind == Kind::Direct {
        return Ok(0);
    }
    let started = sys::now_ns();
    proxy.spawn()?;
    let ask = ask(engine, proxy, Dialect::Chat, Dialect::Chat, false);
    engine.shared.load.looping = false;
    while sys::now_ns() - started < 15 * SECOND {
        if proxy.has_ended() {
            break;
        }
        engine.shared.load.stats = Default::default();
        if engine.connect(proxy.port, Client::new(Rc::clone(&ask))).is_ok() {
            let answered = engine.run(2 * SECOND, |shared| shared.load.in_flight == 0)?;
            let took = sys::now_ns() - started;
            let good = engine.shared.load.stats.responses == 1;
            if answered && good {
                clear(engine)?;
                proxy.find_children();
                return Ok(took);
            }
        }
        let error = engine.shared.load.stats.first_error.take();
        if error.as_ref().is_some_and(|error| error.starts_with("status")) {
            proxy.stop();
            return Err(Error::other(format!(
                "{}: {}\n{}",
                proxy.name,
                error.unwrap_or_default(),
                proxy.log_tail()
            )));
        }
        engine.close_clients();
        engine.run(MS, |_| false)?;
    }
    let tail = proxy.log_tail();
    proxy.stop();
    Err(Error::other(format!("{} did not answer:\n{tail}", proxy.name)))
}
