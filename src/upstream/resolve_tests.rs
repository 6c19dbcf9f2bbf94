//! Resolvers that answer, fail, change their mind and take their time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use super::*;
use crate::net::driver::{CoreRuntime, DriverChoice};

const NEVER: Duration = Duration::from_secs(86_400);

fn run<T>(test: impl Future<Output = T>) -> T {
    CoreRuntime::build(DriverChoice::Epoll).unwrap().block_on(test)
}

fn ips(addresses: &[&str]) -> Vec<IpAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

fn only(address: &str, port: u16) -> Vec<SocketAddr> {
    vec![SocketAddr::new(address.parse().unwrap(), port)]
}

/// A look-up that waits until the test lets it go on, and counts.
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    asked: AtomicUsize,
}

impl Gate {
    const fn new() -> Self {
        Self { open: Mutex::new(false), opened: Condvar::new(), asked: AtomicUsize::new(0) }
    }

    fn pass(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_while(open, |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

#[test]
fn families_take_turns() {
    let (v6, a, b) = ("::1", "10.0.0.1", "10.0.0.2");
    for (given, order) in [
        (vec![v6, a, b], vec![v6, a, b]),
        (vec![a, b, v6], vec![a, v6, b]),
        (vec![a, b], vec![a, b]),
        (vec![a, a, b], vec![a, b]),
    ] {
        let turns: Vec<IpAddr> = with_port(&ips(&given), 1).iter().map(SocketAddr::ip).collect();
        assert_eq!(turns, ips(&order), "{given:?}");
    }
}

#[test]
fn an_address_needs_no_look_up() {
    let threads = ResolverThreads::start_with(|_| Err("asked".to_owned())).unwrap();
    let resolver = Resolver::new(threads);
    run(async {
        assert_eq!(resolver.resolve("10.1.2.3", 80, NEVER).await.unwrap(), only("10.1.2.3", 80));
        assert_eq!(resolver.resolve("[::1]", 443, NEVER).await.unwrap(), only("::1", 443));
    });
}

#[test]
fn an_answer_lives_for_its_time_and_is_asked_anew_after_it() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let threads = ResolverThreads::start_with(|_| {
        let number = ASKED.fetch_add(1, Ordering::SeqCst);
        Ok(vec![IpAddr::from([10, 0, 0, number as u8])])
    })
    .unwrap();
    let resolver = Resolver::new(threads);
    run(async {
        for _ in 0..3 {
            assert_eq!(resolver.resolve("api.test", 443, NEVER).await.unwrap(), only("10.0.0.0", 443));
        }
        // Another port of the same name is the same answer.
        assert_eq!(resolver.resolve("api.test", 80, NEVER).await.unwrap(), only("10.0.0.0", 80));
        assert_eq!(ASKED.load(Ordering::SeqCst), 1);
        // The time of an answer is set when it comes: one without life is asked anew at once.
        assert_eq!(resolver.resolve("moves.test", 1, Duration::ZERO).await.unwrap(), only("10.0.0.1", 1));
        assert_eq!(resolver.resolve("moves.test", 1, Duration::ZERO).await.unwrap(), only("10.0.0.2", 1));
    });
}

#[test]
fn a_name_that_fails_keeps_its_last_addresses() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let threads = ResolverThreads::start_with(|_| match ASKED.fetch_add(1, Ordering::SeqCst) {
        0 => Ok(ips(&["10.9.8.7"])),
        1 => Err("gone".to_owned()),
        2 => Ok(vec![]),
        3 => Ok(ips(&["10.9.8.8"])),
        _ => Err("gone".to_owned()),
    })
    .unwrap();
    let resolver = Resolver::new(threads);
    run(async {
        for expected in ["10.9.8.7", "10.9.8.7", "10.9.8.7", "10.9.8.8", "10.9.8.8"] {
            let found = resolver.resolve("api.test", 443, Duration::ZERO).await.unwrap();
            assert_eq!(found, only(expected, 443));
        }
        assert_eq!(resolver.resolve("other.test", 443, Duration::ZERO).await.unwrap_err(), "gone");
    });
}

#[test]
fn a_name_without_an_address_is_an_error() {
    let resolver = Resolver::new(ResolverThreads::start_with(|_| Ok(vec![])).unwrap());
    let error = run(resolver.resolve("empty.test", 1, NEVER)).unwrap_err();
    assert_eq!(error, "the name has no address");
}

#[test]
fn requests_that_wait_for_the_same_name_ask_once() {
    static GATE: Gate = Gate::new();
    let threads = ResolverThreads::start_with(|_| {
        GATE.pass();
        Ok(ips(&["10.0.0.1"]))
    })
    .unwrap();
    let resolver = std::rc::Rc::new(Resolver::new(threads));
    run(async {
        let waiting: Vec<_> = (0..50)
            .map(|port| {
                let resolver = std::rc::Rc::clone(&resolver);
                monoio::spawn(async move { resolver.resolve("slow.test", port, NEVER).await })
            })
            .collect();
        // A turn of the runtime, so that all of them have asked.
        monoio::time::sleep(Duration::from_millis(1)).await;
        GATE.open();
        for (port, task) in waiting.into_iter().enumerate() {
            assert_eq!(task.await.unwrap(), only("10.0.0.1", port as u16));
        }
    });
    assert_eq!(GATE.asked.load(Ordering::SeqCst), 1);
}

#[test]
fn a_slow_resolver_does_not_hold_up_a_name_that_is_known() {
    static GATE: Gate = Gate::new();
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let threads = ResolverThreads::start_with(|_| match ASKED.fetch_add(1, Ordering::SeqCst) {
        0 => Ok(ips(&["10.0.0.1"])),
        _ => {
            GATE.pass();
            Ok(ips(&["10.0.0.2"]))
        }
    })
    .unwrap();
    let resolver = Resolver::new(threads);
    run(async {
        for _ in 0..3 {
            let found = resolver.resolve("api.test", 443, Duration::ZERO).await.unwrap();
            assert_eq!(found, only("10.0.0.1", 443), "the old one serves while the new one is looked up");
        }
        GATE.open();
        while resolver.asked.borrow().get("api.test").is_some_and(|asked| asked.question.now().is_none()) {
            monoio::time::sleep(Duration::from_millis(1)).await;
        }
        // The answer that nobody waited for is what serves from now on.
        assert_eq!(resolver.resolve("api.test", 443, NEVER).await.unwrap(), only("10.0.0.2", 443));
    });
    assert_eq!((ASKED.load(Ordering::SeqCst), GATE.asked.load(Ordering::SeqCst)), (2, 1));
}

#[test]
fn a_failure_that_nobody_waited_for_is_not_told_to_the_next_one() {
    static GATE: Gate = Gate::new();
    let threads = ResolverThreads::start_with(|_| {
        GATE.pass();
        if GATE.asked.load(Ordering::SeqCst) == 1 { Err("late".to_owned()) } else { Ok(ips(&["10.0.0.1"])) }
    })
    .unwrap();
    let resolver = Resolver::new(threads);
    run(async {
        let asking = resolver.resolve("api.test", 1, NEVER);
        assert!(monoio::time::timeout(Duration::from_millis(1), asking).await.is_err(), "the asker leaves");
        GATE.open();
        while resolver.asked.borrow()["api.test"].question.now().is_none() {
            monoio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(resolver.resolve("api.test", 1, NEVER).await.unwrap(), only("10.0.0.1", 1));
    });
}

#[test]
fn a_full_queue_is_said_and_not_waited_for() {
    static GATE: Gate = Gate::new();
    let threads = ResolverThreads::start_with(|_| {
        GATE.pass();
        Ok(ips(&["10.0.0.1"]))
    })
    .unwrap();
    let resolver = std::rc::Rc::new(Resolver::new(threads));
    run(async {
        let mut refused = None;
        let mut waiting = vec![];
        for number in 0..RESOLVER_QUEUE_MAX + RESOLVER_THREADS + 1 {
            let asking = std::rc::Rc::clone(&resolver);
            waiting.push(monoio::spawn(async move {
                asking.resolve(&format!("host-{number}.test"), 1, NEVER).await
            }));
        }
        monoio::time::sleep(Duration::from_millis(1)).await;
        GATE.open();
        for task in waiting {
            if let Err(error) = task.await {
                refused = Some(error);
            }
        }
        assert_eq!(refused.as_deref(), Some("too many names are being looked up"));
    });
}
