//! Views of the planes of images that the CPU kernels of a convolution read and write, so that joined or rearranged
//! images need no tensor of their own.

use std::ops::Range;

use crate::backend::rearrange::Rearrange;

/// Images [image, channel, plane] of one tensor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) channels: usize,
}

/// Images whose channels are those of one tensor or of two side by side, with a value added to each plane, rearranged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) first: Part<'a>,
    pub(crate) second: Option<Part<'a>>,
    /// [image, channel], channels before they are rearranged.
    pub(crate) added: Option<&'a [f32]>,
    pub(crate) arrange: Rearrange,
    /// Height and width before they are rearranged.
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// The index of the first image that is read.
    pub(crate) from: usize,
}

impl<'a> Input<'a> {
    /// Planes of one slice, [image, channel, plane], without rearrangement.
    pub(crate) fn plain(values: &'a [f32], channels: usize, plane: usize) -> Self {
        let first = Part { values, channels };
        Self { first, second: None, added: None, arrange: Rearrange::AsIs, height: 1, width: plane, from: 0 }
    }

    /// The same images without the first `image` ones.
    pub(crate) fn from(self, image: usize) -> Self {
        Self { from: self.from + image, ..self }
    }

    fn channels(&self) -> usize {
        self.first.channels + self.second.map_or(0, |part| part.channels)
    }

    /// A plane before it is rearranged, and what is added to it.
    fn raw(&self, image: usize, channel: usize) -> (&'a [f32], f32) {
        let (image, plane) = (self.from + image, self.height * self.width);
        let added = self.added.map_or(0.0, |added| added[image * self.channels() + channel]);
        let (part, channel) = match self.second {
            Some(second) if channel >= self.first.channels => (second, channel - self.first.channels),
            _ => (self.first, channel),
        };
        (&part.values[(image * part.channels + channel) * plane..][..plane], added)
    }

    /// The plane of a channel as in [`Input::plane`], and a number that the caller has to add to each element.
    #[inline(always)]
    pub(crate) fn plane_and_added<'s>(&self, image: usize, channel: usize, spare: &'s mut [f32]) -> (&'s [f32], f32)
    where
        'a: 's,
    {
        match self.arrange {
            Rearrange::AsIs => self.raw(image, channel),
            _ => (self.plane(image, channel, spare), 0.0),
        }
    }

    /// The plane of a channel: the input itself if nothing is added or rearranged, otherwise a copy in `spare`.
    #[inline(always)]
    pub(crate) fn plane<'s>(&self, image: usize, channel: usize, spare: &'s mut [f32]) -> &'s [f32]
    where
        'a: 's,
    {
        match self.arrange {
            Rearrange::AsIs => {
                let (plane, added) = self.raw(image, channel);
                if self.added.is_none() {
                    return plane;
                }
                spare.iter_mut().zip(plane).for_each(|(to, value)| *to = value + added);
            }
            Rearrange::UpsampleNearest2x => {
                let (plane, added) = self.raw(image, channel);
                let lines = spare.chunks_exact_mut(4 * self.width).zip(plane.chunks_exact(self.width));
                for (two_lines, line) in lines {
                    let (upper, lower) = two_lines.split_at_mut(2 * self.width);
                    for (to, value) in upper.chunks_exact_mut(2).zip(line) {
                        to.fill(value + added);
                    }
                    lower.copy_from_slice(upper);
                }
            }
            Rearrange::PixelUnshuffle2x => {
                let (plane, added) = self.raw(image, channel / 4);
                let (row, column) = (channel / 2 % 2, channel % 2);
                let lines = spare.chunks_exact_mut(self.width / 2).zip(plane.chunks_exact(2 * self.width));
                for (to, two_lines) in lines {
                    let line = &two_lines[row * self.width..(row + 1) * self.width];
                    for (to, block) in to.iter_mut().zip(line.chunks_exact(2)) {
                        *to = block[column] + added;
                    }
                }
            }
        }
        spare
    }
}

/// The destination of images [image, channel, plane]: one slice, or two whose channels are concatenated.
#[derive(Debug)]
pub(crate) struct Output<'a> {
    pub(crate) first: (&'a mut [f32], usize),
    pub(crate) second: Option<(&'a mut [f32], usize)>,
    pub(crate) plane: usize,
}

impl<'a> Output<'a> {
    pub(crate) fn plain(values: &'a mut [f32], channels: usize, plane: usize) -> Self {
        Self { first: (values, channels), second: None, plane }
    }

    /// Each image's own part, for threads that write images side by side.
    pub(crate) fn images(&mut self, count: usize) -> Vec<Output<'_>> {
        let plane = self.plane;
        let mut second =
            self.second.as_mut().map(|(values, channels)| (values.chunks_mut((*channels * plane).max(1)), *channels));
        let first = self.first.0.chunks_mut((self.first.1 * plane).max(1));
        let channels = self.first.1;
        first
            .take(count)
            .map(|values| {
                let second = second.as_mut().map(|(images, channels)| (images.next().unwrap_or_default(), *channels));
                Output { first: (values, channels), second, plane }
            })
            .collect()
    }

    /// The slice that holds these channels of an image, and the index of their first element. None if the channels are
    /// in both slices.
    pub(crate) fn block(&mut self, image: usize, channels: Range<usize>) -> Option<(&mut [f32], usize)> {
        let border = self.first.1;
        let (slice, own, start) = match &mut self.second {
            Some(second) if channels.start >= border => (&mut *second.0, second.1, channels.start - border),
            _ if channels.end <= border => (&mut *self.first.0, border, channels.start),
            _ => return None,
        };
        Some((slice, (image * own + start) * self.plane))
    }

    pub(crate) fn plane(&mut self, image: usize, channel: usize) -> &mut [f32] {
        let plane = self.plane;
        match self.block(image, channel..channel + 1) {
            Some((slice, start)) => &mut slice[start..start + plane],
            None => &mut [],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_joined_raised_and_rearranged() {
        let (a, b): (Vec<f32>, Vec<f32>) =
            ((0..16).map(|i| i as f32).collect(), (100..132).map(|i| i as f32).collect());
        // Two images: one channel of `a`, two of `b`, 2 × 4 each.
        let second = Some(Part { values: &b, channels: 2 });
        let added = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let input = Input {
            first: Part { values: &a, channels: 1 },
            second,
            added: Some(&added),
            arrange: Rearrange::AsIs,
            height: 2,
            width: 4,
            from: 1,
        };
        let mut spare = [0.0; 8];
        assert_eq!(input.plane(0, 0, &mut spare), [11., 12., 13., 14., 15., 16., 17., 18.]);
        assert_eq!(input.plane(0, 2, &mut spare)[0], 129.0);
        let unshuffled = Input { added: None, arrange: Rearrange::PixelUnshuffle2x, ..input };
        assert_eq!(unshuffled.plane(0, 3, &mut spare[..2]), [13., 15.]);
        assert_eq!(unshuffled.plane(0, 4, &mut spare[..2]), [116., 118.]);
        let upsampled = Input { added: None, arrange: Rearrange::UpsampleNearest2x, ..input };
        let mut spare = [0.0; 32];
        let plane = upsampled.plane(0, 0, &mut spare);
        assert_eq!(plane[..10], [8., 8., 9., 9., 10., 10., 11., 11., 8., 8.]);
        assert_eq!(plane[24..], [12., 12., 13., 13., 14., 14., 15., 15.]);
    }
}
