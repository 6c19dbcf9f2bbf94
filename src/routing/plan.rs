//! Policies as requests meet them: made once with the configuration, ids turned into indexes, defaults filled in.
//!
//! Owns the translation from typed settings to what [`super::pool`] runs through: per project the enabled policies with
//! their weights and the series of numbers that they read, per model the few facts that policies compare.

use std::time::Duration;

use super::metrics::{self, Decaying, ProjectWindow};
use crate::config::policy::{Health, PerformanceMetric, Rule};
use crate::config::{Metric, Model, Project};
use crate::dialect::Features;

/// What routing needs of one generation of the configuration.
#[derive(Debug, Default)]
pub struct Plan {
    /// By index of the model.
    pub traits: Vec<Traits>,
    /// By index of the project; none where no policy is enabled.
    pub projects: Vec<Option<Box<Policies>>>,
    /// Which numbers of past calls the policies read.
    pub metrics: metrics::Plan,
}

impl Plan {
    /// Makes the tables.
    pub fn build<'c>(
        models: impl Iterator<Item = &'c Model>,
        projects: impl Iterator<Item = &'c Project>,
    ) -> Self {
        let mut plan = Self { traits: models.map(Traits::of).collect(), ..Self::default() };
        for (index, project) in projects.enumerate() {
            let policies = Policies::compile(project, index as u32, &plan.traits, &mut plan.metrics);
            plan.projects.push((!policies.rules.is_empty()).then(|| Box::new(policies)));
        }
        plan
    }
}

/// What policies compare of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Traits {
    /// In tokens.
    pub(super) context_window: Option<u64>,
    /// What it is known not to be able to do.
    pub(super) lacks: Features,
    /// Nobody knows what it costs.
    pub(super) is_price_unknown: bool,
    /// Whether its own limits bound the number of calls.
    pub(super) limits_calls: bool,
    pub(super) prices: Rates,
    /// Ascending; from how many input tokens on, and the prices there.
    pub(super) tiers: Box<[(u64, Rates)]>,
}

/// Picodollars per token.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) input: f64,
    pub(super) output: f64,
}

impl Traits {
    /// The facts of one model.
    pub fn of(model: &Model) -> Self {
        let can = &model.capabilities;
        let known = [
            (Features::VISION, can.vision),
            (Features::TOOLS, can.function_calling),
            (Features::JSON, can.json),
            (Features::THINKING, can.thinking),
        ];
        let denied = known.into_iter().filter(|(_, can)| *can == Some(false));
        let rates = |input: u64, output: u64| Rates { input: input as f64, output: output as f64 };
        let base = model.prices.base();
        let tiers = model.prices.tiers().iter();
        Self {
            context_window: model.context_window,
            lacks: denied.fold(Features::default(), |lacks, (feature, _)| lacks.or(feature)),
            is_price_unknown: model.price_unknown,
            limits_calls: model.limits.limits.iter().any(|limit| limit.metric == Metric::Calls),
            prices: rates(base.input, base.output),
            tiers: tiers.map(|tier| (tier.above, rates(tier.prices.input, tier.prices.output))).collect(),
        }
    }
}

/// The enabled policies of a project.
#[derive(Debug)]
pub struct Policies {
    pub(super) rules: Box<[Compiled]>,
    /// Types of the policies, in order.
    pub kinds: Box<[&'static str]>,
    /// What has to be known of a request and its candidates.
    pub asks: Asks,
}

/// What policies want to know beyond the configuration. What is not asked for need not be filled in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asks {
    /// The request's [`Needs`](crate::dialect::Needs).
    pub needs: bool,
    /// [`Standing::cooldown_until_ms`](super::Standing), `is_broken` and `tried_ms`.
    pub state: bool,
    /// [`Standing::headroom`](super::Standing).
    pub headroom: bool,
    /// Models have to be called first: [`Pool::tell`](super::Pool::tell).
    pub calls: bool,
}

/// One enabled policy.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Compiled {
    /// Its index in the project's list, switched off ones counted.
    pub(super) source: usize,
    /// n for the first of n, 1 for the last.
    pub(super) weight: u16,
    pub(super) kind: Kind,
}

/// What a policy does. `series`: index into the list of the view.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Context,
    Cheapest {
        output_ratio: f64,
    },
    Health {
        rules: HealthRules,
        series: usize,
    },
    Performance {
        metric: PerformanceMetric,
        min_samples: u32,
        series: usize,
    },
    Capability,
    RateLimit {
        max_calls: Option<u64>,
        series: usize,
    },
    Fairness {
        series: usize,
    },
    BudgetRemaining,
    /// Points and exclusions come from outside.
    External,
}

/// Settings of `health`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct HealthRules {
    pub(super) pseudo_counts: f64,
    pub(super) circuit_breaker: f64,
    pub(super) min_samples: u32,
    pub(super) half_life_ms: u64,
}

impl Policies {
    fn compile(project: &Project, index: u32, traits: &[Traits], metrics: &mut metrics::Plan) -> Self {
        let enabled = project.policies.iter().enumerate().filter(|(_, policy)| policy.enabled);
        let count = enabled.clone().count();
        let mut asks = Asks::default();
        let has_tiers = project.models.iter().any(|model| !traits[model.model].tiers.is_empty());
        let mut rules = Vec::with_capacity(count);
        let mut kinds = Vec::with_capacity(count);
        for (at, (source, policy)) in enabled.enumerate() {
            let kind = match &policy.rule {
                Rule::Context => Kind::Context,
                Rule::Cheapest(cheapest) => Kind::Cheapest { output_ratio: cheapest.expected_output_ratio },
                Rule::Health(health) => Kind::Health {
                    rules: HealthRules::of(health),
                    series: series(&mut metrics.health, decaying(health.window, health.half_life)),
                },
                Rule::Performance(speed) => Kind::Performance {
                    metric: speed.metric,
                    min_samples: speed.min_samples,
                    series: series(&mut metrics.performance, decaying(speed.window, speed.half_life)),
                },
                Rule::Capability => Kind::Capability,
                Rule::RateLimit(limit) => Kind::RateLimit {
                    max_calls: limit.max_calls,
                    series: series(&mut metrics.calls, millis(limit.window)),
                },
                Rule::Fairness(fairness) => {
                    let window = ProjectWindow { project: index, window_ms: millis(fairness.window) };
                    Kind::Fairness { series: own_series(&mut metrics.successes, window) }
                }
                Rule::BudgetRemaining => Kind::BudgetRemaining,
                Rule::Llm(_) | Rule::SemanticIntent(_) => Kind::External,
            };
            match kind {
                Kind::Context | Kind::Capability => asks.needs = true,
                Kind::Cheapest { .. } => asks.needs |= has_tiers,
                Kind::Health { .. } | Kind::RateLimit { .. } => asks.state = true,
                Kind::BudgetRemaining => asks.headroom = true,
                Kind::External => asks.calls = true,
                Kind::Performance { .. } | Kind::Fairness { .. } => {}
            }
            let weight = u16::try_from(count - at).unwrap_or(u16::MAX);
            rules.push(Compiled { source, weight, kind });
            kinds.push(policy.rule.kind());
        }
        Self { rules: rules.into(), kinds: kinds.into(), asks }
    }

    /// The policies that call models, as their index here and that in the project's list.
    pub fn calling(&self) -> impl Iterator<Item = (usize, usize)> {
        let external = self.rules.iter().enumerate().filter(|(_, rule)| rule.kind == Kind::External);
        external.map(|(index, rule)| (index, rule.source))
    }
}

impl HealthRules {
    fn of(health: &Health) -> Self {
        Self {
            pseudo_counts: health.pseudo_counts,
            circuit_breaker: health.circuit_breaker,
            min_samples: health.min_samples,
            half_life_ms: millis(health.half_life),
        }
    }
}

fn decaying(window: Duration, half_life: Duration) -> Decaying {
    Decaying { window_ms: millis(window), half_life_ms: millis(half_life) }
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

/// Index of a series in the list; it is added where it is new.
fn series<T: PartialEq>(list: &mut Vec<T>, wanted: T) -> usize {
    list.iter().position(|known| *known == wanted).unwrap_or_else(|| {
        list.push(wanted);
        list.len() - 1
    })
}

/// The same for series of projects, which come in their order: there may be thousands.
fn own_series(list: &mut Vec<ProjectWindow>, wanted: ProjectWindow) -> usize {
    let own = list.iter().rev().take_while(|known| known.project == wanted.project);
    let first = list.len() - own.count();
    first
        + list[first..].iter().position(|known| *known == wanted).unwrap_or_else(|| {
            list.push(wanted);
            list.len() - 1 - first
        })
}
