//! Recorded exchanges with real providers, as they lie in `recordings/`.

use std::path::PathBuf;

use serde_json::Value;

/// One exchange.
pub struct Recording {
    pub id: String,
    pub dialect: String,
    pub streaming: bool,
    pub status: u16,
    /// Fields of the answer, without those that frame it.
    pub fields: Vec<(String, String)>,
    /// Fields of the request that mean something to the provider, without credentials.
    pub asked_fields: Vec<(String, String)>,
    pub path: String,
    pub asked: Value,
    /// The answer's body, byte for byte.
    pub answer: Vec<u8>,
}

impl Recording {
    fn read(text: &[u8]) -> Option<Self> {
        let recording: Value = serde_json::from_slice(text).unwrap();
        let (request, response) = (&recording["request"], &recording["response"]);
        let string = |value: &Value| value.as_str().unwrap().to_owned();
        let streaming = recording["streaming"].as_bool().unwrap();
        let answer = string(&response[if streaming { "sse" } else { "body" }]).into_bytes();
        if request.is_null() {
            return None;
        }
        let headers = |headers: &Value, keep: fn(&str) -> bool| -> Vec<(String, String)> {
            let all = headers.as_object().into_iter().flatten();
            all.filter(|(name, _)| keep(&name.to_ascii_lowercase()))
                .map(|(name, value)| (name.clone(), string(value)))
                .collect()
        };
        let mut fields = headers(&response["headers"], |name| {
            !matches!(name, "content-length" | "transfer-encoding" | "connection" | "content-encoding")
        });
        if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            let kind = if streaming { "text/event-stream" } else { "application/json" };
            fields.push(("content-type".into(), kind.into()));
        }
        Some(Self {
            id: string(&recording["id"]),
            dialect: string(&recording["dialect"]),
            streaming,
            status: response["status"].as_u64().unwrap() as u16,
            fields,
            asked_fields: headers(&request["headers"], |name| name.starts_with("anthropic-")),
            path: string(&request["path"]),
            asked: request["body"].clone(),
            answer,
        })
    }

    /// Whether the answer is a stream of events, as its head says.
    pub fn is_events(&self) -> bool {
        let content_type = self.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        content_type.is_some_and(|(_, value)| value.starts_with("text/event-stream"))
    }

    /// Whether the client asked for the usage chunk of a chat stream.
    pub fn asks_usage(&self) -> bool {
        self.asked["stream_options"]["include_usage"] == true
    }

    /// A seed of its own for everything that is drawn.
    pub fn seed(&self) -> u64 {
        // FNV-1a.
        self.id
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

/// The recordings of a dialect that have a request, by id; none where they are not at hand, as in a checkout of the
/// repository alone.
pub fn recordings(dialect: &str) -> Vec<Recording> {
    let shared = match std::env::var_os("ROUTERLY_SHARED") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"),
    };
    let folder = shared.join("recordings").join(dialect);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("no recordings in {}: nothing is replayed", folder.display());
        return Vec::new();
    };
    let read = |path: PathBuf| Recording::read(&std::fs::read(path).unwrap());
    let mut found: Vec<Recording> = entries.filter_map(|entry| read(entry.unwrap().path())).collect();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    assert!(found.len() > 50, "{} has {} recordings", folder.display(), found.len());
    found
}
