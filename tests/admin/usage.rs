//! Usage, traces and the system's facts: sums, pages, single records, exports, and who sees whose.

use serde_json::{Value, json};

use super::{Api, Session};
use crate::support::{Response, Setup, TOKEN};

const NIGHT: &str = "sk-rt-1111111111111111111111111111111111111111111111111111111111111111";

/// A gateway with the projects `demo` and `night`, and its administrator.
fn stage() -> (Api, Session) {
    let night = json!({
        "id": "night-id", "name": "Night", "slug": "night", "members": [], "policies": [],
        "models": [{"modelId": "simulated/anthropic"}],
        "tokens": [{"id": "night-token", "token": NIGHT, "tokenSnippet": "sk-rt-1111"}],
    });
    let api = Api::of(&Setup::demo().other_project(night));
    let root = api.set_up();
    (api, root)
}

/// Calls a model; the request's id.
fn chat(api: &Api, token: &str, model: &str) -> String {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "hello"}]}).to_string();
    post(api, token, &body).expect(200).field("x-routerly-trace-id").unwrap().to_owned()
}

fn post(api: &Api, token: &str, body: &str) -> Response {
    api.gateway.call(format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn get(api: &Api, session: &Session, path: &str) -> Response {
    api.call("GET", path, &session.token, &Value::Null)
}

/// A user with this role, signed in.
fn user(api: &Api, root: &Session, email: &str, role: &str) -> Session {
    let body = json!({"email": email, "password": "correct horse", "role": role});
    api.call("POST", "users", &root.token, &body).expect(201);
    api.sign_in(email, "correct horse")
}

#[test]
fn usage_is_summed_filtered_and_paged() {
    let (api, root) = stage();
    let ids: Vec<String> = (0..5).map(|_| chat(&api, TOKEN, "simulated/chat")).collect();
    chat(&api, NIGHT, "simulated/anthropic");
    let records = api.home.wait_for_records(6);
    let stats = |query: &str| get(&api, &root, &format!("usage?{query}")).expect(200).json();
    let all = stats("");
    let summary = &all["summary"];
    for (field, expected) in [
        ("totalCalls", 6),
        ("successCalls", 6),
        ("errorCalls", 0),
        ("routingCalls", 0),
        ("completionCalls", 6),
    ] {
        assert_eq!(summary[field], expected, "{field}");
    }
    let cost: f64 = records.iter().map(|record| record["cost"].as_f64().unwrap()).sum();
    assert!((summary["totalCost"].as_f64().unwrap() - cost).abs() < 1e-12, "{summary}");
    assert_eq!(all["byModel"]["simulated/chat"]["calls"], 5);
    assert_eq!(all["byModel"]["simulated/anthropic"]["outputTokens"], 12);
    assert_eq!(all["timeline"].as_array().unwrap().len(), 1);
    assert_eq!(all["pagination"], json!({"page": 1, "pageSize": 100, "totalRecords": 6, "totalPages": 1}));
    for (query, calls) in [
        ("project=night", 1),
        ("projectId=night-id", 1),
        ("projectId=nobody", 0),
        ("model=simulated%2Fchat", 5),
        ("token=night-token", 1),
        ("provider=simulated&callType=completion", 6),
        ("callType=routing", 0),
        ("outcome=success&period=daily", 6),
        ("outcome=timeout", 0),
        ("outcome=error", 0),
        ("from=2020-01-01&to=2020-12-31", 0),
        ("period=all", 6),
    ] {
        let stats = stats(query);
        assert_eq!(stats["summary"]["totalCalls"], calls, "{query}");
        assert_eq!(stats["pagination"]["totalRecords"], calls, "{query}");
        assert_eq!(stats["records"].as_array().unwrap().len(), calls, "{query}");
    }
    let of_one = stats(&format!("traceId={}", ids[2]));
    assert_eq!(
        (&of_one["summary"]["totalCalls"], &of_one["records"][0]["traceId"]),
        (&json!(1), &json!(ids[2]))
    );
    // Pages, the newest first; one beyond the last is the last.
    let page = |query: &str| {
        let page = stats(query);
        let ids: Vec<Value> =
            page["records"].as_array().unwrap().iter().map(|record| record["traceId"].clone()).collect();
        (page["pagination"]["page"].clone(), ids)
    };
    let newest_first: Vec<Value> = ids.iter().rev().map(|id| json!(id)).collect();
    assert_eq!(page("project=demo&pageSize=2"), (json!(1), newest_first[..2].to_vec()));
    assert_eq!(page("project=demo&pageSize=2&page=3"), (json!(3), newest_first[4..].to_vec()));
    assert_eq!(page("project=demo&pageSize=2&page=9"), (json!(3), newest_first[4..].to_vec()));
    assert_eq!(page("project=demo&limit=2&offset=1"), (json!(1), newest_first[1..3].to_vec()));
    let grouped = stats("by=project");
    assert_eq!(grouped["groups"].as_array().unwrap().len(), 2);
    let refused = get(&api, &root, "usage?period=hourly&outcome=bad&from=soon&page=-1").expect(400).json();
    let fields: Vec<_> =
        refused["fields"].as_array().unwrap().iter().map(|field| field["path"].clone()).collect();
    assert_eq!(fields, ["from", "period", "outcome", "page"]);
}

#[test]
fn a_record_is_found_by_its_own_id_and_by_the_requests() {
    let (api, root) = stage();
    let trace = chat(&api, NIGHT, "simulated/anthropic");
    // At once, be it merged or not.
    let by_trace = get(&api, &root, &format!("usage/{trace}")).expect(200).json();
    assert_eq!((&by_trace["traceId"], &by_trace["projectId"]), (&json!(trace), &json!("night-id")));
    assert_eq!(by_trace["trace"][0]["message"], "router:intake");
    let id = by_trace["id"].as_str().unwrap();
    assert_eq!(get(&api, &root, &format!("usage/{id}")).expect(200).json(), by_trace);
    let found = get(&api, &root, &format!("traces/{trace}")).expect(200).json();
    assert_eq!(found["trace"], by_trace["trace"]);
    let listed = get(&api, &root, "traces?limit=5&projectId=night").expect(200).json();
    assert_eq!(listed["traces"][0]["traceId"], json!(trace));
    for path in ["usage/nothing", "usage/019aa2d5-8d1e-7c0a-9c5e-5f1f3f0a7d11", "traces/x"] {
        assert_eq!(get(&api, &root, path).expect(404).json()["error"], "not_found", "{path}");
    }
}

#[test]
fn an_export_holds_every_record_in_each_form() {
    let (api, root) = stage();
    let ids: Vec<String> = (0..3).map(|_| chat(&api, TOKEN, "simulated/chat")).collect();
    api.home.wait_for_records(3);
    let export = |format: &str| get(&api, &root, &format!("usage/export?format={format}")).expect(200);
    let csv = export("csv");
    assert_eq!(csv.field("content-type"), Some("text/csv; charset=utf-8"));
    assert_eq!(csv.field("content-disposition"), Some("attachment; filename=\"usage.csv\""));
    let lines: Vec<&str> = csv.text().trim_end().split("\r\n").collect();
    assert!(lines[0].starts_with("id,timestamp,traceId,projectId,"), "{}", lines[0]);
    assert_eq!(lines.len(), 4);
    assert!(lines[1].contains(&ids[2]) && lines[3].contains(&ids[0]));
    let json = export("json").json();
    let traces = |records: &[Value]| -> Vec<Value> {
        records.iter().map(|record| record["traceId"].clone()).collect()
    };
    assert_eq!(traces(json.as_array().unwrap()), [&ids[2], &ids[1], &ids[0]].map(|id| json!(id)));
    let text = export("jsonl");
    let of_lines: Vec<Value> = text.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(&of_lines, json.as_array().unwrap());
    let none = get(&api, &root, "usage/export?format=json&project=night").expect(200);
    assert_eq!(none.json(), json!([]));
    // A client of HTTP/1.0 knows no chunks: the connection ends the body.
    let head = format!("GET /api/usage/export HTTP/1.0\r\nAuthorization: Bearer {}\r\n\r\n", root.token);
    let old = api.gateway.call(head);
    assert_eq!((old.text(), old.field("transfer-encoding")), (csv.text(), None));
    get(&api, &root, "usage/export?format=xml").expect(400);
}

#[test]
fn a_member_sees_the_usage_of_his_projects_alone() {
    let (api, root) = stage();
    let role = json!({"id": "guest", "name": "Guest", "permissions": []});
    api.call("POST", "roles", &root.token, &role).expect(201);
    let viewer = user(&api, &root, "viewer@example.org", "viewer");
    let member = user(&api, &root, "member@example.org", "guest");
    let guest = user(&api, &root, "guest@example.org", "guest");
    api.home.edit("config/projects.json", |projects| {
        projects[1]["members"] = json!([{"userId": member.id, "role": "viewer"}]);
    });
    api.gateway.reload();
    let theirs = chat(&api, TOKEN, "simulated/chat");
    let his = chat(&api, NIGHT, "simulated/anthropic");
    api.home.wait_for_records(2);
    let calls =
        |session: &Session| get(&api, session, "usage").expect(200).json()["summary"]["totalCalls"].clone();
    assert_eq!((calls(&root), calls(&viewer), calls(&member)), (json!(2), json!(2), json!(1)));
    let exported = get(&api, &member, "usage/export?format=json").expect(200).json();
    assert_eq!(exported.as_array().unwrap().len(), 1);
    assert_eq!(exported[0]["traceId"], json!(his));
    for (path, status) in [
        (format!("usage/{his}"), 200),
        (format!("traces/{his}"), 200),
        (format!("usage/{theirs}"), 404),
        (format!("traces/{theirs}"), 404),
        ("usage?project=night".to_owned(), 200),
        ("usage?project=demo".to_owned(), 403),
        ("usage/export?project=demo".to_owned(), 403),
        ("traces?project=demo".to_owned(), 200),
    ] {
        get(&api, &member, &path).expect(status);
        get(&api, &guest, &path).expect(403);
        api.call("GET", &path, "", &Value::Null).expect(401);
    }
    assert_eq!(get(&api, &member, "traces?project=demo").json(), json!({"traces": []}));
}

#[test]
fn the_system_says_little_to_strangers() {
    let (api, root) = stage();
    let stranger = api.call("GET", "system/info", "", &Value::Null).expect(200).json();
    let names: Vec<&String> = stranger.as_object().unwrap().keys().collect();
    assert_eq!(names, ["version", "channel", "isDocker", "needsSetup"]);
    assert_eq!(stranger["needsSetup"], false);
    let info = get(&api, &root, "system/info").expect(200).json();
    assert_eq!(info["listeningAddress"], api.gateway.address().to_string());
    assert_eq!(info["configDir"], api.home.file("config").to_str().unwrap());
    assert_eq!(
        (&info["modelCount"], &info["projectCount"], &info["cores"]),
        (&json!(3), &json!(2), &json!(1))
    );
    assert!(info["driver"].as_str().is_some_and(|driver| !driver.is_empty()), "{info}");
    assert!(info["uptimeSeconds"].is_u64());
}
