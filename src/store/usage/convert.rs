//! The usage file of the upstream program, one JSON array, made into JSON Lines.
//!
//! Owns the split of the array into its elements, in bounded memory, and the change of other programs' field names into
//! ours. The array file stays beside as a backup. What else the array's records hold is kept, but for the embedded
//! `trace`: it is as long as hundreds of records and stays in the backup.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::limits::USAGE_IMPORT_RECORD_BYTES_MAX;
use crate::telemetry::text::{TimestampFormatter, parse_timestamp_ms};

/// What a conversion did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conversion {
    /// Records taken over.
    pub records: u64,
    /// Elements that are no readable record; they are in the backup alone.
    pub skipped: u64,
    /// Whether the array broke off before its end.
    pub truncated: bool,
    /// The array as it was.
    pub backup: PathBuf,
}

/// Whether the file is an array: its first character that is no space.
pub(crate) fn is_array(path: &Path) -> io::Result<bool> {
    Ok(starts_array(BufReader::new(File::open(path)?).fill_buf()?))
}

/// Whether the first bytes of a file open an array. Nobody puts pages of spaces before it.
pub(super) fn starts_array(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().first() == Some(&b'[')
}

/// Converts the array at `path` in place. At every moment either the array or the whole new file stands there.
pub(super) fn convert_file(path: &Path) -> io::Result<Conversion> {
    let unfinished = path.with_extension("json.converting");
    let target = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    let mut target = BufWriter::new(target);
    let mut conversion = convert(&mut BufReader::with_capacity(1 << 16, File::open(path)?), &mut target)?;
    target.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    conversion.backup = keep_backup(path)?;
    fs::rename(&unfinished, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(conversion)
}

/// Gives the file a second name, the first free of `usage.json.array.bak`, `…-2`, ….
fn keep_backup(path: &Path) -> io::Result<PathBuf> {
    for number in 1_u32.. {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let backup = path.with_extension(format!("json.array.bak{suffix}"));
        match fs::hard_link(path, &backup) {
            Ok(()) => {
                fs::set_permissions(&backup, fs::Permissions::from_mode(0o600))?;
                return Ok(backup);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // A file system without links.
            Err(_) => {
                fs::copy(path, &backup)?;
                return Ok(backup);
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "no free name for the backup of usage.json"))
}

/// Reads an array of records and writes each as a line.
pub(super) fn convert(source: &mut impl BufRead, target: &mut impl Write) -> io::Result<Conversion> {
    let mut conversion = Conversion::default();
    let mut splitter = ElementSplitter::default();
    loop {
        let bytes = source.fill_buf()?;
        if bytes.is_empty() {
            break;
        }
        for byte in bytes {
            if splitter.push(*byte) {
                write_element(&mut splitter, target, &mut conversion)?;
            }
        }
        let read = bytes.len();
        source.consume(read);
    }
    if splitter.place != Place::After {
        conversion.truncated = true;
        write_element(&mut splitter, target, &mut conversion)?;
    }
    Ok(conversion)
}

fn write_element(
    splitter: &mut ElementSplitter,
    target: &mut impl Write,
    conversion: &mut Conversion,
) -> io::Result<()> {
    let element = std::mem::take(&mut splitter.element);
    let too_long = std::mem::take(&mut splitter.too_long);
    if element.is_empty() && !too_long {
        return Ok(());
    }
    match serde_json::from_slice::<Map<String, Value>>(&element) {
        Ok(record) if !too_long => {
            serde_json::to_writer(&mut *target, &normalise(record))?;
            target.write_all(b"\n")?;
            conversion.records += 1;
        }
        _ => conversion.skipped += 1,
    }
    Ok(())
}

/// Where in the array the last byte was.
#[derive(Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before the opening bracket.
    #[default]
    Before,
    /// Inside an element or between two; `depth` counts open brackets and braces of the element.
    Elements { depth: u32, string: StringPlace },
    /// After the closing bracket.
    After,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StringPlace {
    Outside,
    Inside,
    AfterBackslash,
}

/// Cuts an array into its elements, a byte at a time.
#[derive(Debug, Default)]
struct ElementSplitter {
    place: Place,
    /// The current element, without the spaces before it.
    element: Vec<u8>,
    /// The element is beyond the bound; its bytes are dropped.
    too_long: bool,
}

impl ElementSplitter {
    /// Takes one byte; true when an element is complete.
    fn push(&mut self, byte: u8) -> bool {
        let Place::Elements { depth, string } = &mut self.place else {
            if byte == b'[' && self.place == Place::Before {
                self.place = Place::Elements { depth: 0, string: StringPlace::Outside };
            }
            return false;
        };
        match (*string, byte) {
            (StringPlace::AfterBackslash, _) => *string = StringPlace::Inside,
            (StringPlace::Inside, b'\\') => *string = StringPlace::AfterBackslash,
            (StringPlace::Inside, b'"') => *string = StringPlace::Outside,
            (StringPlace::Inside, _) => {}
            (StringPlace::Outside, b'"') => *string = StringPlace::Inside,
            (StringPlace::Outside, b',') if *depth == 0 => return true,
            (StringPlace::Outside, b']') if *depth == 0 => {
                self.place = Place::After;
                return true;
            }
            (StringPlace::Outside, b'{' | b'[') => *depth = depth.saturating_add(1),
            (StringPlace::Outside, b'}' | b']') => *depth = depth.saturating_sub(1),
            (StringPlace::Outside, _) => {}
        }
        if self.element.len() == USAGE_IMPORT_RECORD_BYTES_MAX {
            self.too_long = true;
            self.element.clear();
        }
        let is_leading_space = self.element.is_empty() && byte.is_ascii_whitespace();
        if !self.too_long && !is_leading_space {
            self.element.push(byte);
        }
        false
    }
}

/// Gives a record of another program our names; fields that both have stay as they are.
fn normalise(mut record: Map<String, Value>) -> Map<String, Value> {
    const ALIASES: [(&str, &str); 6] = [
        ("ts", "timestamp"),
        ("costUsd", "cost"),
        ("cacheTokens", "cachedInputTokens"),
        ("durationMs", "latencyMs"),
        ("status", "outcome"),
        ("projectSlug", "projectId"),
    ];
    for (alias, name) in ALIASES {
        let ours_is_missing = record.get(name).is_none_or(Value::is_null);
        if let Some(value) = record.get(alias).filter(|value| ours_is_missing && !value.is_null()).cloned() {
            record.shift_remove(alias);
            record.insert(name.to_owned(), value);
        }
    }
    record.shift_remove("trace");
    if record.get("cost").is_none_or(Value::is_null) {
        let cost = cost_from_prices(&record);
        record.insert("cost".to_owned(), Value::from(cost));
    }
    // Id and time stand first, where recovery looks for them.
    let mut ordered = Map::new();
    if let Some(id) = record.shift_remove("id") {
        ordered.insert("id".to_owned(), id);
    }
    if let Some(timestamp) = record.shift_remove("timestamp") {
        ordered.insert("timestamp".to_owned(), normal_timestamp(timestamp));
    }
    ordered.extend(record);
    ordered
}

/// USD, rounded to nine decimals as upstream does; 0 when the record does not say its prices.
fn cost_from_prices(record: &Map<String, Value>) -> f64 {
    let number = |name: &str| record.get(name).and_then(Value::as_f64);
    let part = |tokens: &str, price: &str| Some(number(tokens)? / 1e6 * number(price)?);
    let cost =
        part("inputTokens", "priceInput").unwrap_or(0.0) + part("outputTokens", "priceOutput").unwrap_or(0.0);
    (cost * 1e9).round() / 1e9
}

/// Our spelling of a moment given as text or as seconds or milliseconds since the epoch; anything else as it came.
fn normal_timestamp(timestamp: Value) -> Value {
    /// Seconds since the epoch reach this in the year 5138, milliseconds passed it in 1973.
    const LEAST_MS: u64 = 100_000_000_000;
    let unix_ms = match &timestamp {
        Value::String(text) => parse_timestamp_ms(text),
        Value::Number(number) => {
            number.as_u64().map(|number| if number < LEAST_MS { number * 1000 } else { number })
        }
        _ => None,
    };
    match unix_ms {
        Some(unix_ms) => Value::from(TimestampFormatter::default().format(unix_ms).as_str()),
        None => timestamp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(array: &str) -> (String, Conversion) {
        let mut out = vec![];
        let conversion = convert(&mut array.as_bytes(), &mut out).unwrap();
        (String::from_utf8(out).unwrap(), conversion)
    }

    #[test]
    fn arrays_become_lines() {
        let cases = [
            ("empty", "[]", "", 0, 0, false),
            ("pretty", "[\n  {\"id\": \"a\", \"cost\": 1}\n]\n", "{\"id\":\"a\",\"cost\":1}\n", 1, 0, false),
            (
                "brackets in strings",
                r#"[{"cost":0,"x":"],\"[{"},{"cost":0}]"#,
                "{\"cost\":0,\"x\":\"],\\\"[{\"}\n{\"cost\":0}\n",
                2,
                0,
                false,
            ),
            (
                "nested",
                r#"[{"cost":0,"x":[{"y":[1,2]}]}]"#,
                "{\"cost\":0,\"x\":[{\"y\":[1,2]}]}\n",
                1,
                0,
                false,
            ),
            ("other values", r#"[null,"a,]",1,{"cost":0}]"#, "{\"cost\":0}\n", 1, 3, false),
            ("cut in a record", r#"[{"cost":0},{"cost":1,"#, "{\"cost\":0}\n", 1, 1, true),
            ("cut after a record", r#"[{"cost":0}"#, "{\"cost\":0}\n", 1, 0, true),
            ("cut at once", "[", "", 0, 0, true),
        ];
        for (name, array, lines, records, skipped, truncated) in cases {
            let (text, conversion) = converted(array);
            assert_eq!(text, lines, "{name}");
            assert_eq!(
                conversion,
                Conversion { records, skipped, truncated, ..Conversion::default() },
                "{name}"
            );
        }
    }

    #[test]
    fn names_of_other_programs_become_ours() {
        let record = r#"[{"ts":1767225600,"costUsd":0.5,"cacheTokens":3,"durationMs":9,"status":"error","projectSlug":"p",
            "trace":[{"long":"story"}],"own":true,"id":"a"}]"#;
        assert_eq!(
            converted(record).0,
            "{\"id\":\"a\",\"timestamp\":\"2026-01-01T00:00:00.000Z\",\"own\":true,\"cost\":0.5,\"cachedInputTokens\":3,\
             \"latencyMs\":9,\"outcome\":\"error\",\"projectId\":\"p\"}\n"
        );
    }

    #[test]
    fn our_names_win_and_missing_costs_are_worked_out() {
        let record = r#"[{"timestamp":"2026-01-01T00:00:00Z","ts":"other","cost":null,
            "inputTokens":1000,"outputTokens":10,"priceInput":2,"priceOutput":10},{"cost":null}]"#;
        let (text, _) = converted(record);
        let values: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(values[0]["timestamp"], "2026-01-01T00:00:00.000Z");
        assert_eq!(values[0]["ts"], "other");
        assert_eq!(values[0]["cost"], 0.0021);
        assert_eq!(values[1]["cost"], 0.0);
    }

    #[test]
    fn an_element_beyond_the_bound_is_skipped_in_bounded_memory() {
        let long = format!(r#"[{{"x":"{}"}},{{"cost":0}}]"#, "x".repeat(USAGE_IMPORT_RECORD_BYTES_MAX + 5));
        let (text, conversion) = converted(&long);
        assert_eq!((text.as_str(), conversion.records, conversion.skipped), ("{\"cost\":0}\n", 1, 1));
    }

    #[test]
    fn a_file_is_replaced_and_its_array_kept() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("usage.json");
        for name in ["usage.json.array.bak", "usage.json.array.bak-2"] {
            fs::write(&path, "  [{\"cost\":0}]").unwrap();
            assert!(is_array(&path).unwrap());
            let conversion = convert_file(&path).unwrap();
            assert_eq!(conversion.backup, home.path().join(name));
            assert_eq!(fs::read_to_string(&conversion.backup).unwrap(), "  [{\"cost\":0}]");
            assert_eq!(fs::read_to_string(&path).unwrap(), "{\"cost\":0}\n");
            assert!(!is_array(&path).unwrap());
        }
    }
}
