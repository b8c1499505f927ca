//! The segments of a JPEG file: where its image ends, and what a camera recorded.

use memchr::memmem;

/// The markers after which the compressed data follows in the order of the blocks, in one scan.
const BASELINE: [u8; 2] = [0xc0, 0xc1];
const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];
/// The segment of EXIF data, and the bytes that it starts with.
const APPLICATION_1: u8 = 0xe1;
const EXIF: &[u8] = b"Exif\0\0";

/// What the header segments of a JPEG file contain, and where its compressed data ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct JpegSegments<'a> {
    /// The EXIF data, without the bytes that name them.
    pub(crate) exif: Option<&'a [u8]>,
    /// Whether the file is baseline or extended sequential with Huffman coding, not progressive.
    pub(crate) is_sequential: bool,
    /// The position of the end-of-image marker after the compressed data. `None` for a truncated file.
    pub(crate) end: Option<usize>,
}

impl<'a> JpegSegments<'a> {
    /// Reads the segments of a file. The search for the end skips the header segments by their lengths, because the
    /// thumbnail in a header segment has an end marker of its own.
    pub(crate) fn read(jpeg: &'a [u8]) -> Self {
        let mut segments = Self { exif: None, is_sequential: false, end: None };
        let mut at = 2;
        while let Some([0xff, marker]) = jpeg.get(at..at + 2) {
            match *marker {
                // A fill byte before a marker.
                0xff => at += 1,
                START_OF_SCAN => {
                    segments.end = memmem::find(&jpeg[at..], &END_OF_IMAGE).map(|after| at + after);
                    break;
                }
                marker => {
                    let Some([high, low]) = jpeg.get(at + 2..at + 4) else { break };
                    let end = at + 2 + usize::from(u16::from_be_bytes([*high, *low]));
                    let body = jpeg.get(at + 4..end).unwrap_or_default();
                    if BASELINE.contains(&marker) {
                        segments.is_sequential = true;
                    }
                    if marker == APPLICATION_1 && segments.exif.is_none() {
                        segments.exif = body.strip_prefix(EXIF);
                    }
                    at = end;
                }
            }
        }
        segments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_marker_of_a_thumbnail_is_not_the_end() {
        let exif = [&[0xff, 0xe1, 0, 12], EXIF, &[7, 8, 0xff, 0xd9]].concat();
        let file = [&[0xff, 0xd8][..], &exif, &[0xff, 0xc0, 0, 2, 0xff, 0xda, 0, 2, 1, 2]].concat();
        let cut = JpegSegments::read(&file);
        assert_eq!(cut, JpegSegments { exif: Some(&[7, 8, 0xff, 0xd9]), is_sequential: true, end: None });
        let whole = [&file[..], &END_OF_IMAGE].concat();
        assert_eq!(JpegSegments::read(&whole).end, Some(file.len()));
        assert_eq!(JpegSegments::read(&[]), JpegSegments { exif: None, is_sequential: false, end: None });
    }
}
