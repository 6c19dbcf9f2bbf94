//! Names of functions that a target would refuse, and their way back.
//!
//! A name is mapped by what it is alone, so that a function has the same name in every request of a conversation and
//! the provider's prompt cache holds.

use super::context::Undo;
use super::ir::Text;
use crate::limits::MAPPED_TOOL_NAMES_MAX;

/// The name under which a function is sent: its own where the target takes it, else `t_<hash>_<what is left of it>`,
/// noted in `undo`. Tools are to be named before the calls of a history, which may name what is no tool any more, because
/// a bounded number is noted. `allowed` tells whether the characters of a name are the target's; `len_max` is in bytes.
pub(super) fn safe_name<'t>(
    name: &'t Text<'_>,
    allowed: fn(&str) -> bool,
    len_max: usize,
    undo: &mut Undo,
) -> Text<'t> {
    let plain = name.decode().unwrap_or_default();
    if !plain.is_empty() && plain.len() <= len_max && allowed(&plain) {
        return name.borrow();
    }
    if let Some((sent, _)) = undo.tool_names.iter().find(|(_, named)| *named == plain) {
        return Text::from(sent.clone());
    }
    let mut sent = format!("t_{:016x}_", hash(plain.as_bytes()));
    let room = len_max.saturating_sub(sent.len());
    sent.extend(plain.chars().take(room).map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
    if undo.tool_names.len() < MAPPED_TOOL_NAMES_MAX {
        undo.tool_names.push((sent.clone(), plain.into_owned()));
    }
    Text::from(sent)
}

/// FNV-1a, 64 bits: the same on every machine. A client that makes two of its own names collide confuses itself.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_dots(name: &str) -> bool {
        !name.contains(['.', 'é'])
    }

    #[test]
    fn a_name_that_would_be_refused_is_mapped_and_comes_back() {
        let mut undo = Undo::default();
        let plain = Text::from_plain("get_weather");
        assert_eq!(safe_name(&plain, no_dots, 64, &mut undo), plain);
        assert_eq!(undo, Undo::default());
        let dotted = Text::from_plain("café.lookup");
        let long = "x".repeat(80);
        let long = Text::from_plain(&long);
        for (name, rest) in [(&dotted, "caf__lookup"), (&long, &"x".repeat(45))] {
            let sent = safe_name(name, no_dots, 64, &mut undo);
            let sent = sent.escaped();
            assert!(sent.starts_with("t_") && sent.ends_with(&format!("_{rest}")), "{sent}");
            assert!(sent.len() <= 64 && no_dots(sent), "{sent}");
            let again = safe_name(name, no_dots, 64, &mut undo);
            assert_eq!(again.escaped(), sent, "the same in every turn");
            assert_eq!(undo.tool_names.last(), Some(&(sent.to_owned(), name.decode().unwrap().into_owned())));
        }
        assert_eq!(undo.tool_names.len(), 2);
        for index in 0..2 * MAPPED_TOOL_NAMES_MAX {
            let name = format!("x.{index}");
            assert!(no_dots(safe_name(&Text::from_plain(&name), no_dots, 64, &mut undo).escaped()));
        }
        assert_eq!(undo.tool_names.len(), MAPPED_TOOL_NAMES_MAX);
    }
}
