//! What a request is about: its similarity to the examples of each intent, and who is good at that.
//!
//! Source: the project's routing specification, section 4.10.

/// How sure it is what a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// It is like no intent: everybody may answer.
    Unknown,
    /// Two intents are about as likely: who is good at either may answer.
    Ambiguous,
    /// One intent it is.
    Confident,
}

impl Certainty {
    /// The word in traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ambiguous => "ambiguous",
            Self::Confident => "confident",
        }
    }
}

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Classified {
    /// How sure it is.
    pub certainty: Certainty,
    /// The most likely intent and its similarity.
    pub top: (usize, f32),
    /// The one after it.
    pub second: Option<(usize, f32)>,
}

impl Classified {
    /// From the similarity of each intent, at or above `absolute` to be known, `ambiguity` apart to be sure. `None` without
    /// intents.
    pub fn of(similarities: &[f32], absolute: f64, ambiguity: f64) -> Option<Self> {
        let mut top: Option<(usize, f32)> = None;
        let mut second: Option<(usize, f32)> = None;
        for (intent, similarity) in similarities.iter().copied().enumerate() {
            if top.is_none_or(|(_, best)| similarity > best) {
                second = top.replace((intent, similarity));
            } else if second.is_none_or(|(_, best)| similarity > best) {
                second = Some((intent, similarity));
            }
        }
        let top = top?;
        let margin = second.map_or(f64::INFINITY, |(_, similarity)| f64::from(top.1) - f64::from(similarity));
        let certainty = if f64::from(top.1) < absolute {
            Certainty::Unknown
        } else if margin < ambiguity {
            Certainty::Ambiguous
        } else {
            Certainty::Confident
        };
        Some(Self { certainty, top, second })
    }

    /// Which of `candidates` may answer; `pools` has the models of each intent. A pool without a candidate keeps nobody
    /// out.
    pub fn allowed(&self, candidates: &[usize], pools: &[&[usize]]) -> Vec<bool> {
        let in_pool = |(intent, _): (usize, f32)| {
            let pool = pools.get(intent).copied().unwrap_or_default();
            let nobody = !candidates.iter().any(|model| pool.contains(model));
            move |model: &usize| nobody || pool.contains(model)
        };
        match (self.certainty, self.second) {
            (Certainty::Unknown, _) => vec![true; candidates.len()],
            (Certainty::Ambiguous, Some(second)) => {
                let (first, second) = (in_pool(self.top), in_pool(second));
                candidates.iter().map(|model| first(model) || second(model)).collect()
            }
            (Certainty::Ambiguous | Certainty::Confident, _) => {
                candidates.iter().map(in_pool(self.top)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_certainty() {
        use Certainty::{Ambiguous, Confident, Unknown};
        for (similarities, certainty, top, second) in [
            (&[0.59_f32, 0.2][..], Unknown, 0, Some(1)),
            (&[0.2, 0.61], Confident, 1, Some(0)),
            (&[0.70, 0.65], Ambiguous, 0, Some(1)),
            (&[0.65, 0.1, 0.70], Ambiguous, 2, Some(0)),
            (&[0.8, 0.7], Confident, 0, Some(1)),
            (&[0.8, 0.8], Ambiguous, 0, Some(1)),
            (&[0.6], Confident, 0, None),
            (&[-0.5, -0.6], Unknown, 0, Some(1)),
        ] {
            // A hair below 0.6, which an f32 cannot hold.
            let found = Classified::of(similarities, 0.599_999, 0.08).unwrap();
            assert_eq!(found.certainty, certainty, "{similarities:?}");
            assert_eq!((found.top.0, found.second.map(|(at, _)| at)), (top, second), "{similarities:?}");
        }
        assert_eq!(Classified::of(&[], 0.6, 0.08), None);
    }

    #[test]
    fn the_table_of_who_may_answer() {
        let pools: [&[usize]; 3] = [&[1, 2], &[3], &[9]];
        let candidates = [1, 2, 3, 4];
        for (similarities, expected) in [
            (&[0.9_f32, 0.1, 0.1][..], [true, true, false, false]),
            (&[0.9, 0.88, 0.1], [true, true, true, false]),
            (&[0.1, 0.9, 0.1], [false, false, true, false]),
            (&[0.1, 0.1, 0.1], [true; 4]),
            // Nobody of the pool is a candidate.
            (&[0.1, 0.1, 0.9], [true; 4]),
            (&[0.9, 0.1, 0.88], [true; 4]),
        ] {
            let found = Classified::of(similarities, 0.6, 0.08).unwrap();
            assert_eq!(found.allowed(&candidates, &pools), expected, "{similarities:?}");
        }
    }
}
