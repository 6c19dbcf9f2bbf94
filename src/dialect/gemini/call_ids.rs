//! Which call a result answers. Gemini's calls may have no ids; results then go by name and order.

use std::collections::{HashMap, VecDeque};

use crate::dialect::ir::Text;

/// The calls of one turn.
#[derive(Debug, Default)]
pub(super) struct Calls<'a> {
    list: Vec<Call<'a>>,
    by_id: HashMap<String, usize>,
    by_name: HashMap<String, VecDeque<usize>>,
}

#[derive(Debug)]
struct Call<'a> {
    id: Text<'a>,
    name: Text<'a>,
    answered: bool,
}

impl<'a> Calls<'a> {
    /// The next call.
    pub(super) fn push(&mut self, id: Text<'a>, name: Text<'a>) {
        let at = self.list.len();
        self.by_id.insert(id.escaped().to_owned(), at);
        self.by_name.entry(name.escaped().to_owned()).or_default().push_back(at);
        self.list.push(Call { id, name, answered: false });
    }

    /// Id and name of the call that a result answers: by its id; without one, or with one that only the client knows,
    /// the first call of that name without a result.
    pub(super) fn answer(
        &mut self,
        id: Option<&Text<'_>>,
        name: Option<&Text<'_>>,
    ) -> Option<(Text<'a>, Text<'a>)> {
        let by_id = id.and_then(|id| self.by_id.get(id.escaped()).copied());
        let at = match (by_id, name) {
            (Some(at), _) => at,
            (None, Some(name)) => {
                let waiting = self.by_name.get_mut(name.escaped())?;
                loop {
                    let at = waiting.pop_front()?;
                    if !self.list[at].answered {
                        break at;
                    }
                }
            }
            (None, None) => return None,
        };
        let call = &mut self.list[at];
        call.answered = true;
        Some((call.id.clone(), call.name.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_go_by_id_and_then_by_name_and_order() {
        let mut calls = Calls::default();
        for (id, name) in [("1", "f"), ("2", "f"), ("3", "g"), ("4", "f")] {
            calls.push(Text::from_plain(id), Text::from_plain(name));
        }
        let mut answer = |id: Option<&'static str>, name: Option<&'static str>| {
            let (id, name) = (id.map(Text::from_plain), name.map(Text::from_plain));
            calls.answer(id.as_ref(), name.as_ref()).map(|(id, _)| id.escaped().to_owned())
        };
        assert_eq!(answer(Some("2"), Some("f")).as_deref(), Some("2"));
        assert_eq!(answer(None, Some("f")).as_deref(), Some("1"));
        assert_eq!(answer(Some("the client's own"), Some("f")).as_deref(), Some("4"));
        assert_eq!(answer(None, Some("f")), None);
        assert_eq!(answer(Some("3"), None).as_deref(), Some("3"));
        assert_eq!(answer(None, None), None);
        assert_eq!(answer(None, Some("h")), None);
    }
}
