//! `interlock-sim`: runs histories and says how to replay the first that fails.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use gateway_sim::oracle::Violation;
use gateway_sim::world::{Figures, Pool};
use gateway_sim::{fiber, run};

const HELP: &str = "\
usage: interlock-sim [--seed N | --seeds N [--from N]] [--jobs N] [--trace] [--sabotage]

  --seed N     replay one history
  --seeds N    run N histories (default 1000)
  --from N     the first of them (default 1)
  --jobs N     threads (default: one for each processor)
  --trace      say what happens
  --sabotage   make exchanges write without comparing: a mistake that must be found";

struct Arguments {
    from: u64,
    seeds: u64,
    jobs: u64,
    trace: bool,
    sabotage: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut parsed = Arguments {
        from: 1,
        seeds: 1_000,
        jobs: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
        trace: false,
        sabotage: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || -> Result<u64, String> {
            let value = words.next().unwrap_or_default();
            value
                .parse()
                .map_err(|_| format!("`{word}` needs a number, not `{value}`"))
        };
        match word.as_str() {
            "--seed" => (parsed.from, parsed.seeds) = (number()?, 1),
            "--seeds" => parsed.seeds = number()?,
            "--from" => parsed.from = number()?,
            "--jobs" => parsed.jobs = number()?.max(1),
            "--trace" => parsed.trace = true,
            "--sabotage" => parsed.sabotage = true,
            "--help" => return Err(HELP.to_owned()),
            _ => return Err(format!("unknown argument `{word}`\n{HELP}")),
        }
    }
    Ok(parsed)
}

/// Where files lie in memory, if there is such a place.
fn folder() -> std::io::Result<tempfile::TempDir> {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    }
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    let folder = match folder() {
        Ok(folder) => folder,
        Err(error) => {
            eprintln!("interlock-sim: no folder for state files: {error}");
            return ExitCode::FAILURE;
        }
    };
    let end = arguments.from.saturating_add(arguments.seeds);
    let next = AtomicU64::new(arguments.from);
    let total = Mutex::new(Figures::default());
    let failed: Mutex<Option<(u64, Violation)>> = Mutex::new(None);
    let step = (arguments.seeds / 20).max(1);
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.min(arguments.seeds) {
            scope.spawn(|| {
                fiber::sabotage(arguments.sabotage);
                let mut pool = Pool::default();
                loop {
                    // ORDERING: Relaxed; each seed is taken once, whoever takes it.
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    match run(seed, folder.path(), &mut pool, arguments.trace) {
                        Ok(figures) => {
                            total
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .add(&figures);
                        }
                        Err(violation) => {
                            // ORDERING: Relaxed; the others stop soon.
                            next.store(end, Ordering::Relaxed);
                            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                            if failed.as_ref().is_none_or(|(other, _)| seed < *other) {
                                *failed = Some((seed, violation));
                            }
                        }
                    }
                    let done = seed + 1 - arguments.from;
                    if done % step == 0 && arguments.seeds >= 100 {
                        eprintln!("interlock-sim: {done} of {} seeds", arguments.seeds);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some((seed, Violation(what))) = failed {
        let sabotage = if arguments.sabotage {
            " --sabotage"
        } else {
            ""
        };
        eprintln!("interlock-sim: seed {seed}: {what}");
        eprintln!(
            "replay: cargo run --profile sim -p gateway-sim -- --seed {seed} --trace{sabotage}"
        );
        return ExitCode::FAILURE;
    }
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{} seeds, 0 violations: {} calls ({} admitted, {} foretold exactly or alone), {} waits tried, {} kills ({} inside \
         an operation), {} restarts, {} reloads, {} operations on shared memory",
        arguments.seeds,
        total.calls,
        total.admitted,
        total.alone,
        total.waits,
        total.kills,
        total.kills_inside,
        total.restarts,
        total.reloads,
        total.operations
    );
    ExitCode::SUCCESS
}
