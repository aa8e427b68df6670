//! gzip and zstd, told by their first bytes, unpacked whole within a bound.
//!
//! Always: what is handed over was checked to its end (gzip's checksum and length, zstd's frame), and is never longer
//! than the bound. Input that is cut short, corrupt or followed by anything else is an error, and nothing of it is used.

use std::io::Read;

use flate2::bufread::MultiGzDecoder;

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952, one or several members.
    Gzip,
    /// RFC 8878, one or several frames.
    Zstd,
}

/// Compressed bytes that cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Cut short, or altered.
    #[error("the {kind:?} data is cut short or corrupt: {source}")]
    Corrupt {
        /// What it should be.
        kind: Compression,
        /// What the decoder met.
        #[source]
        source: std::io::Error,
    },
    /// More than the bound.
    #[error("the {kind:?} data unpacks to more than {limit} bytes")]
    TooLarge {
        /// How it is compressed.
        kind: Compression,
        /// The bound, in bytes.
        limit: u64,
    },
}

/// So much is set aside for unpacked bytes before any is seen.
const FIRST_ROOM: u64 = 1 << 20;
/// The least and the greatest window of zstd's, as powers of two: what its usual levels need, and what it never exceeds
/// unasked.
const WINDOW_LOG: (u32, u32) = (23, 27);

impl Compression {
    /// By the first bytes; `None` for what is not compressed.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            // Deflate is the only method that gzip has.
            [0x1f, 0x8b, 0x08, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Unpacks all of `bytes`, to `limit` bytes at most.
    ///
    /// # Errors
    /// [`UnpackError`]; the same bytes fail again.
    pub fn unpack(self, bytes: &[u8], limit: u64) -> Result<Vec<u8>, UnpackError> {
        let mut out = Vec::new();
        self.unpack_into(bytes, limit, &mut out)?;
        Ok(out)
    }

    /// The same into a buffer, which on an error holds what came out before it: that is what the attempt cost.
    ///
    /// # Errors
    /// [`UnpackError`]; the same bytes fail again.
    pub fn unpack_into(self, bytes: &[u8], limit: u64, out: &mut Vec<u8>) -> Result<(), UnpackError> {
        let corrupt = |source| UnpackError::Corrupt { kind: self, source };
        let likely = (bytes.len() as u64).saturating_mul(4).min(limit).min(FIRST_ROOM);
        let before = out.len();
        out.reserve(usize::try_from(likely).unwrap_or(0));
        // One byte more than allowed tells a full buffer from one that would go on.
        match self {
            Self::Gzip => MultiGzDecoder::new(bytes).take(limit.saturating_add(1)).read_to_end(out),
            Self::Zstd => zstd::stream::read::Decoder::with_buffer(bytes).and_then(|mut decoder| {
                // What a frame's header asks for is allocated before a byte of it comes out.
                decoder.window_log_max((u64::BITS - limit.leading_zeros()).clamp(WINDOW_LOG.0, WINDOW_LOG.1))?;
                decoder.take(limit.saturating_add(1)).read_to_end(out)
            }),
        }
        .map_err(corrupt)?;
        if (out.len() - before) as u64 > limit {
            return Err(UnpackError::TooLarge { kind: self, limit });
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use super::*;

    pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::encode_all(data, 3).unwrap()
    }

    type Pack = fn(&[u8]) -> Vec<u8>;

    fn both() -> [(Compression, Pack); 2] {
        [(Compression::Gzip, gzip), (Compression::Zstd, zstd)]
    }

    #[test]
    fn what_was_packed_comes_out_in_one_part_or_several() {
        for (kind, pack) in both() {
            let packed = pack(b"one,");
            assert_eq!(Compression::of(&packed), Some(kind));
            let parts = [packed, pack(b""), pack(b"two")].concat();
            assert_eq!(kind.unpack(&parts, 7).unwrap(), b"one,two");
        }
        assert_eq!(Compression::of(b"{\"a\":1}"), None);
        assert_eq!(Compression::of(b""), None);
    }

    #[test]
    fn whatever_is_cut_off_or_altered_is_refused() {
        let text = b"some text that is long enough, long enough, to be packed".repeat(40);
        for (kind, pack) in both() {
            let packed = pack(&text);
            for end in 4..packed.len() {
                assert!(kind.unpack(&packed[..end], u64::MAX).is_err(), "{kind:?} cut at {end}");
            }
            assert!(kind.unpack(&[&packed[..], b"more"].concat(), u64::MAX).is_err(), "{kind:?} with a tail");
        }
        // gzip keeps a checksum; zstd does where the producer asked for it.
        let mut altered = gzip(&text);
        let checksum = altered.len() - 8;
        altered[checksum] ^= 1;
        assert!(matches!(Compression::Gzip.unpack(&altered, u64::MAX), Err(UnpackError::Corrupt { .. })));
    }

    #[test]
    fn nothing_unpacks_beyond_the_bound() {
        for (kind, pack) in both() {
            let packed = pack(&vec![0; 1_000_000]);
            assert_eq!(kind.unpack(&packed, 1_000_000).unwrap().len(), 1_000_000);
            let refused = kind.unpack(&packed, 999_999).unwrap_err();
            assert!(matches!(refused, UnpackError::TooLarge { limit: 999_999, .. }));
            assert!(refused.to_string().contains("999999"));
        }
    }
}
