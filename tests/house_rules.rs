//! The rules of the house, held against the text of `src/`.
//!
//! Which room may import which, who may name sockets, time, JSON crates and `unsafe`, how long a file may be. A rule
//! that has to change is changed here, in the same commit, with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Longest file of the crate, in lines; tests that outgrow their code move to a file of their own.
const FILE_LINES_MAX: usize = 600;
/// Longest file that holds nothing but tests, in lines.
const TEST_FILE_LINES_MAX: usize = 1_000;

/// Each room and what of the crate it may import. A name with `::` allows that part of a room only; a row for a part
/// of a room (`simulate::serve`) stands for that part instead of the room's own row.
///
/// Order: who stands lower is imported by who stands higher; two rooms that need each other do so by named parts.
const ROOMS: &[(&str, &[&str])] = &[
    // Ground
    ("limits", &[]),
    ("clock", &[]),
    ("guard", &[]),
    ("telemetry::text", &[]),
    // Sans-io: bytes in, bytes out
    ("http1", &["limits"]),
    ("json", &["limits"]),
    ("sse", &["limits"]),
    ("budget::money", &["telemetry::text"]),
    ("dialect", &["budget::money", "json", "limits", "sse"]),
    // One store for all cores; keys are made of bodies.
    ("cache", &["budget::money", "dialect", "json", "limits"]),
    // Facts about providers and the configuration made of them
    ("provider", &["dialect"]),
    // Rules of retrying are numbers that are read from the configuration; what follows from them is pure.
    ("routing::breaker", &[]),
    ("routing::keys", &[]),
    ("routing::retry", &[]),
    ("config", &["dialect", "limits", "provider", "routing::breaker", "routing::retry"]),
    // Counts what limits limit, so it knows what a limit is.
    ("budget", &["config", "dialect"]),
    ("auth", &["config", "limits", "mailbox::Reply"]),
    // Seen from both sides
    ("telemetry", &["budget", "clock", "dialect", "limits"]),
    ("mailbox::reply", &[]),
    // A change of files is made of the control thread's own draft.
    ("mailbox::office", &["config::Mistake", "store::edit"]),
    // Values; how they are sent is the room's own business.
    ("mailbox::notify", &["notify::Failure", "notify::Sent", "notify::event"]),
    (
        "mailbox",
        &[
            "config::settings",
            "limits",
            "routing::metrics",
            "snapshot",
            "store::responses",
            "telemetry::ids",
            "trace",
        ],
    ),
    // The data plane, from the socket up
    ("net", &["limits"]),
    ("upstream", &["clock", "http1", "limits", "mailbox::Reply", "net"]),
    ("simulate::serve", &["clock", "guard", "http1", "limits", "net"]),
    ("simulate", &["dialect", "limits"]),
    (
        "snapshot",
        &[
            "auth",
            "budget",
            "config",
            "dialect",
            "http1",
            "net::tls",
            "provider",
            // Policies as requests meet them are made with the snapshot; the choice itself looks into it.
            "routing::Plan",
            "routing::breaker",
            "routing::keys",
            "simulate",
            "upstream",
        ],
    ),
    // Folded on the control thread, read by policies: of the configuration it knows nothing but names.
    ("routing::metrics", &["budget::window", "limits", "telemetry::labels"]),
    // An answer of the model that the policy `llm` asks is read as JSON.
    ("routing", &["config", "dialect", "json", "limits", "snapshot"]),
    // Names are looked up in the snapshot when a trace is spelled, not while the request runs.
    ("trace", &["budget::money", "config", "dialect", "json", "limits", "routing", "snapshot", "telemetry"]),
    (
        "respond",
        &["auth", "budget::key", "config", "http1", "telemetry::labels", "telemetry::text", "upstream"],
    ),
    // The journal's writing end is a core's; merging it is the control thread's.
    (
        "shard",
        &[
            "auth::Prover",
            "cache",
            "budget::plan",
            "clock",
            "config::settings",
            "dialect::UsageShape",
            "limits",
            "mailbox",
            "net",
            // Its memory is the core's; what happens in it is the gateway's business.
            "routing::Pool",
            "routing::metrics",
            "routing::retry",
            "snapshot",
            "store::journal",
            "telemetry",
            "trace",
            "upstream",
        ],
    ),
    (
        "gateway",
        &[
            "auth",
            "budget",
            "cache",
            "clock",
            "config",
            "dialect",
            "http1",
            "json",
            "limits",
            "mailbox",
            "net",
            "provider",
            "respond",
            "routing",
            "shard",
            "simulate",
            "snapshot",
            "sse",
            "store::journal::Facts",
            "store::responses",
            "store::usage::CacheUse",
            "store::usage::UsageRecord",
            "telemetry",
            "trace",
            "upstream",
        ],
    ),
    (
        "endpoints",
        &[
            "auth",
            "budget::money",
            "clock",
            "config",
            "dialect",
            "gateway",
            "http1",
            "limits",
            "mailbox",
            "respond",
            "shard",
            "snapshot",
            "telemetry",
        ],
    ),
    // What is no request is answered by the connection itself, in the gateway's words.
    (
        "server::connection",
        &[
            "clock",
            "dialect",
            "endpoints",
            "gateway",
            "guard",
            "http1",
            "limits",
            "net",
            "respond",
            "shard",
            "telemetry",
        ],
    ),
    ("server", &["clock", "guard", "limits", "net", "shard", "telemetry"]),
    // The control plane
    ("accounts", &["auth", "config"]),
    // It shows the catalogue, makes tokens, asks for traces in a word of theirs, and tries notification channels out.
    (
        "admin",
        &[
            "accounts",
            "auth",
            "clock",
            "config",
            "dialect",
            "limits",
            "mailbox",
            "notify",
            "provider",
            "store",
            "telemetry",
            "trace::Wanted",
        ],
    ),
    ("store", &["auth", "budget", "config", "dialect", "limits", "provider", "telemetry"]),
    (
        "control",
        &[
            "auth",
            "budget",
            "clock",
            "config",
            "dialect::ProofKey",
            "limits",
            "mailbox",
            "notify::event",
            "routing::metrics",
            "snapshot",
            "store",
            "telemetry",
            "trace",
        ],
    ),
    // Mail and webhooks, on threads of their own; what is wrong with providers is read from what cores share.
    (
        "notify",
        &[
            "budget",
            "clock",
            "config",
            "limits",
            "mailbox",
            "net::disk",
            "net::tls",
            "provider",
            "snapshot",
            "store::files",
            "telemetry",
            "upstream::is_public",
        ],
    ),
    // Boot: puts everything together
    (
        "cli",
        &[
            "admin",
            "auth::Prover",
            "budget",
            "cache",
            "clock",
            "config",
            "control",
            "limits",
            "mailbox",
            "net",
            "notify",
            "server::core",
            "shard",
            "simulate",
            "snapshot",
            "store",
            "telemetry",
            "upstream",
        ],
    ),
    ("lib", &[]),
    ("main", &["cli"]),
];

/// Rooms that know no socket, clock, file or thread. (`simulate`'s own shell, `serve`, is not among them.)
const SANS_IO: &[&str] =
    &["http1", "json", "sse", "dialect", "budget", "cache", "routing", "provider", "simulate"];
const NOT_IN_SANS_IO: &[&str] = &[
    "monoio",
    "socket2",
    "io_uring",
    "std::io",
    "std::fs",
    "std::env",
    "std::thread",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "Instant::now",
    "SystemTime",
    "crate::clock",
];

/// Words, who may say them, and why nobody else.
const WORDS: &[(&str, &[&str], &str)] = &[
    ("Instant::now", &["clock"], "time is read in one place and handed down"),
    ("SystemTime::now", &["clock"], "time is read in one place and handed down"),
    (
        "libc::",
        &["net", "store::journal", "store::usage::segment"],
        "system calls go through `net` and the journal",
    ),
    ("unsafe ", &["net", "store::journal"], "what the compiler cannot check stays where it is reviewed"),
    ("unsafe_code", &["net", "store::journal"], "what the compiler cannot check stays where it is reviewed"),
    (
        "monoio::",
        &[
            "net",
            "server",
            "upstream",
            "endpoints::api",
            "endpoints::operations",
            "gateway::candidates",
            "gateway::hedge",
            "gateway::kept",
            "gateway::peek",
            "gateway::relay",
            "simulate::serve",
            "cli::simulate",
        ],
        "the runtime is known to those who wait",
    ),
    ("io_uring::", &["net::driver"], "ring flags are chosen in one place"),
    (
        "rustls::",
        &["net", "snapshot", "upstream::connect"],
        "TLS belongs to `net`; others carry its configurations",
    ),
    ("sonic_rs", &["json"], "bodies are looked into by one room"),
    (
        "simd_json",
        &["json", "store::usage::reading"],
        "bodies are looked into by one room; reports read whole records",
    ),
    ("httparse", &["http1"], "one parser of heads"),
    (
        "std::env::",
        &["config::env", "cli::start", "cli::upgrade"],
        "variables are read in one place; a demo asks for the temporary directory, an upgrade for its own command line",
    ),
    ("println!", &["cli"], "standard output is the log's, and the commands'"),
    (
        "\"routerly_",
        // The cookie of the dashboard is named by the specification.
        &["telemetry::names", "telemetry::prometheus", "admin::session"],
        "every metric name stands once; sums by label are made of them",
    ),
];

/// Rooms that must not name the document model of serde_json: on their way a document is never built.
const WITHOUT_DOCUMENTS: &[&str] = &[
    "http1",
    "json",
    "sse",
    "dialect",
    "budget",
    "routing",
    "net",
    "upstream",
    "server",
    "endpoints",
    "gateway",
    "shard",
    "mailbox",
    "telemetry",
    "respond",
];

/// One file of the crate without its tests and comments.
struct Source {
    /// `gateway::relay`; a room's `mod.rs` is the room.
    module: String,
    path: PathBuf,
    /// Code only, a line for each line of the file.
    code: String,
    lines: usize,
    is_test: bool,
}

impl Source {
    fn room(&self) -> &str {
        self.module.split("::").next().unwrap_or(&self.module)
    }

    fn is_in(&self, place: &str) -> bool {
        is_below(&self.module, place)
    }

    /// Number of the line, from 1, at a byte of the code.
    fn line_at(&self, offset: usize) -> usize {
        self.code[..offset].matches('\n').count() + 1
    }
}

fn is_below(path: &str, place: &str) -> bool {
    path == place || path.strip_prefix(place).is_some_and(|rest| rest.starts_with("::"))
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(read(&root, path));
            }
        }
    }
    assert!(sources.len() > 100, "the crate was found");
    sources.sort_by(|a, b| a.module.cmp(&b.module));
    sources
}

fn read(root: &Path, path: PathBuf) -> Source {
    let text = std::fs::read_to_string(&path).unwrap();
    let relative = path.strip_prefix(root).unwrap().with_extension("");
    let mut parts: Vec<&str> = relative.iter().map(|part| part.to_str().unwrap()).collect();
    if parts.last() == Some(&"mod") {
        parts.pop();
    }
    let is_test = parts.iter().any(|part| {
        *part == "tests" || *part == "fuzz" || part.ends_with("_tests") || part.starts_with("tests_")
    });
    Source {
        module: parts.join("::"),
        lines: text.lines().count(),
        code: if is_test { String::new() } else { without_tests(&text) },
        path,
        is_test,
    }
}

/// Drops comments and what `#[cfg(test)]` stands before; the lines stay where they are.
fn without_tests(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        if trimmed == "#[cfg(test)]" {
            out.push('\n');
            skip_item(&mut lines, &line[..line.len() - trimmed.len()], &mut out);
            continue;
        }
        if !trimmed.starts_with("//") {
            out.push_str(line.split(" // ").next().unwrap_or_default());
        }
        out.push('\n');
    }
    out
}

/// The item that follows ends with a semicolon on its first line, or with a brace at its own indentation (rustfmt).
fn skip_item<'t>(lines: &mut impl Iterator<Item = &'t str>, indentation: &str, out: &mut String) {
    let mut begun = false;
    for line in lines {
        out.push('\n');
        let trimmed = line.trim_start();
        let is_prelude = !begun && (trimmed.starts_with("#[") || trimmed.starts_with("//"));
        if is_prelude {
            continue;
        }
        let is_one_line = !begun && (line.ends_with(';') || line.ends_with('}'));
        if is_one_line || line.strip_prefix(indentation) == Some("}") {
            return;
        }
        begun = true;
    }
}

/// What a file imports of the crate, with the byte at which it says so. Groups are taken apart.
fn imports(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        // `$crate::` of a macro counts as well; `foo_crate::` does not.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        let path = rest[..end].trim_end_matches(':');
        match rest[end..].strip_prefix('{') {
            Some(group) if rest[..end].ends_with("::") || end == 0 => {
                for item in group_items(group) {
                    let joined = if path.is_empty() { item } else { format!("{path}::{item}") };
                    found.push((joined, at));
                }
            }
            _ => found.push((path.to_owned(), at)),
        }
    }
    found
}

/// First names of the items of a `{…}` group.
fn group_items(group: &str) -> Vec<String> {
    let mut items = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let item = group[start..at].trim();
                let name = item.split([' ', '{']).next().unwrap_or_default().trim_end_matches(':');
                if !name.is_empty() {
                    items.push(name.to_owned());
                }
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    items
}

fn row_of(module: &str) -> Option<(&'static str, &'static [&'static str])> {
    let rows = ROOMS.iter().filter(|(place, _)| is_below(module, place));
    rows.max_by_key(|(place, _)| place.len()).copied()
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn rooms_import_only_what_stands_below_them() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test) {
        let Some((row, allowed)) = row_of(&source.module) else {
            faults.push(format!("{}: a room that tests/house_rules.rs does not know", source.path.display()));
            continue;
        };
        for (path, at) in imports(&source.code) {
            let own = is_below(&path, source.room()) && !row.contains("::") || is_below(&path, row);
            if !own && !allowed.iter().any(|place| is_below(&path, place)) {
                faults.push(format!(
                    "{}:{}: `{row}` may not import `{path}`",
                    source.path.display(),
                    source.line_at(at)
                ));
            }
        }
    }
    report(&faults);
}

#[test]
fn the_list_of_rooms_says_no_more_than_is_used() {
    let mut used: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for source in sources().iter().filter(|source| !source.is_test) {
        let Some((row, allowed)) = row_of(&source.module) else { continue };
        let entry = used.entry(row).or_default();
        for (path, _) in imports(&source.code) {
            entry.extend(allowed.iter().filter(|place| is_below(&path, place)));
        }
    }
    let mut faults = Vec::new();
    for (row, allowed) in ROOMS.iter().filter(|(row, _)| !matches!(*row, "lib" | "main")) {
        let Some(used) = used.get(row) else {
            faults.push(format!("`{row}` is no room"));
            continue;
        };
        faults.extend(
            allowed
                .iter()
                .filter(|place| !used.contains(*place))
                .map(|place| format!("`{row}` is allowed `{place}` and does not import it")),
        );
    }
    report(&faults);
}

#[test]
fn no_room_leaves_itself_through_super() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test && !source.module.contains("::")) {
        // What is private to tests was dropped; `pub(super)` names no path.
        for (at, _) in source.code.match_indices("super::") {
            faults.push(format!("{}:{}: write `crate::`", source.path.display(), source.line_at(at)));
        }
    }
    report(&faults);
}

#[test]
fn sans_io_rooms_know_no_socket_clock_or_runtime() {
    let mut faults = Vec::new();
    for source in sources() {
        if !SANS_IO.contains(&source.room()) || source.is_in("simulate::serve") {
            continue;
        }
        for word in NOT_IN_SANS_IO {
            if let Some(at) = source.code.find(word) {
                faults.push(format!("{}:{}: {word}", source.path.display(), source.line_at(at)));
            }
        }
    }
    report(&faults);
}

#[test]
fn words_are_said_only_where_they_belong() {
    let mut faults = Vec::new();
    for source in sources() {
        for (word, places, reason) in WORDS {
            if places.iter().any(|place| source.is_in(place)) {
                continue;
            }
            if let Some(at) = source.code.find(word) {
                let line = source.line_at(at);
                faults.push(format!("{}:{line}: {word}: {reason}", source.path.display()));
            }
        }
        if WITHOUT_DOCUMENTS.contains(&source.room())
            && let Some(at) = source.code.find("serde_json")
        {
            let line = source.line_at(at);
            faults.push(format!("{}:{line}: serde_json: no documents on this way", source.path.display()));
        }
    }
    report(&faults);
}

#[test]
fn the_gateway_is_entered_through_the_endpoints() {
    let mut importers = BTreeSet::new();
    for source in sources() {
        if imports(&source.code).iter().any(|(path, _)| is_below(path, "gateway")) {
            importers.insert(source.module.clone());
        }
    }
    importers.retain(|module| !is_below(module, "gateway") && !is_below(module, "endpoints"));
    assert_eq!(importers, BTreeSet::from(["server::connection".to_owned()]));
}

#[test]
fn files_stay_readable() {
    let mut faults = Vec::new();
    for source in sources() {
        let lines_max = if source.is_test { TEST_FILE_LINES_MAX } else { FILE_LINES_MAX };
        if source.lines > lines_max {
            faults.push(format!("{}: {} lines, at most {lines_max}", source.path.display(), source.lines));
        }
    }
    report(&faults);
}

#[test]
fn every_file_says_what_it_owns() {
    let mut faults = Vec::new();
    for source in sources() {
        let text = std::fs::read_to_string(&source.path).unwrap();
        if !text.starts_with("//!") {
            faults.push(format!("{}: begins without //!", source.path.display()));
        }
    }
    report(&faults);
}

/// The readers above are code as well.
#[test]
fn imports_are_found_in_every_form() {
    let code = without_tests(
        "use crate::net::{Conn, tls::{self, Identity}};\nuse crate::{clock, sse::Event};\n// use crate::no;\n\
         fn f() { crate::json::text::x(); }\n#[cfg(test)]\nuse crate::not_this;\n#[cfg(test)]\nmod tests {\n    \
         use crate::nor_this;\n}\nuse crate::last;\n",
    );
    let found: Vec<String> = imports(&code).into_iter().map(|(path, _)| path).collect();
    let expected = ["net::Conn", "net::tls", "clock", "sse::Event", "json::text::x", "last"];
    assert_eq!(found, expected);
    assert_eq!(code.matches('\n').count(), 11);
}
