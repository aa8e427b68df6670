//! What the readers of text share.

use bytes::Bytes;

use super::error::ContentError;

/// The content as text, without a byte order mark.
pub(super) fn decoded(content: Bytes) -> Result<String, ContentError> {
    let mut text = String::from_utf8(content.into()).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        ContentError::NotUtf8 { line: line_at(error.as_bytes(), valid) }
    })?;
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok(text)
}

/// The line of a place, from 1.
pub(super) fn line_at(content: &[u8], place: usize) -> u64 {
    1 + memchr::memchr_iter(b'\n', content.get(..place).unwrap_or(content)).count() as u64
}
