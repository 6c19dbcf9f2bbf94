//! Where projects name models: in lists, and inside of policies.

use serde_json::{Map, Value};

/// Fields of projects and of their policies that name a model.
const ONE: [&str; 3] = ["routingModelId", "modelId", "embedding_model"];
/// Fields that name several.
const SEVERAL: [&str; 4] =
    ["fallbackModelIds", "fallbackRoutingModelIds", "embedding_fallback_models", "candidate_models"];

/// Gives a model its new id in all projects. Whether there was anything to change.
pub(super) fn rename(projects: &mut [Value], old: &str, new: &str) -> bool {
    let mut is_changed = false;
    for project in projects {
        each(project, &mut |id| {
            if *id == old {
                *id = new.into();
                is_changed = true;
            }
        });
    }
    is_changed
}

/// The projects that name a model, as people know them, and how: `project demo (models)`.
pub(super) fn of_model(projects: &[Value], id: &str) -> Vec<String> {
    let mut found = Vec::new();
    for project in projects.iter().filter_map(Value::as_object) {
        let mut note = |what: &str, is_named: bool| {
            if is_named {
                found.push(format!("project {} ({what})", name(project)));
            }
        };
        note("models", lists(project, id));
        let mut tokens = project.get("tokens").and_then(Value::as_array).into_iter().flatten();
        let listed = tokens.any(|token| token.as_object().is_some_and(|token| lists(token, id)));
        note("limits of tokens", listed);
        note("policies", is_in_policies(project, id));
    }
    found
}

/// Takes a model out of the lists of models of all projects and tokens; policies keep it. Whether anything was changed.
pub(super) fn remove_from_lists(projects: &mut [Value], id: &str) -> bool {
    let mut is_changed = false;
    let mut clean = |owner: &mut Value| {
        if let Some(Value::Array(models)) = owner.get_mut("models") {
            let before = models.len();
            models.retain(|model| model["modelId"] != id && *model != id);
            is_changed |= models.len() != before;
        }
    };
    for project in projects {
        clean(project);
        project.get_mut("tokens").and_then(Value::as_array_mut).into_iter().flatten().for_each(&mut clean);
    }
    is_changed
}

fn name(project: &Map<String, Value>) -> &str {
    ["slug", "name", "id"].iter().find_map(|key| project.get(*key)?.as_str()).unwrap_or("?")
}

fn lists(owner: &Map<String, Value>, id: &str) -> bool {
    let mut models = owner.get("models").and_then(Value::as_array).into_iter().flatten();
    models.any(|model| model["modelId"] == id || *model == id)
}

fn is_in_policies(project: &Map<String, Value>, id: &str) -> bool {
    let mut is_named = false;
    let policies = project.get("policies").cloned().unwrap_or_default();
    let mut rest = Value::Object(
        ["routingModelId", "fallbackRoutingModelIds"]
            .into_iter()
            .filter_map(|key| Some((key.to_owned(), project.get(key)?.clone())))
            .collect(),
    );
    rest["policies"] = policies;
    each(&mut rest, &mut |named| is_named |= *named == id);
    is_named
}

/// Visits each place in a value that names a model.
fn each(value: &mut Value, visit: &mut impl FnMut(&mut Value)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, visit)),
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(_) if ONE.contains(&key.as_str()) => visit(value),
                    Value::Array(items) if SEVERAL.contains(&key.as_str()) => {
                        items.iter_mut().for_each(&mut *visit)
                    }
                    value => each(value, visit),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn projects(id: &str) -> Vec<Value> {
        vec![
            json!({
                "name": "One", "slug": "one", "models": [{"modelId": id}, {"modelId": "b"}],
                "tokens": [{"models": [{"modelId": id}], "id": id}],
                "policies": [
                    {"type": "llm", "config": {"routingModelId": id, "fallbackModelIds": ["b", id],
                     "cache": {"embedding_model": id}}},
                    {"type": "semantic-intent", "config": {"embedding_fallback_models": [id],
                     "intents": {"x": {"examples": [id], "candidate_models": [id, "b"]}}}},
                ],
            }),
            json!({"name": "Two", "routingModelId": id, "models": [{"modelId": "b"}]}),
            json!({"name": "Three", "models": [{"modelId": "b"}], "description": id}),
        ]
    }

    #[test]
    fn a_model_is_found_renamed_and_removed_wherever_it_is_named() {
        let mut all = projects("a");
        assert_eq!(
            of_model(&all, "a"),
            [
                "project one (models)",
                "project one (limits of tokens)",
                "project one (policies)",
                "project Two (policies)"
            ]
        );
        assert!(rename(&mut all, "a", "c"));
        assert!(of_model(&all, "a").is_empty());
        let mut expected = projects("c");
        // Neither examples nor ids nor descriptions name models.
        expected[0]["policies"][1]["config"]["intents"]["x"]["examples"] = json!(["a"]);
        expected[0]["tokens"][0]["id"] = json!("a");
        expected[2]["description"] = json!("a");
        assert_eq!(all, expected);
        assert!(!rename(&mut all, "a", "d"));
        assert!(remove_from_lists(&mut all, "c"));
        assert_eq!(of_model(&all, "c"), ["project one (policies)", "project Two (policies)"]);
        assert!(!remove_from_lists(&mut all, "c"));
    }
}
