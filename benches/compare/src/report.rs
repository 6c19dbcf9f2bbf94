//! The tables: each row of the design's targets, and below it what is needed to trust it.

use std::fmt::Write as _;

use crate::measure::{Streams, Unary};
use crate::options::Run;
use crate::proc;
use crate::proxies::Kind;
use crate::rows::{Entry, Measured};
use crate::sys;

/// Machine and versions, a line each.
pub fn machine(entries: &[Entry]) -> String {
    let cpus = sys::online_cpus();
    let mut text = format!(
        "machine: {}, {cpus} CPUs, Linux {}; proxy on CPU 0, mock and load on CPU 1\n",
        proc::cpu_model(),
        proc::kernel_release()
    );
    let versions: Vec<String> = entries.iter().filter_map(|entry| entry.proxy.version()).collect();
    let _ = writeln!(text, "versions: {}", versions.join("; "));
    text.push_str(
        "CPU time: scheduler run time of the process (CPU-time clock, nanoseconds, all threads and workers), \
         checked against utime+stime of /proc/PID/stat\n",
    );
    let _ = writeln!(text, "TCP congestion control of the machine: {}", proc::congestion_control());
    text
}

/// What a proxy must reach, on which number.
#[derive(Clone, Copy)]
enum Target {
    /// Ratio to nginx at most.
    Ratio(f64),
    /// Value at most.
    Most(f64),
    /// Value at least.
    Least(f64),
    /// Ratio to the same proxy's other numbers, round by round, at most.
    OwnRatio { most: f64, to: &'static str, base: fn(&Measured) -> Vec<f64> },
}

struct Row {
    what: &'static str,
    unit: &'static str,
    digits: usize,
    target: Target,
    /// Values per round of one proxy.
    values: fn(&Measured) -> Vec<f64>,
}

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * 1024.0;

fn rows() -> Vec<Row> {
    fn cpu(samples: &[Unary]) -> Vec<f64> {
        samples.iter().map(|sample| sample.cpu_us_per_request).collect()
    }
    fn cpu_event(samples: &[Streams]) -> Vec<f64> {
        samples.iter().map(|sample| sample.cpu_us_per_event).collect()
    }
    let untranslated =
        || Target::OwnRatio { most: 1.5, to: "untranslated", base: |m| cpu_event(&m.untranslated) };
    let ten_tokens = Target::OwnRatio { most: 1.05, to: "10 tokens", base: |m| cpu(&m.few) };
    let row = |what, unit, digits, target, values| Row { what, unit, digits, target, values };
    vec![
        row("CPU per request, 32 connections", "µs", 2, Target::Ratio(0.80), |m| cpu(&m.unary32)),
        row("CPU per request, 256 connections", "µs", 2, Target::Ratio(0.80), |m| cpu(&m.unary256)),
        row("CPU per event, 1,000 streams, 20 ms", "µs", 2, Target::Ratio(0.85), |m| cpu_event(&m.streams)),
        row("CPU per event, chat → Anthropic", "µs", 2, untranslated(), |m| cpu_event(&m.to_anthropic)),
        row("CPU per event, messages → OpenAI", "µs", 2, untranslated(), |m| cpu_event(&m.to_chat)),
        row("CPU per request, 100,000 tokens", "µs", 2, ten_tokens, |m| cpu(&m.grown)),
        row("p50, 1 connection", "µs", 1, Target::Ratio(1.00), |m| {
            m.latency.iter().map(|sample| sample.p50_us).collect()
        }),
        row("RSS idle", "MiB", 1, Target::Most(10.0), |m| m.rss_idle.iter().map(|b| b / MIB).collect()),
        row("RSS per idle connection", "KiB", 2, Target::Most(2.0), |m| {
            m.idle_bytes.iter().map(|b| b / KIB).collect()
        }),
        row("RSS per open stream", "KiB", 2, Target::Most(24.0), |m| {
            m.many.iter().map(|sample| sample.rss_bytes_per_stream / KIB).collect()
        }),
        row("10,000 streams: errors", "", 0, Target::Most(0.0), |m| {
            m.many.iter().map(|sample| sample.errors as f64).collect()
        }),
        row("upstream connections reused", "%", 3, Target::Least(99.9), reuse_percent),
        row("start to first answer", "ms", 1, Target::Most(300.0), |m| {
            m.start_ns.iter().map(|&ns| ns as f64 / 1e6).collect()
        }),
        row("binary", "MiB", 1, Target::Most(15.0), |m| {
            m.binary_bytes.iter().map(|&b| b as f64 / MIB).collect()
        }),
    ]
}

fn reuse_percent(measured: &Measured) -> Vec<f64> {
    let samples = || measured.unary32.iter().chain(&measured.unary256);
    let requests: u64 = samples().map(|sample| sample.upstream_requests).sum();
    let connects: u64 = samples().map(|sample| sample.upstream_connects).sum();
    if requests == 0 { Vec::new() } else { vec![100.0 * (1.0 - connects as f64 / requests as f64)] }
}

pub fn tables(options: &Run, entries: &[Entry]) -> String {
    let mut text =
        format!("\n{} rounds, medians; ratios are medians of the rounds' ratios\n\n", options.rounds);
    text.push_str("| what | unit |");
    for entry in entries {
        let _ = write!(text, " {} |", entry.proxy.name);
    }
    text.push_str(" HAProxy ÷ nginx | routerly ÷ nginx | target | |\n|---|---|");
    text.push_str(&"---:|".repeat(entries.len() + 2));
    text.push_str("---|---|\n");
    for row in rows() {
        if row.unit == "MiB" && row.what == "binary" && !options.wants("binary") {
            continue;
        }
        write_row(&mut text, &row, entries);
    }
    text.push_str(
        "\nRSS is that of the process that serves; nginx's includes its preallocated connections (worker_connections).\n\n",
    );
    if let Some(sample) =
        entries.iter().flat_map(|entry| &entry.measured.many).find(|sample| sample.streams < 10_000)
    {
        let _ = writeln!(
            text,
            "10,000 streams were {}: a proxy needs two open files for each, and this machine allows no more.\n",
            sample.streams
        );
    }
    write_details(&mut text, entries);
    text
}

fn write_row(text: &mut String, row: &Row, entries: &[Entry]) {
    let values = |kind: Kind| -> Vec<f64> {
        entries
            .iter()
            .find(|entry| entry.proxy.kind == kind)
            .map_or_else(Vec::new, |e| (row.values)(&e.measured))
    };
    if entries.iter().all(|entry| (row.values)(&entry.measured).is_empty()) {
        return;
    }
    let _ = write!(text, "| {} | {} |", row.what, row.unit);
    for entry in entries {
        let shown =
            entry.proxy.kind != Kind::Direct || row.what.starts_with("p50") || row.what.contains("errors");
        match median(&(row.values)(&entry.measured)).filter(|_| shown) {
            Some(value) => {
                let _ = write!(text, " {value:.*} |", row.digits);
            }
            None => text.push_str(" – |"),
        }
    }
    let nginx = values(Kind::Nginx);
    let gateway = values(Kind::Gateway);
    for other in [&values(Kind::Haproxy), &gateway] {
        match ratio(other, &nginx) {
            Some(ratio) => {
                let _ = write!(text, " {ratio:.2} |");
            }
            None => text.push_str(" – |"),
        }
    }
    let (target, good) = judge(row, entries, &gateway, &nginx);
    let verdict = match good {
        Some(true) => "pass",
        Some(false) => "miss",
        None => "",
    };
    let _ = writeln!(text, " {target} | {verdict} |");
}

fn judge(row: &Row, entries: &[Entry], gateway: &[f64], nginx: &[f64]) -> (String, Option<bool>) {
    let value = median(gateway);
    match row.target {
        Target::Ratio(most) => {
            (format!("≤ {most:.2} × nginx"), ratio(gateway, nginx).map(|ratio| round2(ratio) <= most))
        }
        Target::Most(most) => (format!("≤ {most} {}", row.unit), value.map(|value| value <= most)),
        Target::Least(least) => (format!("≥ {least} {}", row.unit), value.map(|value| value >= least)),
        Target::OwnRatio { most, to, base } => {
            let base = entries
                .iter()
                .find(|entry| entry.proxy.kind == Kind::Gateway)
                .map_or_else(Vec::new, |entry| base(&entry.measured));
            let own = ratio(gateway, &base);
            let shown = own.map_or_else(String::new, |own| format!(" (is {own:.2})"));
            (format!("≤ {most:.2} × {to}{shown}"), own.map(|own| round2(own) <= most))
        }
    }
}

fn round2(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

fn ratio(values: &[f64], base: &[f64]) -> Option<f64> {
    let ratios: Vec<f64> =
        values.iter().zip(base).filter(|(_, base)| **base > 0.0).map(|(a, b)| a / b).collect();
    median(&ratios)
}

/// Throughput, latency, load of both CPUs and errors of each phase: says whether the numbers above can be
/// believed (the load must not have been the bottleneck, and nothing may have failed).
fn write_details(text: &mut String, entries: &[Entry]) {
    text.push_str(
        "| phase | way | rate /s | CPU µs (min–max) | by ticks | p50 µs | p99 µs | proxy CPU | load CPU | load µs | \
         steal | late | errors |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let mut problems = String::new();
    type Phase = (&'static str, fn(&Measured) -> &Vec<Unary>);
    let unary: [Phase; 5] = [
        ("32 conns", |m| &m.unary32),
        ("256 conns", |m| &m.unary256),
        ("1 conn", |m| &m.latency),
        ("10 tokens", |m| &m.few),
        ("100,000 tokens", |m| &m.grown),
    ];
    for (phase, samples) in unary {
        for entry in entries {
            let samples = samples(&entry.measured);
            if !samples.is_empty() {
                write_unary(text, phase, entry.proxy.name, samples);
            }
            for error in samples.iter().filter_map(|sample| sample.first_error.as_ref()) {
                let _ = writeln!(problems, "{phase}, {}: {error}", entry.proxy.name);
            }
        }
    }
    type StreamPhase = (&'static str, fn(&Measured) -> &Vec<Streams>);
    let streams: [StreamPhase; 5] = [
        ("1,000 streams", |m| &m.streams),
        ("untranslated", |m| &m.untranslated),
        ("chat → Anthropic", |m| &m.to_anthropic),
        ("messages → OpenAI", |m| &m.to_chat),
        ("10,000 streams", |m| &m.many),
    ];
    for (phase, samples) in streams {
        for entry in entries {
            let samples = samples(&entry.measured);
            if !samples.is_empty() {
                write_streams(text, phase, entry.proxy.name, samples);
            }
            for error in samples.iter().filter_map(|sample| sample.first_error.as_ref()) {
                let _ = writeln!(problems, "{phase}, {}: {error}", entry.proxy.name);
            }
        }
    }
    if !problems.is_empty() {
        let _ = write!(text, "\nfirst error of each failed phase:\n{problems}");
    }
}

fn column<S>(samples: &[S], value: impl Fn(&S) -> f64) -> f64 {
    median(&samples.iter().map(value).collect::<Vec<_>>()).unwrap_or(0.0)
}

fn span<S>(samples: &[S], value: impl Fn(&S) -> f64) -> String {
    let values = || samples.iter().map(&value);
    let low = values().fold(f64::INFINITY, f64::min);
    let high = values().fold(0.0, f64::max);
    format!("{:.2} ({low:.2}–{high:.2})", column(samples, &value))
}

fn write_unary(text: &mut String, phase: &str, name: &str, samples: &[Unary]) {
    let rate = column(samples, |s| s.requests_per_second);
    let load_busy = column(samples, |s| s.load_busy);
    let _ = writeln!(
        text,
        "| {phase} | {name} | {rate:.0} | {} | {:.2} | {:.1} | {:.1} | {:.0} % | {:.0} % | {:.2} | {} | | {} |",
        span(samples, |s| s.cpu_us_per_request),
        column(samples, |s| s.ticks_us_per_request),
        column(samples, |s| s.p50_us),
        column(samples, |s| s.p99_us),
        100.0 * column(samples, |s| s.proxy_busy),
        100.0 * load_busy,
        1e6 * load_busy / rate.max(1.0),
        samples.iter().map(|s| s.steal_ticks).sum::<u64>(),
        samples.iter().map(|s| s.errors).sum::<u64>(),
    );
}

fn write_streams(text: &mut String, phase: &str, name: &str, samples: &[Streams]) {
    let rate = column(samples, |s| s.events_per_second);
    let load_busy = column(samples, |s| s.load_busy);
    let _ = writeln!(
        text,
        "| {phase} | {name} | {rate:.0} | {} | | | | {:.0} % | {:.0} % | {:.2} | | {:.1} % | {} |",
        span(samples, |s| s.cpu_us_per_event),
        100.0 * column(samples, |s| s.proxy_busy),
        100.0 * load_busy,
        1e6 * load_busy / rate.max(1.0),
        100.0 * column(samples, |s| s.late_share),
        samples.iter().map(|s| s.errors).sum::<u64>(),
    );
    let open = samples.iter().map(|s| s.open).min().unwrap_or(0);
    let wanted = samples.iter().map(|s| s.streams).max().unwrap_or(0);
    if open < wanted {
        let _ = writeln!(
            text,
            "| | | only {open} of {wanted} streams were open at the end of a window | | | | | | | | | | |"
        );
    }
}
