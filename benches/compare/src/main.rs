//! End-to-end comparison of proxies: the same load on the same mock provider through nothing, nginx,
//! HAProxy and routerly, in one run on one machine, interleaved, each proxy pinned to one CPU and the mock
//! and the load together to another.
//!
//! `compare run` does all of it and prints tables; `compare mock` and `compare load` are its two ends as
//! programs of their own.

mod client;
mod engine;
mod histogram;
mod home;
mod http;
mod measure;
mod options;
mod proc;
mod proxies;
mod report;
mod rows;
mod script;
mod server;
mod standalone;
mod sys;
mod wheel;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match words.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    let outcome = match command {
        "run" => options::Run::parse(rest).and_then(|options| rows::run(&options)),
        "mock" => options::Mock::parse(rest).and_then(|options| standalone::mock(&options)),
        "load" => options::Load::parse(rest).and_then(|options| standalone::load(&options)),
        _ => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare {command}: {error}");
            ExitCode::FAILURE
        }
    }
}
