//! Limits: what may be spent, in which window.
//!
//! Owns the reading of a limit in all spellings that were ever written, and the one form that is kept. It counts
//! and enforces nothing.
//!
//! Source: the project's routing specification, section 8 (limit, accepted spellings, modes).

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::mistake::{Path, Sink, describe, quote};
use crate::provider::price::scale_number;

/// Longest rolling window, in seconds: ten years of 366 days. Beyond it: a mistake, since no counter lives as long.
const ROLLING_SECONDS_MAX: u64 = 3_660 * 86_400;
/// Largest amount of money that can be counted in 64 bits of picodollars, in whole USD.
const USD_MAX: u64 = u64::MAX / 1_000_000_000_000;

/// Longest rolling window whose limits are rates.
const RATE_WINDOW_MAX: Duration = Duration::from_secs(60);

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Cost, in picodollars.
    Cost,
    /// Calls.
    Calls,
    /// Input tokens, cached ones included.
    InputTokens,
    /// Output tokens, reasoning included.
    OutputTokens,
    /// Input and output tokens.
    TotalTokens,
}

const METRICS: [(&str, Metric); 5] = [
    ("cost", Metric::Cost),
    ("calls", Metric::Calls),
    ("input_tokens", Metric::InputTokens),
    ("output_tokens", Metric::OutputTokens),
    ("total_tokens", Metric::TotalTokens),
];

/// A window that begins at the clock's own marks, in the configured time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    /// From minute 0.
    Hourly,
    /// From 00:00.
    Daily,
    /// From Monday, 00:00.
    Weekly,
    /// From day 1, 00:00.
    Monthly,
    /// From 1 January, 00:00.
    Yearly,
}

const PERIODS: [(&str, Period); 5] = [
    ("hourly", Period::Hourly),
    ("daily", Period::Daily),
    ("weekly", Period::Weekly),
    ("monthly", Period::Monthly),
    ("yearly", Period::Yearly),
];

/// Unit of a rolling window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RollingUnit {
    /// 1 s
    Second,
    /// 60 s
    Minute,
    /// 3,600 s
    Hour,
    /// 86,400 s
    Day,
    /// 7 days
    Week,
    /// 30 days
    Month,
}

const UNITS: [(&str, RollingUnit); 6] = [
    ("second", RollingUnit::Second),
    ("minute", RollingUnit::Minute),
    ("hour", RollingUnit::Hour),
    ("day", RollingUnit::Day),
    ("week", RollingUnit::Week),
    ("month", RollingUnit::Month),
];

impl RollingUnit {
    /// Length in seconds.
    pub fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week => 7 * 86_400,
            Self::Month => 30 * 86_400,
        }
    }
}

/// The time over which a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Window {
    /// Starts anew at the clock's marks.
    Calendar(Period),
    /// The last so-many units before now: `(now − amount × unit, now]`.
    Rolling {
        /// How many units; at least 1.
        amount: u64,
        /// The unit.
        unit: RollingUnit,
    },
}

impl Metric {
    /// The spelling of the configuration.
    pub fn as_str(self) -> &'static str {
        METRICS.iter().find(|(_, metric)| *metric == self).map_or("", |(name, _)| name)
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |f: &mut std::fmt::Formatter<'_>, unit: &RollingUnit| {
            f.write_str(UNITS.iter().find(|(_, known)| known == unit).map_or("", |(name, _)| name))
        };
        match self {
            Self::Calendar(period) => {
                f.write_str(PERIODS.iter().find(|(_, known)| known == period).map_or("", |(name, _)| name))
            }
            Self::Rolling { amount: 1, unit } => {
                f.write_str("rolling ")?;
                name(f, unit)
            }
            Self::Rolling { amount, unit } => {
                write!(f, "rolling {amount} ")?;
                name(f, unit)?;
                f.write_str("s")
            }
        }
    }
}

impl Window {
    /// Length of a rolling window; none for calendar windows, whose length varies.
    pub fn rolling_length(self) -> Option<Duration> {
        match self {
            Self::Calendar(_) => None,
            Self::Rolling { amount, unit } => Some(Duration::from_secs(amount * unit.seconds())),
        }
    }

    /// Whether a limit over it is a rate: it comes and goes with every burst.
    pub fn is_rate(self) -> bool {
        self.rolling_length().is_some_and(|length| length <= RATE_WINDOW_MAX)
    }
}

/// One limit. Reached when the count is at or above `value`, so that 0 always blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// What is counted.
    pub metric: Metric,
    /// Over which time.
    pub window: Window,
    /// Picodollars for [`Metric::Cost`], else a number of calls or tokens.
    pub value: u64,
    /// Percentages at which to notify; empty: the default.
    pub notify_at_percent: Vec<u8>,
    /// Whether a running stream is ended that would go beyond it.
    pub stops_streams: bool,
}

/// How own limits and those of the level above go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LimitsMode {
    /// The own ones if there are any, else the level above.
    #[default]
    Replace,
    /// Both; all must hold.
    Extend,
    /// None.
    Disable,
}

const MODES: [(&str, LimitsMode); 3] =
    [("replace", LimitsMode::Replace), ("extend", LimitsMode::Extend), ("disable", LimitsMode::Disable)];

/// The limits of one level.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LimitSet {
    /// How they go together with the level above.
    pub mode: LimitsMode,
    /// The limits.
    pub limits: Vec<Limit>,
}

impl LimitSet {
    /// Reads `limits` (or `budgets`) and `limitsMode` of an object.
    pub(crate) fn read(fields: &Fields<'_>, key: &'static str) -> Self {
        let mode = fields.word("limitsMode", &MODES).or_else(|| fields.word("mode", &MODES));
        Self { mode: mode.unwrap_or_default(), limits: read_limits(fields, key) }
    }
}

/// Reads an array of limits.
pub(crate) fn read_limits(fields: &Fields<'_>, key: &'static str) -> Vec<Limit> {
    let mut limits = Vec::new();
    fields.each(key, |item, path| limits.extend(Limit::read(item, path, fields.sink)));
    limits
}

impl Limit {
    fn read(item: &Value, path: Path<'_>, sink: &Sink<'_>) -> Option<Self> {
        let Value::Object(map) = item else {
            sink.mistake(&path, describe(item), "an object (a limit)");
            return None;
        };
        let (map, notes) = canonical(map);
        notes.iter().for_each(|note| sink.warn(&path, note));
        let fields = Fields::new(&map, path, sink);
        if fields.value("metric").is_none() {
            fields.mistake_here("a limit without metric", "a metric such as \"cost\"");
        }
        let metric = fields.word("metric", &METRICS);
        let window = read_window(&fields);
        let value = metric.and_then(|metric| read_value(&fields, metric));
        let mut notify_at_percent = Vec::new();
        fields.each("notifyAt", |item, path| match item.as_u64() {
            Some(percent @ 1..=100) => notify_at_percent.push(percent as u8),
            _ => fields.sink.mistake(&path, describe(item), "a percentage from 1 to 100"),
        });
        let stops_streams = fields.bool("stopStreams").unwrap_or_default();
        if fields.value("onExhausted").is_some_and(|value| value != "block") {
            fields.warn("onExhausted", "only \"block\" is known; an exhausted limit blocks");
        }
        fields.also_known(&["value", "mode", "limitsMode", "id", "name", "createdAt"]);
        fields.finish();
        Some(Self { metric: metric?, window: window?, value: value?, notify_at_percent, stops_streams })
    }
}

fn read_window(fields: &Fields<'_>) -> Option<Window> {
    #[derive(Clone, Copy)]
    enum Kind {
        Calendar,
        Rolling,
    }
    if fields.value("windowType").is_none() {
        fields.mistake_here("a limit without a window", "windowType \"period\" or \"rolling\"");
        fields.also_known(&["period", "rollingAmount", "rollingUnit"]);
        return None;
    }
    let kind = fields.word("windowType", &[("period", Kind::Calendar), ("rolling", Kind::Rolling)]);
    fields.also_known(&["period", "rollingAmount", "rollingUnit"]);
    match kind? {
        Kind::Calendar => {
            if fields.value("period").is_none() {
                fields.mistake_here("a period limit without period", "period, such as \"monthly\"");
            }
            fields.word("period", &PERIODS).map(Window::Calendar)
        }
        Kind::Rolling => {
            if fields.value("rollingUnit").is_none() {
                fields.mistake_here("a rolling limit without rollingUnit", "rollingUnit, such as \"hour\"");
            }
            let amount = match fields.value("rollingAmount") {
                Some(_) => fields.integer("rollingAmount", 1..=ROLLING_SECONDS_MAX)?,
                None => 1,
            };
            let unit = fields.word("rollingUnit", &UNITS)?;
            if amount.saturating_mul(unit.seconds()) > ROLLING_SECONDS_MAX {
                fields.mistake("rollingAmount", format!("a window of {amount} units"), "at most ten years");
                return None;
            }
            Some(Window::Rolling { amount, unit })
        }
    }
}

fn read_value(fields: &Fields<'_>, metric: Metric) -> Option<u64> {
    let Some(value) = fields.value("value") else {
        fields.mistake_here("a limit without value", "value, a number");
        return None;
    };
    if metric != Metric::Cost {
        return fields.integer("value", 0..=u64::MAX);
    }
    let scaled = value.as_number().and_then(|number| scale_number(number, 12).ok());
    if scaled.is_none() {
        fields.mistake("value", describe(value), format!("an amount from 0 to {USD_MAX} USD"));
    }
    scaled.map(|scaled| scaled.value)
}

/// A limit in today's spelling, and a note for each guess that was made on the way.
///
/// Old and documented spellings: `limit` for `value`; `window` as a period (`daily`), as a unit (`day`) or as
/// `rolling_day`; `windowSize`, a period or a unit according to `windowType`; units in the plural.
pub(crate) fn canonical(map: &Map<String, Value>) -> (Map<String, Value>, Vec<String>) {
    let mut map = map.clone();
    let mut notes = Vec::new();
    if !map.contains_key("value")
        && let Some(value) = map.shift_remove("limit")
    {
        map.insert("value".to_owned(), value);
    }
    if map.get("windowType").is_some_and(|kind| kind == "calendar") {
        map.insert("windowType".to_owned(), json!("period"));
    }
    let has_window = map.contains_key("period") || map.contains_key("rollingUnit");
    if !has_window && let Some(Value::String(window)) = map.get("window").cloned() {
        map.shift_remove("window");
        if let Some(unit) = window.strip_prefix("rolling_") {
            set_rolling(&mut map, unit);
        } else {
            let period = period_of(&window).unwrap_or_else(|| {
                notes.push(format!("window {} is not known and is read as \"daily\"", quote(&window)));
                "daily"
            });
            set_period(&mut map, period);
        }
    } else if !has_window && let Some(Value::String(size)) = map.get("windowSize").cloned() {
        map.shift_remove("windowSize");
        match map.get("windowType").and_then(Value::as_str) {
            Some("rolling") => set_rolling(&mut map, &size),
            _ => set_period(&mut map, period_of(&size).unwrap_or(&size)),
        }
    }
    if !map.contains_key("windowType") && has_window {
        let kind = if map.contains_key("period") { "period" } else { "rolling" };
        map.insert("windowType".to_owned(), json!(kind));
    }
    if let Some(Value::String(unit)) = map.get("rollingUnit")
        && let singular = singular(unit)
        && singular != unit
    {
        let singular = singular.to_owned();
        map.insert("rollingUnit".to_owned(), Value::from(singular));
    }
    (map, notes)
}

fn set_period(map: &mut Map<String, Value>, period: &str) {
    map.insert("windowType".to_owned(), json!("period"));
    map.insert("period".to_owned(), json!(period));
}

fn set_rolling(map: &mut Map<String, Value>, unit: &str) {
    map.insert("windowType".to_owned(), json!("rolling"));
    map.entry("rollingAmount").or_insert(json!(1));
    map.insert("rollingUnit".to_owned(), json!(singular(unit)));
}

/// The period that an old word means; a period's own name stands for itself.
fn period_of(word: &str) -> Option<&'static str> {
    let word = singular(word);
    Some(match word {
        "minute" | "hour" | "hourly" => "hourly",
        "day" | "daily" => "daily",
        "week" | "weekly" => "weekly",
        "month" | "monthly" => "monthly",
        "year" | "yearly" => "yearly",
        _ => return None,
    })
}

/// A known unit without the `s` of its plural; any other word as it is.
fn singular(word: &str) -> &str {
    let is_unit = |word: &&str| *word == "year" || UNITS.iter().any(|(unit, _)| unit == word);
    word.strip_suffix('s').filter(is_unit).unwrap_or(word)
}

/// Limits out of the oldest form, `{daily?, weekly?, monthly?}` in USD.
pub(crate) fn from_thresholds(thresholds: &Map<String, Value>) -> Vec<Value> {
    let one = |period: &str| {
        let value = thresholds.get(period).filter(|value| value.is_number())?;
        Some(json!({"metric": "cost", "windowType": "period", "period": period, "value": value}))
    };
    ["daily", "weekly", "monthly"].into_iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::mistake::{Mistake, Warning};

    fn read(text: &str) -> (Vec<Limit>, Vec<Mistake>, Vec<Warning>) {
        let text = format!("{{\"limits\":[{text}]}}");
        let value: Value = serde_json::from_str(&text).unwrap();
        let sink = Sink::new("f.json", &text);
        let limits = read_limits(&Fields::new(value.as_object().unwrap(), Path::Root, &sink), "limits");
        let (mut mistakes, mut warnings) = (Vec::new(), Vec::new());
        sink.finish(&mut mistakes, &mut warnings);
        (limits, mistakes, warnings)
    }

    #[test]
    fn every_spelling_means_the_same_limit() {
        let calendar = |period| Window::Calendar(period);
        let rolling = |amount, unit| Window::Rolling { amount, unit };
        for (text, window) in [
            (r#"{"windowType":"period","period":"monthly""#, calendar(Period::Monthly)),
            (r#"{"period":"monthly""#, calendar(Period::Monthly)),
            (r#"{"windowType":"calendar","period":"weekly""#, calendar(Period::Weekly)),
            (r#"{"window":"hourly""#, calendar(Period::Hourly)),
            (r#"{"window":"minute""#, calendar(Period::Hourly)),
            (r#"{"window":"day""#, calendar(Period::Daily)),
            (r#"{"window":"year""#, calendar(Period::Yearly)),
            (r#"{"window":"rolling_hour""#, rolling(1, RollingUnit::Hour)),
            (r#"{"window":"rolling_months""#, rolling(1, RollingUnit::Month)),
            (r#"{"windowType":"period","windowSize":"month""#, calendar(Period::Monthly)),
            (r#"{"windowSize":"weekly""#, calendar(Period::Weekly)),
            (r#"{"windowType":"rolling","windowSize":"days""#, rolling(1, RollingUnit::Day)),
            (
                r#"{"windowType":"rolling","rollingAmount":6,"rollingUnit":"hours""#,
                rolling(6, RollingUnit::Hour),
            ),
            (r#"{"rollingUnit":"week""#, rolling(1, RollingUnit::Week)),
        ] {
            for value in ["value", "limit"] {
                let text = format!(r#"{text},"metric":"calls","{value}":7}}"#);
                let (limits, mistakes, warnings) = read(&text);
                assert_eq!((mistakes.len(), warnings.len()), (0, 0), "{text} {mistakes:?} {warnings:?}");
                let expected = Limit {
                    metric: Metric::Calls,
                    window,
                    value: 7,
                    notify_at_percent: vec![],
                    stops_streams: false,
                };
                assert_eq!(limits, [expected], "{text}");
            }
        }
    }

    #[test]
    fn windows_of_up_to_a_minute_are_rates() {
        let rolling = |amount, unit| Window::Rolling { amount, unit };
        let cases = [
            (rolling(1, RollingUnit::Second), true),
            (rolling(60, RollingUnit::Second), true),
            (rolling(1, RollingUnit::Minute), true),
            (rolling(61, RollingUnit::Second), false),
            (rolling(1, RollingUnit::Hour), false),
            (Window::Calendar(Period::Hourly), false),
        ];
        for (window, expected) in cases {
            assert_eq!(window.is_rate(), expected, "{window}");
        }
    }

    #[test]
    fn windows_and_metrics_are_named_as_they_are_written() {
        assert_eq!(Window::Calendar(Period::Monthly).to_string(), "monthly");
        assert_eq!(Window::Rolling { amount: 1, unit: RollingUnit::Minute }.to_string(), "rolling minute");
        assert_eq!(Window::Rolling { amount: 5, unit: RollingUnit::Hour }.to_string(), "rolling 5 hours");
        assert_eq!(METRICS.map(|(_, metric)| metric.as_str()), METRICS.map(|(name, _)| name));
    }

    #[test]
    fn an_unknown_window_is_daily_and_said_so() {
        let (limits, mistakes, warnings) = read(r#"{"metric":"calls","window":"fortnight","value":1}"#);
        assert_eq!(limits[0].window, Window::Calendar(Period::Daily));
        assert!(mistakes.is_empty());
        assert!(warnings[0].message.contains("fortnight"), "{warnings:?}");
    }

    #[test]
    fn money_is_exact_and_counts_in_picodollars() {
        for (value, pico) in [("0", 0), ("0.1", 100_000_000_000), ("12.34", 12_340_000_000_000), ("1e-12", 1)]
        {
            let text = format!(r#"{{"metric":"cost","window":"daily","value":{value},"notifyAt":[50,100]}}"#);
            let (limits, mistakes, _) = read(&text);
            assert!(mistakes.is_empty(), "{mistakes:?}");
            assert_eq!(
                (limits[0].value, limits[0].notify_at_percent.as_slice()),
                (pico, &[50, 100][..]),
                "{value}"
            );
        }
    }

    #[test]
    fn impossible_limits_are_refused_with_place_and_reason() {
        for (text, path, found, expected) in [
            ("3", "limits[0]", "3", "an object (a limit)"),
            (r#"{"window":"daily","value":1}"#, "limits[0]", "a limit without metric", "a metric such as"),
            (
                r#"{"metric":"euros","window":"daily","value":1}"#,
                "limits[0].metric",
                "\"euros\"",
                "\"cost\", ",
            ),
            (r#"{"metric":"calls","value":1}"#, "limits[0]", "without a window", "windowType"),
            (r#"{"metric":"calls","window":"daily"}"#, "limits[0]", "without value", "a number"),
            (r#"{"metric":"calls","window":"daily","value":-1}"#, "limits[0].value", "-1", "not negative"),
            (
                r#"{"metric":"calls","window":"daily","value":1.5}"#,
                "limits[0].value",
                "1.5",
                "a whole number",
            ),
            (
                r#"{"metric":"calls","window":"daily","value":"7"}"#,
                "limits[0].value",
                "\"7\"",
                "a whole number",
            ),
            (r#"{"metric":"cost","window":"daily","value":-0.5}"#, "limits[0].value", "-0.5", "USD"),
            (
                r#"{"metric":"cost","window":"daily","value":1e9}"#,
                "limits[0].value",
                "1000000000",
                "to 18446744 USD",
            ),
            (
                r#"{"metric":"calls","windowType":"rolling","value":1}"#,
                "limits[0]",
                "without rollingUnit",
                "hour",
            ),
            (
                r#"{"metric":"calls","windowType":"moon","value":1}"#,
                "limits[0].windowType",
                "moon",
                "\"period\"",
            ),
            (
                r#"{"metric":"calls","windowType":"period","value":1}"#,
                "limits[0]",
                "without period",
                "monthly",
            ),
            (
                r#"{"metric":"calls","rollingUnit":"day","rollingAmount":0,"value":1}"#,
                "limits[0].rollingAmount",
                "0",
                "from 1",
            ),
            (
                r#"{"metric":"calls","rollingUnit":"month","rollingAmount":123,"value":1}"#,
                "limits[0].rollingAmount",
                "123 units",
                "ten years",
            ),
            (
                r#"{"metric":"calls","window":"daily","value":1,"notifyAt":[0]}"#,
                "limits[0].notifyAt[0]",
                "0",
                "1 to 100",
            ),
        ] {
            let (_, mistakes, _) = read(text);
            assert_eq!(mistakes.len(), 1, "{text}: {mistakes:?}");
            let mistake = &mistakes[0];
            assert_eq!(mistake.path, path, "{text}");
            assert!(
                mistake.found.contains(found) && mistake.expected.contains(expected),
                "{text}: {mistake}"
            );
            assert_eq!(mistake.line, 1, "{text}");
            assert!(mistake.column > 10, "{text}");
        }
    }

    #[test]
    fn thresholds_of_the_oldest_form_are_cost_limits() {
        let thresholds = json!({"daily": 1.5, "monthly": 20, "weekly": null});
        let limits = from_thresholds(thresholds.as_object().unwrap());
        let text: Vec<String> = limits.iter().map(Value::to_string).collect();
        let (limits, mistakes, _) = read(&text.join(","));
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let windows: Vec<Window> = limits.iter().map(|limit| limit.window).collect();
        assert_eq!(windows, [Window::Calendar(Period::Daily), Window::Calendar(Period::Monthly)]);
        assert_eq!(limits[0].value, 1_500_000_000_000);
    }
}
