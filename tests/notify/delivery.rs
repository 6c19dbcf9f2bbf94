//! What happens is told.

use serde_json::{Value, json};

use super::{check_signatures, setup, taker, url};
use crate::failover::answer;
use crate::support::home::Home;
use crate::support::process::Process;
use crate::support::smtp::{Cover, SmtpServer};
use crate::support::upstream::Connection;
use crate::support::{MockUpstream, Setup, post};

/// A limit of ten calls a day on the project.
fn limited(setup: Setup) -> Setup {
    setup.project(
        "budgets",
        json!([{"metric": "calls", "window": "daily", "value": 10, "notifyAt": [50, 90]}]),
    )
}

fn chat() -> Vec<u8> {
    post(
        "/v1/chat/completions",
        "",
        &json!({"model": "simulated/chat", "messages": [{"role": "user", "content": "Hello"}]}),
    )
}

#[test]
fn a_budget_is_told_of_once_for_each_step_signed() {
    let receiver = taker();
    let channel = json!({"id": "hook", "provider": "webhook", "url": url(&receiver), "secret": "s3cret"});
    let mut gateway = limited(setup(&[channel])).start();
    for _ in 0..10 {
        gateway.call(chat()).expect(200);
    }
    let mut told: Vec<Value> = (0..3)
        .map(|_| {
            let (_, request) = receiver.next_request();
            assert_eq!(request.head.request_line(), ("POST", "/hook"));
            check_signatures(&request, "s3cret");
            let body = request.json();
            assert_eq!(request.head.field("x-routerly-event-id"), body["id"].as_str());
            body
        })
        .collect();
    let budget = &told[0]["budget"];
    assert_eq!((&budget["level"], &budget["name"]), (&json!("project"), &json!("demo")));
    assert_eq!((&budget["metric"], &budget["window"]), (&json!("calls"), &json!("daily")));
    assert_eq!(budget["limit"], 10);
    told.sort_by_key(|body| (body["event"].to_string(), body["budget"]["percent"].as_u64()));
    let steps: Vec<_> =
        told.iter().map(|body| (body["event"].clone(), body["budget"]["percent"].clone())).collect();
    let expected = [
        (json!("budget.exhausted"), Value::Null),
        (json!("budget.threshold"), json!(50)),
        (json!("budget.threshold"), json!(90)),
    ];
    assert_eq!(steps, expected);
    gateway.wait_for_metric("routerly_notifications_sent_total", |sent| sent == 3.0);
    // Nothing is told a second time, by this process or the next one.
    gateway.call(chat()).expect(503);
    gateway.signal("TERM");
    gateway.wait_exit();
    let gateway = gateway.restart();
    gateway.call(chat()).expect(503);
    let hook = json!([{"metric": "calls", "window": "daily", "value": 1}]);
    let other = json!({"id": "other", "name": "other", "slug": "other", "models": [{"modelId": "simulated/chat"}], "budgets": hook,
        "tokens": [{"id": "t", "token": format!("sk-rt-{}", "1".repeat(64))}]});
    crate::support::home::edit(&gateway.file("config/projects.json"), |projects| {
        projects.as_array_mut().unwrap().push(other);
    });
    gateway.reload();
    let request = String::from_utf8(chat())
        .unwrap()
        .replace(crate::support::TOKEN, &format!("sk-rt-{}", "1".repeat(64)));
    gateway.call(request).expect(200);
    // What comes next is the other project's: nothing was in between.
    let (_, request) = receiver.next_request();
    assert_eq!(request.json()["budget"]["name"], "other");
}

#[test]
fn what_was_taken_in_is_sent_after_kill_9() {
    // Takes the call and never answers it, as long as it is the first one.
    let receiver = MockUpstream::manual();
    let channel =
        json!({"id": "hook", "provider": "webhook", "url": url(&receiver), "events": ["budget.exhausted"]});
    let mut gateway = limited(setup(&[channel])).start();
    for _ in 0..10 {
        gateway.call(chat()).expect(200);
    }
    let mut first = receiver.accept();
    let before = first.read_request();
    gateway.kill9();
    let gateway = gateway.restart();
    let mut second = receiver.accept();
    let after = second.read_request();
    assert_eq!(before.json(), after.json());
    assert_eq!(before.head.field("idempotency-key"), after.head.field("idempotency-key"));
    second.answer(200, "{}");
    gateway.wait_for_metric("routerly_notifications_sent_total", |sent| sent == 1.0);
    gateway.wait_for_metric("routerly_notifications_waiting", |waiting| waiting == 0.0);
}

#[test]
fn a_process_that_takes_over_sends_once_the_one_before_it_is_through() {
    let receiver = MockUpstream::manual();
    let channel = json!({"id": "hook", "provider": "webhook", "url": url(&receiver)});
    let home = Home::of(&limited(setup(&[channel])));
    let mut before = home.start();
    for _ in 0..5 {
        before.call(chat()).expect(200);
    }
    let mut under_way = receiver.accept();
    assert_eq!(under_way.read_request().json()["budget"]["percent"], 50);
    let mut command = home.command();
    command.arg("--replace");
    let after = Process::listening(command);
    under_way.answer(200, "{}");
    before.wait_exit();
    for _ in 0..5 {
        after.call(chat()).expect(200);
    }
    // What was sent is not sent again: the next ones are new.
    let mut told = [0; 2].map(|_| {
        let mut connection = receiver.accept();
        let body = connection.read_request().json();
        connection.answer(200, "{}");
        body["event"].as_str().unwrap().to_owned()
    });
    told.sort();
    assert_eq!(told, ["budget.exhausted", "budget.threshold"]);
    after.wait_for_metric("routerly_notifications_sent_total", |sent| sent == 2.0);
}

#[test]
fn what_cannot_be_sent_waits_and_does_not_keep_the_rest_from_going() {
    let (bad, good) = (super::answering("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"), taker());
    let hook = |id: &str, url: String| json!({"id": id, "provider": "webhook", "url": url, "events": ["budget.exhausted"]});
    let gateway = limited(setup(&[hook("bad", url(&bad)), hook("good", url(&good))])).start();
    for _ in 0..10 {
        gateway.call(chat()).expect(200);
    }
    good.next_request();
    bad.next_request();
    gateway.wait_for_line("notification not sent; \"channel\":\"bad\"; status 503");
    gateway.wait_for_metric("routerly_notifications_sent_total", |sent| sent == 1.0);
    gateway.wait_for_metric("routerly_notifications_waiting", |waiting| waiting == 1.0);
    gateway.wait_for_metric("routerly_notification_failures_total", |failures| failures >= 1.0);
}

#[test]
fn a_failing_provider_and_a_refused_key_are_told_of() {
    let mail = SmtpServer::start(Cover::Plain);
    let broken = MockUpstream::with(|connection: &mut Connection| {
        while connection.next_request().is_some() {
            connection.send(answer(500, "", "{}"));
        }
    });
    let refusing = MockUpstream::with(|connection: &mut Connection| {
        while connection.next_request().is_some() {
            connection.send(answer(401, "", "{\"error\":{\"message\":\"bad key\"}}"));
        }
    });
    let channel = json!({"id": "mail", "provider": "smtp", "host": "127.0.0.1", "port": mail.port, "fromAddress": "gw@example.org",
        "to": ["ops@example.org"], "events": ["provider.unhealthy", "key.invalid"]});
    let model = |id: &str, upstream: &MockUpstream| json!({"id": id, "provider": "custom", "endpoint": upstream.url(), "apiKey": "secret-key", "cost": {}});
    let gateway = Setup::new()
        .model(model("broken", &broken))
        .model(model("refusing", &refusing))
        .setting("notifications", json!([channel]))
        .setting("webhookAllowHosts", json!(["127.0.0.1"]))
        .setting("upstream.breaker", json!({"failures": 2, "cooldownMs": 600_000}))
        .setting("upstream.retries", 0)
        .start();
    for _ in 0..4 {
        let answer = gateway.call(post("/v1/chat/completions", "", &json!({"model": "x", "messages": []})));
        assert!(answer.status >= 500, "{}", answer.text());
    }
    let mut mails = [mail.next_mail(), mail.next_mail()].map(|mail| mail.data);
    mails.sort_by_key(|data| !data.contains("keeps failing"));
    assert!(
        mails[0].contains("Provider custom keeps failing") && mails[0].contains("broken"),
        "{}",
        mails[0]
    );
    assert!(mails[1].contains("does not take a key") && mails[1].contains("refusing"), "{}", mails[1]);
    assert!(!mails.concat().contains("secret-key"));
    for line in gateway.lines() {
        assert!(!line.contains("secret-key"), "{line}");
    }
}

#[test]
fn a_disk_that_is_nearly_full_is_told_of() {
    let receiver = taker();
    let channel = json!({"id": "hook", "provider": "webhook", "url": url(&receiver)});
    // No disk has this much left.
    let _gateway = setup(&[channel]).setting("diskLowBytes", 1_u64 << 50).start();
    let body = receiver.next_request().1.json();
    assert_eq!(body["event"], "disk.low");
    assert_eq!(body["disk"]["lowBytes"], 1_u64 << 50);
}

#[test]
fn secrets_are_encrypted_in_the_file_and_still_sign() {
    let receiver = taker();
    let channel =
        json!({"id": "hook", "provider": "webhook", "url": url(&receiver), "secret": "s3cret-s3cret"});
    let gateway = setup(&[channel]).setting("diskLowBytes", 1_u64 << 50).start();
    let text = std::fs::read_to_string(gateway.file("config/settings.json")).unwrap();
    assert!(text.contains("ENCRYPTED:v1:") && !text.contains("s3cret"), "{text}");
    check_signatures(&receiver.next_request().1, "s3cret-s3cret");
}
