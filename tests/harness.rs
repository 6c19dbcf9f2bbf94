//! The harness itself: a gateway starts, answers, meters and ends.

use serde_json::json;

use crate::support::upstream::behaviour;
use crate::support::{MockUpstream, Setup, on_each_driver, post};

#[test]
fn a_gateway_starts_answers_meters_and_ends_in_order() {
    on_each_driver(|driver| {
        let mut gateway = Setup::demo().driver(driver).start();
        let chat = json!({"model": "auto", "messages": [{"role": "user", "content": "Hello!"}]});
        let answer = gateway.call(post("/v1/chat/completions", "", &chat)).expect(200);
        assert_eq!(answer.json()["object"], "chat.completion");
        let records = gateway.usage_records(1);
        assert_eq!(records[0]["modelId"], "simulated/chat");
        assert!(gateway.wait_for_line("core ready").contains(driver));
        gateway.signal("TERM");
        assert!(gateway.wait_exit().success());
    });
}

#[test]
fn a_plain_token_works_and_is_not_kept_in_clear() {
    let upstream = MockUpstream::with(behaviour::answers_each_dialect);
    let gateway = Setup::with_upstream(&upstream).start();
    let chat = json!({"model": "auto", "messages": [{"role": "user", "content": "Hello!"}]});
    gateway.call(post("/v1/chat/completions", "", &chat)).expect(200);
    let (connection, request) = upstream.next_request();
    assert_eq!((connection, request.head.request_line().1), (0, "/v1/chat/completions"));
    let kept = std::fs::read_to_string(gateway.file("config/projects.json")).unwrap();
    assert!(kept.contains("hmac-sha256:") && !kept.contains(gateway.token()));
}
