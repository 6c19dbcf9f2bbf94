//! The candidates of one request on their way through the policies.
//!
//! First hard filters narrow the pool: used-up limits, then every policy that can exclude. Then all policies score who
//! is left, so that points that compare models compare these. The weighted mean of the points is the score. A pool is
//! kept per core and used again: a request allocates nothing here.
//!
//! Source: the project's routing specification, section 3.

use std::sync::Arc;

use super::explained::{Applied, Considered, Exclusion, Explained, Note, Part, Reason, Score};
use super::metrics::View;
use super::plan::{Compiled, Kind, Policies, Traits};
use super::policies::{
    budget_remaining, capability, cheapest, context, fairness, health, performance, rate_limit,
};
use super::{NoCandidate, Wanted, each_candidate};
use crate::dialect::Needs;
use crate::snapshot::Snapshot;

/// Points that differ by less do not tell models apart.
const SAME_POINT: f64 = 0.000_1;
/// The point of who got one that is no number, and the score of who got none.
const NEUTRAL: f64 = 0.5;

/// What is known of a candidate at this moment, beside the configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// A limit is used up: it is no candidate.
    pub is_exhausted: bool,
    /// Its breaker is open.
    pub is_broken: bool,
    /// When a request was last sent to it first of all, in milliseconds since the Unix epoch; 0: not yet. This core's own
    /// knowledge: of a model that was left alone it is the try whether it works again.
    pub tried_ms: u64,
    /// Until when its provider refuses calls, in milliseconds since the Unix epoch; 0: it does not.
    pub cooldown_until_ms: u64,
    /// What is left of its nearest limit, 0 to 1.
    pub headroom: f64,
}

impl Default for Standing {
    fn default() -> Self {
        Self { is_exhausted: false, is_broken: false, tried_ms: 0, cooldown_until_ms: 0, headroom: 1.0 }
    }
}

/// What policies decide from, beside the candidates.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// What the request needs.
    pub needs: Needs,
    /// Numbers of past calls, of the same generation as the configuration; none: nothing is known.
    pub view: Option<&'a View>,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// Where chance comes from.
    pub seed: u64,
}

/// What a policy says that had to ask somebody.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct External {
    /// Target and point; who is missing was not scored, and what is no number counts as 0.5.
    pub points: Vec<(usize, f64)>,
    /// Targets that are out.
    pub excludes: Vec<usize>,
    /// Why it has nothing to say.
    pub error: Option<String>,
}

/// Why the pool ran dry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dry {
    /// All candidates have used up a limit.
    Exhausted,
    /// Policies excluded all of them.
    Excluded,
}

/// A model that may answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Index of the target.
    pub target: usize,
    /// What is known of it at this moment; to be filled in before [`Pool::narrow`].
    pub standing: Standing,
    /// Index in `projects[].models`.
    place: usize,
    /// 0: named and native, 1: named, 2: native, 3: neither.
    class: usize,
    /// Its share where chance decides.
    weight: u16,
    is_out: bool,
}

/// The candidates of a request.
#[derive(Debug, Default)]
pub struct Pool {
    /// Index of the project whose models these are.
    project: usize,
    candidates: Vec<Candidate>,
    /// A row per policy, a column per candidate; NaN: not scored.
    points: Vec<f64>,
    parts: Vec<Part>,
    errors: Vec<(usize, String)>,
    exclusions: Vec<Exclusion>,
    /// Per candidate: sum of points by weight, sum of weights, score.
    sums: Vec<(f64, f64, Score)>,
    /// The ranking in the making: what it is sorted by, in one number.
    keys: Vec<u64>,
    tied: usize,
    note: Option<Note>,
}

impl Pool {
    /// Begins with the models of a project that can answer, in the order that they have without policies.
    ///
    /// # Errors
    /// There is none.
    pub fn gather(
        &mut self,
        snapshot: &Snapshot,
        project: usize,
        wanted: Wanted<'_>,
    ) -> Result<(), NoCandidate> {
        self.project = project;
        let candidates = &mut self.candidates;
        candidates.clear();
        let project = &snapshot.config.projects()[project];
        let count = each_candidate(snapshot, project, wanted, |at, class, place, target| {
            let standing = Standing::default();
            let weight = project.models[place].weight;
            candidates.insert(at, Candidate { target, standing, place, class, weight, is_out: false });
        })?;
        candidates.truncate(count);
        Ok(())
    }

    /// The candidates, so that their standing can be filled in.
    pub fn candidates_mut(&mut self) -> &mut [Candidate] {
        &mut self.candidates
    }

    /// Takes out who is exhausted, and whom policies exclude that need not ask anybody.
    ///
    /// A single candidate meets only the filters on what it can do: nobody else could do better.
    ///
    /// # Errors
    /// Nobody is left.
    pub fn narrow(&mut self, traits: &[Traits], policies: &Policies, inputs: &Inputs<'_>) -> Result<(), Dry> {
        self.parts.clear();
        self.parts.resize(policies.rules.len(), Part::default());
        self.points.clear();
        self.points.resize(policies.rules.len() * self.candidates.len(), f64::NAN);
        self.errors.clear();
        self.exclusions.clear();
        self.keys.clear();
        (self.tied, self.note) = (0, None);
        let mut left = 0;
        for candidate in &mut self.candidates {
            candidate.is_out = candidate.standing.is_exhausted;
            left += usize::from(!candidate.is_out);
        }
        match left {
            0 => return Err(Dry::Exhausted),
            1 => self.note = Some(Note::SingleCandidate),
            _ => {}
        }
        for (index, rule) in policies.rules.iter().enumerate() {
            let is_about_ability = matches!(rule.kind, Kind::Context | Kind::Capability);
            if self.note.is_none() || is_about_ability {
                self.exclude(index, rule, traits, inputs);
            }
        }
        self.dry()
    }

    /// Targets that are left, in the order that they have without policies.
    pub fn left(&self) -> impl Iterator<Item = usize> {
        self.candidates.iter().filter(|candidate| !candidate.is_out).map(|candidate| candidate.target)
    }

    /// Whether policies that ask somebody have anything to decide.
    pub fn is_open(&self) -> bool {
        self.note.is_none() && self.left().nth(1).is_some()
    }

    /// Takes in what a policy has found that had to ask somebody. `policy`: see [`Policies::calling`].
    ///
    /// # Errors
    /// Nobody is left.
    pub fn tell(&mut self, policy: usize, external: External) -> Result<(), Dry> {
        if let Some(error) = external.error {
            self.parts[policy] = Part::Failed;
            self.errors.push((policy, error));
            return Ok(());
        }
        let count = self.candidates.len();
        for (candidate, at) in self.candidates.iter_mut().zip(0..) {
            let scored = external.points.iter().find(|(target, _)| *target == candidate.target);
            if let Some((_, point)) = scored.filter(|_| !candidate.is_out) {
                self.points[policy * count + at] =
                    if point.is_nan() { NEUTRAL } else { point.clamp(0.0, 1.0) };
            }
            if !candidate.standing.is_exhausted && external.excludes.contains(&candidate.target) {
                candidate.is_out = true;
                self.exclusions.push(Exclusion { policy, candidate: at, reason: Reason::Intent });
            }
        }
        self.dry()
    }

    /// Scores who is left, and writes the targets to `ranked`, best first.
    pub fn rank(
        &mut self,
        traits: &[Traits],
        policies: &Policies,
        inputs: &Inputs<'_>,
        ranked: &mut Vec<usize>,
    ) {
        let count = self.candidates.len();
        self.sums.clear();
        self.sums.resize(count, (0.0, 0.0, Score::default()));
        if self.left().nth(1).is_none() {
            self.parts.fill(Part::Skipped);
            self.rank_only();
        } else {
            let mut counted = false;
            for (index, rule) in policies.rules.iter().enumerate() {
                self.score(index, rule, traits, inputs);
                counted |= self.count(index, rule);
            }
            if counted { self.rank_by_score() } else { self.rank_by_chance(inputs.seed) }
        }
        ranked.clear();
        ranked.extend(self.keys.iter().map(|key| self.candidates[place_in(*key)].target));
    }

    /// Orders those anew whose score is at most `within` below the best one's, by chance: the same seed gives the same
    /// order, whoever else is there. They come before the others of the ranking, as they did; models that the client named
    /// stay before those that it did not.
    pub fn shuffle_best(&mut self, within: f64, seed: u64, ranked: &mut [usize]) {
        let score = |key: &u64| self.sums[place_in(*key)].2.value();
        let class = |key: &u64| key >> (CHANCE_BITS + PLACE_BITS);
        let Some(best) = self.keys.first() else { return };
        let (first, top) = (class(best), score(best));
        // Scores that chance has made tell nobody apart.
        let by_chance = self.note == Some(Note::AllAbstained);
        let is_near = |key: &&u64| class(key) == first && (by_chance || score(key) >= top - within);
        let near = self.keys.iter().take_while(is_near).count();
        let candidates = &self.candidates;
        let target = |key: u64| candidates[place_in(key)].target;
        self.keys[..near].sort_by_key(|key| std::cmp::Reverse(chance(seed, target(*key))));
        for (place, key) in ranked.iter_mut().zip(&self.keys[..near]) {
            *place = target(*key);
        }
    }

    /// Says how it came about.
    pub fn explain(&self, policies: &Policies, explained: &mut Explained) {
        explained.clear();
        explained.project = self.project;
        let error = |index| self.errors.iter().find(|(at, _)| *at == index).map(|(_, error)| error.clone());
        explained.policies.extend(policies.rules.iter().enumerate().map(|(index, rule)| Applied {
            kind: policies.kinds[index],
            source: rule.source,
            weight: rule.weight,
            part: self.parts[index],
            error: error(index),
        }));
        explained.candidates.extend(self.candidates.iter().map(|candidate| Considered {
            target: candidate.target,
            named: candidate.class < 2,
            exhausted: candidate.standing.is_exhausted,
            score: None,
        }));
        for key in &self.keys {
            let at = place_in(*key);
            explained.candidates[at].score = Some(self.sums[at].2);
            explained.order.push(at);
        }
        explained.points.extend(self.points.iter().map(|point| (!point.is_nan()).then_some(*point)));
        explained.exclusions.extend_from_slice(&self.exclusions);
        explained.tied = self.tied;
        explained.note = self.note;
    }

    fn dry(&self) -> Result<(), Dry> {
        if self.left().next().is_some() { Ok(()) } else { Err(Dry::Excluded) }
    }

    /// Asks one policy about everybody who is not exhausted: each reason is kept.
    fn exclude(&mut self, policy: usize, rule: &Compiled, traits: &[Traits], inputs: &Inputs<'_>) {
        let Inputs { needs, view, now_ms, .. } = inputs;
        let candidates = &mut self.candidates;
        let out = |candidate, reason| self.exclusions.push(Exclusion { policy, candidate, reason });
        match rule.kind {
            Kind::Context => {
                let tokens = needs.context_tokens();
                sift(candidates, out, |candidate| {
                    context::exclusion(tokens, traits[candidate.target].context_window)
                });
            }
            Kind::Capability => sift(candidates, out, |candidate| {
                capability::exclusion(needs.features, traits[candidate.target].lacks)
            }),
            Kind::Health { rules, series } => {
                let rows = rows(view.map(|view| &view.health), series);
                sift(candidates, out, |candidate| {
                    health::exclusion(&row(rows, candidate.target), &rules, &candidate.standing, *now_ms)
                });
            }
            Kind::RateLimit { max_calls, series } => {
                let rows = rows(view.map(|view| &view.calls), series);
                sift(candidates, out, |candidate| {
                    let takes_part = traits[candidate.target].limits_calls;
                    let calls = takes_part.then(|| row(rows, candidate.target));
                    rate_limit::exclusion(calls, max_calls, &candidate.standing, *now_ms)
                });
            }
            Kind::Cheapest { .. }
            | Kind::Performance { .. }
            | Kind::Fairness { .. }
            | Kind::BudgetRemaining
            | Kind::External => {}
        }
    }

    /// Fills in a policy's row of points.
    fn score(&mut self, policy: usize, rule: &Compiled, traits: &[Traits], inputs: &Inputs<'_>) {
        let Inputs { needs, view, .. } = inputs;
        let candidates = &self.candidates;
        let count = candidates.len();
        let points = &mut self.points[policy * count..][..count];
        let left = || candidates.iter().filter(|candidate| !candidate.is_out);
        match rule.kind {
            Kind::Context => {
                let tokens = needs.context_tokens();
                fill(points, candidates, |candidate| {
                    context::point(tokens, traits[candidate.target].context_window)
                });
            }
            Kind::Cheapest { output_ratio } => {
                let price = |candidate: &Candidate| {
                    cheapest::average(&traits[candidate.target], needs.input_tokens, output_ratio)
                };
                let mut market = cheapest::Market::EMPTY;
                left().filter_map(price).for_each(|average| market.add(average));
                fill(points, candidates, |candidate| {
                    price(candidate).map_or(f64::NAN, |average| market.point(average))
                });
            }
            Kind::Health { rules, series } => {
                let rows = rows(view.map(|view| &view.health), series);
                fill(points, candidates, |candidate| health::point(&row(rows, candidate.target), &rules));
            }
            Kind::Performance { metric, min_samples, series } => {
                let rows = rows(view.map(|view| &view.performance), series);
                let time = |candidate: &Candidate| {
                    performance::time(&row(rows, candidate.target), metric, min_samples)
                };
                let mut race = performance::Race::EMPTY;
                left().for_each(|candidate| race.add(time(candidate)));
                fill(points, candidates, |candidate| race.point(time(candidate)));
            }
            // Who cannot do it is out.
            Kind::Capability => fill(points, candidates, |_| 1.0),
            Kind::RateLimit { series, .. } => {
                let rows = rows(view.map(|view| &view.calls), series);
                let calls = |candidate: &Candidate| {
                    traits[candidate.target].limits_calls.then(|| row(rows, candidate.target))
                };
                let mut load = rate_limit::Load::EMPTY;
                left().for_each(|candidate| load.add(calls(candidate)));
                fill(points, candidates, |candidate| load.point(calls(candidate)));
            }
            Kind::Fairness { series } => {
                let rows = rows(view.map(|view| &view.successes), series);
                let total = left().map(|candidate| row(rows, candidate.place)).sum();
                fill(points, candidates, |candidate| fairness::point(row(rows, candidate.place), total));
            }
            Kind::BudgetRemaining => {
                fill(points, candidates, |candidate| budget_remaining::point(&candidate.standing));
            }
            // Told before.
            Kind::External => {}
        }
    }

    /// Adds a policy's points to the sums, unless they tell nobody apart. Whether they do.
    fn count(&mut self, policy: usize, rule: &Compiled) -> bool {
        if self.parts[policy] == Part::Failed {
            return false;
        }
        let count = self.candidates.len();
        let points = &self.points[policy * count..][..count];
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for (point, candidate) in points.iter().zip(&self.candidates) {
            // Comparisons with NaN are false: who was not scored is passed over.
            if !candidate.is_out {
                least = if *point < least { *point } else { least };
                most = if *point > most { *point } else { most };
            }
        }
        // Nobody scored: −∞ less ∞.
        if most - least < SAME_POINT {
            self.parts[policy] = Part::Abstained;
            return false;
        }
        let weight = f64::from(rule.weight);
        for (sum, point) in self.sums.iter_mut().zip(points) {
            if !point.is_nan() {
                sum.0 += point * weight;
                sum.1 += weight;
            }
        }
        true
    }

    fn rank_only(&mut self) {
        for (at, candidate) in self.candidates.iter().enumerate() {
            if !candidate.is_out {
                self.sums[at].2 = Score::ONE;
                self.keys.push(key(candidate.class, 0, at));
            }
        }
    }

    fn rank_by_score(&mut self) {
        for (at, candidate) in self.candidates.iter().enumerate() {
            if candidate.is_out {
                continue;
            }
            let sum = &mut self.sums[at];
            sum.2 = Score::round(if sum.1 > 0.0 { sum.0 / sum.1 } else { NEUTRAL });
            // Named ones first; the order without policies, which is the candidates', settles ties.
            let is_named = candidate.class < 2;
            self.keys.push(key(usize::from(!is_named), u64::from(u16::MAX - sum.2.0), at));
        }
        self.keys.sort_unstable();
        let best = self.keys.first().map(|key| key >> PLACE_BITS);
        self.tied = self.keys.iter().take_while(|key| Some(**key >> PLACE_BITS) == best).count();
    }

    /// A shuffle by weight: whose turn comes first with the probability of its share of all weights, and so on for the
    /// rest. Source: Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006.
    fn rank_by_chance(&mut self, seed: u64) {
        self.note = Some(Note::AllAbstained);
        for (at, candidate) in self.candidates.iter().enumerate() {
            if !candidate.is_out {
                let chance = weighed(chance(seed, candidate.target), candidate.weight);
                self.sums[at].2 = Score(((u64::from(Score::ONE.0) * chance) >> CHANCE_BITS) as u16);
                self.keys.push(key(candidate.class, (1 << CHANCE_BITS) - 1 - chance, at));
            }
        }
        self.keys.sort_unstable();
    }
}

/// Bits of a key for the candidate's index, which settles ties.
const PLACE_BITS: u32 = 20;
/// Bits of a key for what ranks within a class.
const CHANCE_BITS: u32 = 32;

/// A key that sorts by class, then by `order`, then by index.
#[inline]
fn key(class: usize, order: u64, at: usize) -> u64 {
    debug_assert!(order < 1 << CHANCE_BITS && at < 1 << PLACE_BITS);
    (class as u64) << (CHANCE_BITS + PLACE_BITS) | order << PLACE_BITS | at as u64
}

#[inline]
fn place_in(key: u64) -> usize {
    (key & ((1 << PLACE_BITS) - 1)) as usize
}

/// A number that looks random, the same for the same seed and target, whoever else is in the pool. Source: splitmix64.
fn chance(seed: u64, target: usize) -> u64 {
    let mut word = seed.wrapping_add((target as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    (word ^ word >> 31) >> (64 - CHANCE_BITS)
}

/// A number that looks random, raised to the power of one by the weight; 0 for who has none.
fn weighed(chance: u64, weight: u16) -> u64 {
    const ALL: f64 = (1_u64 << CHANCE_BITS) as f64;
    match weight {
        0 => 0,
        1 => chance,
        weight => ((chance as f64 / ALL).powf(1.0 / f64::from(weight)) * ALL) as u64,
    }
}

/// Takes out whoever there is a reason against.
#[inline]
fn sift(
    candidates: &mut [Candidate],
    mut out: impl FnMut(usize, Reason),
    reason: impl Fn(&Candidate) -> Option<Reason>,
) {
    for (at, candidate) in candidates.iter_mut().enumerate() {
        if candidate.standing.is_exhausted {
            continue;
        }
        if let Some(reason) = reason(candidate) {
            candidate.is_out = true;
            out(at, reason);
        }
    }
}

/// Gives a point to everybody who is left.
#[inline]
fn fill(points: &mut [f64], candidates: &[Candidate], point: impl Fn(&Candidate) -> f64) {
    for (slot, candidate) in points.iter_mut().zip(candidates) {
        if !candidate.is_out {
            *slot = point(candidate);
        }
    }
}

/// A series of a view; empty where nothing is known.
#[inline]
fn rows<T>(list: Option<&Vec<Arc<[T]>>>, series: usize) -> &[T] {
    list.and_then(|list| list.get(series)).map(|rows| &rows[..]).unwrap_or_default()
}

/// The row of a model, or that of one that nothing is known of.
#[inline]
fn row<T: Copy + Default>(rows: &[T], index: usize) -> T {
    rows.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
