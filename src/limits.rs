//! Every bound of the data plane: unit, what happens beyond it, where the number comes from.

/// One kibibyte in bytes.
pub const KIB: usize = 1024;
/// One mebibyte in bytes.
pub const MIB: usize = 1024 * KIB;

/// Longest request head, start line and all fields, in bytes. Beyond it: 431 and close.
pub const REQUEST_HEAD_BYTES_MAX: usize = 64 * KIB;
/// Most header fields of one request. Beyond it: 431 and close. hyper allows 100; SDKs send about 25.
pub const REQUEST_FIELDS_MAX: usize = 100;
/// Longest response head of a provider, in bytes. Beyond it: 502.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 64 * KIB;
/// Most header fields of a provider's response. Beyond it: 502. Cloudflare-fronted providers send about 40.
pub const RESPONSE_FIELDS_MAX: usize = 128;
/// Longest line that opens a chunk, extensions included, in bytes. Beyond it: malformed.
pub const CHUNK_LINE_BYTES_MAX: usize = 1024;
/// Longest trailer section after the last chunk, in bytes; trailers are read and dropped.
pub const TRAILER_BYTES_MAX: usize = 16 * KIB;
/// Longest server-sent event that is looked into, in bytes. A longer one is relayed unread.
pub const SSE_EVENT_BYTES_MAX: usize = MIB;

// --- net
/// Size of a pooled read buffer in bytes: what one `recv` takes at most. A whole request head fits.
pub const READ_BUFFER_BYTES: usize = 64 * KIB;
const _: () = assert!(READ_BUFFER_BYTES >= REQUEST_HEAD_BYTES_MAX);
/// Free read buffers that a core keeps. Beyond it they go back to the allocator. Worst case 4 MiB a core.
pub const POOLED_BUFFERS_MAX: usize = 64;
/// Bytes that an in-memory pipe holds in one direction before its writer waits.
pub const PIPE_BYTES_MAX: usize = 64 * KIB;
/// How often deadlines are looked at, in milliseconds: a deadline fires at most this much late.
pub const DEADLINE_TICK_MS: u64 = 50;
/// Bytes read and thrown away while a closing connection lingers.
pub const LINGER_BYTES_MAX: usize = 64 * MIB;

// --- upstream
/// Threads that call the system's resolver.
pub const RESOLVER_THREADS: usize = 2;
/// Names waiting for a resolver thread. Beyond it the request fails with 502.
pub const RESOLVER_QUEUE_MAX: usize = 256;
/// Longest answer of an HTTP proxy to `CONNECT`, in bytes.
pub const PROXY_HEAD_BYTES_MAX: usize = 8 * KIB;

// --- mailbox
/// Messages waiting for the control thread. Beyond it cores keep counting and send later.
pub const CONTROL_QUEUE_MAX: usize = 1024;

// --- trace
/// Longest text of a prompt or an answer in a trace, in bytes; cut at a character's edge.
pub const TRACE_PROMPT_BYTES_MAX: usize = 16 * KIB;
/// How long a finished trace can be looked at live, in milliseconds. Source: the routing specification, section 10.
pub const TRACE_LIVE_MS: u64 = 300_000;
/// Messages on their way to the thread that keeps traces. Beyond it traces are dropped and counted.
pub const TRACE_QUEUE_MAX: usize = 64;
/// How long the cores have to say which recent traces they hold, in milliseconds: some ticks.
pub const TRACE_ANSWER_MS: u64 = 4 * DEADLINE_TICK_MS;
/// Most recent traces in one answer.
pub const TRACES_LISTED_MAX: usize = 1_000;
/// Longest file of kept traces, in bytes: one is read whole to find a trace in it.
pub const TRACE_SEGMENT_BYTES_MAX: u64 = 8 * MIB as u64;

// --- shard
/// Byte vectors for heads that a core keeps for reuse.
pub const HEAD_VECTORS_MAX: usize = 64;
/// Largest byte vector that is kept for reuse, in bytes.
pub const HEAD_VECTOR_BYTES_MAX: usize = 64 * KIB;

// --- gateway
/// First piece of memory for a request body whose rest is still to come, in bytes; it doubles from there.
pub const BODY_GROWTH_BYTES: usize = 64 * KIB;
/// Room kept before a provider's bytes, so that our head and chunk line go out with them in one write.
pub const ANSWER_HEADROOM_BYTES: usize = 2 * KIB;
/// Room kept behind a provider's bytes for the end of our chunk and of the body.
pub const ANSWER_TAILROOM_BYTES: usize = 16;
const _: () =
    assert!(READ_BUFFER_BYTES > RESPONSE_HEAD_BYTES_MAX / 2 + ANSWER_HEADROOM_BYTES + ANSWER_TAILROOM_BYTES);
/// Requests whose body and head together are at most so long are sent from one piece of memory, in bytes: copying
/// them costs less than gathering.
pub const CONTIGUOUS_REQUEST_BYTES_MAX: usize = 16 * KIB;
/// Media that are fetched for one request. Beyond it: 400. Most models take fewer.
pub const MEDIA_PER_REQUEST_MAX: usize = 32;
/// Redirects that are followed on the way to a medium. Beyond it: 400.
pub const MEDIA_REDIRECTS_MAX: usize = 4;
/// Answers to one request (`n`) whose calls are mapped back. Beyond it they pass as they are. OpenAI's own bound.
pub const TRANSLATED_CHOICES_MAX: usize = 128;
/// How far into a call's input its `{"input":"` is looked for, in bytes: it has ten, the rest is white space.
pub const UNWRAP_HEAD_BYTES_MAX: usize = 64;
/// Longest server-sent event that is translated, in bytes. Beyond it: the stream ends in an error. The last event of a
/// Responses stream repeats the whole answer: 128,000 tokens of text and their reasoning's blob are about 2 MiB.
pub const TRANSLATED_EVENT_BYTES_MAX: usize = 16 * MIB;
/// Longest answer in one piece that is translated, in bytes. Beyond it: 502. An answer of 128,000 tokens has 1 MiB.
pub const TRANSLATED_ANSWER_BYTES_MAX: usize = 32 * MIB;
/// Most bytes of a paused turn that are sent back to its model. Beyond it: the answer ends where it has paused. The results
/// of ten web searches have about 400 KiB.
pub const PAUSED_TURN_BYTES_MAX: usize = 4 * MIB;
/// How often one answer goes on after a pause. Beyond it: it ends there.
pub const PAUSES_MAX: u32 = 5;
// --- http1

/// Longest method name of a request, in bytes. Beyond it: 501 and close. The longest registered one has 17.
pub const METHOD_BYTES_MAX: usize = 32;
/// Longest request target, in bytes. Beyond it: 414 and close. RFC 9110 §4.1 asks for at least 8,000.
pub const TARGET_BYTES_MAX: usize = 16 * KIB;
/// Most empty lines skipped before a request line. Beyond it: 400 and close. RFC 9112 §2.2 asks for at least one.
pub const LEADING_EMPTY_LINES_MAX: usize = 4;
/// Most options in all `Connection` fields of one head. Beyond it: 431 (502 from a provider). Each one that
/// names a field is compared with every field, so this bounds that product; SDKs send one or two.
pub const CONNECTION_OPTIONS_MAX: usize = 32;
/// Most bytes of chunk extensions in one body, all chunks together. Beyond it: malformed. Stops a peer that
/// sends a kilobyte of extension for each byte of data.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 16 * KIB;

const _: () = assert!(METHOD_BYTES_MAX + TARGET_BYTES_MAX < REQUEST_HEAD_BYTES_MAX);
// One bit per field of a head tells whether it may be forwarded.
const _: () = assert!(REQUEST_FIELDS_MAX <= 128 && RESPONSE_FIELDS_MAX <= 128);
// Streams and bodies that are looked into: sse, json, dialect

/// Deepest nesting of a JSON document that is looked into. Beyond it: a request is refused with 400, a response is
/// relayed unread. serde_json allows 128, Python's json about 1,000; JSON schemas in the recordings reach 20.
pub const JSON_DEPTH_MAX: usize = 256;
/// Longest `usage`, `model` or similar member kept from a unary response, in bytes. A longer one counts as absent.
/// The longest usage object in the recordings has 1.2 KiB.
pub const TAP_MEMBER_BYTES_MAX: usize = 16 * KIB;
/// Longest `error` member kept from a unary response, in bytes. A longer one counts as an error without text.
pub const TAP_ERROR_BYTES_MAX: usize = 64 * KIB;
/// Longest text kept from a provider's error, in bytes; the rest is cut off at a character.
pub const PROVIDER_ERROR_TEXT_BYTES_MAX: usize = KIB;
/// Longest model name or response id kept from a response, in bytes. A longer one counts as absent.
pub const REPORTED_NAME_BYTES_MAX: usize = 256;
/// Longest request head of which a copy is kept to know the next one by, in bytes. One per client connection.
pub const REPEATED_HEAD_BYTES_MAX: usize = 2 * KIB;
/// Longest end of an answer, from its usage on and without its numbers, of which a copy is kept to know the next ones by,
/// in bytes. One per endpoint and core.
pub const USAGE_SHAPE_BYTES_MAX: usize = 2 * KIB;
/// Longest stream event, its text not counted, of which a copy is kept to know the next ones by, in bytes. One per open
/// stream.
pub const REPEATED_EVENT_BYTES_MAX: usize = KIB;
/// Capacity that the carry buffer of an event scanner keeps between events, in bytes; what is beyond it is given back.
pub const SSE_CARRY_KEEP_BYTES: usize = 4 * KIB;
/// Most dropped fields that one translation names in its report; further ones are left out of it. Clients send a few.
pub const DROPPED_NAMES_MAX: usize = 64;
/// Most sources of one text block that are kept until the block is over; further ones are left out. Web searches name
/// one or two.
pub const BLOCK_CITATIONS_MAX: usize = 256;
/// Most names of functions that are mapped back in the answer to one request. Further ones come as they were sent.
/// Providers take 128 to 512 functions.
pub const MAPPED_TOOL_NAMES_MAX: usize = 512;
/// Most answers (`n`) of one chat stream that is translated. Beyond it: the stream ends in an error. OpenAI's own bound.
pub const CHAT_CHOICES_MAX: usize = 128;
/// Most calls of one answer in a chat stream that is translated. Beyond it: the stream ends in an error. OpenAI allows
/// 128 tools.
pub const CHAT_CALLS_MAX: usize = 512;
/// Bytes of arguments that wait because another call of the same answer is not complete yet. Beyond it: the stream ends
/// in an error. OpenAI never mixes them.
pub const CHAT_WAITING_BYTES_MAX: usize = MIB;
/// Most citations of one text in a chat stream that is translated; they wait for its end. Further ones are left out.
pub const CHAT_CITATIONS_MAX: usize = 256;

const _: () = assert!(JSON_DEPTH_MAX.is_multiple_of(64), "the nesting stack is kept in words of 64 bits");
// --- usage: journal, store, counters, telemetry

/// Size of one core's journal ring in bytes when the configuration names none. A record is about 800 bytes, so this
/// holds 5,000 of them: a second of stalled disk at 5,000 requests per second and core.
pub const JOURNAL_BYTES_DEFAULT: usize = 16 * MIB;
/// Smallest journal ring in bytes; the largest record must fit into it more than once.
pub const JOURNAL_BYTES_MIN: usize = 128 * KIB;
/// Largest journal ring in bytes: it is mapped, and re-read as a whole after a crash.
pub const JOURNAL_BYTES_MAX: usize = 1024 * MIB;
/// Longest usage record in bytes. A longer one is not recorded and counted as lost; a record whose every string is at
/// its bound stays below half of this.
pub const RECORD_BYTES_MAX: usize = 63 * KIB;
/// A sync of the usage file that takes longer than this, in milliseconds, degrades the store: the journals fill up.
pub const USAGE_SYNC_STALL_MS: u64 = 5_000;
/// Records waiting in memory of one core while its ring is full, in bytes. Beyond it records are lost and counted,
/// or requests refused, as the configuration says.
pub const JOURNAL_SPILL_BYTES_MAX: usize = 64 * MIB;
/// Longest string field of a usage record or log line, in bytes; cut at a character's edge.
pub const RECORD_TEXT_BYTES_MAX: usize = 256;
/// Longest error message of a usage record or log line, in bytes; cut at a character's edge.
pub const RECORD_ERROR_BYTES_MAX: usize = 1024;
/// Size in bytes at which `data/usage.json` is rotated when the configuration names none.
pub const USAGE_SEGMENT_BYTES_DEFAULT: u64 = 256 * MIB as u64;
/// Longest record of an upstream usage file in bytes; it embeds whole traces. A longer one is left in the backup and
/// counted.
pub const USAGE_IMPORT_RECORD_BYTES_MAX: usize = 16 * MIB;
/// Longest line of a usage file that reports and recovery look into, in bytes. A longer one is counted as unreadable.
pub const USAGE_LINE_BYTES_MAX: usize = MIB;
/// Most values of one metric label; the smallest are summed under `other`.
pub const METRIC_LABEL_VALUES_MAX: usize = 1_000;
/// Log bytes that one thread collects before it hands them to the log writer.
pub const LOG_BATCH_BYTES: usize = 16 * KIB;
/// Log batches waiting for the log writer. Beyond it lines are dropped and counted: a log never blocks a core.
pub const LOG_BATCHES_MAX: usize = 256;

const _: () = assert!(JOURNAL_BYTES_MIN >= 2 * RECORD_BYTES_MAX && JOURNAL_BYTES_MIN.is_power_of_two());
const _: () = assert!(JOURNAL_BYTES_DEFAULT.is_power_of_two() && JOURNAL_BYTES_MAX.is_power_of_two());
const _: () = assert!(JOURNAL_SPILL_BYTES_MAX >= RECORD_BYTES_MAX);
/// Output tokens assumed for the cost estimate of a request that sets no limit.
pub const ESTIMATED_OUTPUT_TOKENS: u64 = 1024;
/// How far into a form the gateway looks for its model, in bytes.
pub const FORM_PEEK_BYTES: usize = 32 * KIB;
/// Longest model name that is looked up, in bytes.
pub const MODEL_NAME_BYTES_MAX: usize = 256;
// Configuration and keys

/// Longest configuration file that is read, in bytes. Beyond it: a mistake that names the file. A project file with
/// 100,000 tokens is about 30 MiB.
pub const CONFIG_FILE_BYTES_MAX: u64 = 256 * MIB as u64;
/// Longest credential that is hashed, in bytes. Beyond it: 401 without a hash. Ours have 70.
pub const TOKEN_BYTES_MAX: usize = 512;
/// Longest token that is tried on slow hashes, in bytes. Beyond it: 401 without a run.
pub const SLOW_TOKEN_BYTES_MAX: usize = 256;
/// Tokens of a configuration that may be stored as slow hashes; more are a mistake of the file. An unknown token can
/// cost a run for each of them.
pub const SLOW_TOKENS_MAX: usize = 64;
/// Memory, passes and lanes that a slow hash may ask for; more is a mistake of the file. The hashes that are made for
/// router keys ask for 65,536 KiB, 3 and 4: a tenth of a second. One is computed at a time.
pub const ARGON2_MEMORY_KIB_MAX: u32 = 262_144;
/// See [`ARGON2_MEMORY_KIB_MAX`].
pub const ARGON2_PASSES_MAX: u32 = 16;
/// See [`ARGON2_MEMORY_KIB_MAX`].
pub const ARGON2_LANES_MAX: u32 = 64;
/// Tokens that wait to be tried on slow hashes, all cores together. Beyond it: 503.
pub const PROOF_QUEUE_MAX: usize = 16;
/// Longest wait for that, in milliseconds; then 503.
pub const PROOF_WAIT_MS: u64 = 10_000;
/// Wrong tokens that are remembered for each slow hash, by digest.
pub const REFUTED_TOKENS_MAX: usize = 256;
// The simulated provider

/// Most output tokens of one simulated answer, thinking and tool calls included. More is cut to it. At six
/// bytes a token and four renderings of the text in a Responses stream that is 6 MiB for one answer.
pub const SIMULATED_OUTPUT_TOKENS_MAX: u64 = 262_144;
/// Most choices (`n`, `candidateCount`) of one simulated answer. Beyond it: 400. OpenAI's own bound.
pub const SIMULATED_CHOICES_MAX: u64 = 128;
/// Most inputs of one simulated embeddings request. Beyond it: 400. OpenAI's own bound.
pub const SIMULATED_EMBEDDING_INPUTS_MAX: usize = 2_048;
/// Most dimensions of one simulated embedding. Beyond it: 400. The largest of today's models has 4,096.
pub const SIMULATED_DIMENSIONS_MAX: u64 = 4_096;
/// Levels of nested schemas that a simulated tool call follows before it writes the smallest legal value.
pub const SIMULATED_SCHEMA_DEPTH_MAX: usize = 12;

// --- control
/// Configurations whose indexes are still understood in counters. Cores send theirs several times a second.
pub const SNAPSHOTS_KEPT_MAX: usize = 8;
/// Older ones that are understood as well while requests that began under them run.
pub const SNAPSHOTS_HELD_MAX: usize = 56;
/// How often the configuration files are looked at, in milliseconds.
pub const WATCH_INTERVAL_MS: u64 = 500;

// --- routing metrics
/// Different windows (with half-lives) of one kind of policy, all projects together. More are a mistake of the
/// configuration. Worst case 5 KiB for each of them and each model with calls.
pub const METRIC_SERIES_MAX: usize = 64;
/// Rows of what policies read about past calls that are computed in one tick, for each kind of policy; what is left waits
/// for the next one. A row takes about a third of a microsecond.
pub const METRIC_ROWS_PER_TICK_MAX: usize = 4_096;
/// Windows of (project, model) that `fairness` keeps, all projects together. Calls of further pairs count as none until
/// others have run empty. Worst case 300 bytes each: 20 MB.
pub const METRIC_PROJECT_WINDOWS_MAX: usize = 65_536;

// --- simulate
/// Largest body that the simulated provider reads, in bytes.
pub const SIMULATED_BODY_BYTES_MAX: usize = 64 * MIB;

// --- resolver
/// How long a connection waits for a new answer while the old address of a name could serve, in milliseconds. Resolvers
/// answer within tens of them, or after seconds.
pub const STALE_ADDRESS_WAIT_MS: u64 = 250;

// --- input
/// Largest rest of received bytes that is moved out of its pooled buffer while it waits for more, in bytes.
pub const PARKED_BYTES_MAX: usize = 8 * KIB;
/// Bytes of a next request that are taken in while one is under way. Beyond it the client is no longer watched.
pub const EARLY_BYTES_MAX: usize = 8 * KIB;
/// Requests that one connection is served in a row before others get their turn.
pub const REQUESTS_PER_TURN: u32 = 32;
/// Request bodies that one core holds at a time, in bytes, all connections together. Beyond it: 503.
pub const CORE_BODY_BYTES_MAX: usize = 512 * MIB;
/// How long after a request was sent a pooled connection may end for the provider not to have seen it, in
/// milliseconds. It covers a round trip; no model answers, and fails, that fast.
pub const STALE_WINDOW_MS: u64 = 250;

// --- dialect: Gemini
/// Longest answer in which Gemini's byte offsets of citations are turned into characters, in bytes. Beyond it the
/// citations come without positions. Worst case a bit for each byte: 512 KiB for one stream.
pub const CITED_TEXT_BYTES_MAX: usize = 4 * MIB;
/// Most answers to one request in a Gemini stream; the service gives 8 at most. Further ones are left out.
pub const GEMINI_CANDIDATES_MAX: usize = 16;
/// Deepest nesting of a call's arguments that come piece by piece. Beyond it the stream fails.
pub const PARTIAL_ARGS_DEPTH_MAX: usize = 64;
/// Longest arguments of a call that a Gemini client gets in one piece, in bytes. Beyond it the stream fails.
pub const CALL_ARGUMENTS_BYTES_MAX: usize = 4 * MIB;
/// Most sources of one streamed answer that are kept for its last chunk; further ones are left out. A web search names
/// tens of them.
pub const STREAM_CITATIONS_MAX: usize = 1024;
/// Longest schema that references are put into, in bytes: beyond it they become any object. A schema that refers to
/// itself twice would double with each level.
pub const OPENAPI_SCHEMA_BYTES_MAX: usize = MIB;
/// Deepest nesting of such a schema. Beyond it: any object.
pub const OPENAPI_SCHEMA_DEPTH_MAX: usize = 64;
/// Most bytes looked at for one such schema, each place as often as it is referred to. Beyond it: any object.
pub const OPENAPI_SCHEMA_WORK_BYTES_MAX: usize = 16 * MIB;
// --- translation: OpenAI Responses
/// Bytes of a provider's Responses stream that are kept because their items come mixed with another one. Beyond it: the
/// stream ends in an error. OpenAI never mixes them.
pub const INTERLEAVED_BYTES_MAX: usize = MIB;
/// Items of such a stream that wait at a time. Beyond it: the same. OpenAI allows 128 tools.
pub const INTERLEAVED_ITEMS_MAX: usize = 128;
/// Bytes of output that a translated Responses stream keeps in order to repeat them at its end. Beyond it: the stream
/// ends in an error. 128,000 tokens of text are about 1 MiB.
pub const REPEATED_OUTPUT_BYTES_MAX: usize = 32 * MIB;
/// Longest conversation that is put before a request that follows a kept response, in bytes of JSON. Beyond it: 400.
pub const CONVERSATION_BYTES_MAX: usize = 32 * MIB;
/// Most turns of such a conversation. Beyond it: 400.
pub const CONVERSATION_TURNS_MAX: usize = 1_000;
/// Messages on their way to the thread that keeps responses. Beyond it a core waits before it ends an answer.
pub const KEEPER_QUEUE_MAX: usize = 1_024;
/// Requests on their way to the thread of the management API. Beyond it: 503.
pub const OFFICE_QUEUE_MAX: usize = 256;
/// Questions on their way to the threads that make reports. Beyond it: 503.
pub const REPORTS_QUEUE_MAX: usize = 256;
/// Threads that make reports: one long report leaves the other for the rest.
pub const REPORTS_THREADS: usize = 2;
/// Exports of usage records at a time. Each holds the rollups that it looks into, some megabytes at ten million records.
/// Beyond it: 429.
pub const EXPORTS_MAX: usize = 4;
/// Records in one piece of an export, about half a megabyte.
pub const EXPORT_PIECE_RECORDS: usize = 1_000;
/// Longest body of a request to the management API: a project with thousands of tokens is sent back whole. Beyond it: 413.
pub const API_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Most input items of a kept response in one page. Source: OpenAI API reference, "List input items".
pub const INPUT_ITEMS_MAX: usize = 100;

// --- calls that the gateway makes itself
/// Longest answer to a call of the gateway's own, in bytes. Beyond it: the call fails. 256 vectors of 3,072 numbers are
/// about 16 MiB of JSON.
pub const INNER_ANSWER_BYTES_MAX: usize = 24 * MIB;
/// Most texts of one embeddings call; more are sent in several. OpenAI takes 2,048, Gemini 100.
pub const EMBEDDED_TEXTS_MAX: usize = 100;
/// Longest text that is embedded, in bytes; the rest is cut off at a character. Embedding models take 8,192 tokens.
pub const EMBEDDED_TEXT_BYTES_MAX: usize = 24 * KIB;
/// Most numbers of one vector. Beyond it: the call fails. The largest of today's models has 4,096.
pub const EMBEDDING_DIMENSIONS_MAX: usize = 8_192;

// --- cache
/// Answers that are kept, all projects together; also bounded by bytes. Beyond it the one not used for longest goes.
pub const CACHED_ANSWERS_MAX: usize = 65_536;
/// Entries of the semantic cache with one scope: each look-up compares with all of them.
pub const SEMANTIC_ENTRIES_MAX: usize = 1_000;
/// Bytes of the semantic cache, all projects together.
pub const SEMANTIC_BYTES_MAX: usize = 64 * MIB;
/// Conversations whose models are remembered, all projects together.
pub const CONVERSATIONS_MAX: usize = 16_384;
/// Models that are remembered of one conversation. Source: the project's routing specification, section 6.
pub const CONVERSATION_DECISIONS_MAX: usize = 50;
/// Responses kept by their providers whose models are remembered, all projects together: 16 bytes each and a little more.
pub const ISSUED_RESPONSES_MAX: usize = 131_072;
/// Centroids of intents that are kept.
pub const CENTROIDS_MAX: usize = 4_096;

// --- routing
/// Longest reason of a routing model that is kept, in bytes; the rest is cut off at a character.
pub const ROUTING_REASON_BYTES_MAX: usize = 512;
/// How much of the system text, and of the user's first message, says how a request begins, in bytes. Providers cache
/// prompts from 1,024 tokens on.
pub const PREFIX_BYTES_MAX: usize = 16 * KIB;

// --- notifications
/// Events on their way to the thread that sends notifications. Beyond it they are lost and counted.
pub const NOTIFY_QUEUE_MAX: usize = 256;
/// Deliveries that wait. Beyond it further events are dropped and counted. About 1 KiB each.
pub const NOTICES_WAITING_MAX: usize = 1_000;
/// Ids of events that are remembered so that none is told twice. About 100 bytes each.
pub const NOTICES_KNOWN_MAX: usize = 10_000;
/// Attempts at one delivery; with waits of 10 s to an hour they take about seven hours.
pub const NOTIFY_ATTEMPTS_MAX: u32 = 16;
/// Longest wait for a mail server or webhook at each step, in milliseconds.
pub const NOTIFY_TIMEOUT_MS: u64 = 10_000;
/// Longest answer of a mail service or a webhook that is looked at, in bytes.
pub const NOTIFY_ANSWER_BYTES_MAX: u64 = 64 * 1024;
