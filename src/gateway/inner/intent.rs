//! The policy that goes by what a request is about.

use std::sync::Arc;

use super::{Asking, Caller, Heard};
use crate::cache::{Digest, Digester, cosine, mean, normalise};
use crate::clock;
use crate::config::policy::{Intent, SemanticIntent};
use crate::respond::GatewayError;
use crate::routing::External;
use crate::routing::intent::{Certainty, Classified};
use crate::trace::{Detail, IntentStatus};

impl Caller<'_> {
    /// Finds out which of `candidates`, indexes of targets, are good at what the request is about. What cannot be found
    /// out keeps nobody out.
    pub(in crate::gateway) async fn ask_intent(
        &self,
        rule: &SemanticIntent,
        heard: &Heard,
        candidates: &[usize],
    ) -> External {
        if rule.intents.is_empty() {
            let reason = "no intent has examples";
            self.note(Detail::IntentMisconfigured { reason: reason.into() });
            return External { error: Some(reason.to_owned()), ..External::default() };
        }
        if heard.message.trim().is_empty() {
            return External::default();
        }
        let mut last = "no embedding model can be used".to_owned();
        let models = self.usable(&rule.embedding.models, |_, _| ());
        let mut asking = Asking::new(*self, &models);
        while let Some(model) = asking.next(|_, _| ()) {
            match asking.similarities(model, rule, &heard.message).await {
                Ok(similarities) => return self.classified(rule, candidates, &similarities),
                Err(error) => last = error.cause(),
            }
        }
        self.note(Detail::IntentError { error: last.as_str().into() });
        External { error: Some(last), ..External::default() }
    }

    fn classified(&self, rule: &SemanticIntent, candidates: &[usize], similarities: &[f32]) -> External {
        let thresholds = (rule.absolute_threshold, rule.ambiguity_threshold);
        let Some(found) = Classified::of(similarities, thresholds.0, thresholds.1) else {
            return External::default();
        };
        let status = match found.certainty {
            Certainty::Unknown => IntentStatus::Unknown,
            Certainty::Ambiguous => IntentStatus::Ambiguous,
            Certainty::Confident => IntentStatus::Confident,
        };
        let named = |(intent, similarity): (usize, f32)| {
            (rule.intents[intent].name.as_str().into(), f64::from(similarity))
        };
        self.note(Detail::Intent { top: named(found.top), second: found.second.map(named), status });
        let pools: Vec<&[usize]> = rule.intents.iter().map(|intent| intent.models.as_slice()).collect();
        let allowed = found.allowed(candidates, &pools);
        let split = |wanted: bool| {
            let chosen = candidates.iter().zip(&allowed).filter(move |(_, allowed)| **allowed == wanted);
            chosen.map(|(target, _)| *target)
        };
        self.note(Detail::IntentResult {
            allowed: split(true).map(|target| target as u32).collect(),
            excluded: split(false).map(|target| target as u32).collect(),
            status,
        });
        External {
            points: candidates.iter().zip(&allowed).map(|(target, ok)| (*target, f64::from(*ok))).collect(),
            excludes: split(false).collect(),
            error: None,
        }
    }

    /// Covers who embeds, the intent and its examples in any order.
    fn centroid_key(&self, model: usize, intent: &Intent) -> Digest {
        let target = self.target(model);
        let mut digester = Digester::new("centroid");
        digester.part(target.model.id.as_bytes());
        digester.part(target.model.upstream_model.as_bytes());
        digester.part(intent.name.as_bytes());
        let mut examples: Vec<&str> = intent.examples.iter().map(String::as_str).collect();
        examples.sort_unstable();
        examples.iter().for_each(|example| digester.part(example.as_bytes()));
        digester.finish()
    }
}

impl Asking<'_> {
    /// How like each intent's examples the message is. Centroids that are not known are made in the same call.
    async fn similarities(
        &mut self,
        model: usize,
        rule: &SemanticIntent,
        message: &str,
    ) -> Result<Vec<f32>, GatewayError> {
        let (caller, now) = (self.caller, clock::now());
        let keys: Vec<Digest> =
            rule.intents.iter().map(|intent| caller.centroid_key(model, intent)).collect();
        let mut centroids: Vec<Option<Arc<[f32]>>> =
            keys.iter().map(|key| caller.shard.caches.centroid(key, now)).collect();
        let mut texts = vec![message];
        for (intent, centroid) in rule.intents.iter().zip(&centroids) {
            if centroid.is_none() {
                texts.extend(intent.examples.iter().map(String::as_str));
            }
        }
        let mut vectors = self.embed(&texts).await?;
        let without_direction = || GatewayError::UpstreamMalformed("a vector without a direction".to_owned());
        let mut made = vectors.split_off(1).into_iter();
        for ((intent, key), centroid) in rule.intents.iter().zip(keys).zip(&mut centroids) {
            if centroid.is_none() {
                let examples: Vec<Vec<f32>> = made.by_ref().take(intent.examples.len()).collect();
                let middle: Arc<[f32]> = mean(&examples).ok_or_else(without_direction)?.into();
                caller.shard.caches.put_centroid(key, Arc::clone(&middle), now);
                *centroid = Some(middle);
            }
        }
        let message = vectors.pop().and_then(normalise).ok_or_else(without_direction)?;
        Ok(centroids.iter().flatten().map(|centroid| cosine(centroid, &message)).collect())
    }
}
