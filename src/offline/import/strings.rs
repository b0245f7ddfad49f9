//! Commands that change a part of a string: it can become an integer, or be none any more.
//!
//! Of a string that is too long to be one nothing needs to be known: it stays so.

use super::replay::Replay;
use super::store::{Expiry, INTEGER_BYTES_MAX, Skipped, Text};

impl Replay<'_> {
    /// `APPEND`. `None`: it cannot be followed.
    pub(super) fn append(&mut self, key: &[u8], tail: &[u8]) -> Option<()> {
        match self.store.text(key) {
            Text::Known(mut text) => {
                text.extend_from_slice(tail);
                self.change(key, &text)
            }
            Text::Long => Some(()),
            Text::Unknown => {
                if tail.len() > INTEGER_BYTES_MAX {
                    self.lengthen(key);
                }
                Some(())
            }
        }
    }

    /// `SETRANGE`, likewise.
    pub(super) fn set_range(&mut self, key: &[u8], offset: usize, piece: &[u8]) -> Option<()> {
        let end = offset.checked_add(piece.len())?;
        match self.store.text(key) {
            _ if piece.is_empty() => {}
            Text::Known(_) | Text::Unknown if end > INTEGER_BYTES_MAX => self.lengthen(key),
            Text::Known(mut text) => {
                text.resize(text.len().max(end), 0);
                text[offset..end].copy_from_slice(piece);
                self.change(key, &text)?;
            }
            Text::Long | Text::Unknown => {}
        }
        Some(())
    }

    /// `SETBIT`, likewise.
    pub(super) fn set_bit(&mut self, key: &[u8], offset: usize, is_set: bool) -> Option<()> {
        let (at, mask) = (offset / 8, 0x80 >> (offset % 8));
        let byte = match self.store.text(key) {
            Text::Known(text) => text.get(at).copied().unwrap_or(0),
            Text::Long | Text::Unknown => 0,
        };
        self.set_range(key, at, &[if is_set { byte | mask } else { byte & !mask }])
    }

    /// A string has changed, and keeps its expiry.
    fn change(&mut self, key: &[u8], text: &[u8]) -> Option<()> {
        let expiry = self.string_expiry(key);
        self.store.set(key, text, expiry)
    }

    /// A string has become too long to be an integer.
    fn lengthen(&mut self, key: &[u8]) {
        let expiry = self.string_expiry(key);
        self.store.skip(key, Skipped::NoInteger, expiry);
    }

    /// When a string expires. Where there was something else, which is gone, it never does.
    fn string_expiry(&mut self, key: &[u8]) -> Expiry {
        match self.store.why_skipped(key) {
            None | Some(Skipped::NoInteger | Skipped::Unknown | Skipped::LongKey) => self.store.expiry(key),
            Some(_) => Expiry::Never,
        }
    }
}
