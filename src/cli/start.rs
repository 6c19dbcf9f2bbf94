//! `routerly start`: from a home directory to cores that serve, and back to an orderly end.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use super::handover::{self, Doors, Handed};
use super::service;
use super::upgrade::Upgrade;
use super::{StartArgs, fail};
use crate::admin::{self, Office, Running};
use crate::auth::Prover;
use crate::budget::book::Book;
use crate::budget::watch::Watch;
use crate::cache::Caches;
use crate::clock;
use crate::config::settings::{Driver, LogFormat};
use crate::config::{Env, Settings};
use crate::control::archive::{self, Archive};
use crate::control::{self, Control, budgets, keeper};
use crate::limits::REPORTS_THREADS;
use crate::mailbox::{Mailbox, ToControl, ToKeeper, ToNotifier, ToOffice, ToReports, ToTraces};
use crate::net::driver::DriverChoice;
use crate::net::listener::Listeners;
use crate::net::process;
use crate::notify::{self, Notifier};
use crate::server::core::{self, CorePlan};
use crate::shard::ShardParts;
use crate::snapshot::Snapshot;
use crate::store::demo;
use crate::store::home::{self, Home, Loaded};
use crate::store::responses::ResponseStore;
use crate::store::rollup::{Restored, Rollups};
use crate::store::secret::Keys;
use crate::store::usage::{Merger, OpenReport, UsageSettings};
use crate::telemetry::ids::TraceIds;
use crate::telemetry::line::Format;
use crate::telemetry::log::{self, Log, ThreadLog, Value};
use crate::telemetry::metrics::Metrics;
use crate::upstream::{Resolver, ResolverThreads};

/// How long the end waits for whoever reads the log.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// Runs until a signal ends it.
pub fn run(args: &StartArgs) -> ExitCode {
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => fail(&reason),
    }
}

/// What only a demo has to tell.
struct Demo {
    token: String,
    root: PathBuf,
}

fn start(args: &StartArgs) -> Result<(), String> {
    process::avoid_huge_pages();
    process::raise_open_files();
    let env = Env::from_process();
    let demo = if args.demo { Some(make_demo()?) } else { None };
    let flag = demo.as_ref().map(|demo| demo.root.as_path()).or(args.home.as_deref());
    let home = Home::resolve(flag, &env).map_err(|mistake| mistake.to_string())?;
    let now_ms = clock::unix_ms();
    let handed = if args.replace { take_over(args, &home, &env)? } else { None };
    let (lock, listeners, predecessor) = match handed {
        Some(Handed { lock, listeners, predecessor }) => (lock, Some(listeners), Some(predecessor)),
        None => (home.lock(now_ms).map_err(|mistake| mistake.to_string())?, None, None),
    };
    let loaded = home::open(&home, &lock, &env, now_ms).map_err(|mistakes| lines(&mistakes))?;
    let settings = loaded.config.settings().clone();

    let format = match settings.log_format {
        LogFormat::Json => Format::Json,
        LogFormat::Pretty => Format::Pretty,
    };
    let (token_key, proof_key) = (loaded.keys.token_key().clone(), loaded.keys.proof_key().clone());
    let login_key = *loaded.keys.login_jwt_key();
    let snapshot =
        Snapshot::build(Arc::clone(&loaded.config), token_key.clone(), proof_key.clone(), 1, home.root())
            .map_err(|mistakes| mistakes.join("\n"))?;
    let cores = core_count(args.cores.unwrap_or(settings.cores));
    let book = Arc::new(Book::new(cores));
    let snapshot = Arc::new(snapshot.with_budgets(&book, control::moment()));
    let (log, log_writer) = Log::start(Box::new(std::io::stdout()), control::level_of(&snapshot), format)
        .map_err(|error| format!("cannot start the log's thread: {error}"))?;
    log::install(log.thread_end());
    report_loaded(&loaded);

    let address = address_of(args, &settings);
    let listeners = match listeners {
        Some(mut handed) => handed.grow(cores).map(|()| handed),
        None => Listeners::bind(address, cores),
    };
    let listeners = listeners.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let address = listeners.address;
    let usage = UsageSettings {
        segment_bytes_max: settings.journal.rotate_bytes,
        sync_interval: settings.journal.fsync_interval,
        journal_bytes: settings.journal.bytes_per_core,
    };
    let open = if predecessor.is_some() { Merger::open_beside } else { Merger::open };
    let (merger, writers, opened) = open(&home.data_directory(), cores, usage, clock::now(), now_ms)
        .map_err(|error| format!("{}: {error}", home.data_directory().join("usage.json").display()))?;
    report_opened(&opened);
    let (rollups, budget_watch) = restore(&home.data_directory(), &snapshot);

    let before = predecessor.as_ref().and_then(|stream| stream.try_clone().ok());
    let metrics = Metrics::new(cores);
    let (mailbox, inboxes) = Mailbox::new(snapshot);
    let doors =
        Doors::new(&listeners, &lock).map_err(|error| format!("cannot copy a descriptor: {error}"))?;
    let doors = Arc::new(doors);
    let signals = listen_for_signals(&mailbox, &doors, Upgrade::of_this_process(args.demo))?;
    let keys = Arc::new(loaded.keys);
    let keeper = start_keeper(&home, Arc::clone(&keys), &settings, inboxes.keeper, log.thread_end())?;
    let running = Arc::new(Running { since: clock::now(), address, cores, driver: OnceLock::new() });
    let office =
        Office::new(home.clone(), Arc::clone(&mailbox), Arc::clone(&running), &login_key, loaded.accounts);
    let office = start_office(office, inboxes.office, log.thread_end())?;
    let reporters = start_reporters(inboxes.reports, &log)?;
    let archive = Archive {
        bounds: settings.traces,
        is_alone: predecessor.is_none(),
        data: home.data_directory(),
        keys,
        mailbox: Arc::clone(&mailbox),
        metrics: metrics.clone(),
    };
    let archive = start_archive(archive, inboxes.traces, log.thread_end())?;
    let notifier = Notifier {
        home: home.root().to_owned(),
        mailbox: Arc::clone(&mailbox),
        metrics: metrics.clone(),
        sender_log: log.thread_end(),
    };
    let notifier = start_notifier(notifier, inboxes.notifier, log.thread_end())?;
    let resolver =
        ResolverThreads::start().map_err(|error| format!("cannot start resolver threads: {error}"))?;
    let prover = Prover::start(process::give_way)
        .map_err(|error| format!("cannot start the thread for slow hashes: {error}"))?;
    let prover = Arc::new(prover);
    let caches = Arc::new(Caches::new(clock::now()));
    let control = Control {
        token_key,
        proof_key,
        book,
        watch: loaded.watch,
        home: home.clone(),
        lock,
        env,
        mailbox: Arc::clone(&mailbox),
        merger: Some(merger),
        budget_watch,
        rollups,
        predecessor,
        metrics: metrics.clone(),
        log: log.clone(),
    };
    let (control_log, inbox) = (log.thread_end(), inboxes.control);
    let control = std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || {
            log::install(control_log);
            control::run(control, &inbox);
        })
        .map_err(|error| format!("cannot start the control thread: {error}"))?;

    let (booted, reports) = sync_channel(cores);
    let processors = core_affinity::get_core_ids().unwrap_or_default();
    let mut threads = Vec::with_capacity(cores);
    let mut shares: Vec<Vec<TcpListener>> = (0..cores).map(|_| Vec::new()).collect();
    for (index, listener) in listeners.sockets.into_iter().enumerate() {
        shares[index % cores].push(listener);
    }
    for ((index, journal), listeners) in writers.into_iter().enumerate().zip(shares) {
        let parts = ShardParts {
            index,
            mailbox: Arc::clone(&mailbox),
            resolver: Resolver::new(resolver.clone()),
            metrics: Arc::clone(&metrics.cores[index]),
            journal,
            log: log.core_end(),
            ids: TraceIds::from_system().map_err(|_| "the system gives no random numbers".to_owned())?,
            prover: Arc::clone(&prover),
            caches: Arc::clone(&caches),
        };
        let plan = CorePlan {
            parts,
            listeners,
            driver: driver_of(&settings),
            pin_to: pin_of(&processors, index, cores),
        };
        threads.push(
            core::start(plan, booted.clone()).map_err(|error| format!("cannot start a core: {error}"))?,
        );
    }
    drop(booted);
    let mut failed = None;
    for report in reports.iter().take(cores) {
        match report {
            Ok(kind) => {
                log::info("core ready", &[("driver", Value::Display(&kind))]);
                running.driver.get_or_init(|| kind.to_string());
            }
            Err(error) => failed = Some(format!("a core cannot run: {error}")),
        }
    }
    let mut is_told = None;
    if failed.is_some() {
        mailbox.drain();
    } else {
        match handover::offer(&home, Arc::clone(&doors), Arc::clone(&mailbox), log.thread_end()) {
            Ok(word) => is_told = Some(word),
            Err(error) => {
                log::warn("cannot be replaced while it runs", &[("reason", Value::Display(&error))]);
            }
        }
        announce(&address, &settings, cores, demo.as_ref());
        if let Some(before) = &before {
            handover::say_serving(before);
        }
        service::serving();
    }
    for thread in threads {
        if thread.join().is_err() {
            failed.get_or_insert_with(|| "a core ended with a panic".to_owned());
        }
    }
    if let Err(reason) = handover::wait_until_served(is_told.as_ref(), &mailbox) {
        failed.get_or_insert(reason);
    }
    // It may be waiting for the control thread.
    mailbox.finish_office();
    if office.join().is_err() {
        failed.get_or_insert_with(|| "the thread of the management API ended with a panic".to_owned());
    }
    for _ in &reporters {
        mailbox.finish_reports();
    }
    if reporters.into_iter().any(|thread| thread.join().is_err()) {
        failed.get_or_insert_with(|| "a thread that makes reports ended with a panic".to_owned());
    }
    mailbox.send_blocking(ToControl::Finish);
    if control.join().is_err() {
        failed.get_or_insert_with(|| "the control thread ended with a panic".to_owned());
    }
    // After the books: a disk that hangs here must not keep them open.
    mailbox.finish_keeper();
    if keeper.join().is_err() {
        failed.get_or_insert_with(|| "the thread that keeps responses ended with a panic".to_owned());
    }
    mailbox.tell_notifier(ToNotifier::Finish);
    if notifier.join().is_err() {
        failed.get_or_insert_with(|| "the thread that sends notifications ended with a panic".to_owned());
    }
    mailbox.finish_traces();
    if archive.join().is_err() {
        failed.get_or_insert_with(|| "the thread that keeps traces ended with a panic".to_owned());
    }
    signals.close();
    log::info("stopped", &[]);
    log::uninstall();
    log_writer.finish(LOG_PATIENCE);
    if let Some(demo) = demo {
        // A throw-away home; what is left of it is in the temporary directory.
        let _ = std::fs::remove_dir_all(demo.root);
    }
    failed.map_or(Ok(()), Err)
}

/// Goes on with what the last process knew of limits and sums of records. Serving can do without: limits begin with what
/// could be read, and reports read the records then.
fn restore(data: &Path, snapshot: &Snapshot) -> (Option<Rollups>, Watch) {
    let cannot =
        |what: &'static str| move |error: &io::Error| log::error(what, &[("reason", Value::Display(error))]);
    let restored = match Restored::read(data) {
        Ok(restored) => restored,
        Err(error) => {
            cannot("rollups cannot be kept, and limits begin anew")(&error);
            return (None, Watch::default());
        }
    };
    let restoration = budgets::restore(data, &restored, snapshot, control::moment())
        .inspect_err(cannot("limits could not be restored"))
        .unwrap_or_default();
    if restoration.is_recount {
        let fields = [("records", Value::Integer(restoration.records))];
        log::info("limits were counted anew from usage records", &fields);
    }
    let rollups =
        Rollups::open(data, &restored, process::give_way).inspect_err(cannot("rollups cannot be kept"));
    (rollups.ok(), restoration.watch)
}

/// Starts the thread that keeps responses. A directory that cannot be read does not keep the gateway from starting.
fn start_keeper(
    home: &Home,
    keys: Arc<Keys>,
    settings: &Settings,
    inbox: Receiver<ToKeeper>,
    log_end: ThreadLog,
) -> Result<JoinHandle<()>, String> {
    let data = home.data_directory();
    let (bounds, sync_interval) = (settings.responses, settings.journal.fsync_interval);
    std::thread::Builder::new()
        .name("keeper".to_owned())
        .spawn(move || {
            log::install(log_end);
            let store = ResponseStore::open(&data, keys, bounds)
                .inspect_err(|error| {
                    log::error("kept responses cannot be read", &[("reason", Value::Display(error))]);
                })
                .ok();
            keeper::run(store, &inbox, sync_interval);
        })
        .map_err(|error| format!("cannot start the thread that keeps responses: {error}"))
}

/// Starts the thread of the management API, behind all others in the kernel's queue.
fn start_office(
    office: Office,
    inbox: Receiver<ToOffice>,
    log_end: ThreadLog,
) -> Result<JoinHandle<()>, String> {
    std::thread::Builder::new()
        .name("office".to_owned())
        .spawn(move || {
            process::give_way();
            log::install(log_end);
            admin::run(office, &inbox);
        })
        .map_err(|error| format!("cannot start the thread of the management API: {error}"))
}

/// Starts the threads that make reports, behind all others in the kernel's queue.
fn start_reporters(inbox: Receiver<ToReports>, log: &Log) -> Result<Vec<JoinHandle<()>>, String> {
    let inbox = Arc::new(Mutex::new(inbox));
    let start = |number: usize| {
        let (inbox, log_end) = (Arc::clone(&inbox), log.thread_end());
        std::thread::Builder::new().name(format!("reports-{number}")).spawn(move || {
            process::give_way();
            log::install(log_end);
            admin::make_reports(&inbox);
        })
    };
    (0..REPORTS_THREADS)
        .map(start)
        .collect::<std::io::Result<_>>()
        .map_err(|error| format!("cannot start a thread that makes reports: {error}"))
}

/// Starts the thread that sends notifications.
fn start_notifier(
    notifier: Notifier,
    inbox: Receiver<ToNotifier>,
    log_end: ThreadLog,
) -> Result<JoinHandle<()>, String> {
    std::thread::Builder::new()
        .name("notify".to_owned())
        .spawn(move || {
            process::give_way();
            log::install(log_end);
            notify::run(notifier, &inbox);
        })
        .map_err(|error| format!("cannot start the thread that sends notifications: {error}"))
}

/// Starts the thread that keeps traces.
fn start_archive(
    archive: Archive,
    inbox: Receiver<ToTraces>,
    log_end: ThreadLog,
) -> Result<JoinHandle<()>, String> {
    std::thread::Builder::new()
        .name("traces".to_owned())
        .spawn(move || {
            log::install(log_end);
            archive::run(&archive, &inbox);
        })
        .map_err(|error| format!("cannot start the thread that keeps traces: {error}"))
}

fn lines(mistakes: &[crate::config::Mistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Takes over from the process that runs on this home, once it is sure that this one could start.
fn take_over(args: &StartArgs, home: &Home, env: &Env) -> Result<Option<Handed>, String> {
    let failed = |error: std::io::Error| format!("cannot take over {}: {error}", home.root().display());
    let Some(offer) = handover::ask(home).map_err(failed)? else { return Ok(None) };
    let loaded = home::load(home, env).map_err(|mistakes| lines(&mistakes))?;
    let (token_key, proof_key) = (loaded.keys.token_key().clone(), loaded.keys.proof_key().clone());
    Snapshot::build(Arc::clone(&loaded.config), token_key, proof_key, 0, home.root())
        .map_err(|mistakes| mistakes.join("\n"))?;
    let (wanted, there) = (address_of(args, loaded.config.settings()), offer.address());
    if (wanted.ip(), wanted.port()) != (there.ip(), if wanted.port() == 0 { 0 } else { there.port() }) {
        return Err(format!("the running process listens on {there}, not on {wanted}: restart it instead"));
    }
    offer.take(home).map(Some).map_err(failed)
}

fn address_of(args: &StartArgs, settings: &Settings) -> SocketAddr {
    SocketAddr::new(args.host.unwrap_or(settings.host), args.port.unwrap_or(settings.port))
}

fn core_count(asked: usize) -> usize {
    match asked {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        cores => cores,
    }
}

/// Each core has a processor of its own where there are enough; else the scheduler spreads them.
fn pin_of(processors: &[core_affinity::CoreId], index: usize, cores: usize) -> Option<core_affinity::CoreId> {
    if cores <= processors.len() { processors.get(index).copied() } else { None }
}

fn driver_of(settings: &Settings) -> DriverChoice {
    match settings.driver {
        Driver::Auto => DriverChoice::Auto,
        Driver::IoUring => DriverChoice::IoUring,
        Driver::Epoll => DriverChoice::Epoll,
    }
}

fn make_demo() -> Result<Demo, String> {
    let root = std::env::temp_dir().join(format!("routerly-demo-{}", std::process::id()));
    let made = demo::create(&root, &serde_json::Value::Null, &serde_json::Value::Null)
        .map_err(|mistakes| lines(&mistakes))?;
    Ok(Demo { token: made.token.expose().to_owned(), root })
}

fn report_loaded(loaded: &Loaded) {
    for warning in &loaded.warnings {
        log::warn("configuration", &[("warning", Value::Display(warning))]);
    }
    for line in &loaded.takeover.lines {
        log::info("taken over", &[("change", Value::Text(line))]);
    }
    for note in &loaded.takeover.notes {
        log::warn("takeover", &[("note", Value::Text(note))]);
    }
}

fn report_opened(opened: &OpenReport) {
    let OpenReport {
        repair,
        recovered,
        duplicates,
        corrupt,
        moved_aside,
        unreadable,
        volatile_cores,
        recovery_error,
    } = opened;
    if repair.torn_bytes > 0 {
        log::warn(
            "usage.json: a torn last line was cut off",
            &[("bytes", Value::Integer(repair.torn_bytes))],
        );
    }
    if let Some(conversion) = &repair.conversion {
        let text = format!("{conversion:?}");
        log::info("usage.json: converted from an array to JSON Lines", &[("report", Value::Text(&text))]);
    }
    if *recovered + *duplicates + *corrupt > 0 {
        let fields = [
            ("recovered", Value::Integer(*recovered)),
            ("duplicates", Value::Integer(*duplicates)),
            ("corrupt", Value::Integer(*corrupt)),
        ];
        log::warn("usage records found in journals of the last run", &fields);
    }
    for path in moved_aside {
        log::warn("a journal that is not ours was moved aside", &[("to", Value::Display(&path.display()))]);
    }
    for (path, reason) in unreadable {
        log::error(
            "a journal cannot be read",
            &[("file", Value::Display(&path.display())), ("reason", Value::Text(reason))],
        );
    }
    for (core, reason) in volatile_cores {
        log::error(
            "a core keeps its records in memory only",
            &[("core", Value::Integer(*core as u64)), ("reason", Value::Text(reason))],
        );
    }
    if let Some(reason) = recovery_error {
        log::error("journals could not be merged yet", &[("reason", Value::Text(reason))]);
    }
}

/// SIGTERM and SIGINT drain, SIGHUP reloads, SIGUSR2 starts a process that takes over; a second SIGTERM or SIGINT ends at
/// once.
fn listen_for_signals(
    mailbox: &Arc<Mailbox>,
    doors: &Arc<Doors>,
    upgrade: Upgrade,
) -> Result<signal_hook::iterator::Handle, String> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
    let failed = |error: std::io::Error| format!("cannot listen for signals: {error}");
    let mut signals =
        signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR2]).map_err(failed)?;
    let handle = signals.handle();
    let (mailbox, doors) = (Arc::clone(mailbox), Arc::clone(doors));
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if signal == SIGHUP {
                    mailbox.send_blocking(ToControl::Reload);
                } else if signal == SIGUSR2 {
                    upgrade.begin();
                } else if mailbox.is_draining() {
                    signal_hook::low_level::exit(130);
                } else {
                    service::stopping();
                    doors.close();
                    mailbox.drain();
                }
            }
        })
        .map_err(failed)?;
    Ok(handle)
}

fn announce(address: &SocketAddr, settings: &Settings, cores: usize, demo: Option<&Demo>) {
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{address}");
    log::info("listening", &[("url", Value::Text(&url)), ("cores", Value::Integer(cores as u64))]);
    let Some(demo) = demo else { return };
    let base = format!("http://127.0.0.1:{}", address.port());
    let text = format!(
        "\nrouterly is ready: a demo project on the simulated provider, thrown away at the end.\n\n\
         token   {token}\nhealth  {base}/health\nmetrics {base}/metrics\n\n\
         curl -N {base}/v1/chat/completions -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' \
         -d '{{\"model\":\"auto\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello!\"}}]}}'\n\n\
         # pip install openai\n\
         from openai import OpenAI\n\
         client = OpenAI(base_url=\"{base}/v1\", api_key=\"{token}\")\n\
         answer = client.chat.completions.create(model=\"auto\", messages=[{{\"role\": \"user\", \"content\": \"Hello!\"}}])\n\
         print(answer.choices[0].message.content)\n\n",
        token = demo.token,
    );
    // The log's writer has its own end of standard output; a torn line in between would only be ugly.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}
