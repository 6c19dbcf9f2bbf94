//! The thread of the management API: takes requests one by one, answers each.

use std::net::{IpAddr, Ipv4Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ring::rand::SystemRandom;

use super::answer::ApiError;
use super::ask::Ask;
use super::audit::{Origin, SharedLog};
use super::entries::broken;
use super::routes::{self, Needs, Route, Run};
use super::session::{self, Who};
use super::system::Running;
use crate::accounts::sign_in::Signer;
use crate::accounts::throttle::Throttle;
use crate::clock;
use crate::config::files::{ROLES, USERS};
use crate::config::{Accounts, Config, Settings};
use crate::mailbox::{ApiAnswer, ApiCall, Job, Mailbox, Reply, ToControl, ToOffice, ToReports};
use crate::store::audit::AuditLog;
use crate::store::files::Stamp;
use crate::store::home::{self, Home};
use crate::telemetry::log::{self, Value};

/// What the thread knows.
pub struct Office {
    pub(super) home: Home,
    pub(super) mailbox: Arc<Mailbox>,
    /// One owner for each export that is being sent, and this.
    pub(super) exports: Arc<()>,
    /// One owner for each channel that is being tried out, and this.
    pub(super) tests: Arc<()>,
    pub(super) running: Arc<Running>,
    /// The settings that the process was started with.
    pub(super) started_with: Settings,
    pub(super) signer: Signer,
    pub(super) random: SystemRandom,
    pub(super) accounts: Accounts,
    /// What the files of the accounts were when they were read.
    stamps: [Option<Stamp>; 2],
    pub(super) throttle: Throttle,
    pub(super) audit: SharedLog,
    /// Where the request comes from that is being answered.
    pub(super) origin: Origin,
    /// Whether there has been an administrator in the life of this process.
    had_admin: bool,
}

/// What becomes of a request on this thread.
pub enum Given {
    /// It is answered.
    Answer(ApiAnswer),
    /// It may be answered; that takes longer.
    Job(Job),
}

/// Runs until it is told to finish.
pub fn run(mut office: Office, inbox: &Receiver<ToOffice>) {
    while let Ok(ToOffice::Call(call, reply)) = inbox.recv() {
        // One bad request must not end the thread; what it was about to change was not written.
        let answered = catch_unwind(AssertUnwindSafe(|| office.answer(&call)));
        let answer = answered.unwrap_or_else(|_| {
            log::error("a request to the management API panicked", &[("path", Value::Text(&call.path))]);
            Given::Answer(ApiError::internal("the gateway made a mistake; it is in its log").into_answer())
        });
        match answer {
            Given::Answer(answer) => reply.answer(Arc::new(answer)),
            Given::Job(job) => office.hand_on(job, reply),
        }
        log::flush();
    }
}

impl Office {
    /// With the accounts as they were read at the start; `jwt_key` signs sign-in tokens.
    pub fn new(
        home: Home,
        mailbox: Arc<Mailbox>,
        running: Arc<Running>,
        jwt_key: &[u8; 32],
        accounts: Accounts,
    ) -> Self {
        let started_with = mailbox.snapshot().config.settings().clone();
        let mut office = Self {
            started_with,
            signer: Signer::new(jwt_key),
            random: SystemRandom::new(),
            accounts,
            stamps: [None; 2],
            throttle: Throttle::default(),
            audit: Arc::new(Mutex::new(AuditLog::at(home.data_directory()))),
            origin: Origin::default(),
            had_admin: false,
            home,
            mailbox,
            running,
            exports: Arc::new(()),
            tests: Arc::new(()),
        };
        office.refresh_accounts();
        office
    }

    /// Whether somebody is there, or was: a file that goes away for a moment must not open the door to the first comer.
    pub(super) fn is_set_up(&self) -> bool {
        self.had_admin
    }

    /// How long a sign-in token counts.
    pub(super) fn login_life(&self) -> Duration {
        self.mailbox.snapshot().config.settings().login_ttl
    }

    /// Answers one request, or says how it is answered.
    pub fn answer(&mut self, call: &ApiCall) -> Given {
        self.refresh_accounts();
        self.dispatch(call).unwrap_or_else(|error| Given::Answer(error.into_answer()))
    }

    fn dispatch(&mut self, call: &ApiCall) -> Result<Given, ApiError> {
        let now_ms = clock::unix_ms();
        let (route, names) = routes::find(&call.method, &call.path)?;
        let who = self.who(call, route.needs, now_ms)?;
        let peer = call.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let config = self.config();
        let address = config.settings().management.client(peer, call.forwarded_for.as_deref());
        let ask = Ask { call, names, who: who.as_ref(), address, now_ms };
        self.origin = Origin::of(self, &ask);
        let may = match (route.needs, ask.who) {
            (Needs::Permission(permission), Some(who)) => who.may(permission),
            _ => Ok(()),
        };
        let given = may.and_then(|()| self.run(route, &ask));
        if let Err(error) = &given
            && error.is_forbidden()
            && route.method != "GET"
        {
            self.note_denied(&format!("{} {}", route.method, route.path), ask.name());
        }
        given
    }

    fn run(&mut self, route: &Route, ask: &Ask<'_>) -> Result<Given, ApiError> {
        match route.run {
            Run::Now(run) => {
                let answer = run(self, ask)?;
                debug_assert_eq!(route.describes(&answer), Ok(()), "{} {}", route.method, route.path);
                Ok(Given::Answer(answer))
            }
            Run::Later(run) => run(self, ask).map(Given::Job),
        }
    }

    /// Who asks; none where anybody may.
    fn who(&self, call: &ApiCall, needs: Needs, now_ms: u64) -> Result<Option<Who>, ApiError> {
        if needs == Needs::Nothing {
            session::refuse_foreign_page(call, &self.mailbox.snapshot().config.settings().cors_origins)?;
            return Ok(None);
        }
        session::who(call, &self.signer, &self.accounts, now_ms).map(Some)
    }

    /// Leaves an answer to the threads that make reports.
    fn hand_on(&self, job: Job, reply: Arc<Reply<Arc<ApiAnswer>>>) {
        if let Err(ToReports::Make(_, reply)) = self.mailbox.send_to_reports(ToReports::Make(job, reply)) {
            let busy = ApiError::busy("too many reports are being made; try again in a moment");
            reply.answer(Arc::new(busy.into_answer()));
        }
    }

    /// Reads the accounts again where a file has changed. One with mistakes leaves the old ones in force.
    pub(super) fn refresh_accounts(&mut self) {
        let stamps = [USERS, ROLES].map(|name| Stamp::read(&self.home.file(name)));
        if stamps == self.stamps {
            return;
        }
        self.stamps = stamps;
        self.had_admin |= self.accounts.has_admin();
        match home::accounts(&self.home) {
            Ok(accounts) => {
                self.accounts = accounts;
                self.had_admin |= self.accounts.has_admin();
            }
            Err(mistakes) => {
                for mistake in &mistakes {
                    log::error("accounts not taken", &[("mistake", Value::Display(mistake))]);
                }
            }
        }
    }

    /// What is in force.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.mailbox.snapshot().config)
    }

    /// A document as it is in its file now.
    ///
    /// # Errors
    /// The file is broken.
    pub(super) fn document(&self, file: &'static str) -> Result<serde_json::Value, ApiError> {
        let document = home::document(&self.home, file).map_err(|mistake| broken(&mistake))?;
        Ok(document.value)
    }

    pub(super) fn tell_control(&self, message: ToControl) {
        self.mailbox.send_blocking(message);
    }
}
