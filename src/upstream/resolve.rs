//! Names to addresses, off the core: `getaddrinfo` blocks, so threads of their own call it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::{RESOLVER_QUEUE_MAX, RESOLVER_THREADS, STALE_ADDRESS_WAIT_MS};
use crate::mailbox::Reply;

type Answer = Result<Vec<IpAddr>, String>;

type Question = Reply<Answer>;
type Job = (String, Arc<Question>);

/// The threads that call the system's resolver, shared by all cores.
#[derive(Debug, Clone)]
pub struct ResolverThreads {
    jobs: SyncSender<Job>,
}

impl ResolverThreads {
    /// Starts them. They end when the last handle is gone.
    pub fn start() -> std::io::Result<Self> {
        Self::start_with(|host| {
            (host, 0u16)
                .to_socket_addrs()
                .map(|found| found.map(|a| a.ip()).collect())
                .map_err(|e| e.to_string())
        })
    }

    /// Starts them with another way to look a name up.
    pub fn start_with(look_up: fn(&str) -> Answer) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(RESOLVER_QUEUE_MAX);
        let queue = Arc::new(Mutex::new(queue));
        for index in 0..RESOLVER_THREADS {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new()
                .name(format!("resolver-{index}"))
                .stack_size(256 * crate::limits::KIB)
                .spawn(move || work(&queue, look_up))?;
        }
        Ok(Self { jobs })
    }
}

fn work(queue: &Mutex<Receiver<Job>>, look_up: fn(&str) -> Answer) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((host, question)) = job else { return };
        question.answer(look_up(&host));
    }
}

#[derive(Debug)]
struct Known {
    addresses: Vec<IpAddr>,
    fresh_until: Instant,
}

/// A question that is with the threads, or that nobody has fetched the answer of yet.
#[derive(Debug)]
struct Asked {
    question: Arc<Question>,
    at: Instant,
}

/// A core's cache of names.
#[derive(Debug)]
pub struct Resolver {
    threads: ResolverThreads,
    known: RefCell<HashMap<String, Known>>,
    asked: RefCell<HashMap<String, Asked>>,
}

impl Resolver {
    /// An empty cache above the shared threads.
    pub fn new(threads: ResolverThreads) -> Self {
        Self { threads, known: RefCell::default(), asked: RefCell::default() }
    }

    /// Addresses of `host` with `port`, in the resolver's order with the families taking turns (RFC 8305
    /// section 4). Answers live for `ttl`; after it they are asked anew, and still serve where that fails or takes
    /// its time: providers rarely move, resolvers often fail.
    ///
    /// # Errors
    /// The resolver's reason, or that too many names are being looked up.
    pub async fn resolve(&self, host: &str, port: u16, ttl: Duration) -> Result<Vec<SocketAddr>, String> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        self.fetch_late_answer(bare, ttl);
        let now = crate::clock::now();
        let old = match self.known.borrow().get(bare) {
            Some(known) if now < known.fresh_until => return Ok(with_port(&known.addresses, port)),
            Some(known) => Some(with_port(&known.addresses, port)),
            None => None,
        };
        let Some(old) = old else {
            let addresses = self.ask(bare, ttl).await?;
            return Ok(with_port(&addresses, port));
        };
        let wait = Duration::from_millis(STALE_ADDRESS_WAIT_MS);
        match monoio::time::timeout(wait, self.ask(bare, ttl)).await {
            Ok(Ok(addresses)) => Ok(with_port(&addresses, port)),
            // The answer is fetched by whoever asks next.
            Ok(Err(_)) | Err(_) => Ok(old),
        }
    }

    /// Takes over the answer to a question whose askers have all left before it came. A failure says nothing about
    /// now and is forgotten.
    fn fetch_late_answer(&self, host: &str, ttl: Duration) {
        let mut asked = self.asked.borrow_mut();
        let Some((answer, at)) =
            asked.get(host).and_then(|asked| asked.question.now().map(|answer| (answer, asked.at)))
        else {
            return;
        };
        asked.remove(host);
        if let Ok(addresses) = answer {
            self.learn(host, addresses, at, ttl);
        }
    }

    fn learn(&self, host: &str, addresses: Vec<IpAddr>, asked_at: Instant, ttl: Duration) {
        if !addresses.is_empty() {
            let known = Known { addresses, fresh_until: asked_at + ttl };
            self.known.borrow_mut().insert(host.to_owned(), known);
        }
    }

    /// Asks once, however many requests wait for the same name.
    async fn ask(&self, host: &str, ttl: Duration) -> Answer {
        let existing = self.asked.borrow().get(host).map(|asked| Arc::clone(&asked.question));
        let question = match existing {
            Some(question) => question,
            None => {
                let question = Arc::new(Question::default());
                let job = (host.to_owned(), Arc::clone(&question));
                if self.threads.jobs.try_send(job).is_err() {
                    return Err("too many names are being looked up".to_owned());
                }
                let asked = Asked { question: Arc::clone(&question), at: crate::clock::now() };
                self.asked.borrow_mut().insert(host.to_owned(), asked);
                question
            }
        };
        let answer = question.wait().await;
        let mut asked = self.asked.borrow_mut();
        if asked.get(host).is_some_and(|current| Arc::ptr_eq(&current.question, &question)) {
            asked.remove(host);
        }
        drop(asked);
        let addresses = answer?;
        if addresses.is_empty() {
            return Err("the name has no address".to_owned());
        }
        self.learn(host, addresses.clone(), crate::clock::now(), ttl);
        Ok(addresses)
    }
}

/// Lets the address families take turns, beginning with the resolver's first choice.
fn with_port(addresses: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (mut preferred, mut other): (Vec<IpAddr>, Vec<IpAddr>) =
        addresses.iter().copied().partition(|ip| ip.is_ipv6() == first_is_v6);
    preferred.reverse();
    other.reverse();
    let mut turns = Vec::with_capacity(addresses.len());
    while let Some(address) = preferred.pop() {
        turns.push(SocketAddr::new(address, port));
        if let Some(address) = other.pop() {
            turns.push(SocketAddr::new(address, port));
        }
    }
    turns.extend(other.into_iter().rev().map(|address| SocketAddr::new(address, port)));
    turns.dedup();
    turns
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
