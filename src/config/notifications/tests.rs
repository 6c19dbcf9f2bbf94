//! Channels in the file, typed channels or findings out.

use serde_json::{Value, json};

use super::read::{KINDS, target_of};
use super::*;
use crate::config::fields::Fields;
use crate::config::mistake::{Mistake, Path, Sink, Warning};
use crate::config::{NoKeys, Opener, files};

fn read_value(value: &Value, keys: &dyn Opener) -> (Vec<Channel>, Vec<Mistake>, Vec<Warning>) {
    let settings = json!({"notifications": value});
    let text = settings.to_string();
    let map: Value = serde_json::from_str(&text).unwrap();
    let sink = Sink::new(files::SETTINGS, &text);
    let fields = Fields::new(map.as_object().unwrap(), Path::Root, &sink);
    let channels = read(&fields, keys);
    let (mut mistakes, mut warnings) = (Vec::new(), Vec::new());
    sink.finish(&mut mistakes, &mut warnings);
    (channels, mistakes, warnings)
}

fn channels(value: &Value) -> Vec<Channel> {
    let (channels, mistakes, warnings) = read_value(value, &NoKeys);
    assert_eq!((mistakes, warnings), (vec![], vec![]));
    channels
}

fn smtp() -> Value {
    json!({"id": "a", "provider": "smtp", "fromAddress": "gw@example.org", "host": "Mail.Example.org", "to": "ops@example.org"})
}

#[test]
fn the_three_forms_mean_the_same() {
    let mut documented = smtp();
    let own = documented.as_object_mut().unwrap();
    own.insert("type".to_owned(), own["provider"].clone());
    own.shift_remove("provider");
    own.insert("from".to_owned(), json!("Gate <gw@example.org>"));
    own.shift_remove("fromAddress");
    own.insert("user".to_owned(), json!("u"));
    own.insert("password".to_owned(), json!("p"));
    let mut object = smtp();
    object["fromName"] = json!("Gate");
    object["username"] = json!("u");
    object["password"] = json!("p");
    let mut older = object.clone();
    older.as_object_mut().unwrap().shift_remove("id");
    older.as_object_mut().unwrap().shift_remove("provider");

    let expected = channels(&json!({"channels": [object]}));
    assert_eq!(channels(&json!([documented])), expected);
    let migrated = channels(&json!({"smtp": older}));
    assert_eq!(migrated[0].id, "migrated_smtp");
    assert_eq!(migrated[0].route, expected[0].route);
    let Route::Smtp { sender, relay, login, allow_invalid_cert } = &expected[0].route else { panic!() };
    assert_eq!((sender.address.as_str(), sender.name.as_deref()), ("gw@example.org", Some("Gate")));
    assert_eq!(*relay, Relay { host: "mail.example.org".to_owned(), port: 587, secure: false });
    assert_eq!(login, &Some(("u".to_owned(), Secret::new("p"))));
    assert!(!allow_invalid_cert && expected[0].enabled);
    assert_eq!(expected[0].to, ["ops@example.org"]);
    assert_eq!(expected[0].events, EventKind::ALL);
    assert!(channels(&json!({})).is_empty() && channels(&Value::Null).is_empty());
}

#[test]
fn each_service_has_its_own_way() {
    let from = "gw@example.org";
    let all = channels(&json!({"channels": [
        {"provider": "ses", "fromAddress": from, "region": "eu-central-1", "accessKeyId": "AK", "secretAccessKey": "s", "to": [from]},
        {"provider": "sendgrid", "fromAddress": from, "apiKey": "SG.x", "to": [from]},
        {"provider": "azure", "fromAddress": from, "to": [from],
         "connectionString": "endpoint=https://r.communication.azure.com/;accesskey=c2VjcmV0"},
        {"provider": "google", "fromAddress": from, "clientId": "i", "clientSecret": "s", "refreshToken": "r", "to": [from]},
        {"provider": "webhook", "url": "https://example.org/hook?x=1", "method": "GET", "secret": "s",
         "events": ["budget.exhausted"], "quietHours": {"from": "22:00", "to": "06:30"}, "enabled": false},
    ]}));
    let ids: Vec<&str> = all.iter().map(|channel| channel.id.as_str()).collect();
    assert_eq!(ids, ["channel_0", "channel_1", "channel_2", "channel_3", "channel_4"]);
    assert!(all.iter().all(|channel| channel.fault.is_none()));
    let providers: Vec<_> = all.iter().map(Channel::provider).collect();
    assert_eq!(providers, ["ses", "sendgrid", "azure", "google", "webhook"]);
    let relay = |index: usize| match &all[index].route {
        Route::Ses { relay, .. } | Route::SendGrid { relay, .. } | Route::Google { relay, .. } => {
            (relay.host.as_str(), relay.port, relay.secure)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(relay(0), ("email-smtp.eu-central-1.amazonaws.com", 465, true));
    assert_eq!(relay(1), ("smtp.sendgrid.net", 587, false));
    assert_eq!(relay(3), ("smtp.gmail.com", 465, true));
    let Route::Azure { resource: Some((endpoint, key)), .. } = &all[2].route else { panic!() };
    assert_eq!((endpoint.host.as_str(), key.expose()), ("r.communication.azure.com", "c2VjcmV0"));
    let Route::Webhook { url: Some(url), method, secret, target } = &all[4].route else { panic!() };
    assert_eq!((url.to_string().as_str(), *method), ("https://example.org/hook?x=1", WebhookMethod::Get));
    assert_eq!((secret.is_some(), target.as_str()), (true, "/hook?x=1"));
    for (url, target) in [("https://h", "/"), ("https://h?x", "/?x"), ("http://h:1/a/", "/a/")] {
        assert_eq!(target_of(url), target);
    }
    assert_eq!(all[4].quiet_hours, Some(QuietHours { from: 22 * 60, to: 6 * 60 + 30 }));
    assert!(!all[4].wants(EventKind::BudgetExhausted), "it is switched off");
}

#[test]
fn what_is_missing_makes_a_channel_unusable_and_is_no_mistake() {
    for (channel, expected) in [
        (json!({"provider": "smtp"}), "fromAddress is missing"),
        (json!({"provider": "smtp", "fromAddress": "a@b", "host": ""}), "host is missing"),
        (
            json!({"provider": "smtp", "fromAddress": "a@b", "host": "h", "username": "u"}),
            "password is missing",
        ),
        (json!({"provider": "ses", "fromAddress": "a@b"}), "region is missing"),
        (json!({"provider": "sendgrid", "fromAddress": "a@b"}), "apiKey is missing"),
        (json!({"provider": "azure", "fromAddress": "a@b"}), "connectionString is missing"),
        (json!({"provider": "google", "fromAddress": "a@b", "clientId": "x"}), "clientSecret is missing"),
        (json!({"provider": "webhook", "url": " "}), "url is missing"),
        (
            json!({"provider": "webhook", "url": "https://h/", "secret": "ENCRYPTED:v1:AAAA"}),
            "secret cannot be decrypted",
        ),
    ] {
        let (channels, mistakes, warnings) = read_value(&json!([channel]), &NoKeys);
        assert_eq!(mistakes, [], "{channel}");
        assert!(
            channels[0].fault.as_ref().unwrap().starts_with(expected),
            "{channel}: {:?}",
            channels[0].fault
        );
        assert!(warnings[0].message.contains("nothing can be sent"), "{channel}");
    }
    let (_, _, warnings) =
        read_value(&json!([{"provider": "smtp", "fromAddress": "a@b.c", "host": "h"}]), &NoKeys);
    assert!(warnings[0].message.contains("no recipients"), "{warnings:?}");
}

#[test]
fn what_is_malformed_is_named_with_its_place() {
    for (channel, path, expected) in [
        (json!({"provider": "pigeon"}), "notifications[0].provider", "smtp"),
        (json!({"provider": "webhook", "url": "ftp://x"}), "notifications[0].url", "http(s)"),
        (
            json!({"provider": "webhook", "url": "https://h/", "method": "PUT"}),
            "notifications[0].method",
            "GET",
        ),
        (
            json!({"provider": "smtp", "fromAddress": "a b@c", "host": "h"}),
            "notifications[0].fromAddress",
            "mail address",
        ),
        (
            json!({"provider": "smtp", "fromAddress": "a@b\r\nBcc: x@y", "host": "h"}),
            "notifications[0].fromAddress",
            "mail address",
        ),
        (
            json!({"provider": "smtp", "fromAddress": "a@b", "host": "h h"}),
            "notifications[0].host",
            "mail server",
        ),
        (
            json!({"provider": "smtp", "fromAddress": "a@b", "host": "h", "port": 0}),
            "notifications[0].port",
            "65535",
        ),
        (
            json!({"provider": "smtp", "fromAddress": "a@b", "host": "h", "to": ["x"]}),
            "notifications[0].to[0]",
            "mail address",
        ),
        (
            json!({"provider": "azure", "fromAddress": "a@b", "connectionString": "x"}),
            "notifications[0].connectionString",
            "accesskey",
        ),
        (
            json!({"provider": "webhook", "url": "https://h/", "events": ["x"]}),
            "notifications[0].events[0]",
            "budget.reset",
        ),
        (
            json!({"provider": "webhook", "url": "https://h/", "quietHours": {"from": "24:00", "to": "06:00"}}),
            "notifications[0].quietHours.from",
            "22:30",
        ),
        (
            json!({"provider": "webhook", "url": "https://h/", "quietHours": {"from": "06:00"}}),
            "notifications[0].quietHours.to",
            "22:30",
        ),
        (
            json!({"provider": "webhook", "url": "https://h/", "quietHours": {"from": "06:00", "to": "06:00"}}),
            "notifications[0].quietHours.to",
            "another time",
        ),
    ] {
        let (_, mistakes, _) = read_value(&json!([channel]), &NoKeys);
        assert!(!mistakes.is_empty(), "{channel}");
        assert_eq!(mistakes[0].path, path, "{channel}");
        assert!(mistakes[0].expected.contains(expected), "{channel}: {}", mistakes[0].expected);
        assert!(mistakes[0].line > 0, "{channel}");
    }
    let (none, mistakes, warnings) = read_value(&json!([{"id": "x"}]), &NoKeys);
    assert!(none.is_empty() && mistakes.is_empty());
    assert!(warnings[0].message.starts_with("provider is missing"), "{warnings:?}");
    let twice = json!({"provider": "webhook", "url": "https://h/", "id": "x"});
    let (_, mistakes, _) = read_value(&json!([twice, twice]), &NoKeys);
    assert_eq!(mistakes[0].path, "notifications[1].id");
    let (_, mistakes, _) = read_value(&json!("mail"), &NoKeys);
    assert_eq!(mistakes[0].path, "notifications");
}

#[test]
fn secrets_show_in_no_finding_and_in_no_debug_text() {
    let secret = "hunter2-hunter2";
    for field in SECRET_FIELDS {
        for (kind, _) in KINDS {
            let channel = json!({"provider": kind, "fromAddress": "a@b", "host": "h", "url": "https://h/", "region": "r",
                "username": "u", field: secret});
            let (channels, mistakes, warnings) = read_value(&json!([channel]), &NoKeys);
            let text = format!("{channels:?} {mistakes:?} {warnings:?}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
