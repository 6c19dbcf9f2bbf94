//! Channels tried out over the management API: each service's own way, seen from the other end.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac};
use serde_json::{Value, json};

use super::{Covered, answering, check_signatures, setup, taker, url};
use crate::admin::Api;
use crate::support::process::{Ended, routerly};
use crate::support::smtp::{Cover, SmtpServer};
use crate::support::{MockUpstream, Setup};

/// Tries the channel `c` out.
fn try_out(setup: &Setup, to: Value) -> Value {
    let api = Api::of(setup);
    let token = api.set_up().token;
    let body = json!({"channelId": "c", "to": to});
    let answer = api.call("POST", "notifications/test", &token, &body).expect(200).json();
    for line in api.gateway.lines() {
        assert!(!line.contains("hunter2"), "{line}");
    }
    answer
}

fn mail(more: Value) -> Value {
    let mut channel = json!({"id": "c", "host": "127.0.0.1", "fromAddress": "gw@example.org", "fromName": "Gäteway",
        "to": ["ops@example.org"]});
    channel.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    channel
}

#[test]
fn a_plain_relay_gets_a_mail_for_whom_it_is_asked_for() {
    let server = SmtpServer::start(Cover::Plain);
    let setup = setup(&[mail(json!({"provider": "smtp", "port": server.port}))]);
    assert_eq!(try_out(&setup, json!("me@example.org")), json!({"ok": true, "message": "sent"}));
    let mail = server.next_mail();
    assert_eq!((mail.from.as_str(), mail.to), ("gw@example.org", vec!["me@example.org".to_owned()]));
    assert_eq!((mail.is_encrypted, mail.auth), (false, None));
    assert!(mail.data.contains("Subject: [routerly] Test message"), "{}", mail.data);
}

#[test]
fn a_password_goes_over_tls_or_not_at_all() {
    let login = json!({"provider": "smtp", "username": "gw", "password": "hunter2"});
    let of = |port: u16| {
        let mut channel = mail(login.clone());
        channel["port"] = port.into();
        channel
    };
    let plain = SmtpServer::start(Cover::Plain);
    let answer = try_out(&setup(&[of(plain.port)]), Value::Null);
    assert_eq!(answer["ok"], false);
    assert!(answer["message"].as_str().unwrap().contains("STARTTLS"), "{answer}");
    assert!(plain.is_empty());

    let covered = Covered::start(Cover::Starttls);
    // Nobody vouches for it here.
    let answer = try_out(&setup(&[of(covered.server.port)]), Value::Null);
    assert_eq!(answer["ok"], false);
    let (trusting, _file) = covered.trust(setup(&[of(covered.server.port)]));
    assert_eq!(try_out(&trusting, Value::Null), json!({"ok": true, "message": "sent"}));
    let got = covered.server.next_mail();
    assert!(got.is_encrypted);
    assert_eq!(got.auth.as_deref(), Some("PLAIN \0gw\0hunter2"));
    // Or somebody says that it does not matter.
    let mut careless = of(covered.server.port);
    careless["allowInvalidCert"] = true.into();
    assert_eq!(try_out(&setup(&[careless]), Value::Null)["ok"], true);
}

#[test]
fn the_other_kind_of_tls_is_found_and_said() {
    let covered = Covered::start(Cover::Starttls);
    let (setup, _file) = covered
        .trust(setup(&[mail(json!({"provider": "smtp", "port": covered.server.port, "secure": true}))]));
    let answer = try_out(&setup, Value::Null);
    assert_eq!((&answer["ok"], &answer["fixedSecure"]), (&json!(true), &json!(false)), "{answer}");
    assert!(covered.server.next_mail().is_encrypted, "never less than was asked for");
}

#[test]
fn a_refusal_is_told_in_the_server_s_words() {
    let server = SmtpServer::start(Cover::Plain);
    let setup = setup(&[mail(json!({"provider": "smtp", "port": server.port}))]);
    let answer = try_out(&setup, json!("nobody@example.org"));
    assert_eq!(answer["ok"], false);
    assert!(answer["message"].as_str().unwrap().contains("no such mailbox"), "{answer}");
}

#[test]
fn ses_is_given_the_password_made_of_the_key() {
    let covered = Covered::start(Cover::Whole);
    let channel = mail(json!({"provider": "ses", "region": "eu-central-1", "accessKeyId": "AKIA",
        "secretAccessKey": "some+secret+key", "port": covered.server.port, "secure": true}));
    let (setup, _file) = covered.trust(setup(&[channel]));
    assert_eq!(try_out(&setup, Value::Null)["ok"], true);
    // The published vector: see src/notify/sign.rs.
    let expected = "PLAIN \0AKIA\0BMXhUYlu5Z3gSXVQORxlVa7XPaz91aGWdfHxvkOZdWZ2";
    assert_eq!(covered.server.next_mail().auth.as_deref(), Some(expected));
}

#[test]
fn sendgrid_is_spoken_to_as_apikey() {
    let covered = Covered::start(Cover::Starttls);
    let channel = mail(json!({"provider": "sendgrid", "apiKey": "SG.hunter2", "port": covered.server.port}));
    let (setup, _file) = covered.trust(setup(&[channel]));
    assert_eq!(try_out(&setup, Value::Null)["ok"], true);
    assert_eq!(covered.server.next_mail().auth.as_deref(), Some("PLAIN \0apikey\0SG.hunter2"));
}

#[test]
fn google_is_given_an_access_token_made_of_the_refresh_token() {
    let covered = Covered::start(Cover::Whole);
    let body = r#"{"access_token":"ya29.t","expires_in":3599,"scope":"x"}"#;
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let tokens = answering(answer.leak());
    let channel =
        mail(json!({"provider": "google", "clientId": "id", "clientSecret": "a&b", "refreshToken": "1//r",
        "tokenUrl": url(&tokens), "port": covered.server.port, "secure": true}));
    let (setup, _file) = covered.trust(setup(&[channel]));
    assert_eq!(try_out(&setup, Value::Null)["ok"], true);
    let (_, request) = tokens.next_request();
    assert_eq!(
        String::from_utf8(request.body).unwrap(),
        "client_id=id&client_secret=a%26b&refresh_token=1%2F%2Fr&grant_type=refresh_token"
    );
    let auth = covered.server.next_mail().auth.unwrap();
    assert_eq!(auth, "XOAUTH2 user=gw@example.org\x01auth=Bearer ya29.t\x01\x01");
}

#[test]
fn azure_is_sent_what_its_key_signs() {
    let resource = answering("HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}");
    let key = b"a key of some bytes";
    let connection = format!("endpoint=http://{}/;accesskey={}", resource.address(), BASE64.encode(key));
    let channel = json!({"id": "c", "provider": "azure", "fromAddress": "gw@example.org", "connectionString": connection});
    assert_eq!(try_out(&setup(&[channel]), json!("me@example.org"))["ok"], true);
    let (_, request) = resource.next_request();
    let field = |name: &str| request.head.field(name).unwrap().to_owned();
    let target = "/emails:send?api-version=2023-03-31";
    assert_eq!(request.head.request_line(), ("POST", target));
    let body = request.json();
    assert_eq!(body["senderAddress"], "gw@example.org");
    assert_eq!(body["recipients"], json!({"to": [{"address": "me@example.org"}]}));
    assert!(body["content"]["plainText"].as_str().unwrap().contains("test"), "{body}");
    let hash = BASE64.encode(digest::digest(&digest::SHA256, &request.body));
    assert_eq!(field("x-ms-content-sha256"), hash);
    let text = format!("POST\n{target}\n{};{};{hash}", field("x-ms-date"), field("host"));
    let signature = BASE64.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()));
    let expected =
        format!("HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={signature}");
    assert_eq!(field("authorization"), expected);
}

#[test]
fn webhooks_are_called_by_either_method_and_signed() {
    let receiver = taker();
    for method in ["POST", "GET"] {
        let hook = json!({"id": "c", "provider": "webhook", "url": format!("{}?a=b", url(&receiver)), "method": method,
            "secret": "hunter2"});
        assert_eq!(try_out(&setup(&[hook]), Value::Null), json!({"ok": true, "message": "sent"}));
        let (_, request) = receiver.next_request();
        check_signatures(&request, "hunter2");
        match request.head.request_line() {
            ("POST", target) => {
                assert_eq!(target, "/hook?a=b");
                let body = request.json();
                assert_eq!((&body["event"], &body["source"]), (&json!("test"), &json!("Routerly")));
            }
            (_, target) => assert!(target.starts_with("/hook?a=b&event=test&id=test%3A"), "{target}"),
        }
    }
}

#[test]
fn one_s_own_network_is_not_reached_unless_it_is_named() {
    let receiver = taker();
    let server = SmtpServer::start(Cover::Plain);
    let port = receiver.address().port();
    let forbidden = |channel: Value| {
        let setup = setup(&[channel]).setting("webhookAllowHosts", json!(["example.org"]));
        let answer = try_out(&setup, Value::Null);
        assert_eq!(answer["ok"], false);
        assert!(answer["message"].as_str().unwrap().contains("webhookAllowHosts"), "{answer}");
    };
    for host in
        ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "169.254.169.254", "127.1"]
    {
        forbidden(json!({"id": "c", "provider": "webhook", "url": format!("http://{host}:{port}/hook")}));
    }
    forbidden(mail(json!({"provider": "smtp", "port": server.port})));
    assert_eq!(receiver.accepted(), 0);
    assert!(server.is_empty());
}

#[test]
fn a_redirect_leads_nowhere() {
    let inside = MockUpstream::manual();
    let answer = format!("HTTP/1.1 307 Away\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", url(&inside));
    let receiver = answering(answer.leak());
    let hook = json!({"id": "c", "provider": "webhook", "url": url(&receiver)});
    let answer = try_out(&setup(&[hook]), Value::Null);
    assert_eq!(answer["ok"], false);
    assert!(answer["message"].as_str().unwrap().contains("redirects"), "{answer}");
    assert_eq!(inside.accepted(), 0);
}

#[test]
fn what_cannot_be_tried_is_refused_before_anything_is_sent() {
    let hook = json!({"id": "c", "name": "Pager", "provider": "webhook", "url": "https://example.org/"});
    let lonely = json!({"id": "m", "provider": "sendgrid", "fromAddress": "a@example.org", "apiKey": "x"});
    let api = Api::of(&setup(&[hook, lonely]));
    let root = api.set_up();
    for (body, field) in [
        (json!({}), "channelId"),
        (json!({"channelId": "nope"}), "channelId"),
        (json!({"channelId": "m"}), "to"),
        (json!({"channelId": "m", "to": "no address"}), "to"),
        (json!({"channelId": "m", "to": 5}), "to"),
    ] {
        let answer = api.call("POST", "notifications/test", &root.token, &body).expect(400).json();
        assert_eq!(answer["fields"][0]["path"], field, "{answer}");
    }
    api.call("POST", "notifications/test", "", &json!({"channelId": "c"})).expect(401);
    // Who may not write users may not send either.
    let body = json!({"email": "viewer@example.org", "password": "correct horse", "roleId": "viewer"});
    api.call("POST", "users", &root.token, &body).expect(201);
    let viewer = api.sign_in("viewer@example.org", "correct horse");
    api.call("POST", "notifications/test", &viewer.token, &json!({"channelId": "c"})).expect(403);
}

#[test]
fn the_command_line_tries_a_channel_out() {
    let server = SmtpServer::start(Cover::Plain);
    let api = Api::of(&setup(&[mail(json!({"provider": "smtp", "port": server.port}))]));
    let token = api.set_up().token;
    let url = format!("http://{}", api.gateway.address());
    let run = |arguments: &[&str]| {
        let mut command = routerly(&[&["notifications", "test", "c", "--url", &url], arguments].concat());
        command.env("ROUTERLY_TOKEN", &token);
        Ended::of(command)
    };
    run(&["--to", "me@example.org"]).expect(0).says(&["sent over c"]);
    assert_eq!(server.next_mail().to, ["me@example.org"]);
    run(&["--to", "nobody@example.org"]).expect(1).says(&["no such mailbox"]);
    let shown = run(&["--json"]).expect(0).out;
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), json!({"ok": true, "message": "sent"}));
}
