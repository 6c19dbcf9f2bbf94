//! `routerly simulate`: the simulated provider as a server of its own.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::{SimulateArgs, fail};
use crate::clock;
use crate::limits::DEADLINE_TICK_MS;
use crate::net::driver::{CoreRuntime, DriverChoice};
use crate::net::listener::{self, Listeners};
use crate::net::process;
use crate::net::{BufferPool, Conn, Deadlines};
use crate::simulate::{Served, SimulatedSettings, Simulator, spawn};

/// Serves until a signal ends the process: there is nothing to lose.
pub fn run(args: &SimulateArgs) -> ExitCode {
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => fail(&reason),
    }
}

fn start(args: &SimulateArgs) -> Result<(), String> {
    process::avoid_huge_pages();
    process::raise_open_files();
    let settings = args.behaviour.apply(&SimulatedSettings::default());
    let mistakes = settings.mistakes();
    if !mistakes.is_empty() {
        return Err(mistakes.join("\n"));
    }
    let address = SocketAddr::new(args.host, args.port);
    let cores = match args.cores {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        cores => cores,
    };
    let Listeners { sockets, address } =
        Listeners::bind(address, cores).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let (ready, reports) = sync_channel(cores);
    let threads: Vec<_> = sockets
        .into_iter()
        .enumerate()
        .map(|(index, listener)| {
            let (settings, ready) = (settings.clone(), ready.clone());
            std::thread::Builder::new().name(format!("simulate-{index}")).spawn(move || {
                let served = serve(settings, listener, index as u64, cores as u64, || ready.send(()).is_ok());
                served.map_err(|error| error.to_string())
            })
        })
        .collect::<Result<_, _>>()
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    drop(ready);
    for () in reports.iter().take(cores) {}
    writeln!(std::io::stdout(), "simulated provider on http://{address}")
        .map_err(|error| error.to_string())?;
    for thread in threads {
        thread.join().map_err(|_| "a thread panicked".to_owned())??;
    }
    Ok(())
}

fn serve(
    settings: SimulatedSettings,
    listener: TcpListener,
    index: u64,
    cores: u64,
    ready: impl FnOnce() -> bool,
) -> std::io::Result<()> {
    CoreRuntime::build(DriverChoice::Auto)?.block_on(async move {
        let listener = listener::adopt(listener)?;
        let deadlines = Rc::new(Deadlines::default());
        let served = Served::new(Simulator::new(settings), index, cores, BufferPool::default());
        let ticking = Rc::clone(&deadlines);
        let started = clock::now();
        monoio::spawn(async move {
            loop {
                monoio::time::sleep(Duration::from_millis(DEADLINE_TICK_MS)).await;
                ticking.sweep(clock::now().duration_since(started).as_millis() as u64);
            }
        });
        if !ready() {
            return Ok(());
        }
        loop {
            let accepted = listener::accept(&listener).await;
            match accepted.and_then(|stream| Conn::from_tcp(stream, &deadlines)) {
                Ok(conn) => spawn(Rc::clone(&served), conn),
                // Out of descriptors, as a rule: they come back when connections end.
                Err(_) => monoio::time::sleep(Duration::from_millis(DEADLINE_TICK_MS)).await,
            }
        }
    })
}
