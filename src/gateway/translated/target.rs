//! What a translation has to know of the model that is asked.

use crate::dialect::Dialect;
use crate::dialect::context::TargetModel;
use crate::dialect::ir::Vendor;
use crate::provider::Wire as ProviderWire;
use crate::snapshot::Target;

/// Output tokens to ask for where a dialect needs a number and nobody gives one.
const OUTPUT_TOKENS_DEFAULT: u64 = 8_192;

/// Which dialect a target is asked in by clients of another one.
pub(in crate::gateway) fn dialect_of(target: &Target) -> Option<Dialect> {
    target.model.dialects.iter().next()
}

/// Whether a target of another dialect can be asked how many tokens a request has.
pub(in crate::gateway) fn counts(target: &Target) -> bool {
    matches!(dialect_of(target), Some(Dialect::AnthropicMessages | Dialect::Gemini))
}

/// A target as the writers of requests see it.
pub(in crate::gateway) fn target_model(target: &Target, dialect: Dialect) -> TargetModel<'_> {
    let provider = &target.model.provider;
    let is_openai = matches!(provider.wire, ProviderWire::Azure) || provider.id == "openai";
    TargetModel {
        name: &target.model.upstream_model,
        vendor: vendor_of(target, dialect),
        token_limit_param: match provider.token_limit_param {
            Some(param) => param.as_str(),
            None if is_openai => "max_completion_tokens",
            None => "max_tokens",
        },
        output_tokens_default: provider.default_max_tokens.unwrap_or(OUTPUT_TOKENS_DEFAULT),
        reasoning_field: provider.reasoning_field.as_deref(),
    }
}

/// Who makes a target's proofs. Anthropic's and Google's dialects are spoken by their own services and those that resell
/// them; OpenAI's by everybody.
pub(in crate::gateway) fn vendor_of(target: &Target, dialect: Dialect) -> Vendor {
    let provider = &target.model.provider;
    match dialect {
        Dialect::AnthropicMessages => Vendor::Anthropic,
        Dialect::Gemini => Vendor::Google,
        Dialect::OpenAiChat | Dialect::OpenAiResponses => {
            let own = matches!(provider.wire, ProviderWire::Azure | ProviderWire::Simulated);
            if own || provider.id == "openai" { Vendor::OpenAi } else { Vendor::Other }
        }
    }
}
