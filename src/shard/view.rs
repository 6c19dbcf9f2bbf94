//! A snapshot together with this core's pools for it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::budget::plan::Plan;
use crate::dialect::UsageShape;
use crate::mailbox::Mailbox;
use crate::routing::metrics;
use crate::snapshot::Snapshot;
use crate::upstream::{Endpoint, Pool};

/// What is known of past calls, behind a count of the core's own: requests share it without touching the one that all
/// cores share.
#[derive(Debug, Default)]
pub struct Readings(Arc<metrics::View>);

impl std::ops::Deref for Readings {
    type Target = metrics::View;

    fn deref(&self) -> &metrics::View {
        &self.0
    }
}

/// One generation of the configuration as one core sees it.
pub struct View {
    /// The shared part.
    pub snapshot: Arc<Snapshot>,
    /// Pools, in the order of [`Snapshot::endpoints`].
    pub pools: Vec<Rc<Pool>>,
    /// How the usage of their answers looks, in the same order.
    pub usage_shapes: Vec<RefCell<UsageShape>>,
    /// The newest numbers of past calls under the indexes of this generation, and the number of the last publication
    /// that was looked at.
    readings: RefCell<(u64, Rc<Readings>)>,
    /// When each target was last the first choice of a request that asked how it does, in milliseconds since the Unix
    /// epoch.
    tried_ms: Vec<Cell<u64>>,
}

impl AsRef<Plan> for View {
    fn as_ref(&self) -> &Plan {
        &self.snapshot.budgets
    }
}

impl View {
    /// Pools of endpoints that stay are taken over from the old view, idle connections and all.
    pub(super) fn new(snapshot: Arc<Snapshot>, old: Option<&Self>) -> Self {
        let upstream = &snapshot.config.settings().upstream;
        let idle_timeout_ms = upstream.pool_idle_timeout.as_millis() as u64;
        let pool_of = |endpoint: &Endpoint| match old
            .and_then(|old| old.pools.iter().find(|pool| pool.endpoint == *endpoint))
        {
            Some(known) => {
                known.set_bounds(upstream.pool_per_endpoint, idle_timeout_ms);
                Rc::clone(known)
            }
            None => Rc::new(Pool::new(endpoint.clone(), upstream.pool_per_endpoint, idle_timeout_ms)),
        };
        let pools = snapshot.endpoints.iter().map(pool_of).collect();
        let usage_shapes = snapshot.endpoints.iter().map(|_| RefCell::default()).collect();
        let tried_ms = snapshot.targets.iter().map(|_| Cell::default()).collect();
        Self { snapshot, pools, usage_shapes, readings: RefCell::default(), tried_ms }
    }

    /// When a target was last tried; see [`View::tries`].
    pub fn tried_ms(&self, target: usize) -> u64 {
        self.tried_ms[target].get()
    }

    /// Notes that a request is about to be sent to a target first of all.
    pub fn tries(&self, target: usize, unix_ms: u64) {
        self.tried_ms[target].set(unix_ms);
    }

    /// What is known of past calls: one comparison when nothing new was published. Empty until the first publication
    /// for this generation; once there is a newer generation, the last one for this.
    #[inline]
    pub fn readings(&self, mailbox: &Mailbox) -> Rc<Readings> {
        let number = mailbox.readings_number();
        let mut readings = self.readings.borrow_mut();
        if readings.0 != number {
            readings.0 = number;
            self.renew_readings(&mut readings.1, mailbox);
        }
        Rc::clone(&readings.1)
    }

    #[cold]
    fn renew_readings(&self, known: &mut Rc<Readings>, mailbox: &Mailbox) {
        let newest = mailbox.readings();
        if newest.generation == self.snapshot.generation {
            *known = Rc::new(Readings(newest));
        }
    }
}
