//! The closed sets of words that records, log lines and metric labels share.
//!
//! Owns their spelling and their order as array indices. A label is always one of these or an id of the configuration,
//! never a string that a client sent.

/// Makes an enum whose variants have a spelling and an index.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// All values, in index order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The spelling in records, log lines and labels.
            #[inline]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// Place in [`Self::ALL`].
            #[inline]
            pub fn index(self) -> usize {
                self as usize
            }
        }
    };
}

words! {
    /// What kind of endpoint a request came in on.
    Endpoint {
        /// `POST /v1/chat/completions`.
        Chat = "chat",
        /// `POST /v1/responses`.
        Responses = "responses",
        /// `POST /v1/messages`.
        Messages = "messages",
        /// `POST /v1beta/models/{model}:generateContent` and `:streamGenerateContent`.
        Gemini = "gemini",
        /// `POST /v1/messages/count_tokens`, `POST /v1beta/models/{model}:countTokens`.
        CountTokens = "count_tokens",
        /// `POST /v1/embeddings`.
        Embeddings = "embeddings",
        /// `GET /v1/models` and `/v1/models/{id}`.
        Models = "models",
        /// Any other path below `/v1`, forwarded as it is.
        Passthrough = "passthrough",
        /// A model call that routing made for itself.
        Routing = "routing",
        /// `/health`, `/metrics`.
        Operations = "operations",
        /// No endpoint: unknown path, or a head that could not be read.
        Unknown = "unknown",
    }
}

words! {
    /// How a call ended, as in the field `outcome` of a usage record.
    Outcome {
        /// The provider's answer reached the client whole.
        Success = "success",
        /// Refused, failed or broken off by gateway or provider.
        Error = "error",
        /// A deadline of the gateway ran out.
        Timeout = "timeout",
        /// A limit was reached.
        BudgetExceeded = "budget_exceeded",
        /// The client went away first.
        ClientClosed = "client_closed",
        /// Another model, asked beside it, was faster.
        Cancelled = "cancelled",
    }
}

impl Outcome {
    /// Whether a provider did the work of an attempt that ended so: it counts as a call on limits.
    pub fn did_work(self) -> bool {
        match self {
            Self::Success | Self::ClientClosed | Self::Cancelled | Self::BudgetExceeded => true,
            Self::Error | Self::Timeout => false,
        }
    }
}

impl Outcome {
    /// Whether it counts among the calls that failed.
    pub fn is_error(self) -> bool {
        !matches!(self, Self::Success | Self::Cancelled)
    }
}

words! {
    /// Who ended a call.
    EndedBy {
        /// The client closed or reset its connection.
        Client = "client",
        /// The provider finished or failed.
        Provider = "provider",
        /// The gateway refused or stopped the call.
        Gateway = "gateway",
    }
}

words! {
    /// Where the token counts of a record come from.
    UsageSource {
        /// The provider reported them.
        Reported = "reported",
        /// The gateway estimated them.
        Estimated = "estimated",
        /// Nothing is known.
        None = "none",
    }
}

words! {
    /// Why a model was called.
    CallType {
        /// For the client.
        Completion = "completion",
        /// For a routing policy.
        Routing = "routing",
        /// Nobody was called: the answer was kept from an earlier call.
        Cache = "cache",
    }
}

words! {
    /// Why another call to a provider followed a failed one.
    RetryReason {
        /// Its status: a conflict, a time-out of its own, a failure.
        Status = "status",
        /// Too many requests.
        RateLimit = "rate_limit",
        /// The key was refused, or its account.
        Key = "key",
        /// The model cannot take this request, or is not there.
        Unfit = "unfit",
        /// No connection came about.
        Connect = "connect",
        /// The connection broke, or what came was no answer.
        Broken = "broken",
        /// It took too long.
        Timeout = "timeout",
    }
}

words! {
    /// The first digit of an HTTP status.
    StatusClass {
        /// 1xx.
        Informational = "1xx",
        /// 2xx.
        Success = "2xx",
        /// 3xx.
        Redirection = "3xx",
        /// 4xx.
        ClientError = "4xx",
        /// 5xx.
        ServerError = "5xx",
        /// No status was sent.
        None = "none",
    }
}

impl StatusClass {
    /// The class of `status`; anything outside 100 to 599, such as 0, is "none".
    #[inline]
    pub fn of(status: u16) -> Self {
        match status / 100 {
            1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirection,
            4 => Self::ClientError,
            5 => Self::ServerError,
            _ => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_follow_the_order_and_spellings_differ() {
        for (index, endpoint) in Endpoint::ALL.iter().enumerate() {
            assert_eq!(endpoint.index(), index);
        }
        let spellings: std::collections::HashSet<_> =
            Endpoint::ALL.iter().map(|value| value.as_str()).collect();
        assert_eq!(spellings.len(), Endpoint::ALL.len());
    }

    #[test]
    fn statuses_fall_into_their_class() {
        for (status, class) in
            [(200, "2xx"), (101, "1xx"), (404, "4xx"), (599, "5xx"), (600, "none"), (0, "none")]
        {
            assert_eq!(StatusClass::of(status).as_str(), class);
        }
    }
}
