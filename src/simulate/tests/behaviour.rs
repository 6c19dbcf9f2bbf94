//! What a user sets: rates of failures, scripts of single requests, pace and jitter.

use super::*;

#[test]
fn rates_come_true_over_many_requests() {
    let settings = json!({"errorRate":0.2,"errorStatus":[429,529],"resetRate":0.2,"truncateRate":0.2,
        "midStreamErrorRate":0.2,"outputTokens":5});
    let simulator = simulator(settings);
    let (path, body) = plain(true)[2].clone();
    let (mut errors, mut resets, mut cut, mut truncated, mut failed) = (0, 0, 0, 0, 0);
    for number in 0..4_000 {
        let reply = post(&simulator, path, &[], body.to_string().as_bytes(), number);
        match &reply.body {
            SimBody::Reset { .. } => resets += 1,
            SimBody::Whole { .. } => {
                assert!([429, 529].contains(&reply.status));
                assert_eq!(header(&reply, "retry-after").is_some(), reply.status == 429);
                errors += 1;
            }
            SimBody::Stream(_) => {
                let played = play(reply);
                let ended = played.text().contains("message_stop");
                match played.end {
                    Some(Action::Fail(Fault::Reset)) => cut += 1,
                    Some(Action::Truncate) => truncated += 1,
                    Some(Action::End) if played.text().contains("event: error") => failed += 1,
                    Some(Action::End) => assert!(ended),
                    other => panic!("{other:?}"),
                }
                assert!(ended || played.end != Some(Action::End) || played.text().contains("event: error"));
            }
        }
    }
    // Of what is left after resets before the head (10 %) and errors: resets, then truncations, then errors.
    let near = |count: i32, share: f64| (f64::from(count) - 4_000.0 * share).abs() < 120.0;
    assert!(near(resets, 0.1), "{resets} resets before the head");
    assert!(near(errors, 0.9 * 0.2), "{errors} errors");
    assert!(near(cut, 0.1 * 0.8), "{cut} resets in mid-stream");
    assert!(near(truncated, 0.8 * 0.8 * 0.2), "{truncated} truncations");
    assert!(near(failed, 0.8 * 0.8 * 0.8 * 0.2), "{failed} errors in mid-stream");
}

#[test]
fn a_script_steers_one_request() {
    let simulator = simulator(json!({"outputTokens":10}));
    let ask = |stream: usize, script: &str| {
        let (path, body) = plain(true)[stream].clone();
        post(&simulator, path, &[("X-Simulate", script)], body.to_string().as_bytes(), 0)
    };
    let reply = ask(0, r#"{"status":429,"retryAfter":7}"#);
    assert_eq!((reply.status, header(&reply, "retry-after")), (429, Some("7")));
    assert_eq!(value(&reply)["error"]["code"], "rate_limit_exceeded");

    let reply = ask(0, r#"{"status":418,"body":"short"}"#);
    assert_eq!((reply.status, whole(&reply)), (418, &b"short"[..]));
    assert_eq!(value(&ask(0, r#"{"body":{"a":1}}"#)), json!({"a":1}));

    assert!(matches!(ask(0, r#"{"resetAfterEvents":0}"#).body, SimBody::Reset { .. }));
    for (script, end) in [
        (r#"{"resetAfterEvents":3}"#, Action::Fail(Fault::Reset)),
        (r#"{"closeAfterEvents":3}"#, Action::Fail(Fault::Close)),
        (r#"{"stallAfterEvents":3}"#, Action::Fail(Fault::Stall)),
        (r#"{"truncateAfterEvents":3}"#, Action::Truncate),
    ] {
        let played = play(ask(0, script));
        assert_eq!((played.events.len(), played.end), (3, Some(end)), "{script}");
    }
    let played = play(ask(0, r#"{"stallAfterEvents":0}"#));
    assert_eq!((played.events.len(), played.end), (0, Some(Action::Fail(Fault::Stall))));

    let played = play(ask(0, r#"{"rawEvents":["data: 1\n\n",": x\n\n"]}"#));
    assert_eq!(played.events, ["data: 1\n\n", ": x\n\n"]);

    let reply = ask(2, r#"{"ttftMs":"soon"}"#);
    assert_eq!(reply.status, 400);
    assert!(value(&reply)["error"]["message"].as_str().unwrap().starts_with("x-simulate: "));
}

#[test]
fn an_error_in_mid_stream_speaks_the_dialect_and_is_the_last_word() {
    let simulator = simulator(json!({"outputTokens":10}));
    let script = r#"{"midStreamError":{"afterEvents":4,"status":529,"message":"too much"}}"#;
    for (path, body) in plain(true) {
        let played = play(post(&simulator, path, &[("x-simulate", script)], body.to_string().as_bytes(), 0));
        assert_eq!((played.events.len(), played.end), (5, Some(Action::End)), "{path}");
        let last: Vec<Value> = Played { events: played.events[4..].to_vec(), ..Played::default() }.payloads();
        match path {
            RESPONSES => {
                assert_eq!(last[0]["sequence_number"], 4);
                assert_eq!(last[1]["type"], "response.failed");
                assert_eq!(last[1]["sequence_number"], 5);
                assert_eq!(last[1]["response"]["error"]["message"], "too much");
            }
            MESSAGES => assert_eq!(last[0]["error"]["type"], "overloaded_error"),
            CHAT => assert_eq!(last[0]["error"]["message"], "too much"),
            _ => assert_eq!(last[0]["error"]["status"], "UNAVAILABLE"),
        }
    }
}

#[test]
fn an_answer_in_one_piece_can_be_broken_off() {
    let simulator = simulator(json!({}));
    let (path, body) = plain(false)[0].clone();
    for (script, at_start, fault) in [
        (r#"{"resetAfterEvents":1}"#, false, Fault::Reset),
        (r#"{"truncateAfterEvents":1}"#, false, Fault::Close),
        (r#"{"stallAfterEvents":0}"#, true, Fault::Stall),
    ] {
        let reply = post(&simulator, path, &[("x-simulate", script)], body.to_string().as_bytes(), 0);
        let SimBody::Whole { bytes, cut: Some(cut), .. } = reply.body else { panic!("{script}") };
        assert_eq!((cut.at == 0, cut.fault), (at_start, fault), "{script}");
        assert!(cut.at < bytes.len());
    }
}

#[test]
fn events_come_at_the_set_pace() {
    let simulator = simulator(json!({"ttftMs":300,"tokensPerSecond":50,"chunkTokens":2,"outputTokens":11}));
    for (path, body) in plain(true) {
        let played = play(post(&simulator, path, &[], body.to_string().as_bytes(), 0));
        assert_eq!(played.waits[0], Duration::from_millis(300), "{path}");
        // Five more events with nine tokens after the first.
        assert_eq!(played.waits.iter().sum::<Duration>(), Duration::from_millis(300 + 180), "{path}");
    }
    let (path, body) = plain(false)[0].clone();
    let reply = post(&simulator, path, &[], body.to_string().as_bytes(), 0);
    let SimBody::Whole { after, .. } = reply.body else { panic!("no body") };
    assert_eq!(after, Duration::from_millis(300 + 220));
}

#[test]
fn jitter_strays_around_the_mean() {
    let simulator = simulator(json!({"tokensPerSecond":100,"jitter":0.5,"outputTokens":2000}));
    let (path, body) = plain(true)[0].clone();
    let waits = play(post(&simulator, path, &[], body.to_string().as_bytes(), 0)).waits;
    let waits: Vec<Duration> = waits.into_iter().filter(|wait| !wait.is_zero()).collect();
    assert!(waits.iter().all(|wait| (5..=15).contains(&wait.as_millis())));
    let mean = waits.iter().sum::<Duration>() / u32::try_from(waits.len()).unwrap();
    assert!((9_700..=10_300).contains(&mean.as_micros()), "{mean:?}");
}
