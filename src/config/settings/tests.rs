//! Settings files in, typed settings or findings out.

use super::*;
use crate::config::mistake::Warning;

fn read(text: &str, env: &[(&str, &str)]) -> (Settings, Vec<Mistake>, Vec<Warning>) {
    let value: Value = serde_json::from_str(text).unwrap();
    let env = Env::from_lookup(|name| {
        env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    });
    let sink = Sink::new("config/settings.json", text);
    let (mut mistakes, mut warnings) = (Vec::new(), Vec::new());
    let settings = Settings::read(value.as_object().unwrap(), &sink, &env, &NoKeys, &mut mistakes);
    sink.finish(&mut mistakes, &mut warnings);
    (settings, mistakes, warnings)
}

#[test]
fn an_empty_file_gives_the_documented_defaults() {
    let (settings, mistakes, warnings) = read("{}", &[]);
    assert_eq!((mistakes, warnings), (vec![], vec![]));
    assert_eq!(settings, Settings::default());
    assert_eq!((settings.port, settings.host.to_string().as_str()), (3000, "0.0.0.0"));
    assert_eq!(settings.public_url, "http://localhost:3000");
    assert_eq!(settings.default_timeout, Duration::from_secs(30));
    assert_eq!(settings.server.body_bytes_max, 32 * 1024 * 1024);
    assert_eq!(settings.upstream.first_byte_timeout, None);
    assert_eq!(settings.upstream.total_timeout, Some(Duration::from_secs(600)));
    assert_eq!((settings.journal.bytes_per_core, settings.journal.on_full), (16 << 20, OnFull::Serve));
    assert!(
        settings.metrics_enabled && settings.access_log && settings.alias_routes && !settings.server_timing
    );
    assert_eq!(settings.trace_stream, TraceStream::Summary);
}

#[test]
fn every_field_can_be_set() {
    let (settings, mistakes, warnings) = read(
        r#"{"port":1,"host":"::1","dashboardEnabled":false,"defaultTimeoutMs":1e3,"logLevel":"trace","logFormat":"json",
            "publicUrl":"https://ai.example/gw/","channel":"next","notifications":{"channels":[]},"telemetry":{"enabled":false},
            "budgets":[{"metric":"calls","window":"daily","value":1}],"timezone":"Europe/Rome","usageRetentionDays":30,
            "corsOrigins":["https://a"],"loginTtlSeconds":3600,"traceStream":"full","driver":"epoll","cores":2,"drainTimeoutMs":0,
            "tls":{"certFile":"/c.pem","keyFile":"/k.pem"},"caFile":"/ca.pem","serverTiming":true,"accessLog":false,
            "aliasRoutes":false,"metrics":{"enabled":false},
            "journal":{"bytesPerCore":65536,"fsyncIntervalMs":1,"mergeIntervalMs":2,"onFull":"refuse","rotateBytes":1048576},
            "server":{"headTimeoutMs":10,"bodyTimeoutMs":11,"keepAliveTimeoutMs":12,"writeTimeoutMs":13,"bodyBytesMax":1024,
                "passthroughBodyBytesMax":5,"connectionsPerCore":6},
            "upstream":{"connectTimeoutMs":1,"firstByteTimeoutMs":2,"streamIdleTimeoutMs":3,"totalTimeoutMs":0,
                "poolIdleTimeoutMs":4,"poolPerEndpoint":0,"dnsTtlMs":0,"retries":3,"retryBaseMs":5,"retryMaxMs":6,
                "retryBudgetPercent":7,"retryBudgetPerSecond":8,"rateLimitCooldownMs":9,"hedgeAfterMs":10,"breaker":{"failures":1,
                "errorPercent":2,"samplesMin":3,"windowMs":4000,"cooldownMs":5}}}"#,
        &[],
    );
    assert_eq!((mistakes, warnings), (vec![], vec![]));
    let defaults = Settings::default();
    assert_eq!(settings.host.to_string(), "::1");
    assert_eq!(settings.public_url, "https://ai.example/gw");
    assert_eq!(settings.budgets.len(), 1);
    assert_eq!(settings.tls.as_ref().unwrap().key_file, PathBuf::from("/k.pem"));
    assert_eq!(settings.upstream.first_byte_timeout, Some(Duration::from_millis(2)));
    assert_eq!(settings.upstream.total_timeout, None);
    let retry = RetryRules {
        retries: 3,
        base: ms(5),
        max: ms(6),
        budget_percent: 7,
        budget_per_second: 8,
        cool_down: ms(9),
        hedge_after: Some(ms(10)),
    };
    assert_eq!(settings.upstream.retry, retry);
    let breaker =
        BreakerRules { failures: 1, error_percent: 2, samples_min: 3, window_ms: 4_000, cool_down_ms: 5 };
    assert_eq!(settings.upstream.breaker, breaker);
    assert_eq!(settings.journal.on_full, OnFull::Refuse);
    assert_eq!(settings.server.connections_per_core, 6);
    assert_ne!(settings.server, defaults.server);
    assert!(!settings.metrics_enabled && !settings.alias_routes && settings.server_timing);
}

#[test]
fn the_environment_wins_over_the_file_and_is_named() {
    let file = r#"{"port":1,"logLevel":"warn","host":"127.0.0.1"}"#;
    let (settings, mistakes, _) = read(
        file,
        &[
            ("PORT", "8080"),
            ("ROUTERLY_LOG_LEVEL", "DEBUG"),
            ("NODE_ENV", "production"),
            ("ROUTERLY_HOST", "localhost"),
        ],
    );
    assert_eq!(mistakes, []);
    assert_eq!(
        (settings.port, settings.log_level, settings.log_format),
        (8080, LogLevel::Debug, LogFormat::Json)
    );
    assert_eq!(settings.overridden, ["port", "host", "logLevel"]);
    let (settings, ..) =
        read(file, &[("PORT", "8080"), ("ROUTERLY_PORT", "9"), ("ROUTERLY_LOG_FORMAT", "pretty")]);
    assert_eq!((settings.port, settings.log_format), (9, LogFormat::Pretty));
    let (settings, ..) = read(r#"{"logFormat":"pretty"}"#, &[("NODE_ENV", "production")]);
    assert_eq!(settings.log_format, LogFormat::Pretty);
    let (_, mistakes, _) =
        read(file, &[("PORT", "x"), ("ROUTERLY_HOST", "?"), ("ROUTERLY_PUBLIC_URL", "ftp://x")]);
    let names: Vec<&str> = mistakes.iter().map(|mistake| mistake.path.as_str()).collect();
    assert_eq!(names, ["PORT", "ROUTERLY_HOST", "ROUTERLY_PUBLIC_URL"]);
}

#[test]
fn all_mistakes_are_reported_at_once_where_they_stand() {
    let text = r#"{
  "port": 70000,
  "host": "here",
  "defaultTimeoutMs": "30s",
  "logLevel": "loud",
  "prot": 1,
  "tls": { "certFile": "/c.pem" },
  "server": {
    "bodyBytesMax": -1,
    "headTimeoutMS": 5
  },
  "budgets": [{"metric": "calls", "window": "daily", "value": -3}],
  "corsOrigins": ["a", 7],
  "upstream": []
}"#;
    let (_, mistakes, warnings) = read(text, &[]);
    let places: Vec<(usize, usize, &str)> =
        mistakes.iter().map(|mistake| (mistake.line, mistake.column, mistake.path.as_str())).collect();
    assert_eq!(
        places,
        [
            (2, 11, "port"),
            (3, 11, "host"),
            (4, 23, "defaultTimeoutMs"),
            (5, 15, "logLevel"),
            (7, 10, "tls.keyFile"),
            (9, 21, "server.bodyBytesMax"),
            (12, 63, "budgets[0].value"),
            (13, 24, "corsOrigins[1]"),
            (14, 15, "upstream"),
        ]
    );
    assert_eq!(
        mistakes[0].to_string(),
        "config/settings.json:2:11: port: found 70000, expected a whole number from 0 to 65535"
    );
    let warned: Vec<(usize, usize, &str)> =
        warnings.iter().map(|warning| (warning.line, warning.column, warning.path.as_str())).collect();
    assert_eq!(warned, [(6, 3, "prot"), (10, 5, "server.headTimeoutMS")]);
    assert!(warnings[1].message.contains("did you mean \"headTimeoutMs\""));
}
