//! Entry point: flags, then the command; decides nothing itself.

use std::process::ExitCode;

use clap::Parser;
use routerly::cli::{self, Cli};

/// Small allocations dominate: mimalloc keeps them per thread, without locks.
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(Cli::parse())
}
