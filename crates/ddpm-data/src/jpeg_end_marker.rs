//! Detection of truncated JPEG files.

/// Whether the compressed data of a JPEG file is followed by the end-of-image marker. Decoders fill the missing part of
/// a truncated image with gray and report success, so a truncated file has to be detected before decoding.
///
/// The search skips the header segments by their lengths, because the thumbnail in a header segment has an end marker
/// of its own.
pub(crate) fn has_end_marker(jpeg: &[u8]) -> bool {
    let mut at = 2;
    while let Some([0xff, marker]) = jpeg.get(at..at + 2) {
        match marker {
            // A fill byte before a marker.
            0xff => at += 1,
            // Start of scan: the compressed data starts.
            0xda => return jpeg[at..].windows(2).any(|pair| pair == [0xff, 0xd9]),
            _ => {
                let Some([high, low]) = jpeg.get(at + 2..at + 4) else { return false };
                at += 2 + usize::from(u16::from_be_bytes([*high, *low]));
            }
        }
    }
    false
}
