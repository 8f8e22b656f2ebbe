//! Makes bytes that an attacker may have chosen safe to show on a terminal.

use std::fmt::{Display, Formatter, Result, Write};

/// Longest text shown for one string; the records keep the whole.
const SHOWN_MAX: usize = 512;

/// Shows bytes with every control, direction and zero-width character as a visible escape.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let shown = &self.0[..self.0.len().min(SHOWN_MAX)];
        write_all(f, shown)?;
        if shown.len() < self.0.len() {
            f.write_char('…')?;
        }
        Ok(())
    }
}

/// Shows an argument vector (each argument ended by NUL) with spaces between its arguments.
#[derive(Clone, Copy, Debug)]
pub struct CommandLine<'a>(pub &'a [u8]);

impl Display for CommandLine<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let args = self.0.strip_suffix(b"\0").unwrap_or(self.0);
        let joined: Vec<u8> = args.iter().map(|&b| if b == 0 { b' ' } else { b }).collect();
        Escaped(&joined).fmt(f)
    }
}

/// Returns the whole text with the same escapes, for output that programs read.
pub fn visible(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    // Writing to a string cannot fail.
    let _ = write_all(&mut text, bytes);
    text
}

fn write_all(f: &mut dyn Write, bytes: &[u8]) -> Result {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            write_char(f, character)?;
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

fn write_char(f: &mut dyn Write, character: char) -> Result {
    match character {
        '\\' => f.write_str("\\\\"),
        '\n' => f.write_str("\\n"),
        '\t' => f.write_str("\\t"),
        c if (c as u32) < 0x20 || (0x7f..0xa0).contains(&(c as u32)) => {
            write!(f, "\\x{:02x}", c as u32)
        }
        c if is_invisible(c) => write!(f, "\\u{{{:x}}}", c as u32),
        c => f.write_char(c),
    }
}

/// Characters that reorder, hide or join what stands around them: bidirectional controls,
/// zero-width characters, line and paragraph separators, variation selectors, tags.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_direction_and_zero_width_characters_become_visible() {
        let shown = Escaped(b"a\x1b[2J\n\xff\\ \xc2\x9b \xe2\x80\xae \xe2\x80\x8b caf\xc3\xa9");
        assert_eq!(shown.to_string(), "a\\x1b[2J\\n\\xff\\\\ \\x9b \\u{202e} \\u{200b} caf\u{e9}");
    }

    #[test]
    fn arguments_stand_apart() {
        assert_eq!(CommandLine(b"sh\0-c\0echo hi\0").to_string(), "sh -c echo hi");
    }

    #[test]
    fn long_strings_are_cut_visibly() {
        let shown = Escaped(&[b'x'; SHOWN_MAX + 1]).to_string();
        assert!(shown.ends_with('…') && shown.chars().count() == SHOWN_MAX + 1);
    }

    proptest! {
        #[test]
        fn nothing_shown_is_a_control_character(bytes: Vec<u8>) {
            let shown = Escaped(&bytes).to_string();
            prop_assert!(shown.chars().all(|c| !c.is_control() && !is_invisible(c)));
        }
    }
}
