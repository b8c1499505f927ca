//! Whether a JPEG is all there.

/// Whether the compressed image of a JPEG is followed by its end marker. Decoders fill a truncated image with grey and call
/// it a success.
///
/// Header segments are stepped over by their lengths: the thumbnail in one of them has an end marker of its own.
pub(crate) fn has_end_marker(jpeg: &[u8]) -> bool {
    let mut at = 2;
    while let Some([0xff, marker]) = jpeg.get(at..at + 2) {
        match marker {
            // Padding before a marker.
            0xff => at += 1,
            // Start of scan: the compressed image begins.
            0xda => return jpeg[at..].windows(2).any(|pair| pair == [0xff, 0xd9]),
            _ => {
                let Some([high, low]) = jpeg.get(at + 2..at + 4) else { return false };
                at += 2 + usize::from(u16::from_be_bytes([*high, *low]));
            }
        }
    }
    false
}
